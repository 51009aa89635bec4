"""Usage: what is wrong is said with the command's name, and lost output is a failure."""

import pytest

from harness.bulkhead import run_command

COMMANDS = ["run", "check", "ctl", "ready", "svid", "reasons", "version"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    for flag in ("--help", "-h"):
        result = run_command(command, flag)
        assert result.returncode == 0 and result.stderr == ""
        assert result.stdout.startswith(f"usage: bulkhead {command}")
        assert "Example" in result.stdout and "Exit code" in result.stdout
    assert f"  {command} " in run_command("--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_names_the_command(command):
    result = run_command(command, "--no-such-option")
    assert result.returncode == 2 and result.stdout == ""
    first, second = result.stderr.splitlines()
    assert first == f"bulkhead {command}: unrecognized option '--no-such-option'"
    assert second == f"try: bulkhead {command} --help"


@pytest.mark.parametrize("arguments", [
    ["version", "foo"], ["--version", "foo"], ["version", "-x"],
    ["check", "-c", "a", "-c", "b"], ["run", "-c", "a", "-c", "b"], ["run", "-c", "a", "b"],
    ["check", "-c", "a", "b"], ["check"], ["run"], ["svid"], ["svid", "--bundle", "a", "b"],
])
def test_wrong_usage_is_said_once_and_nothing_is_done(arguments):
    result = run_command(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    command = arguments[0].lstrip("-")
    assert result.stderr.startswith(f"bulkhead {command}: ")
    assert f"try: bulkhead {command}" in result.stderr


def test_a_configuration_without_its_option_is_told_where_it_belongs():
    for command in ("check", "run"):
        result = run_command(command, "some.yaml")
        assert result.returncode == 2 and f"bulkhead {command} -c " in result.stderr
        assert f"bulkhead {command} -c some.yaml" in result.stderr


@pytest.mark.parametrize("arguments", [
    ["--help"], ["help"], ["version"], ["--version"], ["reasons"], ["reasons", "--json"],
    *[[command, "--help"] for command in COMMANDS],
])
def test_output_that_is_lost_is_a_failure(arguments):
    with open("/dev/full", "w") as full:
        result = run_command(*arguments, stdout_file=full)
    assert result.returncode == 1
    assert "can't write to stdout: No space left on device" in result.stderr


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_result_that_is_lost_is_a_failure(credentials, options):
    with open("/dev/full", "w") as full:
        result = run_command("svid", *options, credentials.chain("orders"), stdout_file=full)
    assert result.returncode == 1 and "bulkhead svid: can't write" in result.stderr
