"""The probes' listener: /livez, /readyz and /metrics, what makes them fail, and nothing else."""

import concurrent.futures
import json
import signal
import socket
import threading
import time

import grpc
import pytest

from harness.agent import field
from harness.bulkhead import configuration, terminate
from harness.metrics import http_get, scrape
from harness.reloading import replace
from harness.streams import RESET, client_context, tls_connect
from harness.threads import halted_thread
from harness.wait import DEADLINE_S, until

LISTEN = {"listen": "tcp://127.0.0.1:0"}
PLAIN = "text/plain; charset=utf-8"
HOUR = 3600


def probes_of(bulkhead):
    host, _, port = bulkhead.wait_log("probes_listening")["addr"].rpartition(":")
    return host, int(port)


@pytest.fixture(scope="module")
def site(start_shared, shared_backends, credentials):
    return start_shared(configuration(
        credentials, terminate(shared_backends.plain().url), probes=LISTEN))


@pytest.fixture(scope="module")
def address(site):
    return probes_of(site)


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_good_process_says_ok(address, path):
    status, headers, body = http_get(address, path)
    assert (status, headers["Content-Type"], body) == (200, PLAIN, b"ok\n")
    assert headers["Cache-Control"] == "no-store"
    status, headers, body = http_get(address, path, method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "3", b"")


@pytest.mark.parametrize("target, accept", [
    ("/readyz?json", None), ("/readyz?json=1", None), ("/readyz", "application/json"),
    ("/readyz", "text/html, application/json;q=0.5"),
])
def test_json_for_programs(address, target, accept):
    status, headers, body = http_get(address, target, accept)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {"live": True, "ready": True, "generation": 1, "reasons": [],
                                "details": [], "left_out": 0}
    body = http_get(address, target.replace("readyz", "livez"), accept)[2]
    assert json.loads(body) == {"live": True, "reasons": []}


@pytest.mark.parametrize("accept", ["*/*", "application/jsonx", "text/plain", "xapplication/json"])
def test_text_for_all_others(address, accept):
    assert http_get(address, "/readyz", accept)[2] == b"ok\n"


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
@pytest.mark.parametrize("query", ["?verbose", "?json&x", "?jsom"])
def test_an_unknown_parameter_is_refused(address, path, query):
    assert http_get(address, path + query)[0] == 400


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("path", [
    "/", "/sessions", "/rules", "/metrics", "/reload", "/check", "/drain", "/livez/", "/livezz",
    "/LIVEZ", "/config", "/log-level",
])
def test_nothing_else_is_reachable_there(address, site, method, path):
    assert http_get(address, path, method=method)[0] == 404
    assert not site.log.find(event="reload")


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_probe_changes_nothing(address, path):
    status, headers, _ = http_get(address, path, method="POST")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_those_who_only_stay_keep_nobody_out(address):
    silent = [socket.create_connection(address) for _ in range(200)]
    half = [socket.create_connection(address) for _ in range(100)]
    for sock in half:
        sock.sendall(b"GET /readyz HTTP/1.1\r\n")
    for _ in range(20):
        assert http_get(address, "/readyz")[0] == 200
    for sock in silent + half:
        sock.close()


def test_metrics_only_where_they_are_wanted(reloadable, backends):
    place = reloadable(terminate(backends.plain().url), probes={**LISTEN, "metrics": True})
    address = probes_of(place.bulkhead)
    assert scrape(address)("bulkhead_ready") == 1
    assert http_get(address, "/metrics", method="POST")[0] == 405
    assert http_get(address, "/metrics?json")[0] == 400
    place.write(probes=LISTEN)
    place.reload()
    assert http_get(address, "/metrics")[0] == 404
    place.write(probes={"listen": "tcp://127.0.0.1:1"})
    place.reload()
    place.wait_log("needs_restart", key="probes.listen")
    assert http_get(address, "/readyz")[0] == 200


def test_a_unix_socket_does_too(start, backends, credentials, tmp_path):
    path = tmp_path / "probes.sock"
    start(configuration(credentials, terminate(backends.plain().url),
                        probes={"listen": f"unix://{path}"}))
    assert http_get(str(path), "/readyz")[0] == 200
    assert path.stat().st_mode & 0o777 == 0o660


