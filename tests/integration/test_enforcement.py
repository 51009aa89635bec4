"""`enforcement: audit` and shadow rules: what is told of them, and what they don't do."""

import json

import pytest

from harness.bulkhead import originate, rule, run_command, terminate
from harness.reloading import ping
from harness.streams import (
    RESET, PlainStream, client_context, dial, server_context, tls_dial,
)


def finish(stream):
    stream.end()
    stream.read_to_end()


def closing(place, svid, listener=None):
    """The line of a session that was let through."""
    with place.connect(svid, listener) as stream:
        finish(stream)
        return place.ended(stream)


def refusal(place, svid, listener=None):
    stream, failure = tls_dial(place.address(listener), client_context(svid.pair))
    with stream:
        if failure is None:
            stream.read_to_end()
        return place.ended(stream)


# ---- Audit ------------------------------------------------------------------------------------


def test_audit_lets_through_what_no_rule_matched_and_says_so(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), enforcement="audit",
                       rules=[rule("web", issuer.id("web"), "all")])
    line = closing(place, shop("wiki"))
    assert (line["event"], line["decision"], line["reason"]) == ("close", "allow", "closed")
    assert line["would_deny"] is True and "rule" not in line
    assert line["detail"].startswith('no rule matched; nearest: rule "web" differs in segment 4')
    line = closing(place, shop("web"))
    assert line["rule"] == "web" and "would_deny" not in line and "detail" not in line


def test_audit_is_loud_at_the_start_and_at_each_reload(reloadable, backends, issuer, shop):
    place = reloadable(
        terminate(backends.plain().url, name="a"), terminate(backends.plain().url, name="b"),
        terminate(backends.plain().url, name="c", enforcement="enforce"), enforcement="audit")
    line = place.wait_log("enforcement_audit")
    assert (line["level"], line["count"], line["listeners"]) == ("warn", 2, "a,b")
    place.reload()
    place.apply(listeners=place.listener("b", enforcement="enforce"))
    place.wait_log("enforcement_audit", listeners="a")
    said = place.log.find(event="enforcement_audit")
    assert [line["listeners"] for line in said] == ["a,b", "a,b", "a"]
    place.apply(enforcement="enforce")
    assert len(place.log.find(event="enforcement_audit")) == 3
    assert refusal(place, shop("wiki"), "a")["reason"] == "policy_no_rule"


@pytest.mark.parametrize("own, whole, admits", [
    ("enforce", "audit", False), ("audit", "enforce", True), (None, "audit", True),
    (None, "enforce", False),
])
def test_a_listeners_own_enforcement_wins(reloadable, backends, shop, own, whole, admits):
    more = {} if own is None else {"enforcement": own}
    backend = backends.plain()
    place = reloadable(terminate(backend.url, **more), enforcement=whole, rules=[])
    if admits:
        assert closing(place, shop("web"))["would_deny"] is True
    else:
        line = refusal(place, shop("web"))
        assert (line["event"], line["reason"]) == ("deny", "policy_no_rule")
        assert "would_deny" not in line and backend.untouched()


def test_audit_softens_nothing_else(reloadable, backends, issuer, shop):
    backend = backends.plain()
    place = reloadable(
        terminate(backend.url), enforcement="audit", quarantine=[issuer.id("mobile")],
        rules=[rule("no-wiki", issuer.id("wiki"), "all", action="deny")])
    assert refusal(place, shop("wiki"))["reason"] == "policy_deny_rule"
    assert refusal(place, shop("mobile"))["reason"] == "policy_quarantine"
    stream, failure = tls_dial(place.address(), client_context(None))
    with stream:
        assert failure is not None or stream.read_to_end()[0] == b""
        assert place.ended(stream)["reason"] == "svid_no_certificate"
    assert backend.untouched()


def test_audit_does_not_soften_expect(reloadable, backends, issuer, shop):
    server = backends.tls(server_context(shop("payments").pair, issuer.bundle))
    place = reloadable(originate(server.url, expect=issuer.id("other")), enforcement="audit",
                       rules=[])
    with PlainStream(dial(place.address())) as stream:
        stream.offer(b"secret")
        assert stream.read_to_end() == (b"", RESET)
        assert place.ended(stream)["reason"] == "policy_not_expected"
    assert server.plain_bytes == 0


