"""The documents of the logs, and `bulkhead reasons`: both are what the program writes."""

import json
import pathlib
import re
import subprocess

import pytest

from harness.bulkhead import ROOT, configuration, program, run_command, terminate
from harness.streams import client_context, tls_connect

EVENT_ROW = re.compile(r'^LOG_EVENT\("(\w+)", +"([^"]+)"', re.M)
LOG_CALL = re.compile(r"\blog_(?:begin|file|worker)\((.*?)\);", re.S)
LEVELS = {"LOG_ERROR": "error", "LOG_WARN": "warn", "LOG_INFO": "info", "LOG_DEBUG": "debug"}


def documented_events():
    text = (ROOT / "include" / "telemetry" / "log_events.def").read_text()
    return {event: set(levels.split(", ")) for event, levels in EVENT_ROW.findall(text)}


def written_events():
    """Event names in the sources, with the levels that stand beside them."""
    events = {}
    for file in (ROOT / "src").glob("*/*.c"):
        for call in LOG_CALL.findall(file.read_text()):
            levels = {LEVELS[name] for name in re.findall(r"\bLOG_[A-Z]+\b", call)}
            for event in re.findall(r'"([a-z0-9]+(?:_[a-z0-9]+)*)"', call):
                events.setdefault(event, set()).update(levels)
    return events


def test_every_event_of_the_sources_is_documented():
    assert set(written_events()) == set(documented_events())


def test_levels_of_events_are_those_of_the_sources():
    """A choice between two events names both levels; the document says which is whose."""
    written = written_events()
    for event, levels in documented_events().items():
        assert not written[event] or levels <= written[event], event


def tool(name):
    path = pathlib.Path(program()).parent / "tests" / "tools" / name
    return path if path.exists() else ROOT / "build" / "release" / "tests" / "tools" / name


@pytest.mark.parametrize("what", ["logs", "reasons"])
def test_the_references_are_what_the_tables_say(what):
    made = subprocess.run([tool("log_reference"), what], capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "config" / f"{what.upper()}.md").read_text(), "run `make reference`"


def test_the_reference_has_every_reason_once():
    text = (ROOT / "config" / "REASONS.md").read_text()
    rows = [[cell.strip() for cell in line.split(" | ")] for line in text.splitlines() if line.startswith("| `")]
    told = [json.loads(line) for line in run_command("reasons", "--json").stdout.splitlines()]
    assert sorted((row[0].strip("|` "), row[1], row[2].removesuffix(" |")) for row in rows) == sorted(
        (reason["reason"], reason["sentence"], reason["advice"]) for reason in told)


def documented_fields():
    text = (ROOT / "config" / "LOGS.md").read_text().partition("## The process log")[0]
    return re.findall(r"^\| `(\w+)` \|", text, re.M)


def test_a_real_line_has_the_documented_fields_in_order(start, backends, credentials):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)))
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        stream.end()
        stream.read_to_end()
    line = bulkhead.wait_access(event="close")
    fields = documented_fields()
    assert [field for field in fields if field in line] == list(line)
    assert set(line["tls"]) <= set(fields)


def test_reasons_lists_all():
    lines = run_command("reasons").stdout.splitlines()
    rows = [json.loads(line) for line in run_command("reasons", "--json").stdout.splitlines()]
    assert [line.split()[0] for line in lines] == [row["reason"] for row in rows]
    table = (ROOT / "include" / "base" / "reasons.def").read_text()
    assert len(rows) == len(re.findall(r"^REASON\(", table, re.M)) - 1  # all but NONE
    for row in rows:
        assert all(row[key] for key in ("reason", "fault", "sentence", "advice")), row


def test_one_reason_is_told_whole():
    result = run_command("reasons", "svid_untrusted")
    assert result.returncode == 0
    for part in ("means", "fault", "to do", "RFC 5280 6"):
        assert part in result.stdout


@pytest.mark.parametrize("arguments, part", [
    (["svid_untrustd"], 'did you mean "svid_untrusted"'),
    (["none"], 'there is no reason "none"'),
    (["svid_untrusted", "qqqqqq"], '"qqqqqq"; `bulkhead reasons` lists them all'),
    (["--all"], "bulkhead reasons: unrecognized option"),
])
def test_an_unknown_reason_is_an_error(arguments, part):
    result = run_command("reasons", *arguments)
    assert result.returncode == 2 and part in result.stderr
