"""Completion in bash, zsh and fish: real shells offer what --help names, in each place what belongs there."""

import os
import pty
import select
import signal
import subprocess
import time

import pytest

from harness.bulkhead import ROOT, program, run_command
from harness.help_text import all_help
from harness.wait import DEADLINE_S

COMPLETION = ROOT / "config" / "completion"


@pytest.fixture(scope="module")
def known():
    return all_help()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with the program under its name, and a file and a directory to complete to."""
    directory = tmp_path_factory.mktemp("completion")
    (directory / "bin").mkdir()
    (directory / "bin" / "bulkhead").symlink_to(program())
    (directory / "orders.yaml").touch()
    (directory / "ordered").mkdir()
    return directory


def environment(place):
    return {"PATH": f"{place}/bin:/usr/bin:/bin", "HOME": str(place), "TERM": "dumb", "LC_ALL": "C.UTF-8"}


BASH = r"""
source "$1"
COMP_WORDS=("${@:2}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
[[ $(complete -p bulkhead) == *" -F _bulkhead bulkhead" ]] || exit 3
_bulkhead bulkhead "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


def bash(place, line):
    """readline takes words apart at "=" too."""
    words = [part for word in line.split(" ") for part in
             ([word] if "=" not in word else [*word.replace("=", "\0=\0").split("\0")])]
    made = subprocess.run(["bash", "--norc", "-c", BASH, "bash", COMPLETION / "bulkhead.bash", *words],
                          capture_output=True, text=True, timeout=DEADLINE_S, cwd=place,
                          env=environment(place))
    assert (made.returncode, made.stderr) == (0, "")
    return {word.rstrip("/") for word in made.stdout.split("\n") if word}


def fish(place, line):
    script = f"source {COMPLETION}/bulkhead.fish; complete -C $argv[1]"
    made = subprocess.run(["fish", "--no-config", "-c", script, line], capture_output=True, text=True,
                          timeout=DEADLINE_S, cwd=place, env=environment(place))
    assert (made.returncode, made.stderr) == (0, "")
    words = {row.split("\t")[0].rstrip("/") for row in made.stdout.splitlines()}
    return {word.partition("=")[2] if word.startswith("--") and "=" in word else word for word in words}


# The completion system calls compadd with what it offers: a function of that name keeps a copy.
ZSH = r"""
setopt extendedglob
PROMPT=
fpath=({completion} $fpath)
autoload -Uz compinit
compinit -u -D
compadd() {{
    local -a offered
    if [[ " ${{(@)argv[1,(i)(-|--)]}} " != *\ -[a-zA-Z]#(O|A|D)\ * ]]; then
        builtin compadd -A offered "$@"
        print -rl -- $offered >> {answer}
    fi
    builtin compadd "$@"
}}
answered() {{ print -r -- .answered >> {answer} }}
comppostfuncs=(answered)
bindkey '^I' complete-word
print -r -- .ready >> {answer}
"""


def zsh(place, line):
    answer, setup = place / "answer", place / "setup.zsh"
    answer.write_text("")
    setup.write_text(ZSH.format(completion=COMPLETION, answer=answer))
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place)
        os.execvpe("zsh", ["zsh", "-f", "-i"], environment(place))
    try:
        def type_and_wait(text, mark):
            os.write(terminal, text.encode())
            deadline, shown = time.monotonic() + DEADLINE_S, b""
            while mark not in answer.read_text().splitlines():
                assert time.monotonic() < deadline, shown.decode(errors="replace")
                if select.select([terminal], [], [], 0.02)[0]:
                    shown += os.read(terminal, 4096)

        type_and_wait(f"source {setup}\n", ".ready")
        type_and_wait(line + "\t", ".answered")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
    return {word.rstrip("/") for word in answer.read_text().split("\n") if word and word[0] != "."}


@pytest.fixture(params=[bash, zsh, fish], ids=lambda shell: shell.__name__)
def offered(request, place):
    """offered("bulkhead ctl "): what Tab offers behind that."""
    return lambda line: request.param(place, line)


def flags(help_, prefix="-"):
    both = {flag for option in help_.options for flag in (option.short, option.long) if flag}
    return {flag for flag in both if flag.startswith(prefix)}


def test_commands(offered, known):
    assert offered("bulkhead ") == set(known[""].names())
    assert offered("bulkhead re") == {name for name in known[""].names() if name.startswith("re")}


def test_the_options_of_every_command(offered, known):
    for name in known[""].names():
        assert offered(f"bulkhead {name} --") == flags(known[name], "--"), name
    assert offered("bulkhead check -") == flags(known["check"])


def test_the_commands_of_ctl(offered, known):
    assert offered("bulkhead ctl ") == set(known["ctl"].names())
    assert offered("bulkhead ctl -s x ") == set(known["ctl"].names()), "x is the value of -s"


def test_the_commands_of_ctl_have_options_of_their_own(offered, known):
    for name in known["ctl"].names():
        expected = flags(known["ctl"], "--") | flags(known[f"ctl {name}"], "--")
        assert offered(f"bulkhead ctl {name} --") == expected, name


@pytest.mark.parametrize("line", [
    "bulkhead run -c ord", "bulkhead check --config ord", "bulkhead check --config=ord",
    "bulkhead ctl -s ord", "bulkhead ctl check ord", "bulkhead svid ord",
    "bulkhead check --strict -c ord",
])
def test_files_where_a_file_belongs(offered, line):
    assert offered(line) == {"orders.yaml", "ordered"}


def test_names_of_reasons(offered):
    labels = {line.split()[0] for line in run_command("reasons").stdout.splitlines()}
    assert offered("bulkhead reasons svid_u") == {name for name in labels if name.startswith("svid_u")}


def test_a_choice(offered):
    assert offered("bulkhead ctl log-level ") == {"error", "warn", "info", "debug"}
    assert offered("bulkhead ctl log-level --json w") == {"warn"}


@pytest.mark.parametrize("line", [
    "bulkhead ctl reload ord", "bulkhead ctl drain x", "bulkhead svid --trust-domain ord", "bulkhead no-such ",
    "bulkhead no-such -", "bulkhead version ord",
])
def test_nothing_where_nothing_belongs(offered, line):
    assert offered(line) == set()
