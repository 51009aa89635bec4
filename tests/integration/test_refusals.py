"""Who comes without what is asked for: each is refused, learns no more than an alert, leaves one
line that says why, and nothing of him reaches the other side."""

import pathlib
import re
import socket
import subprocess

import pytest

from harness.bulkhead import configuration, originate, terminate
from harness.openssl import Interactive, s_client
from harness.streams import (
    CLEAN, RESET, PlainStream, TlsStream, client_context, dial, server_context, tls_connect,
    tls_dial,
)
from harness.wait import until

VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])


class Wall:
    """A terminating bulkhead with a backend that must stay untouched."""

    def __init__(self, start, backends, credentials, **more):
        self.credentials = credentials
        self.backend = backends.plain()
        self.bulkhead = start(configuration(credentials, terminate(self.backend.url)), **more)
        self.address = self.bulkhead.address()

    def line_of(self, stream):
        return self.bulkhead.wait_access(downstream=stream.local_address())

    def send_raw(self, data):
        """(what came back, how it ended, the access line) of a client that is no TLS client."""
        with PlainStream(dial(self.address)) as stream:
            stream.offer(data)
            answer, end = stream.read_to_end()
            return answer, end, self.line_of(stream)


@pytest.fixture(scope="module")
def wall(start_shared, shared_backends, credentials):
    wall = Wall(start_shared, shared_backends, credentials)
    yield wall
    assert wall.backend.untouched(), "something refused has reached the backend"


def failure_of(stream, failure):
    """How a refused client learns of it: in the handshake (TLS 1.2) or on its first read (1.3)."""
    if failure is None:
        data, failure = stream.read_to_end()
        assert data == b""
    return failure


# ---- Clients without what is asked for --------------------------------------------------------


@VERSIONS
def test_no_certificate(wall, version):
    stream, failure = tls_dial(wall.address, client_context(version=version))
    with stream:
        failure = failure_of(stream, failure)
        line = wall.line_of(stream)
    assert (line["event"], line["decision"]) == ("deny", "deny")
    assert line["reason"] == "svid_no_certificate"
    assert " alert " in failure
    assert "X509-SVID" in line["why"]


@VERSIONS
def test_a_refused_peer_learns_nothing_of_the_reason(wall, version):
    """Two causes that differ for us alone look the same from outside."""
    seen = set()
    for name in ("other-domain", "partner-mints-ours", "self-signed"):
        stream, failure = tls_dial(
            wall.address, client_context(wall.credentials.pair(name), version)
        )
        with stream:
            seen.add(failure_of(stream, failure))
    assert len(seen) == 1, seen
    assert " alert " in seen.pop()


def test_a_refusal_is_an_alert_and_no_reset(wall):
    """Data that is already on its way must not destroy the alert by a reset."""
    context = client_context(wall.credentials.pair("expired"), "1.3")
    stream = tls_connect(wall.address, context)
    with stream:
        try:
            for _ in range(20):
                stream.send(bytes(1000))
        except OSError:
            pass  # the refusal was faster
        data, failure = stream.read_to_end()
        line = wall.line_of(stream)
    assert data == b"" and " alert " in failure
    assert line["reason"] == "svid_expired"


@VERSIONS
@pytest.mark.parametrize("name", ["wiki", "partner-web"])
def test_a_denied_client_sees_a_reset_and_no_end(wall, version, name):
    """A close_notify would read as a complete, empty answer. The client sends nothing, so that the
    reset is bulkhead's own doing and not the kernel's for unread bytes."""
    stream = tls_connect(wall.address, client_context(wall.credentials.pair(name), version))
    with stream:
        assert stream.read_to_end() == (b"", RESET)
        line = wall.line_of(stream)
    assert (line["reason"], line["decision"], line["event"]) == ("policy_no_rule", "deny", "deny")
    assert line["downstream_id"].endswith("/ns/shop/sa/" + name.removeprefix("partner-"))


# ---- Clients that speak something else --------------------------------------------------------


