"""drain: how the program ends under load.

First with 5,000 live sessions, of which half end by themselves when the drain begins and half never
would: how long it takes, what is cut and as what, the exit code. Then with clients that come all the
time and go on for a second after readiness has failed, as they do until every endpoint has been told:
with `drain.delay` none may be refused. Without it, for comparison, how many are.
"""

import signal
import time

from soak_kit import DEADLINE_S, GOOD_AT_ONCE, Crowd, Echo, Proxy, check
from soak_reload import Helper, hold_sessions, serve_echo
from harness.bulkhead import terminate
from harness.metrics import http_get
from harness.streams import RESET
from soak_peers import Loop, Server

LEAVERS = 2500
STAYERS = 2500
TIMEOUT_S = 5
DELAY_S = 3
TOLD_AFTER_S = 1.0  # until all who send clients know that we are not ready
PROBES = {"listen": "tcp://127.0.0.1:0"}


def plan(world, proxy, name, count):
    return [(name, proxy.address(), world.credentials.pair("web"))] * count


def wait_ended(holder, count):
    ended, deadline = [], time.monotonic() + DEADLINE_S
    while len(ended) < count and time.monotonic() < deadline:
        ended += holder.ask("ended")
    return ended


def many(world):
    """5,000 sessions."""
    with Helper(serve_echo) as backend, \
            Proxy(world, terminate(backend.answer()), limits={"handshakes": 4096},
                  drain={"timeout": f"{TIMEOUT_S}s"}) as proxy, \
            Helper(hold_sessions, plan(world, proxy, "leaver", LEAVERS)) as leavers, \
            Helper(hold_sessions, plan(world, proxy, "stayer", STAYERS)) as stayers:
        check(leavers.answer() == LEAVERS and stayers.answer() == STAYERS, "sessions")
        check(stayers.ask("ended") == [], "sessions ended before")
        began = time.monotonic()
        proxy.bulkhead.signal(signal.SIGTERM)
        left = leavers.ask("leave")
        left_s = time.monotonic() - began
        ended = wait_ended(stayers, STAYERS)
        proxy.bulkhead.wait_exit(0)
        exit_s = time.monotonic() - began
        check(left["live"] == left["clean"] == LEAVERS and left["wrong"] == 0,
              f"those that end by themselves: {left}")
        check(len(ended) == STAYERS and {how for _, how, _ in ended} == {RESET},
              f"{len(ended)} of {STAYERS} were cut, {sorted({how for _, how, _ in ended})}")
        cut = sorted(when - began for *_, when in ended)
        check(cut[0] >= TIMEOUT_S, f"a session was cut after {cut[0]:.3f} s")
        reasons = proxy.reasons()
        check(reasons == {"closed": LEAVERS, "drain_deadline": STAYERS}, f"reasons {reasons}")
        line = proxy.bulkhead.log.find(event="stopped")[0]
        check(line["drain_deadline"] == STAYERS and line["log_lines_dropped"] == 0, f"{line}")
    return {"sessions": LEAVERS + STAYERS, "left_s": left_s, "cut_first_s": cut[0],
            "cut_last_s": cut[-1], "exit_s": exit_s, "exit_code": 0, "reasons": reasons}


def readiness(proxy):
    host, _, port = proxy.bulkhead.wait_log("probes_listening")["addr"].rpartition(":")
    return http_get((host, int(port)), "/readyz")[0]


class Rollout:
    """Clients that come all the time, and what they meet when the program is told to stop."""

    def __init__(self, world, delay_s):
        self.loop, self.delay_s = Loop(), delay_s
        self.backend = Server(self.loop, Echo)
        self.proxy = Proxy(world, terminate(self.backend.url), probes=PROBES,
                           drain={"delay": f"{delay_s}s", "timeout": "10s"})
        self.context = world.client()
        self.unready_s = None

    def look(self):
        if readiness(self.proxy) != 200:
            self.unready_s = time.monotonic() - self.began
        return self.unready_s is not None

    def run(self):
        with self.proxy as proxy:
            crowd = Crowd(self.loop, proxy.address(), self.context)
            crowd.start(GOOD_AT_ONCE)
            self.loop.run(1.0)
            check(readiness(proxy) == 200, "not ready before")
            self.began = time.monotonic()
            proxy.bulkhead.signal(signal.SIGTERM)
            if self.delay_s:
                self.loop.every(0.01, self.look)
                self.loop.until(lambda: self.unready_s is not None, "readiness to fail", DEADLINE_S)
            self.loop.run(TOLD_AFTER_S)
            crowd.stop()
            proxy.bulkhead.wait_exit(0)
            exit_s = time.monotonic() - self.began
        after = [(asker, how) for asker, how in crowd.finished if asker.started > self.began]
        return {"after": len(after), "all": len(crowd.finished), "unready_s": self.unready_s,
                "refused": sum(not asker.served for asker, _ in crowd.finished),
                "exit_s": exit_s}


def drain(world):
    sessions = many(world)
    delayed = Rollout(world, DELAY_S).run()
    check(delayed["refused"] == 0, f"{delayed['refused']} of {delayed['after']} were refused while "
          "endpoints still pointed here")
    check(delayed["after"] > 0, "nobody came after the signal")
    check(delayed["exit_s"] >= DELAY_S, f"it ended after {delayed['exit_s']:.3f} s")
    bare = Rollout(world, 0).run()
    return {"many": sessions, "delayed": delayed, "without_delay": bare}, (
        f"{sessions['sessions']} sessions: {LEAVERS} ended by themselves within "
        f"{1000 * sessions['left_s']:.0f} ms, all in order; {STAYERS} were cut {TIMEOUT_S} s after "
        f"the signal (from {sessions['cut_first_s']:.3f} to {sessions['cut_last_s']:.3f} s), exit "
        f"code 0 after {sessions['exit_s']:.2f} s; with drain.delay {DELAY_S}s readiness failed "
        f"within {1000 * delayed['unready_s']:.1f} ms, {delayed['after']} clients came in the "
        f"second after that, none was refused, exit code 0 after {delayed['exit_s']:.2f} s; "
        f"without, {bare['refused']} of {bare['after']} were refused (who is comes back at once)")