def test_stopping_takes_readiness_and_leaves_life(start, backends, credentials, tmp_path):
    """At once, while accepting goes on; the admin socket says the same."""
    admin = str(tmp_path / "admin.sock")
    bulkhead = start(configuration(credentials, terminate(backends.plain().url), probes=LISTEN,
                                   admin={"listen": f"unix://{admin}"}, drain={"delay": "1h"}))
    address = probes_of(bulkhead)
    assert http_get(admin, "/readyz")[2] == http_get(admin, "/livez")[2] == b"ok\n"
    bulkhead.signal()
    bulkhead.wait_log("draining")
    for place in (address, admin):
        status, headers, body = http_get(place, "/readyz")
        assert (status, headers["Content-Type"]) == (503, PLAIN)
        assert body == b"draining: the process was told to stop\n"
        assert http_get(place, "/livez")[0] == 200
    answer = json.loads(http_get(address, "/readyz?json")[2])
    assert (answer["live"], answer["ready"]) == (True, False)
    assert [reason["code"] for reason in answer["reasons"]] == ["draining"]
    assert scrape(admin)("bulkhead_ready") == 0
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        assert http_get(address, "/readyz", method="HEAD")[0] == 503
        bulkhead.signal(signal.SIGQUIT)
        assert stream.read_to_end()[1] == RESET
    bulkhead.wait_exit(0)


def test_our_own_certificate_must_be_valid(reloadable, backends, issuer, clock):
    own = issuer.issue("orders", end=time.time() + HOUR)
    place = reloadable(terminate(backends.plain().url), own=own,
                       clock=clock, probes={**LISTEN, "metrics": True})
    address = probes_of(place.bulkhead)
    assert http_get(address, "/readyz")[0] == 200
    clock.set(2 * HOUR)
    status, _, body = http_get(address, "/readyz")
    assert status == 503 and body.startswith(b"svid_expired: our own SVID ended at 20")
    assert scrape(address)("bulkhead_ready") == 0
    assert http_get(address, "/livez")[0] == 200
    clock.set(-2 * HOUR)
    status, _, body = http_get(address, "/readyz")
    assert status == 503 and body.startswith(b"svid_not_yet_valid: ")
    clock.set(0)
    assert http_get(address, "/readyz")[0] == 200


def test_one_lost_trust_domain_is_a_detail_and_the_last_is_not(reloadable, backends, tmp_path):
    """A partner who lets its CRL lapse must not take us out of service for everybody else."""
    place = reloadable(terminate(backends.plain().url), probes=LISTEN)
    address = probes_of(place.bulkhead)
    (tmp_path / "partner.json").write_text('{"keys": []}')
    place.write(trust={**place.config["trust"],
                       "partner.example": {"bundle": str(tmp_path / "partner.json")}})
    assert place.reload()["result"] == "in_force"
    status, _, body = http_get(address, "/readyz?json")
    answer = json.loads(body)
    assert (status, answer["ready"], answer["reasons"]) == (200, True, [])
    assert answer["details"] == [{"code": "trust_unusable"}], "to anyone who asks, and no text"
    assert http_get(address, "/readyz")[2] == b"ok\n"
    replace(place.bundle, '{"keys": []}')
    place.reload()
    status, _, body = http_get(address, "/readyz")
    assert status == 503
    assert [line.partition(b": ")[0] for line in body.splitlines()] == [b"trust_unusable"] * 2
    assert http_get(address, "/livez")[0] == 200


def test_a_crl_that_has_ended_refuses_its_domain(reloadable, backends, clock):
    place = reloadable(terminate(backends.plain().url), crl=True, clock=clock, probes=LISTEN)
    address = probes_of(place.bulkhead)
    assert http_get(address, "/readyz")[0] == 200
    clock.set(400 * 24 * HOUR)
    body = http_get(address, "/readyz")[2]
    assert b"trust_unusable: every peer of prod.example is refused: none of its anchors has a CRL " \
           b"in force\n" in body


def test_failing_tests_are_a_detail(start, backends, credentials):
    bulkhead = start(configuration(
        credentials, terminate(backends.plain().url), probes=LISTEN,
        tests=[{"from": "spiffe://prod.example/ns/evil/sa/x", "to": "in", "decision": "allow"}]))
    status, _, body = http_get(probes_of(bulkhead), "/readyz?json")
    assert (status, [d["code"] for d in json.loads(body)["details"]]) == (200, ["tests_failed"])


