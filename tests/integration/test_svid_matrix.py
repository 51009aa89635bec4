"""Every kind of certificate, good and bad, shown by a client and by a server, over TLS 1.2 and 1.3.

The rows come from the manifest of certs/make.sh. A bad certificate must lead to exactly the reason
that its row names; nothing may reach the other side, and the peer learns an alert and no more.
"""


import pytest

from harness.bulkhead import configuration, originate, rule, terminate
from harness.openssl import Server, s_client
from harness.streams import (
    CLEAN, PlainStream, RESET, client_context, dial, server_context, tls_dial,
)
from harness.wait import until

VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])
EVERYONE = [
    rule("all-of-prod", "spiffe://prod.example/**", "all"),
    rule("all-of-partner", "spiffe://partner.example/**", "all"),
]
# No peer can show these: TLS 1.3 has no signature scheme for their keys, so that the peer's own
# library sends an empty certificate list (client) or fails (server).
NOT_IN_TLS_1_3 = {"secp256k1", "explicit-curve"}
# Python does not load these as its own; the openssl program does.
SHOWN_BY_OPENSSL = {"san-twice", "san-garbage", "key-usage-garbage", "key-usage-twice"}
# An OpenSSL server finds no TLS 1.2 cipher suite for these of its own and gives up before it shows
# them.
NOT_SHOWN_BY_SERVERS_IN_TLS_1_2 = NOT_IN_TLS_1_3 | SHOWN_BY_OPENSSL | {"no-digital-signature"}
OPENSSL_FLAGS = {
    "1.2": ("-tls1_2", "-cipher", "DEFAULT:@SECLEVEL=0"),
    "1.3": ("-tls1_3", "-cipher", "DEFAULT:@SECLEVEL=0"),
}


def skip_what_no_peer_can_show(row, version, server=False):
    if row.name in NOT_IN_TLS_1_3 and version == "1.3":
        pytest.skip("TLS 1.3 has no signature scheme for this key")
    if server and version == "1.2" and row.name in NOT_SHOWN_BY_SERVERS_IN_TLS_1_2:
        pytest.skip("an OpenSSL server has no TLS 1.2 cipher suite for this certificate")


class Inbound:
    def __init__(self, credentials, start, backends):
        self.credentials = credentials
        self.backend = backends.plain()
        self.bulkhead = start(
            configuration(credentials, terminate(self.backend.url), rules=EVERYONE)
        )


class Outbound:
    def __init__(self, credentials, start, backends):
        self.credentials = credentials
        self.backend = backends.tls(None)
        expect = ["spiffe://prod.example/**", "spiffe://partner.example/**"]
        self.bulkhead = start(
            configuration(credentials, originate(self.backend.url, expect=expect), own="web")
        )

    def show(self, row, version):
        """The server shows that certificate from now on."""
        self.backend.context = server_context(
            self.credentials.pair(row.name), self.credentials.bundle("prod.example"), version,
            weak=True,
        )


@pytest.fixture(scope="module")
def inbound(credentials, start_shared, shared_backends):
    return Inbound(credentials, start_shared, shared_backends)


@pytest.fixture(scope="module")
def outbound(credentials, start_shared, shared_backends):
    return Outbound(credentials, start_shared, shared_backends)


@VERSIONS
def test_client_with_a_good_certificate_is_admitted(inbound, good_row, version):
    context = client_context(inbound.credentials.pair(good_row.name), version)
    stream, failure = tls_dial(inbound.bulkhead.address(), context)
    with stream:
        assert failure is None
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        stream.end()
        assert stream.read_to_end() == (b"", CLEAN)
        line = inbound.bulkhead.wait_access(downstream=stream.local_address())
    assert (line["event"], line["decision"], line["reason"]) == ("close", "allow", "closed")
    assert line["tls"]["version"] == f"TLSv{version}"
    assert line["downstream_id"].startswith("spiffe://")


