"""The manual pages: all that --help names stands in bulkhead(1) and nothing else, and both are sound."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from harness.bulkhead import ROOT, run_command
from harness.help_text import all_help

MAN = ROOT / "config" / "man"
PAGES = ["bulkhead.1", "bulkhead.yaml.5"]


def source(page):
    return (MAN / page).read_text()


def commands_section():
    """{"run": the mdoc of its subsection, ...}"""
    body = source("bulkhead.1").partition(".Sh COMMANDS\n")[2].partition("\n.Sh ")[0]
    first, *parts = re.split(r"^\.Ss (.+)\n", body, flags=re.M)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def flags_of(text):
    """The options among the tags of a list, as they are typed."""
    tags = " ".join(re.findall(r"^\.It (.*)$", text, re.M))
    return {f"-{flag}" for flag in re.findall(r"Fl (-?[\w-]+)", tags)}


@pytest.fixture(scope="module")
def known():
    return all_help()


def test_the_manual_has_every_command_and_no_other(known):
    assert list(commands_section()) == known[""].names()
    synopsis = source("bulkhead.1").partition(".Sh SYNOPSIS\n")[2].partition("\n.Sh ")[0]
    assert re.findall(r"^\.Cm (\S+)$", synopsis, re.M) == known[""].names()


def verbs_section():
    """Of ctl: {"reload": the mdoc of its item, ...}, and of the options of all of them, under ""."""
    verbs, _, common = commands_section()["ctl"].partition("\nOptions of all of them:\n")
    _, *parts = re.split(r"^\.It Cm (\S+)", verbs, flags=re.M)
    return {**dict(zip(parts[::2], parts[1::2], strict=True)), "": common}


def said_in(help_):
    return {flag for option in help_.options for flag in (option.short, option.long) if flag}


def test_the_manual_has_every_option_and_no_other(known):
    sections = commands_section() | {"ctl": verbs_section()[""]}
    for name in known[""].names():
        said = said_in(known[name])
        assert said and flags_of(sections[name]) == said, f"bulkhead {name}"


def test_the_manual_has_every_command_of_ctl_and_no_other(known):
    sections = verbs_section()
    assert list(sections) == [*known["ctl"].names(), ""]
    for name in known["ctl"].names():
        assert flags_of(sections[name]) == said_in(known[f"ctl {name}"]), f"bulkhead ctl {name}"


def test_the_manual_says_which_options_take_a_value(known):
    sections = {**commands_section(), **{f"ctl {name}": text for name, text in verbs_section().items() if name},
                "ctl": verbs_section()[""]}
    for name, section in sections.items():
        for option in known[name].options:
            tag = next(line for line in section.splitlines()
                       if line.startswith(".It ") and f"Fl {option.long[1:]}" in line)
            assert ("Ar" in tag.split()) == bool(option.value), f"{name} {option.long}"


def test_the_manual_has_every_exit_code_and_signal():
    text = source("bulkhead.1")
    codes = text.partition(".Sh EXIT STATUS\n")[2].partition("\n.Sh ")[0]
    assert re.findall(r"^\.It (\d)$", codes, re.M) == ["0", "1", "2"]
    assert "0 done, 1 failed, 2 wrong usage" in run_command("--help").stdout
    handled = (ROOT / "src" / "control" / "control.c").read_text()
    handled = handled.partition("handled[] = {")[2].partition("}")[0]
    signals = set(re.findall(r"SIG\w+", handled))
    assert signals and set(re.findall(r"SIG\w+", text.partition(".Sh SIGNALS\n")[2])) == signals


def test_the_manual_has_every_variable_that_is_read():
    text = source("bulkhead.1").partition(".Sh ENVIRONMENT\n")[2].partition("\n.Sh ")[0]
    described = set(re.findall(r"^\.(?:Ev|It Ev) (\w+)", text, re.M))
    code = "".join(file.read_text() for file in (ROOT / "src").glob("*/*.c"))
    read = set(re.findall(r'(?:getenv|take_variable)\("(\w+)"\)', code)) - {"BULKHEAD_TEST_CLOCK_FD"}
    assert read <= described


def test_the_configuration_page_is_up_to_date():
    made = subprocess.run(
        [sys.executable, ROOT / "tests" / "tools" / "manual_page.py",
         ROOT / "config" / "REFERENCE.md", ROOT / "config" / "sidecar.yaml"],
        capture_output=True, text=True, check=True)
    assert made.stdout == source("bulkhead.yaml.5"), "run `make reference`"


def test_the_configuration_page_has_every_key():
    """Against the reference, cell by cell: nothing is lost on the way to roff."""
    page = subprocess.run(["mandoc", "-T", "utf8", MAN / "bulkhead.yaml.5"],
                          capture_output=True, text=True, check=True).stdout
    page = re.sub(r".\x08", "", page)
    page = " ".join(page.split())
    reference = (ROOT / "config" / "REFERENCE.md").read_text()
    rows = [line for line in reference.splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    for row in rows:
        key, _, _, _, meaning = [cell.strip() for cell in row.split("|")[1:-1]]
        said = f"{key.strip('`')} {' '.join(meaning.replace('`', '').split())}"
        assert said in page, said


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_are_sound(page):
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", MAN / page],
                          capture_output=True, text=True, timeout=60)
    assert (lint.returncode, lint.stdout) == (0, ""), lint.stdout


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.skipif(shutil.which("man") is None or not pathlib.Path("/usr/bin/nroff").exists(),
                    reason="a second formatter: needs man-db and groff")
def test_the_pages_are_sound_to_groff_too(page):
    shown = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", MAN / page],
                           capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin"})
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "SEE ALSO" in re.sub(r".\x08", "", shown.stdout)
