"""Who was seen: `ctl peers`, the first-seen events, and the file that outlives the process."""

import json
import os
import pathlib
import stat

import pytest
import yaml

from harness.bulkhead import configuration, originate, rule, run_command, terminate, until
from harness.streams import PlainStream, client_context, dial, server_context, tls_connect

WEB = "spiffe://prod.example/ns/shop/sa/web"
ORDERS = "spiffe://prod.example/ns/shop/sa/orders"
PAYMENTS = "spiffe://prod.example/ns/shop/sa/payments"
WIKI = "spiffe://prod.example/ns/shop/sa/wiki"
HEAD = "# bulkhead first-seen 1\n"


@pytest.fixture
def site(start, backends, credentials, tmp_path):
    """site(**more) -> `web` may use listener in; nobody else may. first_seen_file with seen=True."""
    def make(seen=False, **more):
        if seen:
            more["first_seen_file"] = str(tmp_path / "seen")
        server = backends.tls(server_context(credentials.pair("payments")))
        place = start(configuration(
            credentials, terminate(backends.plain().url, name="in"), originate(server.url),
            rules=[rule("web", WEB, "in")], admin={"listen": f"unix://{tmp_path}/admin.sock"}, **more))
        place.socket = f"{tmp_path}/admin.sock"
        place.seen = tmp_path / "seen"
        return place
    return make


def call(place, credentials, name):
    """True when it was let in; its session has ended."""
    with tls_connect(place.address("in"), client_context(credentials.pair(name))) as stream:
        stream.offer(b"ping")
        allowed = stream.recv(4)[0] == b"ping"
        address = stream.local_address()
    place.wait_access(downstream=address)
    return allowed


def ask(place, *arguments):
    result = run_command("ctl", "--socket", place.socket, "peers", *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def peers(place, *arguments):
    return {peer["spiffe_id"]: peer for peer in ask(place, *arguments)["peers"]}


def test_who_was_seen(site, credentials):
    place = site()
    assert ask(place)["peers"] == [] and ask(place)["others"] == {"allowed": 0, "denied": 0}
    assert call(place, credentials, "web") and call(place, credentials, "web")
    assert not call(place, credentials, "orders")
    with PlainStream(dial(place.address("out"))) as stream:
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
    answer = ask(place)
    assert [peer["spiffe_id"] for peer in answer["peers"]] == [WEB, ORDERS, PAYMENTS]
    web, orders, payments = answer["peers"]
    assert (web["allowed"], web["denied"], web["has_called"]) == (2, 0, True)
    assert answer["since"] <= web["first_seen"] <= web["last_seen"] and web["first_denied"] is None
    assert (orders["allowed"], orders["denied"]) == (0, 1)
    assert orders["first_denied"] == orders["first_seen"]
    assert (payments["allowed"], payments["has_called"], payments["first_denied"]) == (1, False, None)
    assert set(peers(place, "--identity", ORDERS)) == {ORDERS}
    assert peers(place, "--identity", "spiffe://prod.example/other/**") == {}
    answer = ask(place, "--limit", 1)
    assert (len(answer["peers"]), answer["matched"], answer["truncated"]) == (1, 3, True)
    people = run_command("ctl", "--socket", place.socket, "peers").stdout
    assert WEB in people and "\n3 peers, counted since 20" in people
    for wrong in (["--limit", "0"], ["--identity", "x"]):
        assert run_command("ctl", "--socket", place.socket, "peers", *wrong).returncode == 1
    # Told once each, and a server that was dialled has not called.
    first = place.log.find(event="peer_first_seen")
    assert [(line["spiffe_id"], line["decision"]) for line in first] == [
        (WEB, "allow"), (ORDERS, "deny")]
    assert first[0]["listener"] == "in" and first[0]["level"] == "info"
    assert not place.log.find(event="peer_first_denied")


def test_a_known_peer_that_is_denied(site, credentials):
    place = site()
    assert call(place, credentials, "web")
    config = yaml.safe_load(place.config_file.read_text())
    place.config_file.write_text(yaml.safe_dump({**config, "rules": []}))
    assert run_command("ctl", "--socket", place.socket, "reload").returncode == 0
    assert not call(place, credentials, "web") and not call(place, credentials, "web")
    [line] = place.log.find(event="peer_first_denied")
    assert (line["spiffe_id"], line["level"]) == (WEB, "warn")
    assert len(place.log.find(event="peer_first_seen")) == 1
    assert peers(place)[WEB]["first_denied"] is not None


def test_what_is_known_outlives_the_process(site, credentials):
    place = site(seen=True)
    assert call(place, credentials, "web") and not call(place, credentials, "orders")
    until(place.seen.exists, "the file, while it runs")
    place.stop()
    assert stat.S_IMODE(os.stat(place.seen).st_mode) == 0o600
    text = place.seen.read_text()
    lines = text.splitlines()
    assert lines[0] + "\n" == HEAD and len(lines) == 3
    assert lines[1].startswith(WEB + " 20") and lines[1].endswith("Z -")
    assert lines[2].startswith(ORDERS + " 20") and lines[2].endswith("Z")
    again = site(seen=True)
    known = peers(again)
    assert set(known) == {WEB, ORDERS} and known[WEB]["last_seen"] is None
    assert ask(again)["first_seen_file"] == str(place.seen)
    assert call(again, credentials, "web") and not call(again, credentials, "orders")
    assert not again.log.find(event="peer_first_seen")
    assert not again.log.find(event="peer_first_denied")
    assert peers(again)[WEB]["allowed"] == 1
    again.stop()
    assert place.seen.read_text() == text  # nothing was new


def test_a_broken_file_is_moved_aside(site, credentials):
    seen = None
    place = site(seen=True)
    seen = place.seen
    place.stop()
    broken = HEAD + f"{WEB} 2026-01-01T00:00:00Z -\nbroken\n"
    seen.write_text(broken)
    place = site(seen=True)
    line = place.wait_log("first_seen_broken")
    assert (line["level"], line["line"], line["moved_to"]) == ("error", 3, f"{seen}.broken-1")
    assert pathlib.Path(line["moved_to"]).read_text() == broken
    assert call(place, credentials, "web") and not call(place, credentials, "orders")
    place.stop()
    assert [line["spiffe_id"] for line in place.log.find(event="peer_first_seen")] == [ORDERS]
    assert seen.read_text().startswith(HEAD + f"{WEB} 2026-01-01T00:00:00Z -\n{ORDERS} ")


def test_a_file_that_is_none_is_left_alone(site, credentials, tmp_path):
    (tmp_path / "seen").mkdir()
    place = site(seen=True)
    line = place.wait_log("first_seen_refused")
    assert line["level"] == "error" and line["file"] == str(place.seen)
    assert call(place, credentials, "web")
    place.stop()
    assert list(place.seen.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told(site, credentials, tmp_path):
    (tmp_path / "seen.new").mkdir()
    place = site(seen=True)
    assert call(place, credentials, "web")
    line = place.wait_log("first_seen_not_written")
    assert line["level"] == "error" and "seen.new" in line["error"]
    (tmp_path / "seen.new").rmdir()
    place.stop()
    assert WEB in place.seen.read_text()
    place.wait_log("first_seen_written")