def test_a_stuck_worker_is_no_life(start, backends, credentials):
    """It goes round no more; the other one does, and so does control."""
    bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                   probes={**LISTEN, "metrics": True}))
    address = probes_of(bulkhead)
    with halted_thread(bulkhead.pid, "worker-1"):
        assert http_get(address, "/livez")[0] == 200, "a moment is no end"
        assert bulkhead.wait_log("worker_stuck", 2 * DEADLINE_S)["worker"] == 1
        wanted = (503, b"worker_stuck: worker 1 has not come round its loop for 10 s or more\n")
        for path in ("/livez", "/readyz"):
            status, _, body = http_get(address, path)
            assert (status, body) == wanted
        assert scrape(address)("bulkhead_ready") == 0
    until(lambda: http_get(address, "/livez")[0] == 200, "the worker to go on")
    bulkhead.wait_log("worker_recovered", worker=1)
    assert len(bulkhead.log.find(event="worker_stuck")) == 1


def test_an_address_in_use_refuses_the_start(start, backends, credentials):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                       probes={"listen": f"tcp://127.0.0.1:{port}"}), wait=False)
        bulkhead.wait_exit(1)
        assert f"probes.listen: another process listens on 127.0.0.1:{port}" in bulkhead.log.text()


# ---- The application's ------------------------------------------------------------------------


