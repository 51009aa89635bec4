"""Alert rules and the Grafana board: they parse, they ask for metrics that exist, and the alerts do what they say."""

import json
import re
import subprocess

import pytest
import yaml

from harness.bulkhead import ROOT, run_command

ALERTS = ROOT / "config" / "prometheus" / "alerts.yaml"
BOARD = ROOT / "config" / "grafana" / "bulkhead.json"
TESTS = sorted((ROOT / "tests" / "prometheus").glob("*_test.yaml"))
TABLE = ROOT / "include" / "telemetry" / "metrics.def"

# Prometheus gives these to everything that it scrapes.
SCRAPED = {"job", "instance"}
WORDS = {"by", "on", "and", "or", "unless", "offset", "sum", "min", "max", "rate", "increase", "time",
         "topk", "histogram_quantile", "avg_over_time", "changes", "le", *SCRAPED}


def metrics():
    """{name: labels} of what the program serves, from its own table."""
    rows = re.findall(r'^METRIC\(\w+, "(\w+)", \w+, "([^"]*)"', TABLE.read_text(), re.M)
    return {name: set(labels.replace(",", " ").split()) for name, labels in rows}


METRICS = metrics()


def rules():
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def promtool(*arguments):
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120)


def problems_of(expression):
    """Names of metrics and labels in an expression that are not there."""
    problems = []
    text = re.sub(r"\$\w+|\$\{\w+\}", "", expression)
    text = re.sub(r'"[^"]*"', '""', text)
    labels_used = set()
    for inside in re.findall(r"\{([^}]*)\}", text) + re.findall(r"\b(?:by|on) \(([^)]*)\)", text):
        labels_used |= set(re.findall(r"[a-z_]\w*", inside))
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|on) \([^)]*\)|\d+[smhd]\b", " ", text)
    named = set(re.findall(r"\b[a-z_]\w*", bare)) - WORDS - {"up"}
    labels_there = set(SCRAPED)
    for name in named:
        base = re.sub(r"_(bucket|sum|count)$", "", name) if "_duration_seconds_" in name else name
        if name not in METRICS and base not in METRICS:
            problems.append(f"no metric {name}")
        labels_there |= METRICS.get(name) or METRICS.get(base) or set()
    labels_there |= {"le"} if "_bucket" in text else set()
    return problems + [f"no label {label}" for label in sorted(labels_used - labels_there)]


# ---- alerts ---------------------------------------------------------------------------------------


def test_the_alerts_do_what_they_say():
    checked = promtool("check", "rules", ALERTS)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = promtool("test", "rules", *TESTS)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_is_seen_to_fire_and_to_be_silent():
    """Silent: at another time, or of another series in the same test."""
    fires, silent = set(), set()
    for file in TESTS:
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                (fires if case["exp_alerts"] else silent).add(case["alertname"])
    names = {rule["alert"] for rule in rules()}
    assert fires == names
    always = {"BulkheadBundleEndsSoon", "BulkheadBundleEmpty", "BulkheadTestsFail", "BulkheadDoorInTheWall"}
    assert names - silent == always, "in their tests another series is well"


@pytest.mark.parametrize(("old", "new"), [
    ("bulkhead_ready == 0", "bulkhead_ready == 1"),
    ("bulkhead_open_doors > 0", "bulkhead_open_doors > 1"),
    ("< 0.2", "< 0.1"),
    ('cause!~"peer_expired|max_age"', 'cause=~".*"'),
    ("> 5 *", "> 0 *"),
    ("up{job=~", "up{job!~"),
    ("for: 14d", "for: 1d"),
])
def test_the_tests_of_the_alerts_can_fail(old, new, tmp_path):
    text = ALERTS.read_text()
    assert old in text
    (tmp_path / "alerts.yaml").write_text(text.replace(old, new))
    for file in TESTS:
        case = file.read_text().replace("../../config/prometheus/alerts.yaml", "alerts.yaml")
        (tmp_path / file.name).write_text(case)
    assert promtool("test", "rules", *tmp_path.glob("*_test.yaml")).returncode == 1


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_there_and_says_what_to_do(rule):
    assert problems_of(rule["expr"]) == []
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description"}
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    there = set().union(*(METRICS.get(name, set()) for name in re.findall(r"bulkhead_\w+", rule["expr"])))
    kept = re.findall(r"sum by \(([^)]*)\)", rule["expr"])
    there = set(kept[0].replace(",", " ").split()) if kept else there | SCRAPED
    assert used <= there, "a label that is not there would be an empty place in the text"
    for name in re.findall(r"`bulkhead (\w+)", " ".join(rule["annotations"].values())):
        assert run_command(name, "--help").returncode == 0, name


@pytest.mark.parametrize(("expression", "problem"), [
    ("rate(bulkhead_handshake_total[5m])", "no metric bulkhead_handshake_total"),
    ('bulkhead_generation{listener="x"}', "no label listener"),
    ("sum by (rule) (bulkhead_connections_active)", "no label rule"),
    ("bulkhead_upstream_up and on (cause) bulkhead_generation", "no label cause"),
    ("bulkhead_generation_bucket", "no metric bulkhead_generation_bucket"),
    ("bulkhead_connect_duration_seconds_bucket", None),
])
def test_the_reader_of_expressions_sees(expression, problem):
    assert problems_of(expression) == ([problem] if problem else [])


# ---- the board ------------------------------------------------------------------------------------


def board():
    return json.loads(BOARD.read_text())


def expressions():
    for panel in board()["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for annotation in board()["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in board()["templating"]["list"]:
        found = re.fullmatch(r"label_values\((.*), \w+\)", variable["query"]["query"]) \
            if variable["type"] == "query" else None
        if found:
            yield variable["name"], found[1]


def filled_in(expression):
    """With what Grafana puts in place of its variables."""
    return re.sub(r"\$__\w+", "5m", re.sub(r"\$(job|instance|listener)", ".*", expression))


def test_the_board_parses(tmp_path):
    records = [{"record": f"x:{number}", "expr": filled_in(expression)}
               for number, (_, expression) in enumerate(expressions())]
    assert len(records) > 40
    file = tmp_path / "board.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": records}]}))
    checked = promtool("check", "rules", file)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(("where", "expression"), expressions(), ids=lambda value: value[:40])
def test_the_board_asks_for_what_is_there(where, expression):
    assert problems_of(filled_in(expression)) == [], where


def test_the_board_shows_labels_that_are_there():
    for panel in board()["panels"]:
        for target in panel.get("targets", []):
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            by = re.search(r"by \(([^)]*)\)", target["expr"])
            there = set(by[1].replace(",", " ").split()) if by else SCRAPED.union(
                *(METRICS[name] for name in re.findall(r"(?:bulkhead|process)_\w+", target["expr"])))
            assert used <= there, panel["title"]


def test_the_board_is_in_order():
    panels = board()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${datasource}", "the operator's own"
    assert {v["name"] for v in board()["templating"]["list"]} == {"datasource", "job", "instance", "listener"}


def test_every_metric_is_shown_or_watched():
    assert len(METRICS) > 30
    shown = " ".join([expression for _, expression in expressions()] + [r["expr"] for r in rules()])
    assert [name for name in METRICS if not re.search(rf"\b{name}(_bucket)?\b", shown)] == []
