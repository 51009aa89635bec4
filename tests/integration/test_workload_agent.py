"""An agent that ends, denies, stalls, lies or speaks nonsense, and one that comes back."""

import grpc
import pytest

from harness.agent import (
    Agent, RawAgent, der_of, federated, field, settle, with_agent, x509_svid,
)
from harness.bulkhead import rule, terminate
from harness.reloading import ping
from harness.streams import RESET, client_context, tls_connect, tls_dial
from harness.wait import until

WEB = rule("web", "spiffe://prod.example/ns/shop/sa/web", "all")


@pytest.fixture
def agents():
    opened = []

    def make(*arguments, kind=Agent, **more):
        opened.append(kind(*arguments, **more))
        return opened[-1]

    yield make
    for agent in opened:
        agent.close()


@pytest.fixture
def serving(start, backends, issuer, shop, agents):
    """(agent, bulkhead): it has an identity and serves `web`."""
    agent = agents(x509_svid(issuer, shop("orders")))
    return agent, start(with_agent(agent, terminate(backends.plain().url), rules=[WEB]))


def served(bulkhead, svid):
    stream = tls_connect(bulkhead.address(), client_context(svid.pair))
    ping(stream)
    return stream


def refusal(bulkhead, svid):
    stream, _ = tls_dial(bulkhead.address(), client_context(svid.pair))
    with stream:
        return bulkhead.wait_access(downstream=stream.local_address())


KEEPS = [code for code in grpc.StatusCode if code.value[0] not in (0, 3, 7, 12)]


def test_a_status_that_is_no_denial_takes_nothing_away(serving, issuer, shop):
    agent, bulkhead = serving
    with served(bulkhead, shop("web")) as stream:
        for code in KEEPS:
            name = "".join(part.capitalize() for part in code.name.split("_"))
            agent.fail(code, f"as {code.name}\n%")
            line = bulkhead.wait_log("workload_lost", status=name)
            assert (line["from"], line["error"]) == ("agent", f"as {code.name}\n%")
            ping(stream)
            served(bulkhead, shop("web")).close()
            agent.say(x509_svid(issuer, shop("orders")))
            count = agent.told
            bulkhead.signal(1)  # asks at once, and not after the backoff
            agent.wait(lambda: agent.told > count, "it has not come back")
    assert not bulkhead.log.find(event="workload_denied")


def test_permission_denied_withdraws_until_it_is_given_again(serving, issuer, shop):
    agent, bulkhead = serving
    with served(bulkhead, shop("web")) as stream:
        agent.fail(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        assert bulkhead.wait_log("workload_denied")["error"] == "no identity issued"
        assert stream.read_to_end()[1] == RESET
        ended = bulkhead.wait_access(downstream=stream.local_address())
        assert ended["reason"] == "own_identity_withdrawn"
    assert refusal(bulkhead, shop("web"))["reason"] == "own_svid_missing"
    agent.say(x509_svid(issuer, shop("orders")))
    until(lambda: bulkhead.log.find(event="reload", identity_added=1, result="in_force")[1:],
          "the identity is back")
    served(bulkhead, shop("web")).close()


def test_denied_from_the_start_it_waits(start, backends, issuer, shop, agents):
    agent = agents()
    agent.fail(grpc.StatusCode.PERMISSION_DENIED)
    bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB]), wait=False)
    bulkhead.wait_log("workload_denied")
    assert not bulkhead.log.find(event="listening")
    agent.say(x509_svid(issuer, shop("orders")))
    bulkhead.wait_log("ready")
    served(bulkhead, shop("web")).close()


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED])
def test_what_is_in_vain_is_asked_again_by_a_reload_alone(serving, issuer, shop, code):
    agent, bulkhead = serving
    with served(bulkhead, shop("web")) as stream:
        agent.fail(code)
        bulkhead.wait_log("workload_given_up")
        streams = agent.streams
        agent.say(x509_svid(issuer, issuer.issue("orders")))
        settle(1.2)
        assert agent.streams == streams
        ping(stream)
        bulkhead.signal(1)
        agent.wait(lambda: agent.streams == streams + 1, "the reload has not asked")
        ping(stream)


def test_the_agent_is_killed_and_comes_back(serving, issuer, shop):
    agent, bulkhead = serving
    with served(bulkhead, shop("web")) as stream:
        agent.stop()
        bulkhead.wait_log("workload_lost")
        ping(stream)
        served(bulkhead, shop("web")).close()
        renewed = issuer.issue("orders")
        agent.say(x509_svid(issuer, renewed))
        agent.start()
        until(lambda: bulkhead.log.find(event="reload", identity_changed=1), "its new SVID")
        ping(stream)
    assert not bulkhead.log.find(event="reload", result="refused")


def test_an_agent_that_starts_later(start, backends, issuer, shop, agents):
    agent = agents(x509_svid(issuer, shop("orders")))
    agent.stop()
    bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB]), wait=False)
    assert "no connection" in bulkhead.wait_log("workload_lost")["error"]
    agent.start()
    bulkhead.wait_log("ready")


