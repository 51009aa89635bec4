"""`expires`: a rule ends at its moment by itself, and with it the sessions that no other rule admits.
The clock is turned by the test."""

import json
import time

import pytest

from harness.bulkhead import bridge, rule, run_command, terminate
from harness.halting import Hanging
from harness.reloading import ping
from harness.streams import (
    RESET, client_context, tls_connect, tls_dial,
)
from harness.wait import until

HOUR = 3600
DAY = 24 * HOUR


def instant(wall_s):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall_s))


def in_hours(hours):
    return instant(time.time() + hours * HOUR)


def temporary(issuer, name, expires, **more):
    return rule(name, issuer.id("web"), "all", expires=expires, **more)


class Witness:
    """A session whose rule ends in that many hours: when it is gone, the one worker has seen the
    time."""

    def __init__(self, issuer, shop, *hours):
        self.svid = shop("batch")
        self.rules = [rule(f"witness-{h}", issuer.id("batch"), "all", expires=in_hours(h))
                      for h in hours]

    def turn(self, place, clock, hours):
        with place.connect(self.svid) as stream:
            clock.set(hours * HOUR)
            assert stream.read_to_end() == (b"", RESET)
            assert place.ended(stream)["reason"] == "rule_expired"


def refusal(place, svid):
    stream, failure = tls_dial(place.address(), client_context(svid.pair))
    with stream:
        if failure is None:
            stream.read_to_end()
        return place.ended(stream)


def assert_expired(place, stream, name):
    assert stream.read_to_end() == (b"", RESET)
    line = place.ended(stream)
    assert (line["event"], line["reason"], line["rule"]) == ("close", "rule_expired", name), line
    assert line["detail"].startswith(f'rule "{name}" ended at '), line
    return line


def test_a_rule_ends_with_its_sessions_and_nobody_elses(reloadable, backends, issuer, shop, clock):
    end = in_hours(1)
    place = reloadable(
        terminate(backends.plain().url), clock=clock,
        rules=[temporary(issuer, "visit", end), rule("wiki", issuer.id("wiki"), "all")])
    with place.connect(shop("web")) as stream, place.connect(shop("wiki")) as other:
        clock.set(2 * HOUR)
        line = assert_expired(place, stream, "visit")
        assert end in line["detail"]
        ping(other)
        assert refusal(place, shop("web"))["reason"] == "policy_no_rule"
        ping(other)
        place.reload()
    assert place.wait_log("rule_expired")["rule"] == "visit"


def test_a_session_goes_on_by_another_rule_until_that_ends(reloadable, backends, issuer, shop,
                                                           clock):
    place = reloadable(
        terminate(backends.plain().url), clock=clock, workers=1,
        rules=[temporary(issuer, "first", in_hours(1)), temporary(issuer, "third", in_hours(9)),
               temporary(issuer, "second", in_hours(5)), *Witness(issuer, shop, 1.5).rules])
    with place.connect(shop("web")) as stream:
        Witness(issuer, shop).turn(place, clock, 2)
        ping(stream)
        place.apply(rules=[*place.config["rules"][:3], *Witness(issuer, shop, 5.5).rules])
        Witness(issuer, shop).turn(place, clock, 6)
        ping(stream)
        clock.set(10 * HOUR)
        assert_expired(place, stream, "third")


def test_at_that_very_moment_and_not_before(reloadable, backends, issuer, shop, clock):
    """No quiet moment is looked for: an idle session has all of its time."""
    end = int(time.time()) + 3
    place = reloadable(terminate(backends.plain().url), clock=clock,
                       rules=[temporary(issuer, "visit", instant(end))])
    with place.connect(shop("web")) as stream:
        assert_expired(place, stream, "visit")
        assert end <= time.time() < end + 1


