"""The process log's level at run time, lines that repeat, and log files that are rotated."""

import json
import os
import signal

import pytest
import yaml

from harness.bulkhead import configuration, rule, run_command, terminate, until
from harness.metrics import http_get
from harness.streams import client_context, tls_connect


@pytest.fixture
def site(start, backends, credentials, tmp_path):
    """site(**more): everybody of the shop may use listener in."""
    def make(**more):
        place = start(configuration(
            credentials, terminate(backends.plain().url, name="in"),
            rules=[rule("shop", "spiffe://prod.example/ns/shop/sa/*", "in")],
            **{"admin": {"listen": f"unix://{tmp_path}/admin.sock"}, **more}))
        place.socket = f"{tmp_path}/admin.sock"
        return place
    return make


def call(place, credentials, name="web"):
    """Its session has ended, and is on its way to the access log."""
    with tls_connect(place.address("in"), client_context(credentials.pair(name))) as stream:
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        return stream.local_address()


def ctl(place, *arguments):
    return run_command("ctl", "--socket", place.socket, *arguments)


def level(place, *arguments):
    result = ctl(place, "log-level", *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


# ---- The level --------------------------------------------------------------------------------


def test_the_level_changes_at_run_time_in_every_thread(site, credentials):
    place = site()
    assert level(place) == {"level": "debug", "configured": "debug"}
    assert level(place, "error") == {"level": "error", "configured": "debug"}
    line = place.wait_log("log_level", to="error")
    assert (line["from"], line["trigger"], line["level"]) == ("debug", "ctl", "info")
    call(place, credentials, "web")
    assert level(place, "info")["level"] == "info"
    call(place, credentials, "orders")
    place.wait_log("peer_first_seen", spiffe_id="spiffe://prod.example/ns/shop/sa/orders")
    assert len(place.log.find(event="peer_first_seen")) == 1
    assert ctl(place, "log-level").stdout == "log level info, debug in the configuration\n"
    before = len(place.log.find(event="log_level"))
    level(place, "info")
    assert len(place.log.find(event="log_level")) == before


def test_a_reload_changes_it_when_the_configuration_has(site, credentials):
    place = site()
    level(place, "warn")
    config = yaml.safe_load(place.config_file.read_text())
    place.config_file.write_text(yaml.safe_dump({**config, "timeouts": {"idle": "2h"}}))
    assert ctl(place, "reload").returncode == 0
    assert level(place) == {"level": "warn", "configured": "debug"}
    config["log"] = {**config["log"], "level": "info"}
    place.config_file.write_text(yaml.safe_dump(config))
    assert ctl(place, "reload").returncode == 0
    assert level(place) == {"level": "info", "configured": "info"}
    place.wait_log("log_level", trigger="reload", to="info")
    call(place, credentials)
    place.wait_log("peer_first_seen")  # a worker's


@pytest.fixture(scope="module")
def shared_socket(start_shared, shared_backends, credentials, tmp_path_factory):
    path = f"{tmp_path_factory.mktemp('level')}/admin.sock"
    start_shared(configuration(credentials, terminate(shared_backends.plain().url),
                               admin={"listen": f"unix://{path}"}))
    return path


@pytest.mark.parametrize("target, method, status", [
    ("/log-level", "POST", 400), ("/log-level?level=", "POST", 400),
    ("/log-level?level=trace", "POST", 400), ("/log-level?level=DEBUG", "POST", 400),
    ("/log-level?level=3", "POST", 400), ("/log-level?level=debug", "GET", 400),
    ("/log-level?levl=debug", "POST", 400), ("/log-level", "HEAD", 200), ("/log-level/", "GET", 404),
])
def test_a_wrong_level_changes_nothing(shared_socket, target, method, status):
    assert http_get(shared_socket, target, method=method)[0] == status
    assert json.loads(http_get(shared_socket, "/log-level")[2])["level"] == "debug"


def test_wrong_usage_of_the_verb(site):
    place = site()
    result = ctl(place, "log-level", "loud")
    assert result.returncode == 1 and "error, warn, info or debug" in result.stderr
    assert ctl(place, "log-level", "info", "debug").returncode == 2
    assert http_get(place.socket, "/log-level", method="PUT")[0] == 405


# ---- Repetition -------------------------------------------------------------------------------


def test_equal_lines_are_counted(site):
    place = site()
    for _ in range(40):
        place.signal(signal.SIGUSR2)
        # Signals of one number merge while they wait: each is handled before the next.
        assert http_get(place.socket, "/log-level")[0] == 200
    place.stop()
    assert len(place.log.find(event="signal_ignored")) == 10
    lines = place.log.find(event="repeated", of="signal_ignored")
    assert sum(line["count"] for line in lines) == 30
    assert {line["level"] for line in lines} == {"info"} and "SIGUSR2" in lines[0]["line"]
    assert not place.log.find(event="log_lines_lost")


# ---- Rotation ---------------------------------------------------------------------------------


@pytest.fixture
def rotated(site, tmp_path):
    place = site(access_log={"to": str(tmp_path / "access.log")})
    place.file = tmp_path / "access.log"
    return place


def has(path, address):
    return path.exists() and address in path.read_text()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_opens_the_file_anew(rotated, credentials, number):
    first = call(rotated, credentials)
    until(lambda: has(rotated.file, first), "the first line")
    old = rotated.file.with_suffix(".1")
    rotated.file.rename(old)
    rotated.signal(number)
    rotated.wait_log("access_log_reopened", file=str(rotated.file))
    until(rotated.file.exists, "a new file, also without a line for it")
    second = call(rotated, credentials)
    until(lambda: has(rotated.file, second), "the second line")
    assert has(old, first) and not has(old, second)
    assert os.stat(rotated.file).st_mode & 0o777 == 0o640


def test_also_when_the_reload_is_refused(rotated, credentials):
    rotated.config_file.write_text("version: 2\n")
    old = rotated.file.with_suffix(".1")
    rotated.file.rename(old)
    rotated.signal(signal.SIGHUP)
    rotated.wait_log("access_log_reopened")
    rotated.wait_log("reload", result="refused")
    address = call(rotated, credentials)
    until(lambda: has(rotated.file, address), "the line")
    assert old.read_text() == ""


def test_also_while_the_process_drains(site, credentials, tmp_path):
    place = site(access_log={"to": str(tmp_path / "access.log")}, drain={"delay": "1h"})
    place.signal(signal.SIGTERM)
    place.wait_log("draining")
    (tmp_path / "access.log").rename(tmp_path / "old")
    place.signal(signal.SIGHUP)
    place.wait_log("access_log_reopened")
    place.signal(signal.SIGTERM)
    place.wait_exit(0)


@pytest.mark.parametrize("how", ["renamed", "removed", "replaced"])
def test_a_file_that_goes_is_opened_anew_by_itself(rotated, credentials, how):
    first = call(rotated, credentials)
    until(lambda: has(rotated.file, first), "the first line")
    old = rotated.file.with_suffix(".1")
    if how == "renamed":
        rotated.file.rename(old)
    elif how == "removed":
        rotated.file.unlink()
    else:
        old.write_text("another's\n")
        old.replace(rotated.file)
    second = call(rotated, credentials)
    until(lambda: has(rotated.file, second), "the second line")
    rotated.wait_log("access_log_reopened")
    assert not has(rotated.file, first)
    if how == "renamed":
        assert not has(old, second)


def test_no_line_is_lost_while_it_is_rotated(rotated, credentials):
    addresses = []
    for i in range(20):
        addresses.append(call(rotated, credentials))
        if i % 5 == 4:
            rotated.file.rename(rotated.file.with_suffix(f".{i}"))
            rotated.signal(signal.SIGUSR1)
    rotated.stop()
    text = "".join(path.read_text() for path in rotated.file.parent.glob("access.*"))
    assert [text.count(f'"{address}"') for address in addresses] == [1] * 20
    assert all(json.loads(line) for line in text.splitlines())


def test_a_path_that_cannot_be_opened_keeps_what_is_open(rotated, credentials):
    old = rotated.file.with_suffix(".1")
    rotated.file.rename(old)
    rotated.file.mkdir()
    for _ in range(3):
        address = call(rotated, credentials)
        until(lambda: has(old, address), "the line where it was")  # noqa: B023
    rotated.signal(signal.SIGHUP)
    rotated.wait_log("reload")
    [line] = rotated.log.find(event="access_log_not_reopened")  # once
    assert line["level"] == "error" and "Is a directory" in line["error"]
    rotated.file.rmdir()
    address = call(rotated, credentials)
    until(lambda: has(rotated.file, address), "the new file")


def test_what_is_no_file_is_not_reopened(site, credentials):
    place = site()
    place.signal(signal.SIGHUP)
    place.wait_log("reload")
    address = call(place, credentials)
    place.wait_access(downstream=address)
    assert not place.log.find(event="access_log_reopened")
    assert not place.log.find(event="access_log_not_reopened")
