"""What goes in at which kind of address and out at which other."""

import grp
import os
import pwd
import socket

import pytest

from harness.backends import echo
from harness.bulkhead import bridge, configuration, originate, terminate
from harness.credentials import spiffe
from harness.streams import (
    CLEAN, PlainStream, TlsStream, client_context, dial, server_context, tls_connect,
)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6 loopback")


def assert_echoes(stream):
    stream.send(b"hello")
    assert stream.recv_exactly(5) == b"hello"
    stream.end()
    assert stream.read_to_end() == (b"", CLEAN)


def servers_context(credentials, name="orders"):
    return server_context(credentials.pair(name), credentials.bundle("prod.example"))


def test_terminate_hands_plaintext_to_the_backend(start, backends, credentials):
    backend = backends.plain()
    bulkhead = start(configuration(credentials, terminate(backend.url)))
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        local = stream.local_address()
        assert_echoes(stream)
    line = bulkhead.wait_access(downstream=local)
    assert (line["event"], line["kind"], line["listener"]) == ("close", "terminate", "in")
    assert (line["decision"], line["rule"], line["reason"]) == ("allow", "web-uses-all", "closed")
    assert (line["downstream_id"], line["own_id"]) == (spiffe("web"), spiffe("orders"))
    assert (line["bytes_up"], line["bytes_down"]) == (5, 5)
    assert line["upstream"] == backend.url.removeprefix("tcp://")
    assert line["tls"]["version"] == "TLSv1.3"
    assert "GCM" in line["tls"]["cipher"] or "CHACHA20" in line["tls"]["cipher"]
    assert line["tls"]["group"]
    assert "upstream_tls" not in line and "upstream_id" not in line
    assert backend.wait_ends() == [CLEAN]


def test_originate_speaks_mtls_to_the_server(start, backends, credentials):
    backend = backends.tls(servers_context(credentials))
    listener = originate(backend.url, expect=spiffe("orders"))
    bulkhead = start(configuration(credentials, listener, own="web"))
    with PlainStream(dial(bulkhead.address())) as stream:
        local = stream.local_address()
        assert_echoes(stream)
    line = bulkhead.wait_access(downstream=local)
    assert (line["event"], line["kind"], line["decision"]) == ("close", "originate", "allow")
    assert (line["upstream_id"], line["own_id"]) == (spiffe("orders"), spiffe("web"))
    assert line["upstream_tls"]["version"] == "TLSv1.3"
    assert "downstream_id" not in line and "tls" not in line
    assert backend.wait_ends() == [CLEAN]
    assert backend.peers[0] is not None, "the server saw no client certificate"


def test_bridge_speaks_mtls_on_both_sides(start, backends, credentials):
    backend = backends.tls(servers_context(credentials, "payments"))
    listener = bridge(backend.url, expect=spiffe("payments"))
    bulkhead = start(configuration(credentials, listener))
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        local = stream.local_address()
        assert_echoes(stream)
    line = bulkhead.wait_access(downstream=local)
    assert (line["kind"], line["reason"]) == ("bridge", "closed")
    assert (line["downstream_id"], line["upstream_id"]) == (spiffe("web"), spiffe("payments"))
    assert line["tls"] and line["upstream_tls"]


def test_two_sidecars_carry_plaintext_over_mtls(start, backends, credentials):
    backend = backends.plain()
    server = start(configuration(credentials, terminate(backend.url)))
    forward = f"mtls://127.0.0.1:{server.port()}"
    client = start(
        configuration(credentials, originate(forward, expect=spiffe("orders")), own="web")
    )
    with PlainStream(dial(client.address())) as stream:
        assert_echoes(stream)
    out, into = client.wait_access(event="close"), server.wait_access(event="close")
    assert into["downstream_id"] == spiffe("web")
    assert into["downstream"] == out["upstream_local"], "the two logs can't be joined"


@IPV6
def test_ipv6_on_both_sides(start, backends, credentials):
    backend = backends.plain(host="::1")
    listener = terminate(backend.url, accept="mtls://[::1]:0")
    bulkhead = start(configuration(credentials, listener))
    host, _ = bulkhead.address()
    assert host == "::1"
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        local = stream.local_address()
        assert_echoes(stream)
    assert bulkhead.wait_access(downstream=local)["reason"] == "closed"


def test_unix_socket_behind_terminate(start, backends, credentials, tmp_path):
    backend = backends.plain(path=str(tmp_path / "app.sock"))
    bulkhead = start(configuration(credentials, terminate(backend.url)))
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        assert_echoes(stream)
    assert backend.wait_ends() == [CLEAN]


def test_unix_socket_in_front_of_originate(start, backends, credentials, tmp_path):
    backend = backends.tls(servers_context(credentials))
    path = tmp_path / "in.sock"
    listener = originate(backend.url, accept=f"unix://{path}", socket={"mode": "0660"})
    bulkhead = start(configuration(credentials, listener, own="web"))
    bulkhead.wait_log("listening")
    assert path.stat().st_mode & 0o777 == 0o660
    with PlainStream(dial(str(path))) as stream:
        assert_echoes(stream)
    bulkhead.stop()
    assert not path.exists(), "the socket file stays behind"


