"""`bulkhead ctl rules` and GET /rules: what each rule has done."""

import json
import socket

import pytest

from harness.bulkhead import rule, run_command, terminate
from harness.reloading import replace
from harness.streams import client_context, tls_dial
from harness.wait import DEADLINE_S, until


@pytest.fixture
def place(reloadable, backends, issuer, tmp_path):
    def make(**more):
        return reloadable(terminate(backends.plain().url, name="in"),
                          admin={"listen": f"unix://{tmp_path}/admin.sock"}, **more)

    return make


def http(place, request):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE_S)
        sock.connect(place.config["admin"]["listen"].removeprefix("unix://"))
        sock.sendall(request)
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
    return answer


def ask(place, *arguments):
    result = run_command("ctl", "-c", place.config_file, "rules", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def rules(place):
    answer = json.loads(ask(place, "--json"))
    assert answer["count"] == len(answer["rules"])
    return {r["name"]: r for r in answer["rules"]}, {
        listener["name"]: listener for listener in answer["listeners"]}


def counts(place):
    return {name: (r["hits"], r["shadow_hits"]) for name, r in rules(place)[0].items()}


def use(place, svid, times=1):
    for _ in range(times):
        with place.connect(svid):
            pass


def refuse(place, svid):
    stream, failure = tls_dial(place.address(), client_context(svid.pair))
    with stream:
        if failure is None:
            stream.read_to_end()
        place.ended(stream)


def test_rules_count_what_they_decide(place, issuer, shop):
    here = place(enforcement="audit", rules=[
        rule("web", issuer.id("web"), "in", owner="shop-team", expires="2099-12-31"),
        rule("web-again", issuer.id("web"), "in"),
        rule("no-wiki", issuer.id("wiki"), "in", action="deny"),
        rule("try", issuer.id("**").replace("sa/**", "**"), "in", mode="shadow", action="deny"),
        rule("off", issuer.id("web"), "in", mode="disabled"),
    ])
    use(here, shop("web"), 3)
    refuse(here, shop("wiki"))
    use(here, shop("mobile"), 2)
    found, listeners = rules(here)
    assert {name: (r["hits"], r["shadow_hits"]) for name, r in found.items()} == {
        "web": (3, 0), "web-again": (0, 0), "no-wiki": (1, 0), "try": (0, 6), "off": (0, 0)}
    web = found["web"]
    assert (web["action"], web["mode"], web["owner"]) == ("allow", "enforce", "shop-team")
    assert web["expires"] == "2099-12-31T00:00:00Z" and web["file"] == str(here.config_file)
    lines = here.config_file.read_text().splitlines()
    assert "name: web" in lines[web["line"] - 1]
    last = until(lambda: len(lines := here.access.find(rule="web")) == 3 and
                 max(line["time"] for line in lines), "the lines of all three")
    assert web["last_hit"] is not None and web["last_hit"] <= last
    assert found["web-again"]["last_hit"] is None and found["off"]["mode"] == "disabled"
    assert listeners == {"in": {"name": "in", "enforcement": "audit", "would_deny": 2}}
    people = ask(here)
    assert "LAST_HIT" in people and f"{here.config_file}:{web['line']}" in people
    assert "listener in: audit, has let through 2" in people and "5 rules" in people


def test_counts_follow_a_rule_by_its_name(place, issuer, shop):
    web, wiki = (rule(name, issuer.id(name), "in") for name in ("web", "wiki"))
    here = place(rules=[web, wiki])
    use(here, shop("web"), 2)
    use(here, shop("wiki"))
    here.rotate(issuer.issue("orders"))
    assert here.reload()["result"] == "in_force"  # the rules are the same
    use(here, shop("web"))
    here.apply(rules=[{**wiki, "mode": "shadow"}, web, rule("new", issuer.id("new"), "in")])
    assert counts(here) == {"wiki": (1, 0), "web": (3, 0), "new": (0, 0)}
    refuse(here, shop("wiki"))
    use(here, shop("web"))
    assert counts(here) == {"wiki": (1, 1), "web": (4, 0), "new": (0, 0)}
    here.apply(rules=[web])
    here.apply(rules=[web, wiki])
    assert counts(here) == {"web": (4, 0), "wiki": (0, 0)}


def test_a_session_that_is_judged_again_is_no_hit(place, issuer, shop):
    here = place(rules=[rule("web", issuer.id("web"), "in")])
    with here.connect(shop("web")):
        here.apply(rules=[rule("other", issuer.id("web"), "in")])
        assert counts(here) == {"other": (0, 0)}


def test_a_refused_configuration_changes_no_count(place, issuer, shop):
    here = place(rules=[rule("web", issuer.id("web"), "in")])
    use(here, shop("web"))
    here.write(ruls=[], quarantine=[issuer.id("wiki")])
    assert here.reload()["configuration"] == "refused"
    use(here, shop("web"))
    assert counts(here) == {"web": (2, 0)}


def test_thousands_of_rules_come_in_pages(place, issuer, shop):
    here = place(rules=[rule("web", issuer.id("web"), "in")])
    many = [{"name": f"r{number}", "from": issuer.id(f"r{number}"), "to": "in"}
            for number in range(2500)]
    replace(here.directory / "many.yaml", json.dumps({"rules": many}))
    here.apply(include=[str(here.directory / "many.yaml")])
    use(here, shop("web"))
    found, _ = rules(here)
    assert len(found) == 2501 and found["web"]["hits"] == 1
    assert found["r2499"]["file"] == str(here.directory / "many.yaml")
    head = b" HTTP/1.1\r\nHost: x\r\n\r\n"
    page = json.loads(http(here, b"GET /rules?from=2000" + head).split(b"\r\n\r\n", 1)[1])
    assert (page["count"], page["next"], len(page["rules"])) == (2501, None, 501)
    assert page["listeners"] == [] and page["rules"][0]["name"] == "r1999"
    page = json.loads(http(here, b"GET /rules?from=999999999" + head).split(b"\r\n\r\n", 1)[1])
    assert page["rules"] == [] and page["next"] is None
    for wrong in (b"", b"-1", b"1x", b"1234567890", b"%31x", b"0&from=1", b"0&to=1"):
        answer = http(here, b"GET /rules?from=" + wrong + head)
        assert answer.split(b" ", 2)[1] == b"400", (wrong, answer)
    assert http(here, b"POST /rules" + head).split(b" ", 2)[1] == b"405"


def test_rules_of_nobody(place):
    here = place(rules=[])
    assert rules(here)[0] == {} and "0 rules" in ask(here)


def test_counting_while_rules_change(place, issuer, shop):
    """Every connection is counted once, whatever is brought into force meanwhile."""
    web = rule("web", issuer.id("web"), "in")
    here = place(rules=[web])
    for number in range(30):
        here.write(rules=[web, *(rule(f"r{k}", issuer.id("x"), "in") for k in range(number % 7))])
        here.signal(1)
        use(here, shop("web"), 3)
    until(lambda: here.log.find(event="reload", trigger="SIGHUP"), "a reload")
    until(lambda: counts(here)["web"] == (90, 0), "all connections")
