"""The allow-list: default deny, deny wins, patterns, and the sentence that says why."""

import pytest

from harness.bulkhead import bridge, configuration, originate, rule, terminate
from harness.credentials import spiffe
from harness.streams import (
    CLEAN, RESET, PlainStream, client_context, dial, server_context, tls_dial,
)


def attempt(bulkhead, credentials, name, listener=None):
    """(allowed, access line) of one client that sends four bytes."""
    stream, failure = tls_dial(
        bulkhead.address(listener), client_context(credentials.pair(name))
    )
    with stream:
        assert failure is None, failure
        try:
            stream.send(b"ping")
            data, end = stream.recv(4)
        except OSError:
            data, end = b"", RESET
        if end is None:
            stream.end()
            assert stream.read_to_end() == (b"", CLEAN)
        else:
            assert end == RESET, f"a denial must be a reset, not {end}"
        return data == b"ping", bulkhead.wait_access(downstream=stream.local_address())


@pytest.mark.parametrize("rules, client, allowed, deciding", [
    ([], "web", False, None),
    ([rule("a", spiffe("web"), "in")], "web", True, "a"),
    ([rule("a", spiffe("web"), "all")], "web", True, "a"),
    ([rule("a", spiffe("web"), "in")], "wiki", False, None),
    ([rule("a", "spiffe://prod.example/ns/shop/sa/*", "in")], "wiki", True, "a"),
    ([rule("a", "spiffe://prod.example/ns/*/sa/web", "in")], "web", True, "a"),
    ([rule("a", "spiffe://prod.example/ns/*", "in")], "web", False, None),
    ([rule("a", "spiffe://prod.example/**", "in")], "web", True, "a"),
    ([rule("a", "spiffe://partner.example/**", "in")], "web", False, None),
    ([rule("a", "spiffe://prod.example/**", "in"),
      rule("d", spiffe("wiki"), "in", action="deny")], "wiki", False, "d"),
    ([rule("d", spiffe("wiki"), "all", action="deny"),
      rule("a", "spiffe://prod.example/**", "in")], "wiki", False, "d"),
    ([rule("d", spiffe("wiki"), "in", action="deny"),
      rule("a", "spiffe://prod.example/**", "in")], "web", True, "a"),
    ([rule("d", "spiffe://prod.example/ns/shop/**", "in", action="deny"),
      rule("a", spiffe("web"), "in")], "web", False, "d"),
])
def test_decisions(start, backends, credentials, rules, client, allowed, deciding):
    backend = backends.plain()
    bulkhead = start(configuration(credentials, terminate(backend.url), rules=rules))
    was_allowed, line = attempt(bulkhead, credentials, client)
    assert was_allowed == allowed
    assert line["decision"] == ("allow" if allowed else "deny")
    assert line.get("rule") == deciding
    assert line["downstream_id"] == spiffe(client)
    if not allowed:
        assert line["reason"] == ("policy_deny_rule" if deciding else "policy_no_rule")
        assert backend.untouched(), "the backend was dialled for a denied client"


def test_a_rule_is_for_its_listeners_alone(start, backends, credentials):
    public, admin = backends.plain(), backends.plain()
    bulkhead = start(configuration(
        credentials, terminate(public.url, name="public"), terminate(admin.url, name="admin"),
        rules=[rule("web-uses-public", spiffe("web"), "public")],
    ))
    assert attempt(bulkhead, credentials, "web", "public")[0]
    allowed, line = attempt(bulkhead, credentials, "web", "admin")
    assert not allowed and admin.untouched()
    assert line["detail"] == 'no rule names listener "admin"'


def test_a_denial_names_the_nearest_rule(start, backends, credentials):
    backend = backends.plain()
    bulkhead = start(configuration(credentials, terminate(backend.url),
                                   rules=[rule("web-uses-in", spiffe("web"), "in")]))
    _, line = attempt(bulkhead, credentials, "wiki")
    for part in ("web-uses-in", "segment 4", '"wiki"', '"web"'):
        assert part in line["detail"]


@pytest.mark.parametrize("kind", ["originate", "bridge"])
def test_a_server_that_is_not_expected_gets_nothing(start, backends, credentials, kind):
    server = backends.tls(
        server_context(credentials.pair("wiki"), credentials.bundle("prod.example"))
    )
    make = originate if kind == "originate" else bridge
    bulkhead = start(configuration(
        credentials, make(server.url, expect=[spiffe("payments")]), own="orders"
    ))
    if kind == "originate":
        stream = PlainStream(dial(bulkhead.address()))
    else:
        stream, failure = tls_dial(bulkhead.address(), client_context(credentials.pair("web")))
        assert failure is None
    with stream:
        assert stream.read_to_end() == (b"", RESET)
        line = bulkhead.wait_access(downstream=stream.local_address())
    assert (line["reason"], line["decision"]) == ("policy_not_expected", "deny")
    assert "wiki" in line["detail"]
    assert server.peers in ([], [None]) and server.plain_bytes == 0


def test_plaintext_off_the_loopback_is_never_dialled(start, credentials, backends):
    """A name that resolves to another address is as good as that address."""
    import socket

    name = socket.gethostname()
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(name, 1)}
    except OSError:
        addresses = set()
    if not addresses or any(a.startswith("127.") or a == "::1" for a in addresses):
        pytest.skip("this host's name does not resolve to an address off the loopback")
    bulkhead = start(configuration(credentials, terminate(f"tcp://{name}:9")))
    _, line = attempt(bulkhead, credentials, "web")
    assert line["reason"] == "plaintext_off_loopback"