def hello_of(version, body=b"", session=b""):
    """A ClientHello by hand: version is that of record and message."""
    message = version + bytes(32) + bytes([len(session)]) + session
    message += b"\x00\x04\x00\x2f\x00\x35" + b"\x01\x00" + body
    handshake = b"\x01" + len(message).to_bytes(3, "big") + message
    return b"\x16" + version + len(handshake).to_bytes(2, "big") + handshake


@pytest.mark.parametrize("data", [
    b"GET / HTTP/1.1\r\nHost: orders\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" + hello_of(b"\x03\x03"),
    b"\x00" * 64,
    b"\xff" * 64,
    b"\x17\x03\x03\x00\x05hello",                  # application data before any handshake
    b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(64),  # an SSLv2 hello
], ids=["http", "http2", "ssh", "proxy-protocol", "zeros", "ones", "data-first", "sslv2"])
def test_what_is_not_tls(wall, data):
    answer, end, line = wall.send_raw(data)
    assert line["decision"] == "deny"
    assert line["reason"] in ("tls_not_tls", "tls_protocol_error")
    if data[:3] in (b"GET", b"SSH"):
        assert line["reason"] == "tls_not_tls"
    assert answer == b"" or answer[0] == 0x15, "the answer is something else than an alert"
    assert len(answer) <= 7


@pytest.mark.parametrize("version", [b"\x03\x00", b"\x03\x01", b"\x03\x02"],
                         ids=["SSLv3", "TLSv1.0", "TLSv1.1"])
def test_old_versions(wall, version):
    answer, _, line = wall.send_raw(hello_of(version))
    assert line["reason"] == "tls_no_common_parameters"
    # handshake_failure for SSLv3, protocol_version for the others
    assert answer[0] == 0x15 and answer[5:] in (b"\x02\x28", b"\x02\x46")


@pytest.mark.parametrize("options", [
    ("-tls1_2", "-cipher", "AES128-SHA:AES256-SHA@SECLEVEL=0"),               # RSA key exchange
    ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA@SECLEVEL=0"),              # CBC
    ("-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256@SECLEVEL=0"),           # finite field
    ("-tls1_2", "-cipher", "aNULL:eNULL@SECLEVEL=0"),                         # no authentication
    ("-tls1_3", "-groups", "ffdhe2048"),
], ids=["rsa", "cbc", "dhe", "null", "ffdhe"])
def test_weak_parameters(wall, options):
    refused = len(wall.bulkhead.access.find(reason="tls_no_common_parameters"))
    output = s_client(wall.address, *options, pair=wall.credentials.pair("web"))
    assert "alert handshake failure" in output, output
    until(
        lambda: len(wall.bulkhead.access.find(reason="tls_no_common_parameters")) > refused,
        "the line of the refusal",
    )


def test_broken_records(wall):
    """A hello whose lengths lie."""
    good = hello_of(b"\x03\x03")
    for data in (
        good[:6] + b"\xff\xff\xff" + good[9:],
        good[:43] + b"\xff" + good[44:],
        b"\x16\x03\x03\xff\xff" + bytes(70_000),
    ):
        answer, _, line = wall.send_raw(data)
        assert line["decision"] == "deny"
        assert line["reason"] in ("tls_protocol_error", "tls_not_tls", "tls_no_progress")
        assert len(answer) <= 7


@pytest.mark.parametrize("piece", [9, 1], ids=["whole", "byte by byte"])
def test_a_hello_announced_as_huge(wall, piece):
    """libssl would make room for what four bytes announce: 1,000 such clients were 150 MiB."""
    header = b"\x01" + (131_000).to_bytes(3, "big")
    data = b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part
                    for part in (header[at:at + piece] for at in range(0, len(header), piece)))
    answer, _, line = wall.send_raw(data)
    assert line["reason"] == "tls_protocol_error"
    assert line["detail"] == "a ClientHello of more than 16384 bytes"
    assert answer == b""


def test_more_certificates_than_are_read(wall, tmp_path):
    """60 KiB of certificates: refused by size, before any of them is looked at."""
    chain = pathlib.Path(wall.credentials.chain("web")).read_text()
    many = tmp_path / "many.pem"
    many.write_text(chain * 100)
    context = client_context((str(many), wall.credentials.key("web")))
    stream, failure = tls_dial(wall.address, context)
    with stream:
        failure = failure_of(stream, failure)
        line = wall.line_of(stream)
    assert line["reason"] == "svid_chain_too_long"
    assert failure == RESET or " alert " in failure


