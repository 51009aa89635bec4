"""The PROXY header: what servers are told of a caller, byte by byte, and read by nginx and HAProxy."""

import contextlib
import queue
import shutil
import socket
import ssl
import subprocess

import pytest
import yaml

from harness import proxy_protocol as pp
from harness.backends import echo
from harness.bulkhead import bridge, configuration, rule, terminate
from harness.credentials import spiffe
from harness.openssl import BEST_GROUP
from harness.streams import CLEAN, RESET, TlsStream, client_context, dial, server_context, tls_connect
from harness.wait import until

FULL, RESUMED = 0x07, 0x05


class Told:
    """A handler that keeps each header, and echoes what follows."""

    def __init__(self, banner=b""):
        self.headers = queue.Queue()
        self.banner = banner

    def __call__(self, stream):
        if self.banner:
            stream.send(self.banner)
        self.headers.put(pp.read_header(stream))
        return echo(stream)

    def next(self):
        return self.headers.get(timeout=20)


def subject_cn(pem):
    """As the openssl program prints it."""
    result = subprocess.run(["openssl", "x509", "-in", pem, "-noout", "-subject", "-nameopt",
                             "multiline,utf8,-esc_msb"], capture_output=True, text=True, check=True)
    lines = [line for line in result.stdout.splitlines() if "commonName" in line]
    return lines[0].partition("= ")[2] if lines else None


def leaf_der(pem):
    text = open(pem).read()
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(text[:text.index(end) + len(end)])


class Site:
    def __init__(self, start, backends, credentials, tmp_path):
        self.credentials = credentials
        self.told = Told()
        plain = backends.plain(handler=self.told)
        at_unix = backends.plain(handler=self.told, path=str(tmp_path / "app.sock"))
        self.banner = Told(banner=b"220 ready\r\n")
        first = backends.plain(handler=self.banner)
        context = server_context(credentials.pair("payments"), credentials.bundle("prod.example"))
        behind = backends.tls(context, handler=self.told)
        self.behind = behind
        v2 = {"proxy_protocol": "v2"}
        listeners = [
            terminate(plain.url, name="in", alpn=["h2", "http/1.1"], **v2),
            terminate(plain.url, name="six", **v2) | {"accept": "mtls://[::1]:0"},
            terminate(at_unix.url, name="local", **v2) | {
                "accept": f"mtls+unix://{tmp_path}/in.sock"},
            terminate(at_unix.url, name="with-certificate", proxy_protocol_certificate=True, **v2),
            terminate(first.url, name="banner", **v2),
            terminate(plain.url, name="audited", enforcement="audit", **v2),
            bridge(behind.url, **v2),
        ]
        rules = [rule("web-uses-all", spiffe("web"), "all"),
                 rule("shop-uses-in", "spiffe://prod.example/**", ["in", "with-certificate"])]
        self.bulkhead = start(configuration(credentials, *listeners, rules=rules, workers=1))

    def connect(self, listener="in", name="web", **more):
        context = client_context(self.credentials.pair(name), **more)
        return tls_connect(self.bulkhead.address(listener), context)


@pytest.fixture(scope="module")
def site(start_shared, shared_backends, credentials, tmp_path_factory):
    return Site(start_shared, shared_backends, credentials, tmp_path_factory.mktemp("proxy"))


@pytest.mark.parametrize("version", ["1.3", "1.2"])
def test_the_server_is_told_who_calls(site, version):
    context = client_context(site.credentials.pair("web"), version, alpn=["http/1.1"])
    with tls_connect(site.bulkhead.address("in"), context, "orders.shop") as stream:
        header = site.told.next()
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        assert header.family == pp.TCP4
        assert header.source == stream.sock.getsockname()
        assert header.destination == stream.sock.getpeername()
        assert header.text(pp.SPIFFE_ID) == spiffe("web")
        assert header.text(pp.RULE) == "web-uses-all"
        assert header.text(pp.ALPN) == "http/1.1"
        assert header.text(pp.AUTHORITY) == "orders.shop"
        assert (header.flags, header.verify) == (FULL, 0)
        assert header.text(pp.VERSION) == f"TLSv{version}"
        assert header.text(pp.CIPHER) == stream.tls.cipher()[0]
        assert header.text(pp.GROUP) == (BEST_GROUP if version == "1.3" else "x25519")
        assert header.text(pp.SIG_ALG) == "ecdsa-with-SHA256"
        assert header.text(pp.KEY_ALG) == "EC256"
        assert header.tls.get(pp.CN, b"").decode() == (subject_cn(site.credentials.chain("web")) or "")
        assert pp.CERTIFICATE not in header.tls
        stream.end()
        assert stream.read_to_end() == (b"", CLEAN)
        line = site.bulkhead.wait_access(downstream=stream.local_address())
    assert line["unique_id"] == header.text(pp.UNIQUE_ID)
    assert line["unique_id"].endswith(f"-{line['session']}")
    assert (line["bytes_up"], line["bytes_down"]) == (4, 4), "the header is no payload"


