"""The admin socket and `bulkhead ctl`: look before you cut, reload, sessions."""

import ctypes
import json
import os
import pathlib
import signal
import socket
import stat
import struct
import tempfile

import pytest
import yaml

from harness.bulkhead import configuration, run_command, terminate
from harness.streams import RESET, client_context, tls_connect

WEB = "spiffe://prod.example/ns/shop/sa/web"
ORDERS = "spiffe://prod.example/ns/shop/sa/orders"
DENY_ORDERS = {"name": "no-orders", "action": "deny", "from": ORDERS, "to": "in"}


def rule(name, identity):
    return {"name": name, "from": identity, "to": "in"}


@pytest.fixture
def site(start, backends, credentials, tmp_path):
    """site(**more) -> a bulkhead with an admin socket, and two rules."""

    def make(**more):
        config = configuration(
            credentials, terminate(backends.plain().url, name="in"),
            rules=[rule("web", WEB), rule("orders", ORDERS)],
            **{"admin": {"listen": f"unix://{tmp_path}/admin.sock"}, **more})
        bulkhead = start(config)
        bulkhead.socket = str(tmp_path / "admin.sock")
        bulkhead.config = config
        return bulkhead

    return make


def ctl(bulkhead, *arguments):
    return run_command("ctl", "--socket", bulkhead.socket, *arguments)


def ask(bulkhead, *arguments):
    result = ctl(bulkhead, *arguments, "--json")
    return json.loads(result.stdout), result.returncode


def rewrite(bulkhead, **changes):
    bulkhead.config_file.write_text(yaml.safe_dump({**bulkhead.config, **changes}))


def connect(bulkhead, credentials, name):
    stream = tls_connect(bulkhead.address(), client_context(credentials.pair(name)))
    ping(stream)
    return stream


def ping(stream):
    stream.send(b"ping")
    assert stream.recv_exactly(4) == b"ping"