def test_a_clock_that_steps(reloadable, backends, issuer, shop, clock):
    web, orders, batch = (issuer.issue(name, time.time() - 5 * DAY, time.time() + 5 * DAY)
                          for name in ("web", "orders", "batch"))
    witness = Witness(issuer, lambda _: batch, -20)
    place = reloadable(terminate(backends.plain().url), clock=clock, workers=1, own=orders,
                       rules=[temporary(issuer, "visit", in_hours(1)), *witness.rules])
    with place.connect(web) as stream:
        clock.set(-24 * HOUR)
        until(lambda: connects(place, batch), "the clock's step back")
        witness.turn(place, clock, -10)
        ping(stream)
        clock.set(2 * HOUR)
        assert_expired(place, stream, "visit")
    assert refusal(place, shop("web"))["reason"] == "policy_no_rule"
    clock.set(0)
    until(lambda: connects(place, shop("web")), "the clock's step back")
    with place.connect(shop("web")) as stream:
        clock.set(2 * HOUR)
        assert_expired(place, stream, "visit")


def connects(place, svid):
    stream, failure = tls_dial(place.address(), client_context(svid.pair))
    with stream:
        try:
            ping(stream)
        except (AssertionError, OSError):
            return False
    return failure is None


def test_a_step_while_nobody_was_there(reloadable, backends, issuer, shop, clock):
    place = reloadable(terminate(backends.plain().url), clock=clock,
                       rules=[temporary(issuer, "visit", in_hours(1))])
    clock.set(2 * HOUR)
    assert refusal(place, shop("web"))["reason"] == "policy_no_rule"


def test_a_rule_that_ends_in_the_middle_of_a_dial(reloadable, backends, issuer, shop, clock):
    with Hanging() as server:
        place = reloadable(bridge(server.url.replace("tcp", "mtls")), clock=clock,
                           rules=[temporary(issuer, "visit", in_hours(1))])
        caller = tls_connect(place.address(), client_context(shop("web").pair))
        with caller, server.accept():
            clock.set(2 * HOUR)
            assert caller.read_to_end() == (b"", RESET)
            line = place.ended(caller)
            assert (line["event"], line["reason"]) == ("deny", "rule_expired"), line


@pytest.mark.parametrize("also, ends", [
    ({"enforcement": "audit"}, False), ({"enforcement": "enforce"}, True),
])
def test_audit_takes_over_from_a_rule_that_ends(reloadable, backends, issuer, shop, clock, also,
                                                ends):
    place = reloadable(terminate(backends.plain().url), clock=clock,
                       rules=[temporary(issuer, "visit", in_hours(1))], workers=1, **also)
    with place.connect(shop("web")) as stream, \
            place.connect(issuer.issue("wiki", end=time.time() + HOUR)) if not ends \
            else place.connect(shop("web")) as witness:
        clock.set(2 * HOUR)
        assert witness.read_to_end() == (b"", RESET)
        if ends:
            assert_expired(place, stream, "visit")
            return
        ping(stream)
        stream.end()
        stream.read_to_end()
        line = place.ended(stream)
        assert line["would_deny"] is True and line["decision"] == "allow"


def test_a_deny_that_ends_lets_in_what_another_rule_allows(reloadable, backends, issuer, shop,
                                                           clock):
    place = reloadable(
        terminate(backends.plain().url), clock=clock,
        rules=[temporary(issuer, "freeze", in_hours(1), action="deny"),
               rule("web", issuer.id("web"), "all")])
    assert refusal(place, shop("web"))["reason"] == "policy_deny_rule"
    clock.set(2 * HOUR)
    with place.connect(shop("web")):
        pass


def test_a_shadow_rule_that_ends_takes_nobody_along(reloadable, backends, issuer, shop, clock):
    place = reloadable(
        terminate(backends.plain().url), clock=clock, workers=1,
        rules=[temporary(issuer, "try", in_hours(1), mode="shadow"),
               rule("web", issuer.id("web"), "all"), *Witness(issuer, shop, 1.5).rules])
    with place.connect(shop("web")) as stream:
        Witness(issuer, shop).turn(place, clock, 2)
        ping(stream)
        place.reload()
    assert place.wait_log("rule_expired", rule="try")["mode"] == "shadow"


