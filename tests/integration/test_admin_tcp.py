"""admin.listen on TCP: the loopback alone, every verb of ctl, and no web page."""

import contextlib
import json
import socket

import pytest
import yaml

from harness.bulkhead import Bulkhead, configuration, run_command, terminate, until
from harness.streams import RESET, client_context, tls_connect
from harness.threads import halted_thread

POST_HEADER = "Bulkhead-Admin: 1\r\n"


@pytest.fixture(scope="module")
def place(start_shared, shared_backends, credentials):
    bulkhead = start_shared(configuration(
        credentials, terminate(shared_backends.plain().url), admin={"listen": "tcp://127.0.0.1:0"}))
    bulkhead.admin = bulkhead.wait_log("admin_on_tcp")["addr"]
    return bulkhead


def connect(place):
    host, _, port = place.admin.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=15)


def send(place, request):
    with connect(place) as sock:
        sock.sendall(request.encode())
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split(" ")[1]), body


def request(place, line, headers="", host=None):
    return send(place, f"{line} HTTP/1.1\r\nHost: {host or place.admin}\r\n{headers}\r\n")


def ctl(place, *arguments):
    return run_command("ctl", "--admin", f"tcp://{place.admin}", *arguments)


def generation(place):
    result = ctl(place, "sessions", "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["generation"]


def test_it_is_said_loudly(place):
    line = place.wait_log("admin_on_tcp")
    assert line["level"] == "warn" and "every user of this host" in line["error"]


def test_every_verb_works(place, credentials):
    for verb in ("sessions", "rules", "identity", "trust", "config", "metrics"):
        assert ctl(place, verb).returncode == 0
    assert "bulkhead_build_info{" in ctl(place, "metrics").stdout
    assert json.loads(ctl(place, "reload", "--json").stdout)["result"] == "unchanged"
    assert json.loads(ctl(place, "reload", "--dry-run", "--json").stdout)["dry_run"]
    with tls_connect(place.address(), client_context(credentials.pair("web"))) as stream:
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        assert ctl(place, "terminate", "--all").stdout == "1 session ended\n"
        assert stream.read_to_end() == (b"", RESET)


def test_nobody_may_have_a_file_checked(place):
    """Who asks is not known, and the errors of a file quote it."""
    result = ctl(place, "check", place.config_file)
    assert result.returncode == 1 and "only root and the user" in result.stderr


@pytest.mark.parametrize("host, headers, status", [
    (None, "", 200), ("localhost:1", "", 200), (None, "Sec-Fetch-Site: none\r\n", 200),
    ("evil.example:9901", "", 403), (None, "Origin: http://evil.example\r\n", 403),
    (None, "Origin: http://localhost:3000\r\n", 403), (None, "Sec-Fetch-Site: cross-site\r\n", 403),
    (None, "Sec-Fetch-Site: same-site\r\n", 403),
])
@pytest.mark.parametrize("path", ["/sessions", "/metrics", "/nothing"])
def test_no_page_may_look(place, path, host, headers, status):
    if path == "/nothing" and status == 200:
        status = 404
    assert request(place, f"GET {path}", headers, host)[0] == status


@pytest.mark.parametrize("host, headers, status", [
    (None, POST_HEADER, 200), (None, "", 403), (None, "Content-Type: application/json\r\n", 403),
    ("evil.example", POST_HEADER, 403), (None, POST_HEADER + "Origin: null\r\n", 403),
    (None, POST_HEADER + "Sec-Fetch-Site: same-site\r\n", 403),
])
def test_no_page_may_change_anything(place, host, headers, status):
    before = len(place.log.find(event="reload"))
    assert request(place, "POST /reload", "Content-Length: 0\r\n" + headers, host)[0] == status
    assert generation(place) == 1
    if status == 200:
        until(lambda: len(place.log.find(event="reload")) == before + 1, "the reload")
    assert len(place.log.find(event="reload")) == before + (status == 200)


def test_a_preflight_finds_nobody(place):
    status, _ = request(place, "OPTIONS /reload", "Origin: http://evil.example\r\n"
                        "Access-Control-Request-Headers: bulkhead-admin\r\n")
    assert status == 405
    assert send(place, "GET /sessions HTTP/1.0\r\n\r\n")[0] == 403


def test_requests_are_bounded(place):
    assert request(place, "GET /sessions", f"A: {'x' * 9000}\r\n")[0] == 431
    assert request(place, "POST /reload", POST_HEADER + "Content-Length: 9999999\r\n")[0] == 413


def test_slow_clients_do_not_keep_others_out(place):
    host, _, port = place.admin.rpartition(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(64)]
    try:
        assert generation(place) == 1
    finally:
        for sock in idle:
            sock.close()


@pytest.mark.parametrize("listen", [
    "tcp://0.0.0.0:9901", "tcp://[::]:9901", "tcp://192.168.0.1:9901", "tcp://128.0.0.1:9901",
    "tcp://[::ffff:127.0.0.1]:9901", "mtls://127.0.0.1:9901", "tcp://localhost:9901",
    "mtls+unix:///run/x.sock",
])
def test_nothing_but_the_loopback(credentials, tmp_path, listen):
    config = configuration(credentials, terminate("tcp://127.0.0.1:1"), admin={"listen": listen})
    place = Bulkhead(config, tmp_path)
    place.wait_exit(2)
    assert "admin.listen: " in place.log.text()


def test_the_address_of_the_configuration_is_found(place, tmp_path):
    config = yaml.safe_load(place.config_file.read_text())
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({**config, "admin": {"listen": f"tcp://{place.admin}"}}))
    assert run_command("ctl", "-c", other, "sessions").returncode == 0
    result = run_command("ctl", "-c", place.config_file, "sessions")
    assert result.returncode == 2 and "--admin tcp://127.0.0.1:PORT" in result.stderr


def test_not_everything_that_is_asked_waits_for_a_worker(start, backends, credentials):
    """Who has asked and gone leaves a wish to terminate behind."""
    place = start(configuration(
        credentials, terminate(backends.plain().url), admin={"listen": "tcp://127.0.0.1:0"}))
    place.admin = place.wait_log("admin_on_tcp")["addr"]
    line, headers = "POST /sessions/terminate?all=true", f"{POST_HEADER}Content-Length: 0\r\n"
    with halted_thread(place.pid, "worker-0"), contextlib.ExitStack() as asking:
        for _ in range(80):
            sock = asking.enter_context(connect(place))
            sock.sendall(f"{line} HTTP/1.1\r\nHost: {place.admin}\r\n{headers}\r\n".encode())
            assert request(place, "GET /log-level")[0] == 200  # control has come round
        status, body = request(place, line, headers)
        assert status == 503 and "too many questions" in body
    until(lambda: request(place, "GET /sessions")[0] == 200, "all of it was done")
    place.wait_log("sessions_terminated", count=0)


@pytest.mark.parametrize("address", [
    "tcp://10.0.0.1:9901", "tcp://localhost:9901", "mtls://127.0.0.1:1", "127.0.0.1:1", "tcp://127.0.0.1:0",
])
def test_ctl_talks_to_the_loopback_alone(address):
    result = run_command("ctl", "--admin", address, "sessions")
    assert result.returncode == 2 and f'--admin: "{address}"' in result.stderr


def test_where_nobody_listens(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        result = run_command("ctl", "--admin", f"tcp://127.0.0.1:{taken.getsockname()[1]}", "rules")
    assert result.returncode == 1 and "cannot connect" in result.stderr
    result = run_command("ctl", "--admin", f"unix://{tmp_path}/none.sock", "sessions")
    assert result.returncode == 1 and "from its start?" in result.stderr