def opens_of(path):
    """A function that says how often the file has been opened since."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    in_open, in_close_nowrite = 0x20, 0x10  # alternating: equal events in a row are made one
    assert libc.inotify_add_watch(fd, os.fsencode(path), in_open | in_close_nowrite) > 0

    def count():
        events = os.read(fd, 1 << 20)
        os.close(fd)
        size = struct.calcsize("iIII")
        return sum(struct.unpack_from("iIII", events, at)[1] == in_open
                   for at in range(0, len(events), size))

    return count


def http(bulkhead, request):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(bulkhead.socket)
        sock.sendall(request)
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
    return answer


def test_sessions(site, credentials):
    bulkhead = site()
    assert ask(bulkhead, "sessions") == (
        {"generation": 1, "matched": 0, "truncated": False, "sessions": []}, 0)
    with connect(bulkhead, credentials, "web"), connect(bulkhead, credentials, "orders"):
        answer, code = ask(bulkhead, "sessions")
        assert code == 0
        found = {s["downstream_id"]: s for s in answer["sessions"]}
        assert set(found) == {WEB, ORDERS}
        assert found[WEB]["rule"] == "web" and found[WEB]["listener"] == "in"
        assert (found[WEB]["bytes_up"], found[WEB]["bytes_down"]) == (4, 4)
        assert found[WEB]["authority_ends"].endswith("Z")
        people = ctl(bulkhead, "sessions")
        assert people.returncode == 0 and "\n2 sessions\n" in people.stdout and WEB in people.stdout


def test_a_dry_run_says_who_would_be_cut_and_cuts_nobody(site, credentials):
    bulkhead = site()
    with connect(bulkhead, credentials, "web") as web, connect(bulkhead, credentials, "orders"):
        rewrite(bulkhead, rules=[rule("orders", ORDERS)])
        answer, code = ask(bulkhead, "reload", "--dry-run")
        assert code == 0 and answer["dry_run"] and answer["result"] == "would_be_in_force"
        assert answer["changes"] == [{"kind": "rule", "name": "web", "change": "removed"}]
        fates = {g["downstream_id"]: (g["fate"], g["sessions"], g.get("reason"))
                 for g in answer["groups"]}
        assert fates == {WEB: ("ended", 1, "rule_removed"), ORDERS: ("kept", 1, None)}
        assert answer["sessions"]["by_reason"] == {"rule_removed": 1}
        people = ctl(bulkhead, "reload", "--dry-run")
        assert "would end" in people.stdout and "rule removed web" in people.stdout
        assert "dry run: it would come into force; generation 1 stays in force" in people.stdout
        ping(web)
        assert ask(bulkhead, "sessions")[0]["generation"] == 1
        assert not bulkhead.log.find(event="reload")


def test_reload_says_what_it_did(site, credentials):
    bulkhead = site()
    with connect(bulkhead, credentials, "web") as web:
        rewrite(bulkhead, rules=[rule("orders", ORDERS)])
        answer, code = ask(bulkhead, "reload")
        assert (code, answer["result"], answer["generation"]) == (0, "in_force", 2)
        assert answer["sessions"] == {
            "judged": 1, "kept": 0, "ended": 1, "by_reason": {"rule_removed": 1}}
        assert web.read_to_end() == (b"", RESET)
        bulkhead.wait_access(reason="rule_removed")
    answer, code = ask(bulkhead, "reload")
    assert (code, answer["result"], answer["generation"]) == (0, "unchanged", 2)
    assert "reload: unchanged, generation 2\n" in ctl(bulkhead, "reload").stdout
    rewrite(bulkhead)
    assert "reload: in force as generation 3\n" in ctl(bulkhead, "reload").stdout


def test_a_refused_configuration_is_exit_code_2_with_its_errors(site):
    bulkhead = site()
    rewrite(bulkhead, rule=[])
    for arguments in (("reload",), ("reload", "--dry-run")):
        answer, code = ask(bulkhead, *arguments)
        assert (code, answer["configuration_refused"], answer["generation"]) == (2, True, 1)
        assert 'did you mean "rules"?' in answer["errors"][0]["message"]
        people = ctl(bulkhead, *arguments)
        assert people.returncode == 2
        assert ": refused; generation 1 stays in force" in people.stdout


def test_a_broken_source_is_exit_code_1_and_the_others_go_through(site, credentials, tmp_path):
    bulkhead = site()
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing\n")
    trust = {**bulkhead.config["trust"], "partner.example": {"bundle": str(broken)}}
    rewrite(bulkhead, trust=trust, rules=[rule("orders", ORDERS)])
    answer, code = ask(bulkhead, "reload")
    assert (code, answer["result"], answer["generation"]) == (1, "in_force", 2)
    assert "trust.partner.example.bundle" in answer["errors"][0]["message"]


def test_check_another_file(site, credentials, tmp_path):
    bulkhead = site()
    other = tmp_path / "other file.yaml"
    with connect(bulkhead, credentials, "web"):
        other.write_text(yaml.safe_dump({**bulkhead.config, "rules": [rule("orders", ORDERS)],
                                         "workers": 1}))
        answer, code = ask(bulkhead, "check", other)
        assert (code, answer["dry_run"]) == (0, True)
        assert answer["sessions"]["by_reason"] == {"rule_removed": 1}
        assert answer["needs_restart"] == ["workers"]
        other.write_text("version: 2\n")
        assert ask(bulkhead, "check", other)[1] == 2
        assert ask(bulkhead, "sessions")[0]["generation"] == 1
    assert ctl(bulkhead, "check", tmp_path / "none.yaml").returncode == 2


def test_check_says_when_an_address_is_taken(site, tmp_path):
    bulkhead = site()
    other = tmp_path / "other.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listener = {**bulkhead.config["listeners"][0], "accept": f"mtls://127.0.0.1:{port}"}
        other.write_text(yaml.safe_dump({**bulkhead.config, "listeners": [listener]}))
        answer, code = ask(bulkhead, "check", other)
    assert code == 2 and f"127.0.0.1:{port}" in answer["errors"][0]["message"]


def test_max_cut_refuses_a_reload_that_cuts_too_much(site, credentials):
    bulkhead = site(reload={"max_cut": "30%"})
    with connect(bulkhead, credentials, "web") as web, connect(bulkhead, credentials, "orders"):
        rewrite(bulkhead, rules=[rule("orders", ORDERS)])
        answer, code = ask(bulkhead, "reload")
        assert (code, answer["result"], answer["generation"]) == (1, "refused", 1)
        assert "1 of 2 sessions" in answer["error"] and "30%" in answer["error"]
        ping(web)
        line = bulkhead.wait_log("reload", result="refused")
        assert "max_cut" in line["error"]


def test_max_cut_does_not_hold_up_a_written_deny(site, credentials):
    bulkhead = site(reload={"max_cut": "30%"})
    with connect(bulkhead, credentials, "web") as web, \
            connect(bulkhead, credentials, "orders") as orders:
        rewrite(bulkhead, rules=[rule("web", WEB), rule("orders", ORDERS), DENY_ORDERS])
        answer, code = ask(bulkhead, "reload")
        assert (code, answer["result"]) == (0, "in_force")
        assert orders.read_to_end() == (b"", RESET)
        ping(web)


def test_the_socket_is_open_to_its_group_alone(site):
    bulkhead = site()
    assert stat.S_IMODE(os.stat(bulkhead.socket).st_mode) == 0o660


def test_the_socket_is_found_through_the_configuration(site):
    bulkhead = site()
    result = run_command("ctl", "-c", bulkhead.config_file, "sessions", "--json")
    assert result.returncode == 0 and json.loads(result.stdout)["generation"] == 1


@pytest.mark.parametrize("arguments", [["sessions"], ["sessions", "--json"], ["reload", "--dry-run"]])
def test_an_answer_that_is_lost_is_a_failure(site, arguments):
    bulkhead = site()
    with open("/dev/full", "w") as full:
        result = run_command("ctl", "--socket", bulkhead.socket, *arguments, stdout_file=full)
    assert result.returncode == 1 and "bulkhead ctl: can't write to stdout" in result.stderr


def test_without_an_admin_socket_there_is_none(start, backends, credentials, tmp_path):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)))
    result = run_command("ctl", "-c", bulkhead.config_file, "sessions")
    assert result.returncode == 2 and "admin.listen" in result.stderr
    result = run_command("ctl", "--socket", tmp_path / "none.sock", "sessions")
    assert result.returncode == 1 and "none.sock" in result.stderr
    assert "from its start?" in result.stderr


@pytest.mark.parametrize("arguments", [
    [], ["sessions"], ["--socket", "a"], ["--socket", "a", "-c", "b", "sessions"],
    ["--socket", "a", "nothing"], ["--socket", "a", "check"], ["--socket", "a", "sessions", "x"],
    ["--socket", "a", "--dry-run", "sessions"], ["--nothing"],
])
def test_wrong_usage(arguments):
    result = run_command("ctl", *arguments)
    assert result.returncode == 2 and "try: bulkhead ctl --help" in result.stderr


@pytest.mark.parametrize("request_line, status", [
    (b"GET /reload", b"405"), (b"POST /sessions", b"405"), (b"GET /check?file=/x", b"405"),
    (b"GET /", b"404"), (b"GET /sessions/..", b"400"), (b"POST /check", b"400"),
    (b"POST /check?file=relative", b"400"), (b"POST /check?file=/a%00b", b"400"),
    (b"POST /reload?dry_run=yes", b"400"), (b"PUT /reload", b"405"),
    (b"POST /reload?dry-run=1", b"400"), (b"POST /reload?file=/x", b"400"),
    (b"POST /reload?dry_run=1&x=", b"400"), (b"GET /sessions?dry_run=1", b"400"),
])
def test_wrong_requests_change_nothing(site, request_line, status):
    bulkhead = site()
    rewrite(bulkhead, rules=[])
    answer = http(bulkhead, request_line + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert answer.split(b" ", 2)[1] == status, answer
    assert ask(bulkhead, "sessions")[0]["generation"] == 1


@pytest.fixture
def open_directory():
    """One that every user may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        yield pathlib.Path(directory)


