"""Which lines the access log has, and how equal refusals fold into one."""

import collections

import pytest
import yaml

from harness.bulkhead import configuration, originate, terminate
from harness.credentials import spiffe
from harness.streams import PlainStream, TlsStream, client_context, dial, server_context, tls_connect
from harness.wait import until


def denied(bulkhead, credentials, name="wiki", listener=None):
    with TlsStream(dial(bulkhead.address(listener)), client_context(credentials.pair(name))) as s:
        s.handshake()
        s.offer(b"x")
        s.read_to_end()


def served(bulkhead, credentials, listener=None):
    with tls_connect(bulkhead.address(listener), client_context(credentials.pair("web"))) as stream:
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        stream.end()
        stream.read_to_end()
        return stream.local_address()


@pytest.mark.parametrize("events", [
    None, "deny", "close", "open", ["open", "deny"], ["open", "deny", "close"],
])
def test_events_choose_the_lines(start, backends, credentials, events):
    log = {} if events is None else {"events": events}
    bulkhead = start(configuration(credentials, terminate(backends.plain().url), access_log=log))
    caller = served(bulkhead, credentials)
    denied(bulkhead, credentials)
    bulkhead.stop()
    bulkhead.access.join()
    wanted = {"deny", "close"} if events is None else {events} if isinstance(events, str) else (
        set(events))
    lines = bulkhead.access.parsed
    assert collections.Counter(line["event"] for line in lines) == dict.fromkeys(wanted, 1)
    for line in lines:
        if line["event"] == "open":
            assert line["downstream"] == caller and line["decision"] == "allow"
            assert line["rule"] == "web-uses-all" and line["downstream_id"] == spiffe("web")
            assert line["upstream"] and line["tls"] and line["own_id"]
            assert not line.keys() & {"reason", "why", "detail", "bytes_up", "bytes_down"}
        if line["event"] == "close":
            assert (line["reason"], line["bytes_up"]) == ("closed", 4)


def test_an_open_line_says_who_the_server_is(start, backends, credentials):
    """And stands in the log while the session lives."""
    server = backends.tls(server_context(credentials.pair("payments"),
                                         credentials.bundle("prod.example")))
    bulkhead = start(configuration(credentials, originate(server.url),
                                   access_log={"events": "open"}))
    with PlainStream(dial(bulkhead.address())) as stream:
        line = bulkhead.wait_access(event="open", downstream=stream.local_address())
        assert line["upstream_id"] == spiffe("payments") and line["rule"] == "expect"
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"


def test_what_is_not_let_through_has_no_open_line(start, backends, credentials):
    backend = backends.plain()
    backend.close()
    bulkhead = start(configuration(credentials, terminate(backend.url),
                                   access_log={"events": ["deny", "open", "close"]}))
    denied(bulkhead, credentials)
    denied(bulkhead, credentials, "web")
    assert bulkhead.wait_access(event="close")["reason"] == "upstream_connect_refused"
    assert bulkhead.wait_access(event="deny")["reason"] == "policy_no_rule"
    assert not bulkhead.access.find(event="open")


def test_equal_refusals_fold_and_none_is_lost(start, backends, credentials):
    """The first of a kind at once, the rest in numbers, and at the end what is left."""
    config = configuration(credentials, terminate(backends.plain().url), workers=1,
                           access_log={"fold": "1s"})
    bulkhead = start(config)
    for _ in range(5):
        denied(bulkhead, credentials)
    first = bulkhead.wait_access(event="deny")
    assert first["downstream_id"] == spiffe("wiki") and "nearest" in first["detail"]
    folded = bulkhead.wait_access(lambda line: "repeats" in line)
    assert folded["event"] == "deny" and folded["decision"] == "deny"
    assert (folded["reason"], folded["listener"]) == ("policy_no_rule", "in")
    assert folded["downstream_id"] == spiffe("wiki") and folded["why"]
    assert not folded.keys() & {"detail", "downstream", "own_id", "truncated"}
    served(bulkhead, credentials)
    # another kind
    for _ in range(3):
        with TlsStream(dial(bulkhead.address()), client_context(credentials.pair("expired"))) as s:
            s.handshake()
            s.read_to_end()
    line = bulkhead.wait_access(lambda line: line["reason"] == "svid_expired")
    assert line["detail"] and line["claimed_id"] and "repeats" not in line
    for _ in range(2):
        denied(bulkhead, credentials)
    bulkhead.stop()
    bulkhead.access.join()
    for reason, count in (("policy_no_rule", 7), ("svid_expired", 3)):
        lines = bulkhead.access.find(reason=reason)
        assert sum(line.get("repeats", 1) for line in lines) == count
    assert [line["claimed_id"] for line in bulkhead.access.find(reason="svid_expired")] == (
        [line["claimed_id"]] * len(bulkhead.access.find(reason="svid_expired")))
    assert len(bulkhead.access.find(event="close")) == 1, "sessions never fold"


def test_fold_changes_with_a_reload(start, backends, credentials):
    """What waits is told when folding is turned off."""
    config = configuration(credentials, terminate(backends.plain().url), workers=1,
                           access_log={"fold": "1s"})
    bulkhead = start(config)
    for _ in range(3):
        denied(bulkhead, credentials)
    config["access_log"] = {"fold": "0s", "events": ["deny", "open"]}
    bulkhead.config_file.write_text(yaml.safe_dump(config))
    bulkhead.signal(1)
    bulkhead.wait_log("reload", result="in_force")
    for _ in range(2):
        denied(bulkhead, credentials)
    served(bulkhead, credentials)
    until(lambda: sum(line.get("repeats", 1) for line in bulkhead.access.find(event="deny")) == 5,
          "all refusals")
    assert len([line for line in bulkhead.access.find(event="deny") if "repeats" not in line]) == 3
    assert bulkhead.access.find(event="open") and not bulkhead.access.find(event="close")
