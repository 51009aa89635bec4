"""`tests` of a configuration: `check` and a reload refuse when one fails, a start says so and goes on."""

import json

import pytest

from harness.bulkhead import configuration, run_command, terminate
from harness.reloading import Reloadable, ping
from harness.streams import RESET, client_context, tls_connect

WEB = "spiffe://prod.example/ns/shop/sa/web"
WIKI = "spiffe://prod.example/ns/shop/sa/wiki"
RULES = [{"name": "web", "from": WEB, "to": "in"}]
GOOD = {"from": WEB, "to": "in", "decision": "allow", "rule": "web"}
BAD = {"from": WIKI, "to": "in", "decision": "allow"}


@pytest.fixture
def place(start, backends, issuer, tmp_path):
    return Reloadable(start, tmp_path, issuer, terminate(backends.plain().url, name="in"),
                      rules=RULES, tests=[GOOD])


def test_a_start_goes_on_with_a_failing_test_and_says_so(start, backends, credentials):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url, name="in"),
                                   rules=RULES, tests=[GOOD, BAD]))
    (line,) = bulkhead.log.find(event="config_test_failed")
    assert line["level"] == "error"
    assert line["message"].startswith(f'tests[1]: "{WIKI}" to "in" must be allowed, but is denied')
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        ping(stream)


def test_a_reload_is_refused_by_a_failing_test(place, issuer):
    with place.connect(issuer.issue("web")) as web:
        allowed = {key: GOOD[key] for key in ("from", "to", "decision")}  # by any rule
        place.write(rules=[], tests=[allowed])
        line = place.reload()
        assert line["result"] == "refused"
        (failure,) = place.failures()
        assert "tests[0]" in failure and "must be allowed, but is denied" in failure
        ping(web)  # the former rules stay
        place.write(rules=[], tests=[])
        assert place.reload()["result"] == "in_force"
        assert web.read_to_end() == (b"", RESET)


def test_check_refuses_a_failing_test(tmp_path, place):
    assert run_command("check", "-c", place.config_file).returncode == 0
    place.write(tests=[BAD])
    result = run_command("check", "-c", place.config_file)
    assert result.returncode == 2
    assert f': error: tests[0]: "{WIKI}" to "in" must be allowed' in result.stderr
    assert "1 error, 0 warnings" in result.stdout
    answer = json.loads(run_command("check", "--json", "-c", place.config_file).stdout)
    assert answer["valid"] is False
    (error,) = answer["errors"]
    assert error["line"] > 0 and "tests[0]" in error["message"]
