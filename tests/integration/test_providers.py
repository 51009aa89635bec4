"""tls.provider: what the host's OpenSSL configuration can do, and what it can't."""

import os
import ssl

import pytest
import yaml

from harness.bulkhead import configuration, originate, run_command, terminate
from harness.streams import (
    VERSIONS, PlainStream, client_context, dial, server_context, tls_connect, tls_dial,
)

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")


@pytest.fixture
def openssl_conf(tmp_path):
    """openssl_conf(**sections) -> the environment with a configuration of these sections."""

    def write(top="", **sections):
        path = tmp_path / "openssl.cnf"
        lines = ["openssl_conf = init", "[init]", *top.split(";")]
        for name, text in sections.items():
            lines += [f"[{name}]", *text.split(";")]
        path.write_text("\n".join(lines) + "\n")
        return {"OPENSSL_CONF": str(path)}

    return write


def limits(openssl_conf, text):
    """What libssl is to start from."""
    return openssl_conf("ssl_conf = ssl", ssl="system_default = limits", limits=text)


def with_provider(provider, credentials, backend, *listeners):
    return configuration(credentials, *(listeners or (terminate(backend.url),)),
                         tls={"provider": provider})


def agreed(bulkhead, credentials, version=None):
    """The version and the cipher suite of a handshake that was served."""
    context = client_context(credentials.pair("web"), version)
    with tls_connect(bulkhead.address(), context) as stream:
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        return stream.tls.version(), stream.tls.cipher()[0]


def refusal(bulkhead, credentials, highest="1.2", ciphers="ALL"):
    """The alert for a client that can do this and worse."""
    context = client_context(credentials.pair("web"))
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = VERSIONS.get(highest, ssl.TLSVersion.TLSv1_1)
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    stream, failure = tls_dial(bulkhead.address(), context)
    stream.close()
    return failure


@pytest.mark.parametrize("provider", ["filtered", "stock", "system"])
def test_serves_both_versions(start, backends, credentials, provider):
    bulkhead = start(with_provider(provider, credentials, backends.plain()))
    assert agreed(bulkhead, credentials, "1.2")[0] == "TLSv1.2"
    assert agreed(bulkhead, credentials, "1.3")[0] == "TLSv1.3"
    assert [line["provider"] for line in bulkhead.log.find(event="crypto")] == \
        (["system"] if provider == "system" else [])


@pytest.mark.parametrize("provider", ["filtered", "stock"])
def test_the_host_changes_nothing_unless_asked(start, backends, credentials, openssl_conf, provider):
    env = openssl_conf("ssl_conf = ssl;providers = providers;alg_section = algorithms",
                       providers="nowhere = some;default = some", some="activate = 1",
                       algorithms="default_properties = fips=yes", ssl="system_default = limits",
                       limits="MaxProtocol = TLSv1.2;CipherString = ALL:@SECLEVEL=0")
    bulkhead = start(with_provider(provider, credentials, backends.plain()), env=env)
    assert agreed(bulkhead, credentials) == ("TLSv1.3", "TLS_AES_128_GCM_SHA256")
    assert refusal(bulkhead, credentials, "1.1") == "tlsv1 alert protocol version"
    line, = bulkhead.log.find(event="crypto")
    assert line["level"] == "warn" and line["fips_asked_by"] == "default_properties"
    assert line["message"].startswith("nothing of it is honoured")


def test_the_host_can_narrow(start, backends, credentials, openssl_conf):
    env = limits(openssl_conf, "MinProtocol = TLSv1.3;Ciphersuites = TLS_AES_256_GCM_SHA384")
    bulkhead = start(with_provider("system", credentials, backends.plain()), env=env)
    assert agreed(bulkhead, credentials) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    assert refusal(bulkhead, credentials) == "tlsv1 alert protocol version"
    line, = bulkhead.log.find(event="crypto")
    assert line["file"] == env["OPENSSL_CONF"] and line["level"] == "info"


def test_the_host_can_leave_tls_1_2_alone(start, backends, credentials, openssl_conf):
    env = limits(openssl_conf, "Ciphersuites = ;CipherString = ECDHE-ECDSA-AES256-GCM-SHA384")
    bulkhead = start(with_provider("system", credentials, backends.plain()), env=env)
    assert agreed(bulkhead, credentials) == ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")


def test_the_host_cannot_loosen(start, backends, credentials, openssl_conf):
    env = limits(openssl_conf, "MinProtocol = TLSv1;CipherString = ALL:@SECLEVEL=0;"
                               "Options = UnsafeLegacyRenegotiation,ServerPreference")
    bulkhead = start(with_provider("system", credentials, backends.plain()), env=env)
    assert agreed(bulkhead, credentials) == ("TLSv1.3", "TLS_AES_128_GCM_SHA256")
    assert refusal(bulkhead, credentials, "1.1") == "tlsv1 alert protocol version"
    for ciphers in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256"):
        assert refusal(bulkhead, credentials, ciphers=ciphers) == "sslv3 alert handshake failure"


BAD = {
    "a provider that is not there": (
        dict(top="providers = providers", providers="nowhere = some", some="activate = 1"),
        'the provider "nowhere", which it activates, can\'t be loaded'),
    "FIPS without a module": (
        dict(top="alg_section = algorithms", algorithms="default_properties = fips=yes"),
        "demands FIPS (default_properties) and no FIPS module gives SHA-256"),
    "a module that is not there": (
        dict(top="providers = providers;alg_section = algorithms", providers="fips = some",
             some="activate = 1", algorithms="default_properties = fips=yes"),
        'the provider "fips", which it activates, can\'t be loaded'),
    "no version of TLS": (
        dict(top="ssl_conf = ssl", ssl="system_default = limits", limits="MaxProtocol = TLSv1.1"),
        "leaves no version of TLS"),
    "no cipher suite": (
        dict(top="ssl_conf = ssl", ssl="system_default = limits",
             limits="Ciphersuites = ;CipherString = DHE-RSA-AES128-GCM-SHA256"),
        "leaves no version of TLS"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_the_host_asks_and_can_t_be_had_stops_the_start(start, backends, credentials,
                                                             openssl_conf, name, tmp_path):
    sections, sentence = BAD[name]
    env = openssl_conf(**sections)
    config = with_provider("system", credentials, backends.plain())
    bulkhead = start(config, env=env, wait=False)
    bulkhead.wait_exit(2)
    assert sentence in bulkhead.log.text()
    file = tmp_path / "bulkhead.yaml"
    file.write_text(yaml.safe_dump(config))
    for options, code in (((), 2), (("--offline",), 0)):
        result = run_command("check", *options, "-c", file, env={**os.environ, **env})
        assert result.returncode == code, result.stderr
        assert (sentence in result.stderr) == (code == 2)


def test_a_configuration_that_was_named_must_be_there(start, backends, credentials):
    bulkhead = start(with_provider("system", credentials, backends.plain()), wait=False,
                     env={"OPENSSL_CONF": "/nowhere/openssl.cnf"})
    bulkhead.wait_exit(2)
    assert '"/nowhere/openssl.cnf": No such file' in bulkhead.log.text()


def test_the_limits_hold_for_servers_too(start, backends, credentials, openssl_conf):
    server = backends.tls(server_context(credentials.pair("payments"), version="1.2"))
    env = limits(openssl_conf, "MinProtocol = TLSv1.3")
    bulkhead = start(with_provider("system", credentials, None, originate(server.url)), env=env)
    with PlainStream(dial(bulkhead.address())) as stream:
        stream.offer(b"ping")
        stream.read_to_end()
    assert "version" in bulkhead.wait_access()["detail"]
