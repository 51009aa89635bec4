"""Resumption: in memory, TLS 1.3, bound to the listener and the credentials, and judged each time."""

import re
import ssl

import pytest
import yaml

from harness.backends import drain, echo
from harness.bulkhead import configuration, originate, rule, terminate
from harness.openssl import Interactive
from harness.streams import CLEAN, PlainStream, client_context, dial, tls_connect
from harness.wait import until

WEB = "spiffe://prod.example/ns/shop/sa/web"


class Site:
    """A terminating bulkhead, and openssl clients that keep their session in a file."""

    def __init__(self, start, backends, credentials, tmp_path, *more_listeners, handler=echo,
                 **more):
        self.credentials = credentials
        self.session = tmp_path / "session.pem"
        self.backend = backends.plain(handler=handler)
        listener = terminate(self.backend.url, name="in")
        self.config = configuration(credentials, listener, *more_listeners, **more)
        self.bulkhead = start(self.config)
        self.address = self.bulkhead.address("in")

    def connect(self, *options, address=None, name="web", save=False):
        """True when it resumed. Without one of its own it offers the saved session."""
        more = ["-sess_out", str(self.session)] if save else []
        if self.session.exists() and not save:
            more += ["-sess_in", str(self.session)]
        pair = self.credentials.pair(name)
        with Interactive(address or self.address, "-tls1_3", *more, *options, pair=pair) as client:
            client.send(b"ping\n")
            client.wait_for(b"ping\n")
            output = client.finish()
        assert re.search(r"^(New|Reused), TLSv1.3", output, re.MULTILINE), output
        return "Reused, TLSv1.3" in output

    def save(self):
        assert not self.connect(save=True)
        assert self.connect(), "a good client resumes"

    def reload(self, **changes):
        generation = len(self.bulkhead.log.find(event="reload", result="in_force"))
        self.bulkhead.config_file.write_text(yaml.safe_dump({**self.config, **changes}))
        self.bulkhead.signal(1)
        until(lambda: len(self.bulkhead.log.find(event="reload", result="in_force")) > generation,
              "the reload")


@pytest.fixture
def site(start, backends, credentials, tmp_path):
    return lambda *args, **more: Site(start, backends, credentials, tmp_path, *args, **more)


def test_a_good_client_resumes_across_workers_and_the_log_says_so(site):
    here = site(workers=2)
    here.save()
    for _ in range(8):
        assert here.connect()
    line = here.bulkhead.wait_access(lambda line: line["tls"].get("resumed"))
    assert line["downstream_id"] == WEB and line["rule"] == "web-uses-all"
    until(lambda: len(here.bulkhead.access.find(reason="closed")) == 10, "the lines of all")
    assert len([l for l in here.bulkhead.access.find(reason="closed")
                if not l["tls"].get("resumed")]) == 1


def test_not_on_another_listener(site, backends, credentials, start):
    """CVE-2025-23419: a session of one listener said nothing about another's clients."""
    here = site(terminate(backends.plain().url, name="other"))
    here.save()
    assert not here.connect(address=here.bulkhead.address("other"))
    assert here.connect()


def test_not_under_another_name_of_a_listener(site, backends):
    here = site()
    here.save()
    listener = {**here.config["listeners"][0], "name": "renamed"}
    here.reload(listeners=[listener])
    assert not here.connect(address=here.bulkhead.address("renamed"))


@pytest.mark.parametrize("name", ["a.example", "b.example"])
def test_another_server_name_chooses_nothing(site, name):
    here = site()
    here.save()
    assert here.connect("-servername", name), "no server name decides anything here"


def test_not_when_the_rule_has_gone(site):
    """CVE-2025-68121, CVE-2022-21654: what was decided once is decided again."""
    here = site()
    here.save()
    here.reload(rules=[rule("others", "spiffe://prod.example/ns/shop/sa/other", "all")])
    pair = here.credentials.pair("web")
    with Interactive(here.address, "-tls1_3", "-sess_in", str(here.session), pair=pair) as client:
        client.offer(b"ping\n")
        client.finish()
    line = here.bulkhead.wait_access(event="deny")
    assert line["reason"] == "policy_no_rule" and line["downstream_id"] == WEB


def test_not_when_the_bundle_has_changed(site, credentials, tmp_path):
    here = site()
    here.save()
    bundle = tmp_path / "bundle.pem"
    with open(credentials.bundle("prod.example"), encoding="ascii") as first, \
            open(credentials.chain("orders"), encoding="ascii"):
        bundle.write_text(first.read() + "\n")
    here.reload(trust={"prod.example": {"bundle": str(bundle)}})
    assert not here.connect(), "the credentials' generation is another"


def test_not_when_revoked(site, credentials):
    here = site()
    here.save()
    empty = str(credentials.directory / "empty.crl")
    here.reload(trust={"prod.example": {"bundle": credentials.bundle("prod.example"), "crl": empty}})
    assert not here.connect()


def test_a_forged_ticket_is_a_full_handshake(site):
    here = site()
    here.save()
    text = here.session.read_bytes()
    der = bytearray(ssl.PEM_cert_to_DER_cert(
        text.decode().replace("SSL SESSION PARAMETERS", "CERTIFICATE")))
    # The ticket is the session's id: 32 bytes behind the tag [10].
    at = der.index(b"\xaa\x22\x04\x20") + 4
    der[at] ^= 0xFF
    here.session.write_text(ssl.DER_cert_to_PEM_cert(bytes(der)).replace(
        "CERTIFICATE", "SSL SESSION PARAMETERS"))
    assert not here.connect()


def test_early_data_is_never_taken(site, tmp_path):
    here = site()
    here.save()
    early = tmp_path / "early"
    early.write_bytes(b"early\n")
    pair = here.credentials.pair("web")
    with Interactive(here.address, "-tls1_3", "-sess_in", str(here.session), "-early_data",
                     str(early), pair=pair) as client:
        client.send(b"late\n")
        client.wait_for(b"late\n")
        output = client.finish()
    assert "Early data was accepted" not in output
    here.bulkhead.wait_access(bytes_up=5, reason="closed")


def test_a_client_that_writes_and_closes_without_reading_loses_nothing(site, credentials):
    """A ticket that lies unread makes the client's kernel reset, and the tail is lost."""
    here = site(handler=drain)
    size = 8 * 1024 * 1024
    for _ in range(20):
        before = here.backend.bytes
        with tls_connect(here.address, client_context(credentials.pair("web"))) as stream:
            stream.send(b"x" * size)
            stream.end()
        until(lambda: here.backend.bytes - before >= size, "every byte at the backend")


def test_outbound_sessions_are_resumed(start, backends, credentials):
    """Through two bulkheads: the second connection of the originating one is resumed."""
    backend = backends.plain()
    server = start(configuration(credentials, terminate(backend.url)))
    host, port = server.address()
    client = start(configuration(credentials, originate(f"mtls://{host}:{port}", name="out"),
                                 own="web", workers=1))
    for _ in range(3):
        with PlainStream(dial(client.address("out"))) as stream:
            stream.send(b"ping")
            assert stream.recv_exactly(4) == b"ping"
            stream.end()
            assert stream.read_to_end() == (b"", CLEAN)
    client.wait_access(lambda line: line["upstream_tls"].get("resumed"))
    server.wait_access(lambda line: line["tls"].get("resumed"))
