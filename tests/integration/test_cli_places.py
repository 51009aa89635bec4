"""What a configuration needs of the file system: said by `check` and by `run`, with its place."""

import os
import stat

import pytest
import yaml

from harness.bulkhead import configuration, originate, run_command, terminate
from harness.metrics import wait_metrics
from harness.streams import client_context, tls_connect
from harness.wait import until


def write(tmp_path, credentials, text, listener=None):
    file = tmp_path / "bulkhead.yaml"
    config = configuration(credentials, listener or terminate("tcp://127.0.0.1:1"))
    del config["access_log"]  # it is what the tests write
    file.write_text(yaml.safe_dump(config, sort_keys=False) + text)
    return file


def line_of(file, part):
    return next(n for n, line in enumerate(file.read_text().splitlines(), 1) if part in line)


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("to, why", [
    ("/no/such/directory/access.log", "No such file or directory"),
    ("a-directory/", "Is a directory"),
    ("a-file/access.log", "Not a directory"),
])
def test_an_access_log_that_cannot_be_opened_is_an_error_at_its_place(
        tmp_path, credentials, command, to, why):
    (tmp_path / "a-directory").mkdir()
    (tmp_path / "a-file").write_text("")
    file = write(tmp_path, credentials, f"access_log: {{to: {to}}}\n")
    result = run_command(command, "-c", file)
    assert result.returncode == 2
    line = line_of(file, "access_log:")
    assert f"bulkhead.yaml:{line}:18: error: access_log.to: " in result.stderr
    assert why in result.stderr


@pytest.mark.parametrize("to", ["access.log", "/dev/null", "stdout", "none"])
def test_check_opens_no_access_log(tmp_path, credentials, to):
    file = write(tmp_path, credentials, f"access_log: {{to: {to}}}\n")
    result = run_command("check", "-c", file)
    assert (result.returncode, result.stderr) == (0, "")
    assert not (tmp_path / "access.log").exists()


def test_check_of_a_pipe_is_no_end_to_its_reader(tmp_path, credentials):
    os.mkfifo(tmp_path / "access.fifo")
    file = write(tmp_path, credentials, "access_log: {to: access.fifo}\n")
    reader = os.open(tmp_path / "access.fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "access.fifo", os.O_WRONLY)
    assert run_command("check", "-c", file).returncode == 0
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    os.close(writer)
    os.close(reader)


@pytest.mark.parametrize("mode, warned", [(0o777, True), (0o1777, False), (0o775, False)])
def test_a_socket_in_a_directory_of_everybody_is_a_warning(tmp_path, credentials, mode, warned):
    place = tmp_path / "sockets"
    place.mkdir()
    place.chmod(mode)
    listener = originate("mtls://127.0.0.1:1")
    listener["accept"] = f"unix://{place}/in.sock"
    file = write(tmp_path, credentials, "", listener)
    result = run_command("check", "-c", file)
    assert result.returncode == 0
    line = line_of(file, "accept:")
    said = f"bulkhead.yaml:{line}:11: warning: accept: everyone may write to {place}"
    assert (said in result.stderr) == warned, result.stderr


def test_the_access_log_is_readable_by_its_group(start, backends, credentials):
    bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                   access_log={"to": "access.jsonl"}))
    mode = (bulkhead.directory / "access.jsonl").stat().st_mode
    assert stat.S_IMODE(mode) == 0o640


def end_a_session(bulkhead, credentials):
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        stream.end()
        stream.read_to_end()


def test_a_full_disk_is_said_at_once(start, backends, credentials, tmp_path):
    admin = tmp_path / "admin.sock"
    with open("/dev/full", "w") as full:
        bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                       admin={"listen": f"unix://{admin}"}), stdout=full)
    end_a_session(bulkhead, credentials)
    line = bulkhead.wait_log("access_log_failed")
    assert (line["level"], line["lines_lost"]) == ("error", 1)
    assert line["error"] == "No space left on device"
    end_a_session(bulkhead, credentials)
    wait_metrics(str(admin), lambda m: m("bulkhead_log_lines_dropped_total", log="access") == 2,
                 "both lines to be counted")
    bulkhead.stop()
    lost = [line["lines_lost"] for line in bulkhead.log.find(event="access_log_failed")]
    assert sum(lost) == 2 and bulkhead.log.find(event="stopped", log_lines_dropped=2)


def test_a_reader_that_goes_and_comes_back(start, backends, credentials, tmp_path):
    """A FIFO: without a reader writes fail, with one they go on."""
    fifo = tmp_path / "access.fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                   access_log={"to": str(fifo)}))
    os.close(reader)
    end_a_session(bulkhead, credentials)
    bulkhead.wait_log("access_log_failed", error="Broken pipe", lines_lost=1)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    end_a_session(bulkhead, credentials)
    bulkhead.wait_log("access_log_recovered", lines_lost=1)
    until(lambda: b'"event":"close"' in os.read(reader, 65536), "the line")
    os.close(reader)
