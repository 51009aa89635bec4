"""ALPN on each side, and HTTP/2 and gRPC passing through."""

import concurrent.futures
import http.server
import subprocess
import threading

import grpc
import pytest

from harness.bulkhead import bridge, configuration, originate, rule, terminate
from harness.credentials import spiffe
from harness.streams import (
    RESET, PlainStream, client_context, dial, format_address, server_context, tls_connect, tls_dial,
)


@pytest.mark.parametrize("listener, offered, selected", [
    (["h2", "http/1.1"], ["http/1.1", "h2"], "h2"),
    (["h2", "http/1.1"], ["http/1.1"], "http/1.1"),
    (["h2"], None, None),
    (None, ["h2"], None),
])
def test_the_listener_selects_by_its_own_order(start, backends, credentials, listener, offered,
                                               selected):
    more = {"alpn": listener} if listener else {}
    bulkhead = start(configuration(credentials, terminate(backends.plain().url, **more)))
    context = client_context(credentials.pair("web"), alpn=offered)
    with tls_connect(bulkhead.address(), context) as stream:
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        assert stream.tls.selected_alpn_protocol() == selected
        stream.end()
        stream.read_to_end()
        line = bulkhead.wait_access(downstream=stream.local_address())
    assert line["tls"].get("alpn") == selected


@pytest.mark.parametrize("more, offered, reason", [
    ({"alpn": ["h2"]}, ["http/1.1"], "tls_alpn_no_overlap"),
    ({"alpn": ["h2"], "alpn_required": True}, None, "tls_alpn_required"),
])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_no_overlap_is_refused_with_its_alert(start, backends, credentials, more, offered, reason,
                                              version):
    backend = backends.plain()
    bulkhead = start(configuration(credentials, terminate(backend.url, **more)))
    context = client_context(credentials.pair("web"), version, alpn=offered)
    stream, failure = tls_dial(bulkhead.address(), context)
    with stream:
        assert failure and "no application protocol" in failure
        line = bulkhead.wait_access(downstream=stream.local_address())
    assert (line["reason"], line["decision"]) == (reason, "deny")
    assert backend.untouched()


@pytest.mark.parametrize("server_alpn, allowed", [(["http/1.1", "h2"], True), (["x"], False)])
def test_a_bridge_offers_upstream_what_was_selected(start, backends, credentials, server_alpn,
                                                    allowed):
    server = backends.tls(server_context(
        credentials.pair("payments"), credentials.bundle("prod.example"), alpn=server_alpn))
    bulkhead = start(configuration(credentials, bridge(server.url, alpn=["h2", "http/1.1"])))
    context = client_context(credentials.pair("web"), alpn=["http/1.1"])
    with tls_connect(bulkhead.address(), context) as stream:
        if allowed:
            stream.send(b"ping")
            assert stream.recv_exactly(4) == b"ping"
            stream.end()
            stream.read_to_end()
        else:
            assert stream.read_to_end() == (b"", RESET)
        line = bulkhead.wait_access(downstream=stream.local_address())
    if allowed:
        assert line["upstream_tls"]["alpn"] == "http/1.1"
    else:
        assert line["reason"] == "alpn_mismatch"
        assert server.plain_bytes == 0


def test_a_server_must_select_what_originate_offers(start, backends, credentials):
    server = backends.tls(server_context(
        credentials.pair("payments"), credentials.bundle("prod.example")))
    bulkhead = start(configuration(credentials, originate(server.url, alpn="h2")))
    with PlainStream(dial(bulkhead.address())) as stream:
        assert stream.read_to_end() == (b"", RESET)
        line = bulkhead.wait_access(downstream=stream.local_address())
    assert line["reason"] == "alpn_mismatch"


def grpc_server():
    def answer(request, _context):
        return request[::-1]

    def stream_answers(request, _context):
        for i in range(20):
            yield request * (i + 1)

    handlers = grpc.method_handlers_generic_handler("shop.Orders", {
        "Get": grpc.unary_unary_rpc_method_handler(answer),
        "List": grpc.unary_stream_rpc_method_handler(stream_answers),
    })
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((handlers,))
    return server, server.add_insecure_port("127.0.0.1:0")


def test_grpc_passes_through_two_sidecars(start, credentials):
    server, port = grpc_server()
    server.start()
    try:
        inner = start(configuration(
            credentials, terminate(f"tcp://127.0.0.1:{port}", alpn="h2", alpn_required=True),
            rules=[rule("web", spiffe("web"), "in")]))
        outer = start(configuration(
            credentials, originate(f"mtls://{format_address(inner.address())}", alpn="h2",
                                   expect=spiffe("orders")), own="web"))
        with grpc.insecure_channel(format_address(outer.address())) as channel:
            get = channel.unary_unary("/shop.Orders/Get")
            assert get(b"abc", timeout=30) == b"cba"
            assert get(b"x" * 1_000_000, timeout=30) == b"x" * 1_000_000
            answers = list(channel.unary_stream("/shop.Orders/List")(b"12", timeout=30))
            assert [len(a) for a in answers] == [2 * (i + 1) for i in range(20)]
    finally:
        server.stop(None).wait(10)


def test_curl_reaches_an_http_server(start, credentials):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        bulkhead = start(configuration(credentials, terminate(
            f"tcp://127.0.0.1:{server.server_port}", alpn=["http/1.1"])))
        result = subprocess.run(
            ["curl", "-ksS", "--max-time", "30", "--cert", credentials.chain("web"), "--key",
             credentials.key("web"), f"https://{format_address(bulkhead.address())}/"],
            capture_output=True, text=True, timeout=60)
        assert (result.returncode, result.stdout) == (0, "ok"), result.stderr
        assert bulkhead.wait_access(event="close")["tls"]["alpn"] == "http/1.1"
    finally:
        server.shutdown()
        server.server_close()