@VERSIONS
def test_client_with_a_bad_certificate_is_refused(inbound, bad_row, version):
    skip_what_no_peer_can_show(bad_row, version)
    if bad_row.name in SHOWN_BY_OPENSSL:
        refuse_openssl_client(inbound, bad_row, version)
        return
    connections = inbound.backend.connections
    context = client_context(inbound.credentials.pair(bad_row.name), version, weak=True)
    stream, failure = tls_dial(inbound.bulkhead.address(), context)
    with stream:
        if failure is None:
            # A TLS 1.3 client is done before the server has judged its certificate.
            data, failure = stream.read_to_end()
            assert data == b""
        line = inbound.bulkhead.wait_access(downstream=stream.local_address())
    assert (line["reason"], line["decision"], line["event"]) == (bad_row.reason, "deny", "deny")
    assert " alert " in failure, f"the peer got no alert but: {failure}"
    assert "downstream_id" not in line, "an ID that was not verified stands as if it were"
    assert line.get("bytes_up", 0) == 0
    assert inbound.backend.connections == connections, "the backend was dialled"


def refuse_openssl_client(inbound, row, version):
    """The same with the openssl program, whose line is found by the subject."""
    connections = inbound.backend.connections
    seen = len(inbound.bulkhead.access.find(decision="deny"))
    output = s_client(
        inbound.bulkhead.address(), *OPENSSL_FLAGS[version], "-ign_eof",
        pair=inbound.credentials.pair(row.name),
    )
    until(lambda: len(inbound.bulkhead.access.find(decision="deny")) > seen, "the refusal's line")
    line = inbound.bulkhead.access.find(decision="deny")[-1]
    assert (line["reason"], line["event"]) == (row.reason, "deny")
    assert f"CN={row.name}" in line["subject"], "another certificate was judged"
    assert "alert" in output
    assert inbound.backend.connections == connections, "the backend was dialled"


@VERSIONS
def test_server_with_a_good_certificate_is_accepted(outbound, good_row, version):
    outbound.show(good_row, version)
    with PlainStream(dial(outbound.bulkhead.address())) as stream:
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        stream.end()
        assert stream.read_to_end() == (b"", CLEAN)
        line = outbound.bulkhead.wait_access(downstream=stream.local_address())
    assert (line["event"], line["decision"], line["reason"]) == ("close", "allow", "closed")
    assert line["upstream_tls"]["version"] == f"TLSv{version}"
    assert line["upstream_id"].startswith("spiffe://")


@VERSIONS
def test_server_with_a_bad_certificate_gets_nothing(outbound, start, bad_row, version):
    skip_what_no_peer_can_show(bad_row, version, server=True)
    if bad_row.name in SHOWN_BY_OPENSSL:
        refuse_openssl_server(start, outbound.credentials, bad_row, version)
        return
    outbound.show(bad_row, version)
    plain, handshakes = outbound.backend.plain_bytes, len(outbound.backend.handshakes)
    with PlainStream(dial(outbound.bulkhead.address())) as stream:
        stream.offer(b"secret")
        assert stream.read_to_end() == (b"", RESET), "a refusal must not look like a clean end"
        line = outbound.bulkhead.wait_access(downstream=stream.local_address())
    assert (line["reason"], line["decision"]) == (bad_row.reason, "deny")
    assert "upstream_id" not in line
    until(lambda: len(outbound.backend.handshakes) > handshakes, "the server's handshake to end")
    assert " alert " in (outbound.backend.handshakes[-1] or "")
    assert outbound.backend.peers[-1] is None, "the wrong server got our certificate"
    assert outbound.backend.plain_bytes == plain, "a byte reached the wrong server"


def refuse_openssl_server(start, credentials, row, version):
    """The same with the openssl program."""
    with Server(credentials.pair(row.name), *OPENSSL_FLAGS[version]) as server:
        bulkhead = start(configuration(credentials, originate(server.url), own="web"))
        with PlainStream(dial(bulkhead.address())) as stream:
            stream.offer(b"secret")
            assert stream.read_to_end() == (b"", RESET)
            line = bulkhead.wait_access(downstream=stream.local_address())
        output = server.output()
    assert (line["reason"], line["decision"]) == (row.reason, "deny")
    assert f"CN={row.name}" in line["subject"], "another certificate was judged"
    assert "alert" in output
    assert "secret" not in output, "a byte reached the wrong server"
    assert "Client certificate" not in output, "the wrong server got our certificate"
