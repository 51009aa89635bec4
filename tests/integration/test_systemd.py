"""The service manager's side: sd_notify(3), the watchdog, sockets that it passes."""

import os
import shutil
import signal
import socket
import sys
import threading
import time

import grpc
import pytest

from harness.agent import Agent, with_agent, x509_svid
from harness.bulkhead import ROOT, configuration, originate, rule, terminate
from harness.notify import Manager
from harness.reloading import Reloadable
from harness.streams import (
    CLEAN, RESET, PlainStream, client_context, dial, server_context, tls_connect,
)
from harness.threads import halted_thread
from harness.wait import DEADLINE_S, until


@pytest.fixture
def manager(tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


def ping(stream):
    stream.send(b"ping")
    assert stream.recv_exactly(4) == b"ping"


# ---- what it is told --------------------------------------------------------------------------


def test_ready_when_it_serves_and_stopping_when_it_stops(start, backends, credentials, manager):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                   drain={"delay": "1h"}), env=manager.environment())
    assert manager.wait("READY") == {
        "READY": "1", "STATUS": "Serving: generation 1, 1 listener, 1 rule"}
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        ping(stream)
        bulkhead.signal()
        assert manager.wait("STOPPING") == {
            "STOPPING": "1", "STATUS": "Draining: accepting for 3600000 ms more, then sessions may "
                                       "take 25000 ms"}
        bulkhead.signal(signal.SIGHUP)  # is refused, and no READY may follow
        bulkhead.wait_log("reload", result="refused")
        bulkhead.signal()
        assert stream.read_to_end()[1] == RESET
    bulkhead.wait_exit(0)
    assert manager.keys() == ["READY", "STOPPING"]


def test_an_abstract_socket_too(start, backends, credentials):
    manager = Manager(f"@bulkhead-test-{os.getpid()}-{threading.get_native_id()}")
    start(configuration(credentials, terminate(backends.plain().url)), env=manager.environment())
    manager.wait("READY")
    manager.close()


@pytest.fixture
def place(start, backends, issuer, shop, manager, tmp_path):
    """One that the manager hears, and whose files the test exchanges."""
    def begin(config, **_):
        return start(config, env=manager.environment())

    return Reloadable(begin, tmp_path, issuer, terminate(backends.plain().url), own=shop("orders"))


def rules(count):
    return [rule(f"r{i}", f"spiffe://prod.example/{i}", "all") for i in range(count)]