class Application:
    """Answers what it is told, one connection at a time, and keeps what it was asked."""

    def __init__(self, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"):
        self.answer, self.requests = answer, []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with sock:
                self.requests.append(sock.recv(65536))
                self.may_answer.wait(DEADLINE_S)
                try:
                    sock.sendall(self.answer)
                except OSError:
                    pass  # nobody waits any more

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


@pytest.fixture
def asking(start, backends, credentials):
    """asking(get=…) -> where /app/x is asked for."""
    def make(**probe):
        return probes_of(start(configuration(
            credentials, terminate(backends.plain().url),
            probes={**LISTEN, "app": [{"path": "/app/x", **probe}]})))

    return make


def test_the_applications_status_alone_comes_back(asking):
    with Application() as app:
        address = asking(get=f"{app.url}/healthz?full")
        status, headers, body = http_get(address, "/app/x", accept="application/json")
        assert (status, body) == (200, b"")
        assert not set(headers) & {"Server", "X-App", "Location"}
        for answer, wanted in ((b"503 Busy", 503), (b"204 None", 204), (b"418 Tea", 418),
                               (b"302 Found\r\nLocation: http://127.0.0.1:1/", 302)):
            app.answer = b"HTTP/1.1 " + answer + b"\r\nX-App: secret\r\nServer: x\r\n\r\nsecret"
            until(lambda w=wanted: http_get(address, "/app/x")[0] == w, f"status {wanted}")
            status, headers, body = http_get(address, "/app/x")
            assert (status, body) == (wanted, b"")
            assert not set(headers) & {"Server", "X-App", "Location"}
            assert ("Content-Length" in headers) == (wanted != 204)
        app.answer = b"SSH-2.0-x\r\n"
        until(lambda: http_get(address, "/app/x")[0] == 502, "no HTTP")
        assert http_get(address, "/app/x")[2] == \
            b"the application did not answer with an HTTP status\n"


def test_no_byte_of_the_caller_reaches_the_application(asking):
    with Application() as app:
        address = asking(get=f"{app.url}/healthz")
        with socket.create_connection(address) as sock:
            sock.sendall(b"HEAD /app/x HTTP/1.1\r\nHost: evil\r\nX-Evil: 1\r\nCookie: a=b\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert app.requests == [
            f"GET /healthz HTTP/1.1\r\nHost: {app.url[7:]}\r\nUser-Agent: bulkhead-probe\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n".encode()]
        for method, target, wanted in (
                ("POST", "/app/x", 405), ("GET", "/app/x?y=1", 400), ("GET", "/app/y", 404),
                ("GET", "/app/x/", 404), ("GET", "/app/x/../x", 400), ("GET", "/app", 404)):
            assert http_get(address, target, method=method)[0] == wanted, target
        assert len(app.requests) == 1


def test_one_question_for_all_who_ask(asking):
    """However many ask while it hangs, the application is asked once; then all are told."""
    with Application() as app:
        app.may_answer.clear()
        address = asking(get=f"{app.url}/healthz")
        asked = [socket.create_connection(address) for _ in range(30)]
        for sock in asked:
            sock.sendall(b"GET /app/x HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: app.requests, "the question")
        assert http_get(address, "/readyz")[0] == 200, "it hangs for nobody else"
        for _ in range(50):
            http_get(address, "/livez")
        assert len(app.requests) == 1
        app.may_answer.set()
        told = 0
        for sock in asked:
            sock.settimeout(DEADLINE_S)
            with sock:
                told += sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert told == len(asked)
        assert len(app.requests) == 1


def test_who_asks_a_lot_keeps_no_other_address_waiting(asking):
    """kubelet's question waits for a slow application; a neighbour's do not push it out."""
    with Application() as app:
        app.may_answer.clear()
        address = asking(get=f"{app.url}/healthz")
        request = b"GET /app/x HTTP/1.1\r\nHost: x\r\n\r\n"
        with socket.create_connection(address, DEADLINE_S) as kubelet:
            kubelet.sendall(request)
            until(lambda: app.requests, "the question")
            flood = [socket.create_connection(address, source_address=("127.0.0.2", 0))
                     for _ in range(100)]
            for sock in flood:
                try:
                    sock.sendall(request)
                except OSError:
                    pass  # pushed out by the next
            assert http_get(address, "/readyz")[0] == 200
            app.may_answer.set()
            assert kubelet.recv(65536).startswith(b"HTTP/1.1 200 ")
            for sock in flood:
                sock.close()


def test_callers_in_a_row_do_not_flood_it(asking):
    with Application() as app:
        address = asking(get=f"{app.url}/healthz")
        begin = time.monotonic()
        for _ in range(200):
            assert http_get(address, "/app/x")[0] == 200
        most = (time.monotonic() - begin) / 0.1 + 1
        assert len(app.requests) <= most


@pytest.mark.parametrize("what", ["get", "connect"])
def test_an_application_that_is_gone(asking, what):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        address = asking(**{what: f"http://{place}" if what == "get" else f"tcp://{place}",
                            "timeout": "200ms"})
        if what == "connect":
            assert http_get(address, "/app/x")[0] == 200
        else:  # the kernel connects, and nobody answers
            status, _, body = http_get(address, "/app/x")
            assert (status, body) == (504, b"the application did not answer in time\n")
    until(lambda: http_get(address, "/app/x")[0] == 503, "a refused connection")
    assert http_get(address, "/app/x")[2] == b"the application refused the connection\n"
    assert http_get(address, "/readyz")[0] == 200, "its health is not ours"


def test_an_application_behind_a_unix_socket(asking, tmp_path):
    path = str(tmp_path / "app.sock")
    address = asking(get=f"http://unix:{path}:/healthz")
    assert http_get(address, "/app/x")[0] == 503
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve():
            sock, _ = listener.accept()
            with sock:
                assert sock.recv(4096).startswith(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
                sock.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        until(lambda: http_get(address, "/app/x")[0] == 200, "the application")
        thread.join()


def test_a_reload_changes_what_is_asked(reloadable, backends):
    with Application() as one, Application(b"HTTP/1.1 500 No\r\n\r\n") as other:
        def app(url):
            return {**LISTEN, "app": [{"path": "/app/x", "get": url}]}

        place = reloadable(terminate(backends.plain().url), probes=app(one.url))
        address = probes_of(place.bulkhead)
        assert http_get(address, "/app/x")[0] == 200
        place.write(probes=app(other.url))
        place.reload()
        assert http_get(address, "/app/x")[0] == 500
        place.write(probes=LISTEN)
        place.reload()
        assert http_get(address, "/app/x")[0] == 404


def test_it_stops_while_a_question_is_under_way(start, backends, credentials):
    with Application() as app:
        app.may_answer.clear()
        bulkhead = start(configuration(
            credentials, terminate(backends.plain().url),
            probes={**LISTEN, "app": [{"path": "/app/x", "get": app.url}]}))
        with socket.create_connection(probes_of(bulkhead)) as sock:
            sock.sendall(b"GET /app/x HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda: app.requests, "the question")
            bulkhead.stop()
        app.may_answer.set()


# ---- gRPC health ------------------------------------------------------------------------------


class Health:
    """grpc.health.v1.Health of a real gRPC server: does what it is told, and keeps the calls."""

    SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"

    def __init__(self, address="127.0.0.1:0", service="grpc.health.v1.Health"):
        self.answer, self.failure, self.calls = self.SERVING, None, []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(2),
                                  options=(("grpc.so_reuseport", 0),))
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
            service, {"Check": grpc.unary_unary_rpc_method_handler(self._check)}),))
        port = self.server.add_insecure_port(address)
        assert port, address
        self.url = address if address.startswith("unix:") else f"tcp://127.0.0.1:{port}"
        self.server.start()

    def _check(self, request, context):
        self.calls.append((request, dict(context.invocation_metadata())))
        self.may_answer.wait(DEADLINE_S)
        if self.failure is not None:
            context.abort(self.failure, "secret")
        context.set_trailing_metadata((("x-secret", "secret"),))
        return self.answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.may_answer.set()
        self.server.stop(None).wait(DEADLINE_S)


