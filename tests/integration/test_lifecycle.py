"""Start, drain, stop, exit codes, descriptors, logs that nobody reads."""

import ctypes
import fcntl
import json
import os
import re
import signal
import socket
import subprocess

import pytest

from harness.bulkhead import (
    configuration, is_sanitizer_build, originate, run_command, terminate,
)
from harness.metrics import http_get
from harness.streams import (
    CLEAN, RESET, PlainStream, client_context, dial, tls_connect, tls_dial,
)
from harness.wait import DEADLINE_S, until


@pytest.fixture
def web(credentials):
    return client_context(credentials.pair("web"))


def ping(stream):
    stream.send(b"ping")
    assert stream.recv_exactly(4) == b"ping"


def test_drain_lets_a_session_end_in_its_own_time(start, backends, credentials, web):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)))
    with tls_connect(bulkhead.address(), web) as stream:
        ping(stream)
        bulkhead.signal()
        bulkhead.wait_log("draining")
        ping(stream)
        until(lambda: is_refused(bulkhead), "the listener to close")
        ping(stream)
        stream.end()
        assert stream.read_to_end() == (b"", CLEAN)
    bulkhead.wait_exit(0)
    assert bulkhead.access.find(reason="closed")


def is_refused(bulkhead):
    with socket.socket() as sock:
        return sock.connect_ex(bulkhead.address()) != 0


def test_drain_deadline_cuts_what_is_left(start, backends, credentials, web):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                   drain={"timeout": "200ms"}))
    with tls_connect(bulkhead.address(), web) as stream:
        ping(stream)
        bulkhead.signal()
        assert stream.read_to_end() == (b"", RESET), "a cut session must not look complete"
    bulkhead.wait_exit(0)
    assert len(bulkhead.access.find(reason="drain_deadline")) == 1
    assert bulkhead.log.find(event="stopped", drain_deadline=1)


@pytest.mark.parametrize("first, second", [
    (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM),
])
def test_a_second_signal_cuts_at_once(start, backends, credentials, web, first, second):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                   drain={"delay": "1h", "timeout": "1h"}))
    with tls_connect(bulkhead.address(), web) as stream:
        ping(stream)
        bulkhead.signal(first)
        bulkhead.wait_log("draining")
        bulkhead.signal(second)
        assert stream.read_to_end() == (b"", RESET)
    bulkhead.wait_exit(0)
    assert bulkhead.access.find(reason="stopped")


@pytest.mark.parametrize("before", [None, signal.SIGTERM])
def test_sigquit_cuts_at_once(start, backends, credentials, web, before):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                   drain={"delay": "1h", "timeout": "1h"}))
    with tls_connect(bulkhead.address(), web) as stream:
        ping(stream)
        if before:
            bulkhead.signal(before)
            bulkhead.wait_log("draining")
        bulkhead.signal(signal.SIGQUIT)
        assert stream.read_to_end() == (b"", RESET)
    bulkhead.wait_exit(0)
    assert bulkhead.log.find(event="stopping_at_once", signal="SIGQUIT")
    assert bulkhead.access.find(reason="stopped")


def test_sigusr2_is_ignored_with_a_line(start, backends, credentials, web):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)))
    with tls_connect(bulkhead.address(), web) as stream:
        bulkhead.signal(signal.SIGUSR2)
        bulkhead.wait_log("signal_ignored", signal="SIGUSR2")
        ping(stream)
        stream.end()


def without_ptrace():
    """What root may beyond other users: to look at any process."""
    PR_CAPBSET_DROP, CAP_SYS_PTRACE = 24, 19
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0)


def test_memory_is_for_nobody_else(start, backends, credentials):
    """Not dumpable: no core, not even through a pipe, and other processes of the same user may not
    look at it."""
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)),
                     before_exec=without_ptrace)
    limits = open(f"/proc/{bulkhead.pid}/limits").read()
    assert re.search(r"^Max core file size\s+0\s+0\s", limits, re.M)
    other = subprocess.Popen(["sleep", "60"], preexec_fn=without_ptrace)
    try:
        assert may_read_memory(other.pid) and not may_read_memory(bulkhead.pid)
    finally:
        other.kill()
        other.wait()


