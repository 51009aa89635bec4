"""A swap in the middle of handshakes and dials: whatever was under way is judged by what is in force
when it ends. And nothing is left behind by hundreds of reloads."""

import threading

import pytest

from harness.bulkhead import bridge, is_sanitizer_build, originate, rule, terminate
from harness.halting import Hanging, halted
from harness.issuer import Issuer
from harness.reloading import ping, replace
from harness.streams import (
    RESET, PlainStream, TlsStream, client_context, dial, server_context, tls_connect,
)
from harness.wait import until


def allow(issuer, *names):
    return [rule(name, issuer.id(name), "all") for name in names]


CHANGES = {
    "rule": "policy_no_rule", "bundle": "svid_untrusted", "crl": "svid_revoked",
    "identity": "own_identity_changed", "listener": "listener_removed",
    "forward": "listener_changed",
}


def change(place, what, issuer, shop, backends, other):
    """Brings into force what takes web's authority away."""
    if what == "rule":
        place.write(rules=allow(issuer, "wiki"))
    elif what == "bundle":
        replace(place.bundle, other.bundle.read_bytes())
    elif what == "crl":
        issuer.crl(place.directory / "new.crl", shop("web"))
        replace(place.crl, (place.directory / "new.crl").read_bytes())
    elif what == "identity":
        place.rotate(issuer.issue("billing"))
    elif what == "listener":
        place.write(listeners=place.config["listeners"][1:])
    elif what == "forward":
        place.write(listeners=place.listener(forward=backends.plain().url))
    line = place.reload()
    assert line["result"] == "in_force", line


@pytest.fixture(scope="session")
def other(tmp_path_factory):
    return Issuer(tmp_path_factory.mktemp("other"))


@pytest.mark.parametrize("sent", [0, 1, 2, 3])
@pytest.mark.parametrize("what", CHANGES)
def test_a_swap_between_the_records_of_a_handshake(reloadable, backends, issuer, shop, other, what,
                                                   sent):
    """Before the certificate, behind it (when it has been verified already), before Finished."""
    backend = backends.plain()
    place = reloadable(terminate(backend.url, name="a"), terminate(backend.url, name="b"),
                       rules=allow(issuer, "web"), crl=True)
    with halted(place, shop("web"), "a") as stream:
        assert len(stream.records) >= 3
        stream.step(sent)
        with halted(place, shop("web"), "b"):  # and one that never goes on
            change(place, what, issuer, shop, backends, other)
            before = backend.connections
            try:
                stream.step()
            except OSError:
                pass  # cut already
            assert stream.outcome() != b"ping"
            line = place.ended(stream)
            expected = {CHANGES[what]}
            if sent == 3:  # the handshake may have been over
                expected |= {"rule_removed", "bundle_withdrawn", "certificate_revoked"}
            assert line["reason"] in expected, line
            assert backend.connections == before or sent == 3


def test_a_harmless_swap_disturbs_no_handshake(reloadable, backends, issuer, shop, other):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"), crl=True)
    streams = [halted(place, shop("web")) for _ in range(4)]
    for number, stream in enumerate(streams):
        stream.step(number)
    place.rotate(issuer.issue("orders"))
    replace(place.bundle, issuer.bundle.read_bytes() + other.bundle.read_bytes())
    place.write(rules=allow(issuer, "wiki", "web"), timeouts={"idle": "2h"})
    assert place.reload()["result"] == "in_force"
    for stream in streams:
        stream.step()
        assert stream.outcome() == b"ping"
        stream.close()


# ---- Dials ------------------------------------------------------------------------------------


@pytest.mark.parametrize("what, reason", [
    ("expect", "expect_changed"), ("bundle", "svid_untrusted"), ("crl", "svid_revoked"),
    ("identity", "own_identity_changed"), ("listener", "listener_removed"),
    ("forward", "listener_changed"),
])
def test_a_swap_in_the_middle_of_a_dial(reloadable, backends, issuer, shop, other, what, reason):
    """The server's handshake begins after the swap: no wrong server gets our certificate or a byte,
    nor a caller through to it."""
    with Hanging() as server:
        place = reloadable(
            originate(server.url.replace("tcp", "mtls"), name="a", expect=issuer.id("web")),
            terminate(backends.plain().url, name="b"), rules=[], crl=True)
        with PlainStream(dial(place.address("a"))) as caller:
            caller.send(b"secret")
            with server.accept() as sock:
                if what == "expect":
                    place.apply(listeners=place.listener("a", expect=issuer.id("wiki")))
                elif what == "forward":
                    elsewhere = backends.plain().url.replace("tcp", "mtls")
                    place.apply(listeners=place.listener("a", forward=elsewhere))
                else:
                    change(place, what, issuer, shop, backends, other)
                stream = TlsStream(sock, server_context(shop("web").pair, issuer.bundle),
                                   server_side=True)
                failure = stream.handshake()
                data, _ = stream.read_to_end() if failure is None else (b"", None)
                assert data == b"", "the server was told something"
            assert caller.read_to_end() == (b"", RESET)
            line = place.ended(caller)
            assert line["reason"] in (reason, "policy_not_expected"), line