def test_leaving_audit_is_previewed_and_ends_what_no_rule_admits(reloadable, backends, issuer, shop,
                                                                 tmp_path):
    place = reloadable(terminate(backends.plain().url), enforcement="audit", rules=[],
                       admin={"listen": f"unix://{tmp_path}/admin.sock"})
    with place.connect(shop("web")) as web, place.connect(shop("wiki")) as wiki:
        place.write(enforcement="enforce", rules=[rule("web", issuer.id("web"), "all")])
        answer = json.loads(run_command("ctl", "-c", place.config_file, "reload", "--dry-run",
                                        "--json").stdout)
        fates = {g["downstream_id"]: (g["fate"], g.get("reason")) for g in answer["groups"]}
        assert fates == {issuer.id("web"): ("kept", None),
                         issuer.id("wiki"): ("ended", "audit_ended")}
        ping(wiki)
        line = place.reload()
        assert (line["ended"], line["ended_audit_ended"]) == (1, 1)
        assert wiki.read_to_end() == (b"", RESET)
        line = place.ended(wiki)
        assert (line["event"], line["reason"]) == ("close", "audit_ended")
        assert "no rule matched" in line["detail"] and line["would_deny"] is True
        ping(web)
        finish(web)
        line = place.ended(web)
        assert line["rule"] == "web" and "would_deny" not in line


def test_entering_audit_ends_nobody(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=[rule("web", issuer.id("web"), "all")])
    with place.connect(shop("web")) as web:
        assert place.apply(enforcement="audit", rules=[])["ended"] == 0
        ping(web)
        finish(web)
        assert place.ended(web)["would_deny"] is True


# ---- Shadow -----------------------------------------------------------------------------------


SHADOW = [  # enforced action or None, shadow action, what is done, what the shadow says
    ("allow", "allow", "allow", "allow"),
    ("allow", "deny", "allow", "deny"),
    ("deny", "allow", "deny", "deny"),
    ("deny", "deny", "deny", "deny"),
    (None, "allow", "deny", "allow"),
    (None, "deny", "deny", "deny"),
]


@pytest.mark.parametrize("enforced, shadow, done, said", SHADOW)
def test_a_shadow_rule_is_told_and_does_nothing(reloadable, backends, issuer, shop, enforced, shadow,
                                                done, said):
    rules = [rule("try", issuer.id("web"), "all", mode="shadow", action=shadow)]
    if enforced:
        rules.append(rule("real", issuer.id("web"), "all", action=enforced))
    backend = backends.plain()
    place = reloadable(terminate(backend.url), rules=rules)
    if done == "allow":
        line = closing(place, shop("web"))
    else:
        line = refusal(place, shop("web"))
        assert backend.untouched()
    assert line["decision"] == done and line.get("rule") == ("real" if enforced else None)
    assert (line["shadow_decision"], line["shadow_rule"]) == (said, "try")


def test_what_no_shadow_rule_matched_says_nothing_of_it(reloadable, backends, issuer, shop):
    place = reloadable(
        terminate(backends.plain().url), quarantine=[issuer.id("mobile")],
        rules=[rule("try", issuer.id("wiki"), "all", mode="shadow"),
               rule("off", issuer.id("web"), "all", mode="disabled", action="deny"),
               rule("web", issuer.id("web"), "all"),
               rule("mobile", issuer.id("mobile"), "all", mode="shadow")])
    lines = [closing(place, shop("web")), refusal(place, shop("batch")),
             refusal(place, shop("mobile"))]
    assert not [line for line in lines if "shadow_rule" in line or "shadow_decision" in line]


def test_a_shadow_deny_under_audit_says_what_it_would_do(reloadable, backends, issuer, shop):
    place = reloadable(
        terminate(backends.plain().url), enforcement="audit",
        rules=[rule("try", issuer.id("wiki"), "all", mode="shadow", action="deny")])
    line = closing(place, shop("wiki"))
    assert line["would_deny"] is True
    assert (line["decision"], line["shadow_decision"], line["shadow_rule"]) == (
        "allow", "deny", "try")


def test_a_rule_that_becomes_shadow_lets_its_sessions_go(reloadable, backends, issuer, shop):
    own = rule("web", issuer.id("web"), "all")
    place = reloadable(terminate(backends.plain().url), rules=[own])
    with place.connect(shop("web")) as stream:
        place.apply(rules=[{**own, "mode": "shadow"}])
        assert stream.read_to_end() == (b"", RESET)
        assert place.ended(stream)["reason"] == "rule_removed"
    line = refusal(place, shop("web"))
    assert (line["reason"], line["shadow_decision"]) == ("policy_no_rule", "allow")