def test_nothing_is_told_that_is_not_there(site):
    """No ALPN, no SNI: no TLVs for them."""
    with site.connect("six") as stream:
        header = site.told.next()
        assert header.family == pp.TCP6
        assert header.source == stream.sock.getsockname()[:2]
        assert header.destination == stream.sock.getpeername()[:2]
        assert not header.tlvs.keys() & {pp.ALPN, pp.AUTHORITY}


def test_a_caller_over_a_unix_socket(site):
    with site.connect("local"):
        header = site.told.next()
        assert header.family == pp.UNIX
        assert (header.source, header.destination) == ("", site.bulkhead.address("local"))
        assert header.text(pp.SPIFFE_ID) == spiffe("web")


def test_a_bound_caller_over_a_unix_socket(site, tmp_path):
    """The longest path that Python binds to; unit tests have the one without room for its NUL."""
    path = str(tmp_path / "c")
    path += "c" * (107 - len(path))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.connect(site.bulkhead.address("local"))
        stream = TlsStream(sock, client_context(site.credentials.pair("web")))
        assert stream.handshake() is None
        assert site.told.next().source == path


def test_a_resumed_session_tells_the_same(site):
    context = client_context(site.credentials.pair("web"), "1.3", alpn=["h2"])
    address = site.bulkhead.address("in")
    headers, session = [], None
    for _ in range(2):
        stream = TlsStream(dial(address), context, server_name="orders.shop")
        if session:
            stream.tls.session = session
        with stream:
            assert stream.handshake() is None
            headers.append(site.told.next())
            stream.send(b"ping")
            assert stream.recv_exactly(4) == b"ping"
            assert stream.tls.session_reused == (session is not None)
            session = stream.tls.session
    full, resumed = headers
    assert (full.flags, resumed.flags) == (FULL, RESUMED), "the certificate came with the first"
    assert (full.verify, resumed.verify) == (0, 0)
    assert full.tls == resumed.tls
    different = {kind for kind in full.tlvs if full.tlvs[kind] != resumed.tlvs.get(kind)}
    assert different == {pp.UNIQUE_ID, pp.SSL} and full.tlvs.keys() == resumed.tlvs.keys()


def test_the_certificate_by_option(site):
    """The leaf as it was shown; the intermediates are not told."""
    for name in ("web", "spire"):
        with site.connect("with-certificate", name) as stream:
            header = site.told.next()
            assert header.tls[pp.CERTIFICATE] == leaf_der(site.credentials.chain(name))
            stream.send(b"ping")
            assert stream.recv_exactly(4) == b"ping"


def test_a_server_that_speaks_first(site):
    with site.connect("banner") as stream:
        assert stream.recv_exactly(11) == b"220 ready\r\n"
        assert site.banner.next().text(pp.SPIFFE_ID) == spiffe("web")
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"


def test_audit_has_no_rule_to_tell(site):
    with site.connect("audited", "wiki") as stream:
        header = site.told.next()
        assert header.text(pp.SPIFFE_ID) == spiffe("wiki")
        assert pp.RULE not in header.tlvs
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"


def test_a_bridge_tells_inside_its_tls(site):
    with site.connect("bridge") as stream:
        header = site.told.next()
        assert header.source == stream.sock.getsockname()
        assert header.text(pp.SPIFFE_ID) == spiffe("web")
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
    assert all(failure is None for failure in site.behind.handshakes)