def test_a_reload_is_told_with_its_time(place, manager, issuer):
    """As Type=notify-reload wants it: RELOADING after the signal, READY when all is in force."""
    manager.wait("READY")
    before = time.monotonic_ns() // 1000
    place.write(rules=rules(2))
    assert place.reload()["result"] == "in_force"
    told = manager.wait("RELOADING")
    assert told["STATUS"] == "Reading all files anew"
    assert before <= int(told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert manager.wait("READY", 2)["STATUS"] == "Serving: generation 2, 1 listener, 2 rules"
    place.reload()
    manager.wait("READY", 3)
    place.write(listeners=[])
    place.reload()
    status = manager.wait("READY", 4)["STATUS"]
    assert status.startswith("Serving: generation 2, 1 listener, 2 rules; the last reload was "
                             "refused: ")
    place.rotate(issuer.issue("orders"))  # a rotation is no reload
    place.wait_log("reload", trigger="watch", result="in_force")
    assert manager.keys() == ["READY"] + ["RELOADING", "READY"] * 3


def pass_turns(place, count=2):
    """As many turns of its loop at least."""
    for _ in range(count):
        before = len(place.log.find(event="signal_ignored"))
        place.signal(signal.SIGUSR2)
        until(lambda b=before: len(place.log.find(event="signal_ignored")) > b, "a turn")


def test_ready_waits_for_the_last_reload(place, manager):
    """READY while another is still to come would let the manager take it for that one's."""
    with halted_thread(place.pid, "worker-0"):
        place.write(rules=rules(2))
        place.signal(signal.SIGHUP)
        manager.wait("RELOADING")
        pass_turns(place)  # it has read the files, and waits for the worker
        place.write(rules=rules(3))
        place.signal(signal.SIGHUP)
        manager.wait("RELOADING", 2)
        assert manager.keys() == ["READY", "RELOADING", "RELOADING"]
    assert manager.wait("READY", 2)["STATUS"] == "Serving: generation 3, 1 listener, 3 rules"
    assert len(manager.of("READY")) == 2


def test_a_start_that_fails_is_told_why(start, backends, credentials, manager):
    listener = terminate(backends.plain().url)
    other = start(configuration(credentials, listener))
    listener["accept"] = f"mtls://127.0.0.1:{other.port()}"
    bulkhead = start(configuration(credentials, listener), wait=False, env=manager.environment())
    bulkhead.wait_exit(1)
    assert "another process listens" in manager.wait("STATUS")["STATUS"]
    assert manager.keys() == []


def test_a_start_that_waits_says_so_and_is_given_the_time(start, backends, issuer, shop, manager):
    """identity.start_timeout bounds the wait, not the manager's own limit for a start."""
    agent = Agent()
    try:
        bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=rules(1)),
                         wait=False, env=manager.environment())
        first = manager.wait("EXTEND_TIMEOUT_USEC")
        assert first == {"EXTEND_TIMEOUT_USEC": "35000000", "STATUS": "Waiting for the first SVID"}
        agent.fail(grpc.StatusCode.PERMISSION_DENIED, "no entry\nREADY=1\tfor \u00e4")
        second = manager.wait("EXTEND_TIMEOUT_USEC", 2)
        assert second["EXTEND_TIMEOUT_USEC"] == "40000000"
        assert "PermissionDenied" in second["STATUS"] and "no entry?READY=1?for ??" in second["STATUS"]
        assert manager.keys() == ["EXTEND_TIMEOUT_USEC"] * 2
        agent.say(x509_svid(issuer, shop("orders")))
        bulkhead.signal(signal.SIGHUP)  # asks at once
        manager.wait("READY")
    finally:
        agent.close()


@pytest.mark.parametrize("place", ["relative", "/nonexistent/at/all", "@", "/" + 120 * "a"])
def test_a_manager_that_is_not_there_stops_nothing(start, backends, credentials, place):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)),
                     env={"NOTIFY_SOCKET": place, "WATCHDOG_USEC": "20000"})
    bulkhead.wait_log("notify_failed")
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        ping(stream)
        stream.end()
    bulkhead.stop()
    assert len(bulkhead.log.find(event="notify_failed")) == 1


# ---- the watchdog -----------------------------------------------------------------------------


def test_the_watchdog_is_fed_twice_in_its_time(start, backends, credentials, manager):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)),
                     env=manager.environment(WATCHDOG_USEC="100000"))
    begin = time.monotonic()
    manager.wait("WATCHDOG", 20)
    assert time.monotonic() - begin >= 0.8, "more often than each 50 ms"
    bulkhead.stop()


@pytest.mark.parametrize("environment", [
    {}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "-5"},
    {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "x"},
])
def test_no_watchdog_where_none_is_ours(start, backends, credentials, manager, environment):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)),
                     env=manager.environment(**environment))
    manager.wait("READY")
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        for _ in range(50):
            ping(stream)
        stream.end()
    bulkhead.stop()
    assert not manager.of("WATCHDOG")


def test_a_stuck_worker_starves_the_watchdog(start, backends, credentials, manager):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)),
                     env=manager.environment(WATCHDOG_USEC="100000"))
    with halted_thread(bulkhead.pid, "worker-0"):
        bulkhead.wait_log("worker_stuck", 2 * DEADLINE_S)
        fed = len(manager.of("WATCHDOG"))
        time.sleep(0.5)  # ten times its time: what must not come
        assert len(manager.of("WATCHDOG")) <= fed + 1
    bulkhead.wait_log("worker_recovered")
    manager.wait("WATCHDOG", fed + 5)


