"""What the program says of itself in --help: commands, options, and which of them take a value."""

import dataclasses
import re

from .bulkhead import run_command


@dataclasses.dataclass(frozen=True)
class Option:
    short: str  # "-c", or ""
    long: str  # "--config"
    value: str  # "FILE", or "" when it takes none
    said: str


@dataclasses.dataclass(frozen=True)
class Command:
    name: str
    rest: str  # what stands behind it: "--dry-run", "FILE", or ""
    said: str


@dataclasses.dataclass(frozen=True)
class Help:
    usage: str
    commands: list
    options: list

    def names(self):
        return list(dict.fromkeys(command.name for command in self.commands))


ROW = re.compile(r"^  (?P<head>\S+(?: \S+)*)  +(?P<said>\S.*)$")
OPTION_ROW = re.compile(
    r"^ {2}(?:(?P<short>-\w), |    )(?P<long>--[\w-]+)(?: (?P<value>[A-Z|a-z=]+))?  +(?P<said>\S.*)$")


def read_help(*command):
    """help_of("ctl"): its --help, taken apart."""
    result = run_command(*command, "--help")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    commands, options, inside = [], [], False
    for line in lines:
        option, row = OPTION_ROW.match(line), ROW.match(line)
        inside = line == "Commands:" or (inside and line != "")
        if option:
            options.append(Option(*(option[key] or "" for key in ("short", "long", "value", "said"))))
        elif inside and row:
            name, _, rest = row["head"].partition(" ")
            commands.append(Command(name, rest, row["said"]))
    return Help(lines[0], commands, options)


def all_help():
    """{"": the program's own, "run": ..., "check": ...}"""
    top = read_help()
    return {"": top, **{name: read_help(name) for name in top.names()}}
