"""The service manager's side: sd_notify(3), the watchdog, sockets that it passes."""

import os
import signal
import threading
import time

import pytest

from harness.bulkhead import configuration, rule, terminate
from harness.notify import Manager
from harness.reloading import Reloadable
from harness.streams import RESET, client_context, tls_connect
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