# ---- sockets that it passes -------------------------------------------------------------------


def listening(kind=socket.SOCK_STREAM, host="127.0.0.1", family=socket.AF_INET, backlog=16):
    sock = socket.socket(family, kind)
    sock.bind((host, 0) if family != socket.AF_UNIX else host)
    if kind == socket.SOCK_STREAM and backlog:
        sock.listen(backlog)
    return sock


@pytest.fixture
def activated(start):
    """activated(config, {name: socket}) -> a bulkhead that was started with them."""
    def begin(config, sockets, names=None, **more):
        fds = [sock.fileno() for sock in sockets.values()]
        names = ":".join(sockets) if names is None else names
        through = (sys.executable, str(ROOT / "tests/integration/harness/activate.py"),
                   ",".join(map(str, fds)), names)
        return start(config, through=through, pass_fds=fds, **more)

    return begin


def on(address, forward, name="in", **more):
    return {**terminate(forward, name), "accept": address, **more}


def echo(address, credentials):
    with tls_connect(address, client_context(credentials.pair("web"))) as stream:
        ping(stream)
        stream.end()
        assert stream.read_to_end() == (b"", CLEAN)


def test_listeners_take_the_sockets_of_their_names(activated, backends, credentials, tmp_path):
    backend, path = backends.plain().url, str(tmp_path / "in.sock")
    sockets = {"orders": listening(), "edge.socket": listening(family=socket.AF_UNIX, host=path),
               "six": listening(family=socket.AF_INET6, host="::1")}
    bulkhead = activated(configuration(
        credentials, on("mtls+unix://systemd:edge.socket", backend, "a"),
        on("mtls://systemd:orders", backend, "b"), on("mtls://systemd:six", backend, "c"),
        workers=4), sockets)
    assert bulkhead.address("a") == path
    assert bulkhead.address("b") == sockets["orders"].getsockname()
    assert bulkhead.port("c") == sockets["six"].getsockname()[1]
    for _ in range(8):
        echo(path, credentials)
        echo(bulkhead.address("b"), credentials)
    assert len([f for f in bulkhead.open_files() if f and "socket" in f]) < 16
    bulkhead.stop()
    assert os.path.exists(path), "its file is the manager's"


def test_who_comes_between_two_runs_waits(activated, backends, credentials):
    """The manager keeps the socket: nobody is refused over a restart."""
    config = configuration(credentials, on("mtls://systemd:orders", backends.plain().url))
    sock = listening()
    first = activated(config, {"orders": sock})
    echo(sock.getsockname(), credentials)
    first.stop()
    waiting = dial(sock.getsockname())
    activated(config, {"orders": sock})
    with PlainStream(waiting) as stream:
        stream.send(b"GET / HTTP/1.0\r\n\r\n")
        stream.read_to_end()  # an alert: somebody is there
    echo(sock.getsockname(), credentials)


def test_a_reload_keeps_a_socket_and_can_give_it_up_for_good(start, activated, backends, issuer,
                                                              shop, tmp_path):
    sock, backend = listening(), backends.plain().url

    def begin(config, **_):
        return activated(config, {"orders": sock})

    place = Reloadable(begin, tmp_path, issuer, on("mtls://systemd:orders", backend),
                       own=shop("orders"), rules=[rule("all", "spiffe://prod.example/**", "all")])
    place.write(listeners=[on("mtls://systemd:orders", backend, "renamed")])
    assert place.reload()["result"] == "in_force"
    with tls_connect(sock.getsockname(), client_context(shop("web").pair)) as stream:
        ping(stream)
    place.write(listeners=[on("mtls://127.0.0.1:0", backend, "renamed")])
    assert place.reload()["result"] == "in_force"
    place.write(listeners=[on("mtls://systemd:orders", backend, "renamed")])
    assert place.reload()["result"] == "refused"
    assert "given up by an earlier reload" in place.log.text()