def test_a_client_that_goes_away_in_its_handshake(wall):
    with PlainStream(dial(wall.address)) as stream:
        stream.send(hello_of(b"\x03\x03")[:20])
        stream.end()
        stream.read_to_end()
        assert wall.line_of(stream)["reason"] == "handshake_closed"


# ---- Tricks in the handshake ------------------------------------------------------------------


class Fragmented:
    """A socket that cuts the first flight's records into records of one byte each."""

    def __init__(self, sock):
        self._sock = sock
        self._first = True

    def sendall(self, data):
        if self._first:
            self._first = False
            assert data[0] == 0x16
            data = b"".join(data[:3] + b"\x00\x01" + bytes([byte]) for byte in data[5:])
        self._sock.sendall(data)

    def __getattr__(self, name):
        return getattr(self._sock, name)


@VERSIONS
def test_a_fragmented_hello_is_not_treated_laxer(wall, version):
    """CVE-2026-32305: split over records, the server name was not seen and the rules were laxer."""
    for name in (None, "orders.shop.svc", "ORDERS.", "127.0.0.1"):
        stream = TlsStream(Fragmented(dial(wall.address)), client_context(version=version),
                           server_name=name)
        with stream:
            assert " alert " in failure_of(stream, stream.handshake())
            assert wall.line_of(stream)["reason"] == "svid_no_certificate"


@VERSIONS
def test_a_fragmented_hello_of_a_good_client_is_served(start, backends, credentials, version):
    wall = Wall(start, backends, credentials)
    context = client_context(credentials.pair("web"), version)
    with TlsStream(Fragmented(dial(wall.address)), context) as stream:
        assert stream.handshake() is None
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"


def test_renegotiation_is_refused(start, backends, credentials):
    """CVE-2011-1473, CVE-2021-3449. `R` makes s_client ask for one."""
    wall = Wall(start, backends, credentials)
    with Interactive(wall.address, "-tls1_2", pair=credentials.pair("web")) as client:
        client.send(b"ping\n")
        client.wait_for(b"ping\n")
        client.send(b"R\n")
        client.wait_for(b"RENEGOTIATING")
        output = client.finish()
    assert "no renegotiation" in output, output
    assert wall.backend.connections == 1
    assert wall.bulkhead.wait_access(listener="in")["bytes_up"] == 5


@pytest.mark.parametrize("version, more", [
    ("-tls1_2", {}), ("-tls1_2", {"resumption": "none"}), ("-tls1_3", {"resumption": "none"}),
])
def test_sessions_are_not_resumed(start, backends, credentials, tmp_path, version, more):
    """Each connection proves its certificate afresh: in TLS 1.2, and where the listener says so."""
    wall = Wall(start, backends, credentials)
    if more:
        config = configuration(credentials, terminate(wall.backend.url, **more))
        wall.bulkhead = start(config)
        wall.address = wall.bulkhead.address()
    session = str(tmp_path / "session.pem")
    pair = credentials.pair("web")
    with Interactive(wall.address, version, "-sess_out", session, pair=pair) as client:
        client.send(b"ping\n")
        client.wait_for(b"ping\n")
        assert "New session ticket" not in client.finish()
    options = ("-sess_in", session) if pathlib.Path(session).exists() else ()
    with Interactive(wall.address, version, *options, pair=pair) as client:
        client.send(b"pong\n")
        client.wait_for(b"pong\n")
        output = client.finish()
    assert "Reused," not in output
    assert re.search(r"^New, TLSv1", output, re.MULTILINE)
    # Offered without a certificate, the session is worth nothing.
    s_client(wall.address, version, *options)
    assert wall.bulkhead.wait_access(event="deny")["reason"] == "svid_no_certificate"