def test_a_bridge_loses_its_caller_while_it_dials(reloadable, backends, issuer, shop):
    with Hanging() as server:
        place = reloadable(bridge(server.url.replace("tcp", "mtls"), expect=issuer.id("payments")),
                           rules=allow(issuer, "web"))
        caller = tls_connect(place.address(), client_context(shop("web").pair))
        with caller, server.accept() as sock:
            place.apply(rules=allow(issuer, "wiki"))
            stream = TlsStream(sock, server_context(shop("payments").pair, issuer.bundle),
                               server_side=True)
            stream.handshake()
            assert caller.read_to_end() == (b"", RESET)
            assert place.ended(caller)["reason"] == "rule_removed"


MANY = 200 if is_sanitizer_build() else 1000


@pytest.mark.parametrize("what", ["rule", "bundle", "crl", "listener"])
def test_many_handshakes_and_dials_at_a_swap(reloadable, backends, issuer, shop, other, what):
    """None is admitted under what was in force before."""
    backend = backends.plain()
    server = backends.tls(server_context(shop("payments").pair, issuer.bundle))
    place = reloadable(terminate(backend.url, name="a"),
                       bridge(server.url, name="b", expect=issuer.id("payments")),
                       rules=allow(issuer, "web"), crl=True, limits={"handshakes": 1000},
                       timeouts={"handshake": "1h"})
    streams = [halted(place, shop("web"), "a" if number % 2 else "b") for number in range(MANY)]
    for number, stream in enumerate(streams):
        stream.step(number // 2 % 3)
    change(place, what, issuer, shop, backends, other)
    gone = {"a"} if what == "listener" else {"a", "b"}
    outcomes = {}

    def finish(number, stream):
        try:
            stream.step()
        except OSError:
            pass
        outcomes[number] = stream.outcome()

    threads = [threading.Thread(target=finish, args=pair) for pair in enumerate(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    admitted = {number for number, outcome in outcomes.items() if outcome == b"ping"}
    wrong = {number for number in admitted if ("a" if number % 2 else "b") in gone}
    assert not wrong, f"{len(wrong)} of {MANY} were admitted under the old rules"
    if what == "listener":
        assert len(admitted) == MANY // 2, "the others were not disturbed"
        assert server.connections == MANY // 2
    else:
        assert backend.untouched() and server.untouched()
    for stream in streams:
        stream.close()
    until(lambda: len(place.access.parsed) >= MANY, "all lines")


# ---- Nothing is left behind -------------------------------------------------------------------


def test_memory_and_descriptors_are_flat(reloadable, backends, issuer, shop, other):
    """Two hundred reloads of every kind, with sessions that stay and some that end."""
    server = backends.tls(server_context(shop("payments").pair, issuer.bundle))
    place = reloadable(terminate(backends.plain().url, name="a"), bridge(server.url, name="b"),
                       rules=allow(issuer, "web", "wiki"), crl=True)
    pairs = [issuer.issue("orders") for _ in range(2)]
    bundles = [issuer.bundle.read_bytes(), issuer.bundle.read_bytes() + other.bundle.read_bytes()]
    listeners = place.config["listeners"]
    third = terminate(backends.plain().url, name="c")

    def reload(number):
        kind, odd = number % 5, number // 5 % 2
        if kind == 0:
            place.rotate(pairs[odd])
        elif kind == 1:
            replace(place.bundle, bundles[odd])
        elif kind == 2:
            place.write(rules=allow(issuer, "web", *(["wiki"] if odd else [])))
        elif kind == 3:
            place.write(listeners=[*listeners, third] if odd else listeners)
        else:
            replace(place.certificate, "nothing")
        before = len(place.log.find(event="reload", trigger="SIGHUP"))
        place.signal(1)
        place.wait_reload(before, trigger="SIGHUP")
        with tls_connect(place.address("a"), client_context(shop("wiki").pair)):
            pass  # good or refused, and gone at once

    with place.connect(shop("web"), "a") as one, place.connect(shop("web"), "b") as two:
        for number in range(50):
            reload(number)
        descriptors, rss = settled(place), place.rss_kib()
        for number in range(200):
            reload(number)
        ping(one)
        ping(two)
        assert settled(place) == descriptors
        if not is_sanitizer_build():  # they keep what was freed
            assert place.rss_kib() - rss < 2048, "KiB more after 200 reloads"


def settled(place):
    """Its descriptors, once those of ended sessions are closed."""
    last = []

    def same():
        last.append(place.descriptors())
        return len(last) > 40 and len(set(last[-40:])) == 1

    until(same, "an even number of descriptors")
    return last[-1]