def may_read_memory(pid):
    opened = subprocess.run(["/usr/bin/python3", "-c", f"open('/proc/{pid}/mem', 'rb')"],
                            preexec_fn=without_ptrace, stderr=subprocess.PIPE, timeout=60)
    assert opened.returncode == 0 or b"PermissionError" in opened.stderr
    return opened.returncode == 0


def test_inherited_descriptors_are_closed(start, backends, credentials, tmp_path):
    with open(tmp_path / "secret", "w") as first:
        high = os.dup2(first.fileno(), 200)
        bulkhead = start(configuration(credentials, terminate(backends.plain().url)),
                         pass_fds=(first.fileno(), high))
        os.close(high)
    assert str(tmp_path / "secret") not in bulkhead.open_files()


def test_a_credential_may_come_through_an_inherited_pipe(start, backends, credentials):
    config = configuration(credentials, terminate(backends.plain().url))
    reading, writing = os.pipe()
    os.write(writing, open(config["identity"]["files"]["private_key"], "rb").read())
    os.close(writing)
    config["identity"]["files"]["private_key"] = f"/dev/fd/{reading}"
    start(config, pass_fds=(reading,))
    os.close(reading)


def test_drain_delay_still_accepts(start, backends, credentials, web):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                   drain={"delay": "1h"}))
    bulkhead.signal()
    bulkhead.wait_log("draining")
    with tls_connect(bulkhead.address(), web) as stream:
        ping(stream)
        bulkhead.signal()
        assert stream.read_to_end()[1] == RESET
    bulkhead.wait_exit(0)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE])
def test_other_signals_end_nothing(start, backends, credentials, web, number):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)))
    with tls_connect(bulkhead.address(), web) as stream:
        bulkhead.signal(number)
        ping(stream)
        if number != signal.SIGPIPE:
            bulkhead.wait_log("reload")
        ping(stream)
        stream.end()


def test_a_second_program_on_the_same_address_is_refused(start, backends, credentials):
    first = start(configuration(credentials, terminate(backends.plain().url)))
    listener = terminate(backends.plain().url)
    listener["accept"] = f"mtls://127.0.0.1:{first.port()}"
    second = start(configuration(credentials, listener), wait=False)
    second.wait_exit(1)
    assert f"127.0.0.1:{first.port()}" in second.log.text()