def foreign_session(tmp_path, credentials):
    """A TLS 1.3 session of another server, which allows early data."""
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-early_data",
         "-cert", credentials.chain("orders"), "-key", credentials.key("orders")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    try:
        # It says where: ACCEPT 127.0.0.1:PORT
        said = next(line for line in server.stdout if line.startswith(b"ACCEPT"))
        address = ("127.0.0.1", int(said.rpartition(b":")[2]))
        session = tmp_path / "foreign.pem"
        options = ("-tls1_3", "-sess_out", str(session))
        with Interactive(address, *options, pair=credentials.pair("web")) as client:
            client.send(b"ping\n")
            until(lambda: session.exists() and session.read_text().endswith("-----\n"), "a ticket")
            client.finish()
        return str(session)
    finally:
        server.kill()
        server.communicate()


def test_early_data_is_never_accepted(start, backends, credentials, tmp_path):
    """It would be replayable and come before any certificate."""
    session = foreign_session(tmp_path, credentials)
    early = tmp_path / "early"
    early.write_bytes(b"EARLY")
    wall = Wall(start, backends, credentials)
    options = ("-tls1_3", "-sess_in", session, "-early_data", str(early))
    with Interactive(wall.address, *options, pair=credentials.pair("web")) as client:
        client.send(b"ping\n")
        client.wait_for(b"\nping\n")
        output = client.finish()
    assert "Early data was rejected" in output, output
    assert wall.bulkhead.wait_access(event="close")["bytes_up"] == 5
    assert wall.backend.bytes == 5, "early data has reached the backend"


# ---- What the log says ------------------------------------------------------------------------


def test_a_server_name_with_a_line_end_is_escaped(wall):
    """CVE-2024-47252: one event is one line, whatever the peer sends."""
    name = 'x\n{"event":"close","decision":"allow"}\x1b[2J'
    s_client(wall.address, "-servername", name)
    line = wall.bulkhead.wait_access(sni=name)
    assert (line["event"], line["reason"]) == ("deny", "svid_no_certificate")
    # The line itself is there whole, and what the name pretends to be is no line.
    raw = [text for text in wall.bulkhead.access.raw if "[2J" in text]
    assert len(raw) == 1 and f'"{line["downstream"]}"' in raw[0] and "\x1b" not in raw[0]
    assert not wall.bulkhead.access.find(event="close", decision="allow")


@pytest.mark.parametrize("name", ["newline", "nul-in-uri", "nul-at-end", "non-ascii", "forged-subject"])
def test_bytes_of_a_certificate_are_escaped(wall, name):
    context = client_context(wall.credentials.pair(name), weak=True)
    stream, failure = tls_dial(wall.address, context)
    with stream:
        failure_of(stream, failure)
        line = wall.line_of(stream)
    raw = [text for text in wall.bulkhead.access.raw if f'"{line["downstream"]}"' in text]
    assert len(raw) == 1
    assert all(" " <= char for char in raw[0].rstrip("\n")), "control bytes stand in the log"
    assert line["claimed_id"].startswith("spiffe://prod.example/ns/shop/sa/web")
    assert line["decision"] == "deny"


def test_a_refused_certificate_can_be_found_again(wall):
    """Claimed ID, subject and serial stand in the line, apart from what is verified."""
    stream, failure = tls_dial(
        wall.address, client_context(wall.credentials.pair("partner-mints-ours"))
    )
    with stream:
        failure_of(stream, failure)
        line = wall.line_of(stream)
    assert line["claimed_id"] == "spiffe://prod.example/ns/shop/sa/web"
    assert "partner-mints-ours" in line["subject"]
    assert re.fullmatch(r"[0-9A-Fa-f:]+", line["serial"])
    assert "downstream_id" not in line
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", line["time"])


# ---- Servers ----------------------------------------------------------------------------------


def refused_by_upstream(start, credentials, backend):
    """The access line and what the plain client saw, towards that server."""
    bulkhead = start(configuration(
        credentials, originate(backend.url, timeouts={"handshake": "300ms"}), own="web"
    ))
    with PlainStream(dial(bulkhead.address())) as stream:
        data, end = stream.read_to_end()
        assert data == b"", "the client was given something that no one has vouched for"
        return bulkhead.wait_access(downstream=stream.local_address()), end


