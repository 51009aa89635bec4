"""Authority that ends by time: certificates that expire in mid-connection, max_age, CRLs past their
nextUpdate, our own SVID, and a wall clock that steps. The clock is turned by the test."""

import datetime
import threading
import time

import pytest

from harness.bulkhead import bridge, originate, rule, terminate
from harness.reloading import ping
from harness.streams import (
    CLEAN, RESET, PlainStream, client_context, dial, server_context, tls_connect, tls_dial,
)
from harness.wait import SCALE, until

HOUR = 3600
MAX_AGE_MS = int(3000 * SCALE)  # time enough for what must happen before


def anybody():
    return [rule("all", "spiffe://prod.example/**", "all")]


def assert_lost(place, stream, reason):
    assert stream.read_to_end() == (b"", RESET)
    line = place.ended(stream)
    assert (line["event"], line["reason"]) == ("close", reason)
    return line


def time_of(line):
    """Of an access line, in seconds since 1970."""
    return datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()


def refusal(place, svid, listener=None):
    stream, failure = tls_dial(place.address(listener), client_context(svid.pair))
    with stream:
        if failure is None:
            stream.read_to_end()
        return place.ended(stream)["reason"]


class Talker:
    """Keeps a session busy, so that it has no quiet moment."""

    def __init__(self, stream):
        self.stream, self.count, self.end = stream, 0, None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            while True:
                ping(self.stream)
                self.count += 1
                time.sleep(0.02)  # a pace, no wait
        except (AssertionError, OSError) as error:
            self.end = (time.time(), error)

    def wait(self, timeout=None):
        until(lambda: self.end is not None, "the busy session's end", timeout)
        return self.end[0]


# ---- The peer's certificate -------------------------------------------------------------------


def test_a_session_ends_with_its_clients_certificate(reloadable, backends, issuer, shop, clock):
    place = reloadable(terminate(backends.plain().url), rules=anybody(), clock=clock)
    brief = issuer.issue("web", end=time.time() + HOUR)
    with place.connect(brief) as stream, place.connect(shop("wiki")) as other:
        clock.set(2 * HOUR)
        lost = assert_lost(place, stream, "peer_expired")
        assert lost["downstream_id"] == issuer.id("web")
        ping(other)
    assert refusal(place, brief) == "svid_expired"


@pytest.mark.parametrize("kind", [originate, bridge])
def test_a_session_ends_with_its_servers_certificate(reloadable, backends, issuer, shop, clock,
                                                     kind):
    server = backends.tls(
        server_context(issuer.issue("payments", end=time.time() + HOUR).pair, issuer.bundle))
    place = reloadable(kind(server.url, name="x"), rules=anybody(), clock=clock)
    stream = (PlainStream(dial(place.address())) if kind is originate
              else tls_connect(place.address(), client_context(shop("web").pair)))
    with stream:
        ping(stream)
        clock.set(2 * HOUR)
        assert_lost(place, stream, "peer_expired")
        assert server.wait_ends() == [RESET]


def test_a_quiet_session_ends_before_a_busy_one_at_the_end(reloadable, backends, issuer, shop,
                                                           clock):
    """In the last tenth at a quiet moment, at notAfter whatever it does."""
    place = reloadable(terminate(backends.plain().url), rules=anybody(), clock=clock)
    end = int(time.time()) + 12
    brief = issuer.issue("web", end=end)
    quiet = [place.connect(brief) for _ in range(8)]
    busy = Talker(place.connect(brief))
    ended = [time_of(assert_lost(place, stream, "peer_expired")) for stream in quiet]
    assert busy.wait(30) >= end - 0.05, "a busy session has all its time"
    # A tenth of at most twelve seconds before the end; each draws its own moment of it.
    assert min(ended) >= end - 1.25 and min(ended) < end - 0.01 and len(set(ended)) > 1
    assert time_of(place.ended(busy.stream)) >= end - 0.05
    for stream in (*quiet, busy.stream):
        stream.close()


def test_a_far_end_does_not_overflow(reloadable, backends, issuer, shop, clock):
    forever = issuer.issue("web", end=253402300799)  # 9999-12-31T23:59:59Z
    place = reloadable(terminate(backends.plain().url), rules=anybody(), clock=clock)
    brief = issuer.issue("batch", end=time.time() + HOUR)
    with place.connect(forever) as stream:
        with place.connect(brief) as other:
            clock.set(2 * HOUR)
            assert_lost(place, other, "peer_expired")
        ping(stream)