def test_a_unix_socket_is_for_its_owner_alone_by_default(start, backends, credentials, tmp_path):
    path = tmp_path / "in.sock"
    listener = terminate(backends.plain().url, accept=f"mtls+unix://{path}")
    start(configuration(credentials, listener)).wait_log("listening")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_unix_socket_is_given_to_a_user_and_group_by_name(start, backends, credentials, tmp_path):
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    for number, socket_ in enumerate([{"owner": user, "group": group},
                                      {"owner": str(os.geteuid()), "group": str(os.getegid())}]):
        path = tmp_path / f"in{number}.sock"
        listener = terminate(backends.plain().url, accept=f"mtls+unix://{path}", socket=socket_)
        start(configuration(credentials, listener)).wait_log("listening")
        assert (path.stat().st_uid, path.stat().st_gid) == (os.geteuid(), os.getegid())
    for key in ("owner", "group"):
        listener = terminate(backends.plain().url, accept=f"mtls+unix://{tmp_path}/no.sock",
                             socket={key: "no-such-name"})
        bulkhead = start(configuration(credentials, listener), wait=False)
        bulkhead.wait_exit(1)
        assert f'socket.{key}: there is no' in bulkhead.log.text().replace('\\"', '"')
        assert not (tmp_path / "no.sock").exists()


def test_mtls_over_unix_sockets_on_both_sides(start, backends, credentials, tmp_path):
    backend = backends.tls(servers_context(credentials), path=str(tmp_path / "server.sock"))
    path = tmp_path / "in.sock"
    listener = bridge(backend.url, accept=f"mtls+unix://{path}")
    bulkhead = start(configuration(credentials, listener))
    bulkhead.wait_log("listening")
    with tls_connect(str(path), client_context(credentials.pair("web"))) as stream:
        assert_echoes(stream)
    line = bulkhead.wait_access(event="close")
    assert (line["downstream_id"], line["reason"]) == (spiffe("web"), "closed")


def greet(stream):
    stream.send(b"220 ready\r\n")
    return echo(stream)


@pytest.mark.parametrize("kind", ["terminate", "originate", "bridge"])
def test_a_server_that_speaks_first_is_heard(start, backends, credentials, kind):
    context = client_context(credentials.pair("web"))
    if kind == "terminate":
        listener = terminate(backends.plain(greet).url)
    else:
        make = originate if kind == "originate" else bridge
        listener = make(backends.tls(servers_context(credentials), greet).url)
    bulkhead = start(configuration(credentials, listener))
    sock = dial(bulkhead.address())
    stream = PlainStream(sock) if kind == "originate" else TlsStream(sock, context)
    with stream:
        if kind != "originate":
            assert stream.handshake() is None
        assert stream.recv_exactly(11) == b"220 ready\r\n"
        assert_echoes(stream)


def test_several_listeners_in_one_process(start, backends, credentials):
    first, second = backends.plain(), backends.plain()
    third = backends.tls(servers_context(credentials, "payments"))
    bulkhead = start(configuration(
        credentials, terminate(first.url, "first"), terminate(second.url, "second"),
        originate(third.url, "third"),
    ))
    context = client_context(credentials.pair("web"))
    for name in ("first", "second"):
        with tls_connect(bulkhead.address(name), context) as stream:
            assert_echoes(stream)
        assert bulkhead.wait_access(listener=name)["reason"] == "closed"
    with PlainStream(dial(bulkhead.address("third"))) as stream:
        assert_echoes(stream)
    assert (first.connections, second.connections, third.connections) == (1, 1, 1)
    ready = bulkhead.wait_log("ready")
    assert (ready["listeners"], ready["workers"]) == (3, 2)


def test_a_host_name_is_resolved(start, backends, credentials):
    backend = backends.plain()
    bulkhead = start(configuration(credentials, terminate(f"tcp://localhost:{backend.port}")))
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        assert_echoes(stream)
    # ::1 may have been tried first; the line holds the address that was reached.
    assert bulkhead.wait_access(event="close")["upstream"] == f"127.0.0.1:{backend.port}"


def test_an_unknown_host_name_is_a_failed_dial(start, credentials):
    bulkhead = start(configuration(credentials, terminate("tcp://no-such-host.invalid:80")))
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        assert stream.read_to_end()[1] != CLEAN
    assert bulkhead.wait_access()["reason"] in (
        "upstream_resolve_failed", "upstream_connect_timeout",
    )


def test_a_backend_that_is_not_there_is_a_failed_dial(start, backends, credentials):
    backend = backends.plain()
    backend.close()
    bulkhead = start(configuration(credentials, terminate(backend.url)))
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        assert stream.read_to_end()[1] != CLEAN, "a failed dial must not read as an empty answer"
    line = bulkhead.wait_access()
    assert line["reason"] == "upstream_connect_refused"
    assert line["decision"] == "allow"


def test_server_name_is_the_host_of_forward_or_sni(start, backends, credentials):
    names = []

    def remember(_, name, __):
        names.append(name)

    context = servers_context(credentials)
    context.sni_callback = remember
    backend = backends.tls(context)
    bulkhead = start(configuration(
        credentials, originate(f"mtls://localhost:{backend.port}", "by-host"),
        originate(backend.url, "by-address"),
        originate(backend.url, "by-sni", sni="orders.shop.svc"),
        own="web",
    ))
    for listener in ("by-host", "by-address", "by-sni"):
        with PlainStream(dial(bulkhead.address(listener))) as stream:
            assert_echoes(stream)
    assert names == ["localhost", None, "orders.shop.svc"]


def test_many_connections_are_spread_over_the_workers(start, backends, credentials):
    backend = backends.plain()
    bulkhead = start(configuration(credentials, terminate(backend.url)))
    context = client_context(credentials.pair("web"))
    streams = [tls_connect(bulkhead.address(), context) for _ in range(40)]
    for number, stream in enumerate(streams):
        stream.send(b"%04d" % number)
    for number, stream in enumerate(streams):
        assert stream.recv_exactly(4) == b"%04d" % number
        stream.end()
        assert stream.read_to_end() == (b"", CLEAN)
        stream.close()
    bulkhead.stop()
    sessions = [line["session"] for line in bulkhead.access.parsed]
    assert len(set(sessions)) == 40, "session numbers are not unique"
