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
    said: str


@dataclasses.dataclass(frozen=True)
class Help:
    usage: str
    commands: list
    options: list

    def names(self):
        return [command.name for command in self.commands]


# A value stands one blank behind its option, a description at least one behind that.
ROW = re.compile(r"^  (?P<head>[a-z][\w-]*)  +(?P<said>\S.*)$")
OPTION_ROW = re.compile(
    r"^ {2}(?:(?P<short>-\w), | {4})?(?P<long>--[\w-]+)(?: (?P<value>\S+))? +(?P<said>\S.*)$")


def read_help(*command):
    """help_of("ctl"): its --help, taken apart."""
    result = run_command(*command, "--help")
    assert result.returncode == 0, result.stderr
    lines = re.split(r"^Examples?:$", result.stdout, flags=re.M)[0].splitlines()
    commands, options, inside = [], [], False
    for line in lines:
        option, row = OPTION_ROW.match(line), ROW.match(line)
        inside = line.startswith("Commands") or (inside and line != "")
        if option:
            options.append(Option(*(option[key] or "" for key in ("short", "long", "value", "said"))))
        elif inside and row:
            commands.append(Command(row["head"], row["said"]))
    return Help(lines[0], commands, options)


def all_help():
    """{"": the program's own, "run": ..., "ctl": ..., "ctl sessions": ...}"""
    top = read_help()
    every = {"": top, **{name: read_help(name) for name in top.names()}}
    for name in top.names():
        every |= {f"{name} {verb}": read_help(name, verb) for verb in every[name].names()}
    return every