@pytest.mark.parametrize("accept, sockets, names, why", [
    ("mtls://systemd:orders", {}, "-", "none was passed to this process"),
    ("mtls://systemd:orders", {"other": {}}, None, "no socket \"orders\" was passed; there are "
     "\"other\""),
    ("mtls://systemd:orders", {"orders": {}, "more": {}}, None,
     "no listener takes the socket \"more\""),
    ("mtls://127.0.0.1:0", {"orders": {}}, None, "no listener takes the socket \"orders\""),
    ("mtls://127.0.0.1:0", {"orders": {}}, "-", "a socket without a name was passed"),
    ("mtls://systemd:orders", {"orders": {}, "more": {}}, "orders:orders",
     "2 sockets named \"orders\" were passed"),
    ("mtls://systemd:orders", {"orders": {"kind": socket.SOCK_DGRAM}}, None, "no stream socket"),
    ("mtls://systemd:orders", {"orders": {"backlog": 0}}, None, "does not listen"),
    ("mtls+unix://systemd:orders", {"orders": {}}, None, "wants a Unix socket"),
    ("mtls://systemd:orders", {"orders": {"family": socket.AF_UNIX, "host": "\0bulkhead-x"}}, None,
     "wants TCP"),
    ("tcp://systemd:orders", {"orders": {"host": "0.0.0.0"}}, None, "plaintext off the loopback"),
    ("mtls://systemd:orders", {"orders": {}}, "orders:more", "has not as many names"),
    ("mtls://systemd:orders", {"orders": {}, "more": {}}, "orders", "has not as many names"),
])
def test_what_does_not_fit_refuses_the_start(activated, backends, credentials, accept, sockets,
                                             names, why):
    backend = backends.tls(server_context(credentials.pair("payments"))).url
    listener = {**originate(backend), "accept": accept}
    made = {name: listening(**how) for name, how in sockets.items()}
    bulkhead = activated(configuration(credentials, listener), made, names, wait=False)
    bulkhead.wait_exit(1)
    assert why in bulkhead.log.text().replace('\\"', '"')


@pytest.mark.parametrize("forged, why", [
    ({"FORGED_FDS": "x"}, "LISTEN_FDS=\"x\""), ({"FORGED_FDS": "-1"}, "LISTEN_FDS=\"-1\""),
    ({"FORGED_FDS": "100000"}, "1024 at most"), ({"FORGED_FDS": "2"}, "descriptor 3 is not open"), ({"FORGED_PID": "me"}, "LISTEN_PID=\"me\""),
])
def test_variables_that_make_no_sense_refuse_the_start(activated, backends, credentials, forged,
                                                       why):
    bulkhead = activated(configuration(credentials, terminate(backends.plain().url)), {}, "-",
                         wait=False, env=forged)
    bulkhead.wait_exit(1)
    assert why in bulkhead.log.text()


def test_sockets_of_another_process_are_closed(activated, backends, credentials):
    """LISTEN_PID is not ours: a parent has left its variables in the environment."""
    bulkhead = activated(configuration(credentials, terminate(backends.plain().url)),
                         {"orders": listening()}, env={"FORGED_PID": "1"})
    echo(bulkhead.address(), credentials)


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd is not here")
def test_systemds_own_tool_starts_it_at_the_first_connection(start, backends, credentials):
    with listening() as sock:
        port = sock.getsockname()[1]
    bulkhead = start(
        configuration(credentials, on("mtls://systemd:orders", backends.plain().url)), wait=False,
        through=("systemd-socket-activate", "-l", f"127.0.0.1:{port}", "--fdname=orders"))
    until(lambda: can_connect(("127.0.0.1", port)), "the tool")
    bulkhead.start()
    echo(("127.0.0.1", port), credentials)


def can_connect(address):
    with socket.socket() as sock:
        return sock.connect_ex(address) == 0
