"""`bulkhead explain`: what it answers, and that the running proxy says the same, word for word."""

import json
import random

import pytest
import yaml

from harness.bulkhead import run_command, terminate
from harness.issuer import Issuer
from harness.reloading import Reloadable
from harness.streams import RESET, client_context, tls_dial

SHOP = "spiffe://prod.example/ns/shop/sa"
LEAF = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

CONFIG = {
    "version": 1,
    "variables": {"td": "prod.example"},
    "identity": {"files": {"certificate": "nowhere.pem", "private_key": "nowhere.key"}},
    "trust": {"${td}": {"bundle": "nowhere-bundle.pem", "crl": "nowhere.crl"}},
    "listeners": [
        {"name": "orders", "accept": "mtls://0.0.0.0:8443", "forward": "tcp://127.0.0.1:8080"},
        {"name": "audited", "accept": "mtls://0.0.0.0:8444", "forward": "tcp://127.0.0.1:8080",
         "enforcement": "audit"},
        {"name": "edge", "accept": "mtls://0.0.0.0:8445", "forward": "mtls://a.svc:1",
         "expect": "spiffe://${td}/ns/shop/sa/payments"},
        {"name": "out", "accept": "tcp://127.0.0.1:9001", "forward": "mtls://a.svc:1",
         "expect": "spiffe://${td}/ns/shop/sa/payments"},
    ],
    "groups": {"apps": ["spiffe://${td}/ns/shop/sa/mobile", "spiffe://${td}/ns/shop/sa/kiosk"]},
    "rules": [
        {"name": "web-uses-orders", "from": "spiffe://${td}/ns/shop/sa/web", "to": "orders",
         "owner": "shop-team", "note": "the shop front", "expires": "2126-01-31"},
        {"name": "apps", "from": "group:apps", "to": ["orders", "edge"]},
        {"name": "no-canary", "action": "deny", "from": "spiffe://${td}/ns/canary/**", "to": "all"},
        {"name": "canary", "from": "spiffe://${td}/ns/canary/sa/web", "to": "orders"},
        {"name": "try", "from": "spiffe://${td}/ns/shop/sa/batch", "to": "orders",
         "mode": "shadow"},
        {"name": "try-no", "action": "deny", "from": "spiffe://${td}/ns/shop/sa/kiosk",
         "to": "all", "mode": "shadow"},
        {"name": "off", "from": "spiffe://${td}/ns/shop/sa/parked", "to": "all",
         "mode": "disabled"},
        {"name": "brief", "from": "spiffe://${td}/ns/shop/sa/fair", "to": "all",
         "expires": "2126-06-30T12:00:00Z"},
    ],
    "quarantine": ["spiffe://${td}/ns/shop/sa/wiki", f"sha256:{LEAF}"],
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "bulkhead.yaml"
    path.write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    return path


def explain(file, *options):
    """(exit code, the JSON object)."""
    result = run_command("explain", "-c", file, *options, "--json")
    assert result.returncode in (0, 1), result.stderr
    return result.returncode, json.loads(result.stdout)


def line_of(file, text):
    """Where the map begins that has this line in it as its first."""
    (number,) = [n for n, line in enumerate(file.read_text().splitlines(), 1) if line == text]
    return number


def test_an_allowed_caller(file):
    code, answer = explain(file, "--from", f"{SHOP}/web", "--to", "orders")
    assert code == 0 and answer["allowed"] is True and answer["decision"] == "allow"
    assert answer["detail"] == 'rule "web-uses-orders" allows it' and answer["reason"] is None
    assert answer["rule"] == {
        "name": "web-uses-orders", "action": "allow", "mode": "enforce", "file": str(file),
        "line": line_of(file, "- name: web-uses-orders"), "column": 3, "owner": "shop-team",
        "note": "the shop front", "expires": "2126-01-31T00:00:00Z"}
    assert answer["until"] == "2126-01-31T00:00:00Z"
    assert answer["shadow"] is None and answer["quarantine"] is None
    assert answer["would_deny"] is False and answer["server"] is None
    text = run_command("explain", "-c", file, "--from", f"{SHOP}/web", "--to", "orders")
    assert text.returncode == 0
    for part in (f"allow: {SHOP}/web to orders\n", '  rule "web-uses-orders" allows it\n',
                 f"{file}:{answer['rule']['line']}", "owner shop-team", "note: the shop front",
                 "ends at 2126-01-31T00:00:00Z"):
        assert part in text.stdout, text.stdout


@pytest.mark.parametrize("caller, listener, reason, detail", [
    ("sa/webb", "orders", "policy_no_rule",
     'no rule matched; nearest: rule "web-uses-orders" differs in segment 4: "webb", not "web"'),
    ("sa/web", "edge", "policy_no_rule",
     'no rule matched; rule "web-uses-orders" allows this ID, but not on listener "edge"'),
    ("sa/batch", "orders", "policy_no_rule", 'no rule matched; nearest: rule "web-uses-orders" '
     'differs in segment 4: "batch", not "web"'),
    ("sa/parked", "orders", "policy_no_rule", 'no rule matched; nearest: rule "web-uses-orders" '
     'differs in segment 4: "parked", not "web"'),
    ("../canary/sa/web", "orders", "policy_deny_rule", 'deny rule "no-canary" matched'),
    ("sa/wiki", "orders", "policy_quarantine",
     'quarantine holds it: "spiffe://prod.example/ns/shop/sa/wiki"'),
])
def test_a_refused_caller(file, caller, listener, reason, detail):
    identity = f"spiffe://prod.example/ns/{'canary/sa/web' if '..' in caller else 'shop/' + caller}"
    code, answer = explain(file, "--from", identity, "--to", listener)
    assert code == 1 and answer["allowed"] is False and answer["decision"] == "deny"
    assert (answer["reason"], answer["detail"]) == (reason, detail)
    assert answer["why"] and answer["until"] is None


def near(answer):
    return {entry["name"]: (entry["clause"], entry["detail"]) for entry in answer["near"]}


def test_rules_that_came_near_say_in_which_clause_they_fail(file):
    _, answer = explain(file, "--from", f"{SHOP}/parked", "--to", "orders")
    rules = near(answer)
    assert rules["off"] == ("mode", "is disabled")
    assert rules["web-uses-orders"] == ("from", 'differs in segment 4: "parked", not "web"')
    assert rules["no-canary"] == ("from", 'differs in segment 2: "shop", not "canary"')
    assert list(rules)[0] == "off" and answer["near_left_out"] == 0
    _, answer = explain(file, "--from", f"{SHOP}/fair", "--to", "orders",
                        "--at", "2126-06-30T14:00:00+02:00")
    assert near(answer)["brief"] == ("expires", "ended at 2126-06-30T12:00:00Z")
    assert list(near(answer))[0] == "brief"
    assert explain(file, "--from", f"{SHOP}/fair", "--to", "orders",
                   "--at", "2126-06-30T11:59:59Z")[0] == 0
    _, answer = explain(file, "--from", f"{SHOP}/web", "--to", "edge")
    assert near(answer)["web-uses-orders"] == ("to", 'does not name listener "edge"')
    _, answer = explain(file, "--from", "spiffe://prod.example/ns/canary/sa/web", "--to", "orders")
    assert near(answer)["canary"] == (None, "matches; the deny wins")
    assert "no-canary" not in near(answer)


def test_shadow_rules_say_what_they_would_do(file):
    code, answer = explain(file, "--from", f"{SHOP}/batch", "--to", "orders")
    assert code == 1 and answer["shadow"]["decision"] == "allow"
    assert answer["shadow"]["allow"]["name"] == answer["shadow"]["rule"]["name"] == "try"
    assert answer["shadow"]["deny"] is None and "try" not in near(answer)
    code, answer = explain(file, "--from", f"{SHOP}/kiosk", "--to", "orders")
    assert code == 0 and answer["rule"]["name"] == "apps"
    assert answer["shadow"]["decision"] == "deny" and answer["shadow"]["deny"]["name"] == "try-no"
    text = run_command("explain", "-c", file, "--from", f"{SHOP}/kiosk", "--to", "orders").stdout
    assert 'shadow: "try-no" (' in text and "with the shadow rules enforced: deny" in text


def test_audit_lets_through_and_says_so(file):
    code, answer = explain(file, "--from", f"{SHOP}/anybody", "--to", "audited")
    assert code == 0 and answer["decision"] == "allow" and answer["would_deny"] is True
    assert answer["rule"] is None and answer["detail"].startswith("no rule matched; nearest: ")
    text = run_command("explain", "-c", file, "--from", f"{SHOP}/anybody", "--to", "audited")
    assert "only `enforcement: audit` lets it through" in text.stdout
    assert explain(file, "--from", f"{SHOP}/wiki", "--to", "audited")[0] == 1
    assert explain(file, "--from", "spiffe://prod.example/ns/canary/x", "--to", "audited")[0] == 1


@pytest.mark.parametrize("fingerprint", [
    LEAF, f"sha256:{LEAF}", LEAF.upper(), ":".join(LEAF[i:i + 2] for i in range(0, 64, 2))])
def test_a_single_certificate_may_be_held(file, fingerprint):
    code, answer = explain(file, "--from", f"{SHOP}/web", "--to", "orders",
                           "--sha256", fingerprint)
    assert code == 1 and answer["quarantine"] == f"sha256:{LEAF}"
    assert near(answer)["web-uses-orders"] == (
        None, "matches; the quarantine stands above every rule")
    other = LEAF[:-1] + "9"
    assert explain(file, "--from", f"{SHOP}/web", "--to", "orders", "--sha256", other)[0] == 0


def test_the_quarantine_file_counts(file, tmp_path):
    held = tmp_path / "held"
    file.write_text(file.read_text() + f"quarantine_file: {held}\n")
    held.write_text(f"# an incident\n{SHOP}/web\n")
    code, answer = explain(file, "--from", f"{SHOP}/web", "--to", "orders")
    assert code == 1 and answer["quarantine"] == f"{SHOP}/web" and answer["quarantine_known"]
    assert explain(file, "--from", f"{SHOP}/wiki", "--to", "orders")[0] == 1
    held.write_text(f"nonsense\n{SHOP}/web\n")
    code, answer = explain(file, "--from", f"{SHOP}/web", "--to", "orders")
    assert code == 1 and answer["quarantine_known"] is False
    held.unlink()
    result = run_command("explain", "-c", file, "--from", f"{SHOP}/web", "--to", "orders")
    assert result.returncode == 0 and "could not be read" in result.stdout
    assert f"{file}:" in result.stderr and str(held) in result.stderr


def test_servers_are_asked_about_with_expect(file):
    code, answer = explain(file, "--to", "out", "--server", f"{SHOP}/payments")
    assert code == 0 and "from" not in answer and answer["server"]["decision"] == "allow"
    code, answer = explain(file, "--to", "out", "--server", f"{SHOP}/paymants")
    assert code == 1 and answer["server"]["reason"] == "policy_not_expected"
    assert 'differs in segment 4: "paymants"' in answer["server"]["detail"]
    code, answer = explain(file, "--to", "out", "--server", f"{SHOP}/payments", "--sha256", LEAF)
    assert code == 1 and answer["server"]["reason"] == "policy_quarantine"
    code, answer = explain(file, "--from", f"{SHOP}/mobile", "--to", "edge",
                           "--server", f"{SHOP}/x")
    assert code == 1 and answer["decision"] == "allow" and answer["allowed"] is False
    assert explain(file, "--from", f"{SHOP}/mobile", "--to", "edge",
                   "--server", f"{SHOP}/payments")[0] == 0


def test_variables_may_come_from_the_command_line(file):
    code, answer = explain(file, "--from", "spiffe://stage.example/ns/shop/sa/web",
                           "--to", "orders", "--var", "td=stage.example")
    assert code == 0 and answer["trust_domain_known"] is True
    code, answer = explain(file, "--from", "spiffe://stage.example/ns/shop/sa/web", "--to", "orders")
    assert code == 1 and answer["trust_domain_known"] is False


def test_people_see_the_ten_nearest_and_a_count(tmp_path):
    rules = [{"name": f"r{i}", "from": f"{SHOP}/job/x{i}", "to": "orders"} for i in range(1050)]
    path = tmp_path / "many.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "rules": rules}))
    result = run_command("explain", "-c", path, "--from", f"{SHOP}/job/y", "--to", "orders")
    assert result.returncode == 1
    assert result.stdout.count("differs in segment 5") == 11  # the sentence, and ten rules
    assert "    and 1040 more\n" in result.stdout
    _, answer = explain(path, "--from", f"{SHOP}/job/y", "--to", "orders")
    assert len(answer["near"]) == 1000 and answer["near_left_out"] == 50
    assert [entry["name"] for entry in answer["near"][:3]] == ["r0", "r1", "r2"]


@pytest.mark.parametrize("options, part", [
    ([], "--to is needed"),
    (["--to", "orders"], "--from or --server is needed"),
    (["--from", f"{SHOP}/web"], "--to is needed"),
    (["--from", f"{SHOP}/web", "--to", "ordres"], 'did you mean "orders"?'),
    (["--from", f"{SHOP}/web", "--to", "all"], 'there is no listener "all"'),
    (["--from", f"{SHOP}/web", "--to", "out"], "accepts plaintext"),
    (["--server", f"{SHOP}/web", "--to", "orders"], "with --from"),
    (["--from", f"{SHOP}/web", "--to", "orders", "--server", f"{SHOP}/x"], "leave out --server"),
    (["--from", "web", "--to", "orders"], '--from "web"'),
    (["--from", f"{SHOP}/*", "--to", "orders"], '--from "spiffe://prod.example/ns/shop/sa/*"'),
    (["--from", "spiffe://prod.example", "--to", "orders"], "has a path"),
    (["--from", f"{SHOP}/web", "--to", "orders", "--at", "tomorrow"], '--at "tomorrow"'),
    (["--from", f"{SHOP}/web", "--to", "orders", "--sha256", "abc"], '--sha256 "abc"'),
    (["--from", f"{SHOP}/web", "--from", "x", "--to", "orders"], "--from is given twice"),
    (["--from", f"{SHOP}/web", "--to", "orders", "extra"], 'unexpected argument "extra"'),
    (["--from", f"{SHOP}/web", "--to", "orders", "--what"], "--help"),
    (["--from", f"{SHOP}/web", "--to", "orders", "--var", "x"], "--var"),
])
def test_wrong_usage(file, options, part):
    result = run_command("explain", "-c", file, *options)
    assert result.returncode == 2 and result.stdout == ""
    assert part in result.stderr


def test_a_wrong_configuration_answers_nothing(file):
    file.write_text(file.read_text().replace("to: orders", "to: ordres", 1))
    result = run_command("explain", "-c", file, "--from", f"{SHOP}/web", "--to", "orders")
    assert result.returncode == 2 and result.stdout == ""
    assert ": error: rules[0].to" in result.stderr


def test_a_wrong_quarantine_answers_nothing(file):
    file.write_text(file.read_text().replace(f"sha256:{LEAF}", "sha256:00"))
    result = run_command("explain", "-c", file, "--from", f"{SHOP}/web", "--to", "orders")
    assert result.returncode == 2 and result.stdout == ""
    assert ': error: quarantine: "sha256:00"' in result.stderr


def test_help_has_examples():
    result = run_command("explain", "--help")
    assert result.returncode == 0 and "Examples:" in result.stdout and "Exit code:" in result.stdout


# ---- the running proxy ------------------------------------------------------------------------

SEGMENTS = ["web", "api", "job"]
IDS = [f"spiffe://prod.example/{path}" for path in (
    "web", "api", "job", "web/api", "web/job", "api/web", "job/job", "web/api/job", "api/api/web",
    "job/web/api")]


class AnyId(Issuer):
    """Names are numbers of IDS."""

    def id(self, name):
        return IDS[int(name)] if name.isdigit() else super().id(name)


def random_pattern(rng):
    segments = [rng.choice([*SEGMENTS, "*"]) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.3:
        segments.append("**")
    return "spiffe://prod.example/" + "/".join(segments)


def random_rules(rng):
    rules = []
    for i in range(rng.randint(3, 12)):
        rule = {"name": f"r{i}", "to": rng.choice(["all", "one", "two", ["one", "audited"]]),
                "from": [rng.choice([random_pattern(rng), random_pattern(rng), "group:some"])
                         for _ in range(rng.randint(1, 2))],
                "action": rng.choice(["allow", "allow", "allow", "deny"]),
                "mode": rng.choice(["enforce", "enforce", "enforce", "shadow", "disabled"])}
        if rng.random() < 0.3:
            rule["expires"] = rng.choice(["2020-01-01", "2126-01-01"])
        rules.append(rule)
    allowed, denied = rng.sample(IDS, 2)  # so that every outcome is met
    return [*rules, {"name": "last", "from": allowed, "to": "one"},
            {"name": "never", "action": "deny", "from": denied, "to": "two"}]


@pytest.fixture(scope="module")
def any_id(tmp_path_factory):
    issuer = AnyId(tmp_path_factory.mktemp("any-id"))
    return issuer, [issuer.issue(str(i)) for i in range(len(IDS))]


def attempt(place, pair, listener):
    """The access line of one client."""
    stream, failure = tls_dial(place.address(listener), client_context(pair))
    with stream:
        assert failure is None, failure
        try:
            stream.send(b"ping")
            _, end = stream.recv(4)
        except OSError:
            end = RESET
        if end is None:
            stream.end()
            stream.read_to_end()
        return place.wait_access(downstream=stream.local_address())


@pytest.mark.parametrize("seed", range(4))
def test_the_proxy_says_what_explain_says(start, backends, any_id, tmp_path, seed):
    issuer, svids = any_id
    rng = random.Random(seed)
    listeners = [terminate(backends.plain().url, name=name) for name in ("one", "two", "audited")]
    listeners[2]["enforcement"] = "audit"
    place = Reloadable(
        start, tmp_path, issuer, *listeners, own=issuer.issue("own"), rules=random_rules(rng),
        groups={"some": [random_pattern(rng), random_pattern(rng)]},
        quarantine=[rng.choice(IDS), "spiffe://prod.example/nobody"])
    seen = set()
    for number, svid in enumerate(svids):
        for listener in ("one", "two", "audited"):
            line = attempt(place, svid.pair, listener)
            code, answer = explain(place.config_file, "--from", IDS[number], "--to", listener)
            case = f"seed {seed}: {IDS[number]} to {listener}"
            assert line["downstream_id"] == IDS[number], case
            assert line["decision"] == answer["decision"], case
            assert line.get("rule") == (answer["rule"] or {}).get("name"), case
            assert code == (0 if line["decision"] == "allow" else 1), case
            if answer["decision"] == "deny":
                assert (line["reason"], line["detail"]) == (answer["reason"], answer["detail"]), case
            seen.add(answer["reason"] or ("would_deny" if answer["would_deny"] else "allow"))
    assert {"policy_quarantine", "policy_deny_rule"} <= seen and len(seen) >= 4, seen