def test_close_on_expiry_false_lives_to_max_age(reloadable, backends, issuer, shop, clock):
    place = reloadable(
        terminate(backends.plain().url, name="a", close_on_expiry=False,
                  max_age=f"{MAX_AGE_MS}ms"),
        terminate(backends.plain().url, name="b"), rules=anybody(), clock=clock)
    brief = issuer.issue("web", end=time.time() + HOUR)
    with place.connect(brief, "a") as long, place.connect(brief, "b") as short:
        clock.set(2 * HOUR)
        assert_lost(place, short, "peer_expired")
        ping(long)
        lost = assert_lost(place, long, "max_age")
        assert lost["duration_ms"] >= MAX_AGE_MS * 9 // 10 - 1
    assert refusal(place, brief, "a") == "svid_expired", "new ones are refused all the same"


def test_max_age_is_an_age_and_no_date(reloadable, backends, issuer, shop, clock):
    place = reloadable(terminate(backends.plain().url, max_age="1h"), rules=anybody(), clock=clock)
    brief = issuer.issue("batch", end=time.time() + HOUR)
    with place.connect(shop("web")) as stream, place.connect(brief) as other:
        clock.set(2 * HOUR)
        assert_lost(place, other, "peer_expired")
        ping(stream)


def test_a_reload_that_changes_max_age_counts_for_live_sessions(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url, max_age="1h"), rules=anybody())
    with place.connect(shop("web")) as stream:
        time_alive = time.monotonic()
        place.apply(listeners=place.listener(max_age="1s"))
        lost = assert_lost(place, stream, "max_age")
        assert lost["duration_ms"] <= (time.monotonic() - time_alive) * 1000 + 1000


# ---- A clock that steps -----------------------------------------------------------------------


def test_a_clock_that_steps_forward_and_back(reloadable, backends, issuer, shop, clock):
    place = reloadable(terminate(backends.plain().url), rules=anybody(), clock=clock)
    now = time.time()
    one, two = (issuer.issue("web", end=now + hours * HOUR) for hours in (1, 5))
    with place.connect(one) as first, place.connect(two) as second:
        clock.set(3 * HOUR)
        assert_lost(place, first, "peer_expired")
        ping(second)
        clock.set(0)
        # What was refused for the time alone is let in again.
        until(lambda: connects(place, one), "the clock's step back")
        with place.connect(one) as again:
            ping(second)
            clock.set(3 * HOUR)
            assert_lost(place, again, "peer_expired")
        clock.set(6 * HOUR)
        assert_lost(place, second, "peer_expired")


def connects(place, svid):
    stream, failure = tls_dial(place.address(), client_context(svid.pair))
    with stream:
        try:
            ping(stream)
        except (AssertionError, OSError):
            return False
    return failure is None


@pytest.mark.parametrize("before", [-300, 400])
def test_a_step_while_nobody_was_there(reloadable, backends, issuer, shop, clock, before):
    """No session, so no worker looks at the clock: the next one is judged by the new time."""
    day, now = 24 * HOUR, time.time()
    clock.set(before * day)
    own = issuer.issue("orders", now - 500 * day, now + 500 * day)
    place = reloadable(terminate(backends.plain().url), rules=anybody(), clock=clock, own=own)
    web = issuer.issue("web", now - 500 * day, now + HOUR)
    old = issuer.issue("wiki", now - 500 * day, now - 100 * day)
    clock.set(0)
    with place.connect(web) as stream:
        assert refusal(place, old) == "svid_expired"
        clock.set(-300 * day)
        with place.connect(old) as other:
            ping(stream)
            clock.set(2 * HOUR)
            assert_lost(place, stream, "peer_expired")
            assert_lost(place, other, "peer_expired")


# ---- Our own SVID -----------------------------------------------------------------------------