def test_a_stale_unix_socket_is_replaced_and_removed(start, backends, credentials, web, tmp_path):
    path = str(tmp_path / "in.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    listener = terminate(backends.plain().url)
    listener["accept"] = f"mtls+unix://{path}"
    bulkhead = start(configuration(credentials, listener))
    with tls_connect(path, web) as stream:
        ping(stream)
        stream.end()
    bulkhead.stop()
    assert not os.path.exists(path)


def test_few_descriptors_queue_and_recover(start, backends, credentials, web):
    backend = backends.plain()
    bulkhead = start(configuration(credentials, terminate(backend.url)), descriptors=64)
    assert 1 <= bulkhead.wait_log("ready")["max_sessions"] < 32
    streams = [PlainStream(dial(bulkhead.address())) for _ in range(60)]
    for stream in streams:
        stream.close()  # before the first byte: probes
    for _ in range(50):
        with tls_connect(bulkhead.address(), web) as stream:
            ping(stream)
            stream.end()
            assert stream.read_to_end() == (b"", CLEAN)
    assert not bulkhead.log.find(event="accept_exhausted"), "EMFILE was reached"


def test_bounds_hold_for_all_workers_and_listeners(start, backends, credentials, web):
    """Places are taken before accepting: not one connection too many, wherever it comes from."""
    backend = backends.plain()
    listeners = [terminate(backend.url, name=f"l{i}") for i in range(20)]
    bulkhead = start(configuration(credentials, *listeners, limits={"connections": 1}, workers=4))
    idle = bulkhead.descriptors()
    waiting = [PlainStream(dial(bulkhead.address(f"l{i % 20}"))) for i in range(120)]
    until(lambda: bulkhead.descriptors() == idle + 1, "the one session")
    paused = bulkhead.wait_log("accept_paused")
    assert (paused["limit"], paused["scope"]) == ("connections", "process")
    waiting[0].close()
    for _ in range(20):  # whoever comes next: one at a time
        most = max(bulkhead.descriptors() for _ in range(20))
        assert most <= idle + 1
    for stream in waiting:
        stream.close()
    with tls_connect(bulkhead.address("l7"), web) as stream:
        ping(stream)
        assert bulkhead.descriptors() == idle + 2
        others = [PlainStream(dial(bulkhead.address(f"l{i % 20}"))) for i in range(80)]
        for other in others:
            other.send(b"GET / HTTP/1.0\r\n\r\n")  # would be refused with a line, if accepted
        ping(stream)
        assert bulkhead.descriptors() == idle + 2
        assert not bulkhead.access.find(reason="tls_not_tls")
        stream.end()
        assert stream.read_to_end() == (b"", CLEAN)
    until(lambda: len(bulkhead.access.find(reason="tls_not_tls")) == len(others), "the others")
    for other in others:
        other.close()


def test_few_descriptors_outlive_a_flood_of_refused_clients(start, backends, credentials, web):
    """Who is refused keeps a descriptor until it has read its alert: accepting waits for those."""
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)), descriptors=64)
    refused = [PlainStream(dial(bulkhead.address())) for _ in range(60)]
    for stream in refused:
        stream.send(b"GET / HTTP/1.0\r\n\r\n")  # and stays, whatever it is told
    until(lambda: len(bulkhead.access.find(reason="tls_not_tls")) == len(refused), "the refusals")
    paused = bulkhead.wait_log("accept_paused")
    assert (paused["level"], paused["limit"], paused["scope"]) == ("warn", "descriptors", "process")
    assert bulkhead.wait_log("accept_resumed")["lasted_ms"] > 0
    for _ in range(20):
        with tls_connect(bulkhead.address(), web) as stream:
            ping(stream)
            stream.end()
            assert stream.read_to_end() == (b"", CLEAN)
    for stream in refused:
        stream.close()
    assert not bulkhead.log.find(event="accept_exhausted"), "EMFILE was reached"


def test_too_few_descriptors_refuse_the_start(start, backends, credentials):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)),
                     wait=False, descriptors=40)
    bulkhead.wait_exit(1)
    assert "RLIMIT_NOFILE" in bulkhead.log.text()


def test_probes_are_counted_and_not_logged(start, backends, credentials):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)))
    for _ in range(5):
        dial(bulkhead.address()).close()
    bulkhead.signal()
    bulkhead.wait_exit(0)
    assert bulkhead.access.raw == []
    assert bulkhead.log.find(event="stopped", closed_before_hello=5)