def test_files_are_checked_for_their_reader_alone(site, open_directory):
    """bulkhead reads more than its group may: no error may quote it to them."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    address = open_directory / "admin.sock"
    bulkhead = site(admin={"listen": f"unix://{address}"})
    bulkhead.socket = str(address)
    secret = open_directory / "secret"
    secret.write_text("hunter2: 1\n")
    request = f"POST /check?file={secret} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    assert b"hunter2" in http(bulkhead, request)
    os.seteuid(65534)  # still of the group
    try:
        answer = http(bulkhead, request)
        sessions = http(bulkhead, b"GET /sessions HTTP/1.1\r\nHost: x\r\n\r\n")
    finally:
        os.seteuid(0)
    assert answer.startswith(b"HTTP/1.1 403 ") and b"hunter2" not in answer
    assert sessions.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/reload", "/check?file={config}"])
def test_clients_that_ask_and_go_hold_up_no_reload(site, path):
    """Their requests are not waited for one by one."""
    bulkhead = site()
    request = f"POST {path.format(config=bulkhead.config_file)} HTTP/1.1\r\nHost: x\r\n\r\n"
    opened = opens_of(bulkhead.config_file)
    os.kill(bulkhead.pid, signal.SIGSTOP)
    for _ in range(100):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(bulkhead.socket)
            sock.sendall(request.encode())
    os.kill(bulkhead.pid, signal.SIGCONT)
    assert ask(bulkhead, "sessions")[1] == 0  # which came after all of them
    bulkhead.signal(signal.SIGHUP)
    bulkhead.wait_log("reload", trigger="SIGHUP")
    assert 0 < opened() < 50


def test_a_client_that_goes_before_its_answer_harms_nothing(site, credentials):
    bulkhead = site()
    rewrite(bulkhead, rules=[rule("orders", ORDERS)])
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(bulkhead.socket)
            sock.sendall(b"POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    bulkhead.wait_log("reload", result="in_force")
    assert ask(bulkhead, "sessions")[0]["generation"] == 2