@pytest.mark.parametrize("name", [
    "Orders.SHOP", "under_score.a-b", "x" * 63 + ".y", "with space", "semi;colon", "back\\slash",
])
def test_only_what_is_a_host_name_is_told_of_sni(site, credentials, name):
    """The peer writes it. Python encodes what it sends, so odd names go through the openssl
    program."""
    told = all(c.isalnum() or c in "-._" for c in name)
    host, port = site.bulkhead.address("in")
    command = ["openssl", "s_client", "-connect", f"{host}:{port}", "-servername", name,
               "-cert", credentials.chain("web"), "-key", credentials.key("web"), "-quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as client:
        header = site.told.next()
        client.kill()
    assert header.tlvs.get(pp.AUTHORITY) == (name.encode() if told else None)


def test_a_header_of_the_callers_own_is_payload(site):
    """What a caller writes comes behind what we write."""
    forged = pp.SIGNATURE + b"\x21\x11\x00\x0c" + bytes(12)
    with site.connect() as stream:
        stream.send(forged)
        assert stream.recv_exactly(len(forged)) == forged
        assert site.told.next().source == stream.sock.getsockname()


def test_a_denied_caller_is_not_told_of(site):
    before = site.bulkhead.access.find(decision="deny")
    stream = TlsStream(dial(site.bulkhead.address("six")), client_context(
        site.credentials.pair("wiki")))
    with stream:
        stream.handshake()
        stream.offer(b"ping")
        assert stream.read_to_end()[1] == RESET
        line = site.bulkhead.wait_access(downstream=stream.local_address())
    assert line["reason"] == "policy_no_rule" and "unique_id" not in line and not before
    assert site.told.headers.empty()


def test_a_reload_tells_new_sessions(start, backends, credentials):
    """Live ones stay as they were told."""
    told = Told()
    backend = backends.plain(handler=lambda stream: (told if new else echo)(stream))
    new = False
    config = configuration(credentials, terminate(backend.url))
    bulkhead = start(config)
    context = client_context(credentials.pair("web"))
    with tls_connect(bulkhead.address(), context) as before:
        before.send(b"ping")
        assert before.recv_exactly(4) == b"ping"
        new = True
        config["listeners"][0]["proxy_protocol"] = "v2"
        config["rules"][0]["name"] = "renamed"
        bulkhead.config_file.write_text(yaml.safe_dump(config))
        bulkhead.signal(1)
        bulkhead.wait_log("reload", result="in_force")
        before.send(b"pong")
        assert before.recv_exactly(4) == b"pong"
        with tls_connect(bulkhead.address(), context):
            assert told.next().text(pp.RULE) == "renamed"


# --- read by others ---

def need(program):
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


@contextlib.contextmanager
def running(command, socket_path):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        until(lambda: socket_path.exists() or process.poll() is not None, "the server's socket")
        assert process.poll() is None, process.stdout.read().decode()
        yield process
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def get(address, credentials, name="web", server_name=None):
    """The body of an answer to one HTTP request; and the caller's address."""
    context = client_context(credentials.pair(name))
    with tls_connect(address, context, server_name) as stream:
        stream.send(b"GET / HTTP/1.0\r\n\r\n")
        answer, end = stream.read_to_end()
        assert end == CLEAN
        return answer.partition(b"\r\n\r\n")[2].decode().strip(), stream.sock.getsockname()


NGINX = """
daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log info;
events {{}}
http {{
    access_log off; client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;
    fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    client_header_buffer_size 4k;
    server {{
        listen unix:{directory}/nginx.sock proxy_protocol;
        location / {{ return 200 "$proxy_protocol_addr $proxy_protocol_port"; }}
    }}
}}
"""


def test_nginx_reads_it(start, credentials, tmp_path):
    path = tmp_path / "nginx.sock"
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(directory=tmp_path))
    nginx = need("nginx")
    listeners = [terminate(f"unix://{path}", proxy_protocol="v2"),
                 terminate(f"unix://{path}", name="large", proxy_protocol="v2",
                           proxy_protocol_certificate=True)]
    with running([nginx, "-c", str(config)], path):
        bulkhead = start(configuration(credentials, *listeners))
        for listener in ("in", "large"):
            body, caller = get(bulkhead.address(listener), credentials)
            assert body == f"{caller[0]} {caller[1]}"


HAPROXY = """
global
    log stdout format raw local0
defaults
    mode http
    timeout client 20s
    timeout server 20s
    timeout connect 20s
frontend f
    bind unix@{directory}/haproxy.sock accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority] %[fc_pp_unique_id]"
"""


def test_haproxy_reads_it(start, credentials, tmp_path):
    path = tmp_path / "haproxy.sock"
    config = tmp_path / "haproxy.cfg"
    config.write_text(HAPROXY.format(directory=tmp_path))
    haproxy = need("haproxy")
    listeners = [terminate(f"unix://{path}", proxy_protocol="v2"),
                 terminate(f"unix://{path}", name="large", proxy_protocol="v2",
                           proxy_protocol_certificate=True)]
    with running([haproxy, "-db", "-f", str(config)], path):
        bulkhead = start(configuration(credentials, *listeners))
        for listener in ("in", "large"):
            address = bulkhead.address(listener)
            body, caller = get(address, credentials, server_name="orders.shop")
            line = bulkhead.wait_access(listener=listener)
            assert body == " ".join(map(str, [*caller, *address, "orders.shop",
                                              line["unique_id"]]))