class Liar:
    """What each wrong message is, and the word that the log must have."""

    def __init__(self, issuer, shop):
        orders, web = shop("orders"), shop("web")
        key = der_of(web.key, "PRIVATE KEY")
        good = x509_svid(issuer, orders)
        anchors = b"\x30\x03\x02\x01\x01"
        self.rows = {
            "another key": (x509_svid(issuer, orders, key=key), "does not belong"),
            "another id": (x509_svid(issuer, orders, identity=issuer.id("web")), "is said to be"),
            "no id": (x509_svid(issuer, orders, identity="spiffe://"), "spiffe://"),
            "no key": (x509_svid(issuer, orders, key=b""), "x509_svid_key is empty"),
            "no bundle": (x509_svid(issuer, orders, bundle=b""), "bundle is empty"),
            "a bundle that is none": (x509_svid(issuer, orders, bundle=anchors), "the bundle of"),
            "garbage": (b"\xff" * 40, "tag"),
            "cut": (good[:-5], "cut off"),
            "nothing": (b"", "no SVID"),
            "a group": (good + b"\x0b\x0c", "group"),
            "a long hint": (x509_svid(issuer, orders, hint="h" * 1025), "at most 1024"),
            "a broken crl": (good + field(2, b"\x30\x82"), "CRL 1"),
            "a broken domain": (good + federated(issuer, domain="Partner.example"), "Partner"),
            "two bundles": (good + federated(issuer, anchors=b""), "two bundles"),
        }


def test_messages_that_lie_are_dropped_whole(serving, issuer, shop):
    agent, bulkhead = serving
    with served(bulkhead, shop("web")) as stream:
        for name, (message, why) in Liar(issuer, shop).rows.items():
            seen = len(bulkhead.log.find(event="workload_refused"))
            agent.say(message)
            lines = until(lambda: bulkhead.log.find(event="workload_refused")[seen:], name)
            assert why in lines[0]["error"], (name, lines[0])
            ping(stream)
        served(bulkhead, shop("web")).close()
        # The stream is the same all the time, and the next good message counts.
        agent.say(x509_svid(issuer, issuer.issue("orders")))
        until(lambda: bulkhead.log.find(event="reload", identity_changed=1), "the good one")
        ping(stream)
    assert agent.streams == 1


def test_large_messages(serving, issuer, shop):
    agent, bulkhead = serving
    good = x509_svid(issuer, issuer.issue("orders"))
    limit = 4 * 1024 * 1024
    padding = limit - len(good) - 5
    agent.say(good + b"\x7a" + field(15, bytes(padding))[1:])
    until(lambda: bulkhead.log.find(event="reload", identity_changed=1), "4 MiB")
    agent.say(good + field(15, bytes(padding + 1)))
    line = bulkhead.wait_log("workload_lost", status="ResourceExhausted")
    assert line["error"] == f"a message of {limit + 1} bytes; at most {limit} are taken"
    assert line["from"] == "here"
    served(bulkhead, shop("web")).close()


def test_many_messages_at_once_starve_nobody(serving, issuer, shop):
    """The last one counts; the control thread has time for all else."""
    agent, bulkhead = serving
    pairs = [x509_svid(issuer, issuer.issue("orders")) for _ in range(3)]
    for number in range(300):
        agent.say(pairs[number % 3])
    last = issuer.issue("orders")
    agent.say(x509_svid(issuer, last))
    agent.wait(lambda: agent.told > 0, "none was sent")
    before = len(bulkhead.log.find(event="reload", trigger="SIGHUP"))
    bulkhead.signal(1)
    until(lambda: bulkhead.log.find(event="reload", trigger="SIGHUP")[before:], "the reload")
    served(bulkhead, shop("web")).close()


SETTINGS = b"\0\0\0\4\0\0\0\0\0"
HEADERS = b"\0" + b"\x07:status\x03200" + b"\0" + b"\x0ccontent-type\x10application/grpc"
RESPONSE = len(HEADERS).to_bytes(3, "big") + b"\1\4\0\0\0\1" + HEADERS


@pytest.mark.parametrize("data, status", [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Internal"),
    (bytes(range(256)) * 8, "Internal"),
    (SETTINGS + b"\xff\xff\xff\0\0\0\0\0\1", "Internal"),
    (SETTINGS + RESPONSE + b"\0\0\6\0\0\0\0\0\1\1\0\0\0\1x", "Internal"),
    (SETTINGS + RESPONSE + b"\0\0\5\0\0\0\0\0\1\0\xff\xff\xff\xff", "ResourceExhausted"),
    (SETTINGS + b"\0\0\x08\7\0\0\0\0\0\0\0\0\0\0\0\0\0", "Unavailable"),
])
def test_an_agent_that_speaks_nonsense(start, backends, agents, data, status):
    agent = agents(data, kind=RawAgent)
    bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB]), wait=False)
    line = bulkhead.wait_log("workload_lost")
    assert (line["status"], line["from"]) == (status, "here"), line
    assert bulkhead.alive() and not bulkhead.log.find(event="listening")


@pytest.mark.parametrize("data", [b"", SETTINGS, SETTINGS + RESPONSE,
                                  SETTINGS + RESPONSE + b"\0\0\x07\0\0\0\0\0\1\0\0\0\0\5ab"])
def test_an_agent_that_stalls_holds_up_no_signal(start, backends, agents, data):
    agent = agents(data, kind=RawAgent)
    bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB]), wait=False)
    until(lambda: agent.connections, "no connection")
    settle()
    bulkhead.stop()
    assert not bulkhead.log.find(event="workload_lost")


def test_an_agent_that_hangs_up_at_once_is_left_in_peace(start, backends, agents):
    agent = agents(SETTINGS, kind=RawAgent, hang_up=True)
    bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB]), wait=False)
    bulkhead.wait_log("workload_lost")
    settle(1.5)
    assert len(agent.connections) <= 3