def test_a_blocked_access_log_blocks_nobody(start, backends, credentials, web):
    """Nobody reads its stdout: connections go on, lines are dropped and counted."""
    reading, writing = os.pipe()
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)), stdout=writing)
    os.close(writing)
    for _ in range(1200 if not is_sanitizer_build() else 300):
        with PlainStream(dial(bulkhead.address())) as stream:
            stream.send(b"GET / HTTP/1.0\r\n\r\n")
            stream.read_to_end()
    with tls_connect(bulkhead.address(), web) as stream:
        ping(stream)
        stream.end()
    bulkhead.signal()
    bulkhead.wait_exit(0)
    os.close(reading)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_to_the_very_end_change_no_exit_code(start, backends, credentials, number):
    """Those that come while the last lines are waited for, with a log that nobody reads."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)), stdout=writing)
    os.close(writing)
    for _ in range(50):
        with PlainStream(dial(bulkhead.address())) as stream:
            stream.send(b"GET / HTTP/1.0\r\n\r\n")
            stream.read_to_end()
    bulkhead.signal()
    until(lambda: bulkhead.signal(number) or not bulkhead.alive(), "the end", 3 * DEADLINE_S)
    bulkhead.wait_exit(0)
    os.close(reading)


@pytest.mark.parametrize("to", ["none", "access.jsonl"])
def test_the_access_log_goes_where_it_is_told(start, backends, credentials, web, to):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                   access_log={"to": to}))
    with tls_connect(bulkhead.address(), web) as stream:
        ping(stream)
        stream.end()
        assert stream.read_to_end() == (b"", CLEAN)
    bulkhead.stop()
    assert bulkhead.access.raw == []
    file = bulkhead.directory / "access.jsonl"
    assert file.exists() == (to != "none")
    if file.exists():
        assert '"event":"close"' in file.read_text()
        assert file.stat().st_mode & 0o007 == 0


def test_version_names_every_library():
    result = run_command("--version")
    assert result.returncode == 0
    for name in ("bulkhead", "OpenSSL", "libevent", "c-ares", "nghttp2", "libyaml", "jansson"):
        assert re.search(rf"^\s*{name}\s+.*\d+\.\d+", result.stdout, re.M), name


@pytest.mark.parametrize("arguments", [
    ["--help"], ["run", "--help"], ["check", "--help"], ["svid", "--help"],
])
def test_help_has_examples(arguments):
    result = run_command(*arguments)
    assert result.returncode == 0 and result.stderr == ""
    assert "Example" in result.stdout and "Exit code" in result.stdout


@pytest.mark.parametrize("arguments", [
    [], ["fly"], ["run"], ["run", "-x"], ["run", "-c", "/nonexistent/x.yaml"], ["check"],
    ["check", "-c", "/nonexistent/x.yaml"], ["svid"], ["svid", "/nonexistent.pem"],
    ["run", "-c", "a", "b"],
])
def test_wrong_usage_exits_with_2(arguments):
    result = run_command(*arguments)
    assert result.returncode == 2, result.stderr
    assert result.stderr != ""


def test_a_wrong_configuration_names_its_place(start, credentials, backends):
    config = configuration(credentials, terminate(backends.plain().url))
    config["lsteners"] = []
    bulkhead = start(config, wait=False)
    bulkhead.wait_exit(2)
    assert re.search(r"bulkhead\.yaml:\d+:\d+: error: .*lsteners.*listeners", bulkhead.log.text())


@pytest.mark.parametrize("what", ["certificate", "private_key", "bundle"])
@pytest.mark.parametrize("state", ["missing", "empty", "half", "garbage", "directory"])
def test_a_broken_credential_refuses_the_start(start, backends, credentials, tmp_path, what, state):
    config = configuration(credentials, terminate(backends.plain().url))
    files = config["identity"]["files"]
    good = files[what] if what != "bundle" else credentials.bundle("prod.example")
    path = tmp_path / "broken.pem"
    text = open(good).read()
    if state == "directory":
        path.mkdir()
    elif state != "missing":
        path.write_text({"empty": "", "half": text[: len(text) // 2], "garbage": "\0\1x"}[state])
    if what == "bundle":
        config["trust"]["prod.example"]["bundle"] = str(path)
    else:
        files[what] = str(path)
    bulkhead = start(config, wait=False)
    bulkhead.wait_exit(2)
    assert "broken.pem" in bulkhead.log.text()


def test_a_key_of_another_certificate_refuses_the_start(start, backends, credentials):
    config = configuration(credentials, terminate(backends.plain().url))
    config["identity"]["files"]["private_key"] = credentials.key("wiki")
    bulkhead = start(config, wait=False)
    bulkhead.wait_exit(2)


def test_openssl_environment_changes_nothing(start, backends, credentials, web, tmp_path):
    weak = tmp_path / "openssl.cnf"
    weak.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n"
                    "MinProtocol = TLSv1\nCipherString = ALL:@SECLEVEL=0\n")
    keylog = tmp_path / "keys.log"
    bulkhead = start(
        configuration(credentials, terminate(backends.plain().url)),
        env={"OPENSSL_CONF": str(weak), "SSLKEYLOGFILE": str(keylog),
             "SSL_CERT_FILE": credentials.bundle("evil.example")},
    )
    host, port = bulkhead.address()
    result = subprocess.run(
        ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_1", "-cipher",
         "ALL:@SECLEVEL=0"], input=b"", capture_output=True, timeout=60,
    )
    assert b"Cipher is (NONE)" in result.stdout
    stream, failure = tls_dial(bulkhead.address(), client_context(credentials.pair("other-domain")))
    with stream:
        assert failure or "alert" in stream.read_to_end()[1]
    with tls_connect(bulkhead.address(), web) as stream:
        ping(stream)
        stream.end()
    assert not keylog.exists()


def test_no_expected_server_no_plaintext(start, backends, credentials):
    """An upstream that speaks plaintext first gets nothing: there is no downgrade."""
    server = backends.plain(lambda stream: stream.send(b"220 welcome\r\n") or stream.recv(65536)[1])
    bulkhead = start(configuration(credentials, originate(server.url.replace("tcp:", "mtls:"))))
    with PlainStream(dial(bulkhead.address())) as stream:
        stream.offer(b"secret")
        assert stream.read_to_end() == (b"", RESET)
        line = bulkhead.wait_access(downstream=stream.local_address())
    assert line.get("bytes_up", 0) == 0


# ---- The hook that drains ---------------------------------------------------------------------


def drain(path, method="POST"):
    status, headers, body = http_get(path, "/drain", method=method)
    return status, json.loads(body) if body and status == 202 else headers


def test_a_drain_asked_for_is_a_drain(start, backends, credentials, web, tmp_path):
    """A Job's main container asks for it when it is done."""
    path = str(tmp_path / "admin.sock")
    bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                   admin={"listen": f"unix://{path}"}))
    with tls_connect(bulkhead.address(), web) as stream:
        ping(stream)
        status, headers = drain(path, "GET")
        assert (status, headers["Allow"]) == (405, "POST")
        assert http_get(path, "/drain?now", method="POST")[0] == 400
        ping(stream)
        assert not is_refused(bulkhead)
        assert drain(path) == (202, {"state": "delayed", "begun_before": False, "delay_ms": 0,
                                     "timeout_ms": 25000})
        bulkhead.wait_log("draining", trigger="ctl")
        until(lambda: is_refused(bulkhead), "the listener to close")
        assert drain(path) == (202, {"state": "draining", "begun_before": True, "delay_ms": 0,
                                     "timeout_ms": 25000})
        ping(stream)
        stream.end()
        assert stream.read_to_end() == (b"", CLEAN)
    bulkhead.wait_exit(0)
    assert len(bulkhead.log.find(event="draining")) == 1


def test_the_signal_after_the_hook_is_the_first(start, backends, credentials, web, tmp_path):
    """A preStop hook asks, then the platform sends SIGTERM: that must cut nobody."""
    path = str(tmp_path / "admin.sock")
    bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                   admin={"listen": f"unix://{path}"}))
    with tls_connect(bulkhead.address(), web) as stream:
        ping(stream)
        assert drain(path)[0] == 202
        until(lambda: is_refused(bulkhead), "the listener to close")
        bulkhead.signal()
        bulkhead.wait_log("draining", signal="SIGTERM")
        ping(stream)
        bulkhead.signal()
        assert stream.read_to_end() == (b"", RESET)
    bulkhead.wait_exit(0)
    assert bulkhead.log.find(event="stopping_at_once", signal="SIGTERM")
    assert bulkhead.access.find(reason="stopped")