@pytest.mark.parametrize("own_expiry", ["refuse_new", "close"])
def test_our_own_expiry(reloadable, backends, issuer, shop, clock, own_expiry):
    own = issuer.issue("orders", end=time.time() + HOUR)
    server = backends.tls(server_context(shop("payments").pair, issuer.bundle))
    place = reloadable(terminate(backends.plain().url, name="in"), originate(server.url, "out"),
                       rules=anybody(), clock=clock, own=own, own_expiry=own_expiry)
    brief = issuer.issue("batch", end=time.time() + HOUR)
    with place.connect(shop("web"), "in") as web, PlainStream(dial(place.address("out"))) as out, \
            place.connect(brief, "in") as clocked:
        ping(out)
        clock.set(2 * HOUR)
        clocked.read_to_end()  # by now the worker has seen the time
        if own_expiry == "close":
            assert_lost(place, web, "own_expired")
            assert_lost(place, out, "own_expired")
        else:
            ping(web)
            ping(out)
        assert refusal(place, shop("web"), "in") == "own_svid_expired"
        with PlainStream(dial(place.address("out"))) as stream:
            assert stream.read_to_end() == (b"", RESET)
            # Where sessions end with it, this one does before it dials.
            wanted = "own_expired" if own_expiry == "close" else "own_svid_expired"
            assert place.ended(stream)["reason"] == wanted
        new = issuer.issue("orders", end=time.time() + 5 * HOUR)
        place.rotate(new)
        assert place.reload()["result"] == "in_force"
        with place.connect(shop("web"), "in"):
            pass
        if own_expiry == "refuse_new":
            ping(web)


def test_our_own_expiry_is_said_well_before(reloadable, backends, issuer, shop):
    """Once each when a half, a quarter and a tenth of the lifetime are left, and at the end."""
    now = int(time.time())
    own = issuer.issue("orders", now - 8, now + 12)
    place = reloadable(terminate(backends.plain().url), rules=anybody(), own=own)
    seen = []
    for left in (50, 25, 10):
        line = place.wait_log("own_svid_ages", percent_left=left, timeout=30)
        assert line["level"] == "warn" and line["spiffe_id"] == issuer.id("orders")
        seen.append(line["time"])
    line = place.wait_log("own_svid_expired", timeout=30)
    assert line["level"] == "error" and seen == sorted(seen)
    assert len(place.log.find(event="own_svid_ages")) == 3
    # A successor is spoken of anew, when its time comes.
    place.rotate(issuer.issue("orders", now - 100, now + 3600))
    assert place.reload()["result"] == "in_force"
    assert len(place.log.find(event="own_svid_ages")) == 3


def test_a_start_late_in_life_says_the_latest_alone(reloadable, backends, issuer, clock):
    now = time.time()
    own = issuer.issue("orders", now - HOUR, now + 9 * HOUR)
    clock.set(8.5 * HOUR)
    place = reloadable(terminate(backends.plain().url), rules=anybody(), own=own, clock=clock)
    line = place.wait_log("own_svid_ages")
    assert line["percent_left"] == 10
    place.reload()
    assert len(place.log.find(event="own_svid_ages")) == 1


def test_a_start_with_an_expired_svid_runs_and_refuses(reloadable, backends, issuer, shop):
    """Expiry never stops a start: the process waits for whoever renews it."""
    now = time.time()
    place = reloadable(terminate(backends.plain().url), rules=anybody(),
                       own=issuer.issue("orders", now - 2 * HOUR, now - HOUR))
    place.wait_log("own_svid_expired")
    assert refusal(place, shop("web")) == "own_svid_expired"
    place.rotate(issuer.issue("orders"))
    assert place.reload()["result"] == "in_force"
    with place.connect(shop("web")):
        pass


# ---- CRLs past their nextUpdate ---------------------------------------------------------------


@pytest.mark.parametrize("crl_expired", ["keep", "cut"])
def test_a_crl_past_its_next_update(reloadable, backends, issuer, shop, clock, crl_expired):
    place = reloadable(terminate(backends.plain().url), rules=anybody(), clock=clock, crl=True,
                       trust_more={"crl_expired": crl_expired})
    issuer.crl(place.crl, end=time.time() + HOUR)
    place.reload()
    brief = issuer.issue("batch", end=time.time() + HOUR)
    with place.connect(shop("web")) as web, place.connect(brief) as clocked:
        clock.set(2 * HOUR)
        clocked.read_to_end()
        if crl_expired == "cut":
            assert_lost(place, web, "crl_expired")
        else:
            ping(web)
        assert refusal(place, shop("web")) == "svid_crl_expired"
        # Whatever else changes, the CRL's age is nobody's end but where that is asked for.
        place.rotate(issuer.issue("orders"))
        place.bundle.write_bytes(issuer.bundle.read_bytes() * 2)
        assert place.reload()["result"] == "in_force"
        if crl_expired == "keep":
            ping(web)
        issuer.crl(place.crl, end=time.time() + 5 * HOUR)
        assert place.reload()["result"] == "in_force"
        with place.connect(shop("web")):
            pass
        if crl_expired == "keep":
            ping(web)
            web.end()
            assert web.read_to_end() == (b"", CLEAN)
