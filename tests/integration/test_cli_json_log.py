"""log.format json: every line on stderr is JSON, from the first, once the configuration is known."""

import json
import shutil

import pytest

from harness.bulkhead import configuration, run_command, terminate
from harness.streams import client_context, tls_connect
from harness.wait import until


def lines(bulkhead):
    """Every line, parsed."""
    bulkhead.log.join()
    return [json.loads(line) for line in bulkhead.log.raw]


def with_a_warning(credentials, config, directory):
    """A key that everyone may read."""
    key = directory / "open.key"
    shutil.copy(config["identity"]["files"]["private_key"], key)
    key.chmod(0o644)
    config["identity"]["files"]["private_key"] = str(key)
    return config


def test_warnings_at_the_start_are_lines_of_the_log(start, backends, credentials, tmp_path):
    config = configuration(credentials, terminate(backends.plain().url))
    bulkhead = start(with_a_warning(credentials, config, tmp_path))
    bulkhead.stop()
    first = lines(bulkhead)[0]
    assert (first["level"], first["event"]) == ("warn", "config_warning")
    assert first["file"].endswith("bulkhead.yaml") and first["column"] == 18
    text = bulkhead.config_file.read_text().splitlines()
    assert "private_key" in text[first["line"] - 1] and "chmod 0600" in first["message"]


def test_a_start_that_fails_says_so_in_json(start, backends, credentials, tmp_path):
    first = start(configuration(credentials, terminate(backends.plain().url)))
    listener = terminate(backends.plain().url, accept=f"mtls://127.0.0.1:{first.port()}")
    config = with_a_warning(credentials, configuration(credentials, listener), tmp_path)
    second = start(config, wait=False)
    second.wait_exit(1)
    last = lines(second)[-1]
    assert (last["level"], last["event"]) == ("error", "not_started")
    assert str(first.port()) in last["error"]


def test_lines_that_were_lost_are_counted_in_json(start, backends, credentials):
    with open("/dev/full", "w") as full:
        bulkhead = start(configuration(credentials, terminate(backends.plain().url)), stdout=full)
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        stream.end()
        stream.read_to_end()
    bulkhead.stop()
    assert lines(bulkhead)[-1]["event"] == "log_lines_lost"


@pytest.mark.parametrize("level, said", [("warn", True), ("error", False)])
def test_warnings_follow_the_level(start, backends, credentials, tmp_path, level, said):
    listener = terminate(backends.plain().url, accept=f"mtls+unix://{tmp_path}/in.sock")
    config = configuration(credentials, listener, log={"format": "text", "level": level})
    bulkhead = start(with_a_warning(credentials, config, tmp_path), wait=False)
    until(lambda: (tmp_path / "in.sock").exists(), "the socket")
    bulkhead.stop()
    assert ("event=config_warning" in bulkhead.log.text()) == said


def test_errors_of_a_configuration_that_is_not_known_are_text(credentials, tmp_path):
    file = tmp_path / "bulkhead.yaml"
    file.write_text("version: 1\nlog: {format: json}\n")
    result = run_command("run", "-c", file)
    assert result.returncode == 2 and "bulkhead.yaml:1:1: error: " in result.stderr