def test_grpc_health_serving_alone_is_200(asking):
    with Health() as app:
        address = asking(grpc=app.url, service="orders")
        assert http_get(address, "/app/x")[::2] == (200, b"")
        request, metadata = app.calls[0]
        assert request == field(1, "orders")
        assert set(metadata) <= {"user-agent"}, "nothing of the Workload API's, nor the caller's"

        def says(sentence):
            def answered():
                status, headers, body = http_get(address, "/app/x")
                assert b"secret" not in body and not set(headers) & {"x-secret", "X-Secret"}
                return status == 503 and body == sentence + b"\n"
            until(answered, sentence.decode())

        for answer, state in ((app.NOT_SERVING, b"NOT_SERVING"), (b"", b"UNKNOWN"),
                              (app.SERVICE_UNKNOWN, b"SERVICE_UNKNOWN")):
            app.answer = answer
            says(b"the application's gRPC health is " + state)
        for answer in (b"\x08\x04", b"\x08", b"\x0a\x01\x01", app.SERVING + b"\x12\x09secret"):
            app.answer = answer
            says(b"the application did not answer with a state of gRPC health")
        app.answer = app.SERVING + field(2, b"secret" * 200)
        says(b"the application did not answer as gRPC health does")
        for code in grpc.StatusCode:
            if code != grpc.StatusCode.OK:
                app.failure = code
                says({grpc.StatusCode.NOT_FOUND:
                      b"the application does not know this service: gRPC status NotFound",
                      grpc.StatusCode.UNIMPLEMENTED:
                      b"the application has no gRPC health: gRPC status Unimplemented"}.get(
                          code, b"the application answered with a gRPC status other than OK"))
                app.failure = None
                app.answer = app.NOT_SERVING
                says(b"the application's gRPC health is NOT_SERVING")
        app.answer = app.SERVING
        until(lambda: http_get(address, "/app/x")[0] == 200, "health again")


def test_grpc_health_of_a_server_without_it(asking):
    with Health(service="orders.v1.Orders") as app:
        status, _, body = http_get(asking(grpc=app.url), "/app/x")
        assert (status, body) == (
            503, b"the application has no gRPC health: gRPC status Unimplemented\n")
        assert not app.calls


def test_grpc_health_asks_once_and_not_for_ever(asking):
    with Health() as app:
        app.may_answer.clear()
        address = asking(grpc=app.url, timeout="1s")
        asked = [socket.create_connection(address, DEADLINE_S) for _ in range(20)]
        for sock in asked:
            sock.sendall(b"GET /app/x HTTP/1.1\r\nHost: x\r\nX-Evil: 1\r\n\r\n")
        until(lambda: app.calls, "the question")
        assert http_get(address, "/readyz")[0] == 200, "it hangs for nobody else"
        for sock in asked:
            with sock:
                answer = b"".join(iter(lambda: sock.recv(65536), b""))  # it closes behind it
                assert answer.startswith(b"HTTP/1.1 503 ")
                assert answer.endswith(b"the application did not answer in time\n")
        assert [request for request, _ in app.calls] == [b""], "the server as a whole, once"
        app.may_answer.set()
        until(lambda: http_get(address, "/app/x")[0] == 200, "health again")


def test_grpc_health_is_not_a_connection_nor_http(start, backends, credentials, tmp_path):
    """Two questions to one address don't share their answers; a Unix socket does too."""
    path = tmp_path / "app.sock"
    with Application() as app, Health(f"unix://{path}"):
        port = app.url.rpartition(":")[2]
        entries = [{"path": "/app/grpc", "grpc": f"tcp://127.0.0.1:{port}"},
                   {"path": "/app/connect", "connect": f"tcp://127.0.0.1:{port}"},
                   {"path": "/app/unix", "grpc": f"unix://{path}"},
                   {"path": "/app/gone", "grpc": f"unix://{path}.gone"}]
        address = probes_of(start(configuration(credentials, terminate(backends.plain().url),
                                                probes={**LISTEN, "app": entries})))
        assert http_get(address, "/app/connect")[0] == 200
        status, _, body = http_get(address, "/app/grpc")
        assert status == 503
        assert body in (b"the application did not answer as gRPC health does\n",
                        # It hangs up on bytes that it has not read: a reset may overtake its words.
                        b"the application could not be reached, or closed the connection\n")
        assert http_get(address, "/app/unix")[::2] == (200, b"")
        assert http_get(address, "/app/gone")[::2] == (
            503, b"the application could not be reached, or closed the connection\n")