def test_a_later_end_counts_for_live_sessions(reloadable, backends, issuer, shop, clock):
    place = reloadable(terminate(backends.plain().url), clock=clock,
                       rules=[temporary(issuer, "visit", in_hours(1))])
    with place.connect(shop("web")) as stream, place.connect(shop("web")) as other:
        other.end()
        place.apply(rules=[temporary(issuer, "visit", in_hours(5))])
        clock.set(2 * HOUR)
        until(lambda: refusal(place, shop("wiki")), "the new time")
        ping(stream)
        place.apply(rules=[temporary(issuer, "visit", instant(time.time() + HOUR))])
        assert stream.read_to_end() == (b"", RESET)
        assert place.ended(stream)["reason"] in ("rule_removed", "rule_expired")


def test_sessions_say_what_ends_them(reloadable, backends, issuer, shop, tmp_path):
    end = in_hours(1)
    place = reloadable(
        terminate(backends.plain().url), admin={"listen": f"unix://{tmp_path}/admin.sock"},
        rules=[temporary(issuer, "visit", end), rule("wiki", issuer.id("wiki"), "all")])
    with place.connect(shop("web")), place.connect(shop("wiki")):
        result = run_command("ctl", "-c", place.config_file, "sessions", "--json")
        found = {s["rule"]: s for s in json.loads(result.stdout)["sessions"]}
        assert found["visit"]["ends_by"] == "rule_expired"
        assert found["visit"]["authority_ends"].startswith(end[:-1])
        assert found["wiki"]["ends_by"] == "peer_expired"
        people = run_command("ctl", "-c", place.config_file, "sessions").stdout
        assert "ENDS_BY" in people and "rule_expired" in people


# ---- Said before ------------------------------------------------------------------------------


def days(issuer, name, count, **more):
    return temporary(issuer, name, instant(time.time() + count * DAY), **more)


def test_the_end_is_said_two_weeks_and_two_days_before(reloadable, backends, issuer, clock):
    own = issuer.issue("orders", end=time.time() + 100 * DAY)
    place = reloadable(terminate(backends.plain().url), clock=clock, own=own,
                       rules=[days(issuer, "visit", 30, owner="batch-team")])

    def said():
        return [(line["event"], line.get("days_left"))
                for line in place.log.parsed if line["event"].startswith("rule_expire")]

    place.reload()
    assert said() == []
    clock.set(16.5 * DAY)
    place.reload()  # control looks at its own clock once an hour, and now
    line = place.wait_log("rule_expires_soon")
    assert (line["rule"], line["owner"], line["level"]) == ("visit", "batch-team", "warn")
    assert (line["expires"], line["days_left"]) == (place.config["rules"][0]["expires"], 13)
    place.reload()
    clock.set(29.5 * DAY)
    place.reload()
    place.wait_log("rule_expires_soon", days_left=0)
    clock.set(31 * DAY)
    place.reload()
    place.wait_log("rule_expired", rule="visit")
    place.reload()
    assert said() == [("rule_expires_soon", 13), ("rule_expires_soon", 0), ("rule_expired", None)]
    # A rule that is given another end is spoken of anew.
    place.apply(rules=[days(issuer, "visit", 32, owner="batch-team")])
    place.wait_log("rule_expires_soon", days_left=0)
    assert len(said()) == 4


def test_a_start_says_what_is_near_once_and_what_is_over_never(reloadable, backends, issuer):
    place = reloadable(
        terminate(backends.plain().url),
        rules=[days(issuer, "near", 13), days(issuer, "nearer", 1), days(issuer, "far", 15),
               days(issuer, "over", -1), days(issuer, "off", 1, mode="disabled")])
    place.reload()
    said = [(line["event"], line["rule"]) for line in place.log.parsed
            if line["event"].startswith("rule_expire")]
    assert sorted(said) == [("rule_expires_soon", "near"), ("rule_expires_soon", "nearer")]


def test_thousands_of_ends_are_not_thousands_of_lines(reloadable, backends, issuer):
    place = reloadable(terminate(backends.plain().url),
                       rules=[days(issuer, f"r{number}", 1) for number in range(1000)])
    assert place.wait_log("rule_expires_soon", left_out=900)
    assert len(place.log.find(event="rule_expires_soon")) == 101