class PlainUrl:
    """A plain backend's address, written as if it spoke mTLS."""

    def __init__(self, backend):
        self.url = backend.url.replace("tcp://", "mtls://")


def test_a_server_that_speaks_plaintext_first(start, backends, credentials):
    """CVE-2021-23214: nothing that came before the handshake is handed on."""

    def greet(stream):
        stream.send(b"220 mail.example ESMTP\r\n")
        return stream.read_to_end()[1]

    line, end = refused_by_upstream(start, credentials, PlainUrl(backends.plain(greet)))
    assert end == RESET
    assert line["reason"] in ("tls_not_tls", "tls_protocol_error")
    assert "upstream_id" not in line


def test_a_server_that_says_nothing(start, backends, credentials):
    backend = backends.plain(lambda stream: stream.read_to_end()[1])
    line, end = refused_by_upstream(start, credentials, PlainUrl(backend))
    assert (line["reason"], end) == ("upstream_handshake_timeout", RESET)


def test_a_server_that_closes_in_the_handshake(start, backends, credentials):
    backend = backends.plain(lambda stream: stream.recv(1)[1])
    line, end = refused_by_upstream(start, credentials, PlainUrl(backend))
    assert line["reason"] in ("upstream_handshake_closed", "upstream_reset")
    assert end == RESET


@VERSIONS
def test_a_server_that_refuses_us(start, backends, credentials, version):
    """In TLS 1.3 its alert comes after our handshake is done: still no clean end."""
    context = server_context(
        credentials.pair("orders"), credentials.bundle("evil.example"), version
    )
    line, end = refused_by_upstream(start, credentials, backends.tls(context))
    assert end == RESET
    assert (line["reason"], line["detail"]) == ("upstream_refused_us", "unknown_ca")
    assert "upstream_id" in line or version == "1.2"


def test_a_server_that_closes_before_its_first_byte(start, backends, credentials):
    context = server_context(credentials.pair("orders"), credentials.bundle("prod.example"))
    backend = backends.tls(context, lambda stream: stream.sock.shutdown(socket.SHUT_WR))
    line, end = refused_by_upstream(start, credentials, backend)
    assert (line["reason"], end) == ("upstream_closed_early", RESET)
    assert line["upstream_local"] and line["upstream"]


# ---- The environment --------------------------------------------------------------------------


WEAKENING = """
openssl_conf = init
[init]
ssl_conf = ssl
[ssl]
system_default = weak
[weak]
MinProtocol = TLSv1
CipherString = ALL:@SECLEVEL=0
Options = UnsafeLegacyRenegotiation
VerifyMode = Request
"""


def test_the_environment_weakens_nothing(start, backends, credentials, tmp_path):
    """OPENSSL_CONF, SSL_CERT_FILE and SSLKEYLOGFILE are nothing to us."""
    conf, keys = tmp_path / "openssl.cnf", tmp_path / "keys.log"
    conf.write_text(WEAKENING)
    wall = Wall(start, backends, credentials, env={
        "OPENSSL_CONF": str(conf),
        "SSL_CERT_FILE": credentials.bundle("evil.example"),
        "SSL_CERT_DIR": str(credentials.directory),
        "SSLKEYLOGFILE": str(keys),
    })
    answer, _, line = wall.send_raw(hello_of(b"\x03\x02"))
    assert (line["reason"], answer[5:]) == ("tls_no_common_parameters", b"\x02\x46")
    for name, reason in ((None, "svid_no_certificate"), ("evil-mints-ours", "svid_untrusted"),
                         ("rsa-1024", "svid_weak_key")):
        context = client_context(credentials.pair(name) if name else None, weak=True)
        stream, failure = tls_dial(wall.address, context)
        with stream:
            assert " alert " in failure_of(stream, failure)
            assert wall.line_of(stream)["reason"] == reason
    assert wall.backend.untouched()
    with tls_connect(wall.address, client_context(credentials.pair("web"))) as stream:
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        stream.end()
        assert stream.read_to_end() == (b"", CLEAN)
    wall.bulkhead.stop()
    assert not keys.exists(), "session keys were written to a file"
