"""What `bulkhead check` says of rules that are valid, and `--offline`, for where no credentials are."""

import datetime
import json

import pytest
import yaml

from harness.bulkhead import run_command

WEB = "spiffe://prod.example/ns/shop/sa/web"


def write(tmp_path, rules, **more):
    """A configuration whose credentials are nowhere."""
    config = {
        "version": 1,
        "identity": {"files": {"certificate": "svid.pem", "private_key": "svid.key"}},
        "trust": {"prod.example": {"bundle": "prod.pem", "crl": "prod.crl"}},
        "listeners": [{"name": "orders", "accept": "mtls://127.0.0.1:8443",
                       "forward": "tcp://127.0.0.1:8080"}],
        "rules": rules, **more}
    file = tmp_path / "bulkhead.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    return file


def rule(name="web", identity=WEB, **more):
    return {"name": name, "from": identity, "to": "orders", **more}


def in_days(days):
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return (now + datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_offline_reads_no_credentials(tmp_path):
    file = write(tmp_path, [rule()], quarantine_file="quarantine",
                 access_log={"to": str(tmp_path / "nowhere" / "access.log")})
    online = run_command("check", "-c", file)
    assert online.returncode == 2
    for name in ("svid.pem", "prod.pem", "prod.crl", "nowhere"):
        assert name in online.stderr
    for options in ([], ["--strict"]):
        offline = run_command("check", "--offline", *options, "-c", file)
        assert (offline.returncode, offline.stderr) == (0, ""), offline.stderr
        assert "1 listener, 1 rule, 1 trust domain, 0 tests" in offline.stdout
    answer = json.loads(run_command("check", "--offline", "--json", "-c", file).stdout)
    assert answer["valid"] is True and answer["errors"] == []


@pytest.mark.parametrize("changes, part", [
    ({"rules": [rule(identity="prod.example/x")]}, "write the ID in full"),
    ({"rules": [rule(to="ordres")]}, 'did you mean "orders"'),
    ({"quarantine": ["sha256:00"]}, 'quarantine: "sha256:00"'),
    ({"trust": {"Prod.example": {"bundle": "prod.pem"}}}, "Prod.example"),
    ({"identity": {"spiffe_id": "prod.example/x", "files": {
        "certificate": "svid.pem", "private_key": "svid.key"}}}, "identity.spiffe_id"),
    ({"identity": {"spiffe_id": "spiffe://prod.example", "files": {
        "certificate": "svid.pem", "private_key": "svid.key"}}},
     "no SVID has an ID without a path"),
    ({"tests": [{"from": WEB, "to": "orders", "decision": "deny"}]}, "must be denied, but is allowed"),
    ({"include": "nowhere.yaml"}, "nowhere.yaml"),
])
def test_offline_says_all_that_needs_no_credentials(tmp_path, changes, part):
    file = write(tmp_path, [rule()], **changes) if "rules" not in changes else write(
        tmp_path, **changes)
    result = run_command("check", "--offline", "-c", file)
    assert result.returncode == 2, result.stdout
    assert any(": error: " in line and part in line for line in result.stderr.splitlines()), (
        result.stderr)


def test_the_instant_of_each_end_is_told(tmp_path):
    """Far ones as notes, those within two weeks and two days as warnings, in text and JSON."""
    ends = {"far": in_days(15), "weeks": in_days(13), "days": in_days(1)}
    file = write(tmp_path, [
        rule("forever"), rule("far", WEB + "/a-far-path", expires=ends["far"]),
        rule("weeks", WEB + "/another/b", expires=ends["weeks"]),
        rule("days", WEB + "/the/third/c", expires=ends["days"]),
        rule("past", WEB + "/old", expires="2020-01-31")])
    result = run_command("check", "--offline", "-c", file)
    assert result.returncode == 0, result.stderr
    assert "3 warnings" in result.stdout
    answer = json.loads(run_command("check", "--offline", "--json", "-c", file).stdout)
    (note,) = answer["notes"]
    assert note["message"] == f'rules[1].expires: rule "far" ends at {ends["far"]}'
    messages = [warning["message"] for warning in answer["warnings"]]
    assert messages == [
        f'rules[2].expires: rule "weeks" ends at {ends["weeks"]}, within two weeks',
        f'rules[3].expires: rule "days" ends at {ends["days"]}, within two days',
        'rules[4].expires: rule "past" has ended, at 2020-01-31T00:00:00Z: it lets in nobody; '
        "take it out"]
    lines = [line.split(":")[1] for line in result.stderr.splitlines()]
    assert lines == [str(item["line"]) for item in [note, *answer["warnings"]]]
    strict = run_command("check", "--offline", "--strict", "-c", file)
    assert strict.returncode == 2 and "refused by --strict: 3 warnings" in strict.stdout


def test_rules_are_held_against_each_other(tmp_path):
    """A run says these nothing of it; `check` does, in text and JSON, and --strict refuses them."""
    shop = "spiffe://prod.example/ns/shop/sa"
    file = write(tmp_path, [
        rule("all-of-it", "spiffe://prod.example/**"), rule("web", f"{shop}/web"),
        rule("no-batch", "spiffe://prod.example/ns/batch/**", action="deny"),
        rule("batch", "spiffe://prod.example/ns/batch/sa/job"),
        rule("try", f"{shop}/orders", mode="shadow"), rule("wen", f"{shop}/wen", action="deny")])
    result = run_command("check", "--offline", "-c", file)
    assert result.returncode == 0
    answer = json.loads(run_command("check", "--offline", "--json", "-c", file).stdout)
    messages = [warning["message"] for warning in answer["warnings"]]
    for message, line in zip(messages, result.stderr.splitlines(), strict=True):
        assert line.endswith(f": warning: {message}")
    for part in ("admits every workload of the trust domain",
                 f'rule "web" adds nothing: rule "all-of-it" ({file}:',
                 f'rule "batch" lets nobody in: deny rule "no-batch" ({file}:',
                 'rule "try" would let nobody in who is not let in or denied already',
                 f'"{shop}/wen" is one letter away from "{shop}/web"'):
        assert sum(part in message for message in messages) == 1, part
    assert len(messages) == 5
    strict = run_command("check", "--offline", "--strict", "-c", file)
    assert strict.returncode == 2 and "refused by --strict: 5 warnings" in strict.stdout
