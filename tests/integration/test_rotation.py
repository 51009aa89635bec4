"""Certificate and key are exchanged again and again, in every order of writing, under load: no good
client fails, no pair is ever mixed, no session ends."""

import ssl

from harness.bulkhead import bridge, rule, terminate
from harness.reloading import ping
from harness.rotating import ORDERS, Crowd, Rotator, der, verifying_context
from harness.streams import server_context, tls_connect
from harness.wait import until

ROTATIONS = 100


def shown_now(place, context):
    with tls_connect(place.address("a"), context) as stream:
        return stream.tls.getpeercert(binary_form=True)


def test_a_hundred_rotations_under_load(reloadable, backends, issuer, shop):
    server = backends.tls(server_context(shop("payments").pair, issuer.bundle))
    place = reloadable(terminate(backends.plain().url, name="a"), bridge(server.url, name="b"),
                       rules=[rule("web", issuer.id("web"), "all")])
    pairs = [issuer.issue("orders") for _ in range(4)]
    contexts = [verifying_context(issuer, shop("web"), version)
                for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
    rotator = Rotator(place)
    with place.connect(shop("web"), "a") as one, place.connect(shop("web"), "b") as two:
        crowd = Crowd([(place.address("a"), contexts[0]), (place.address("a"), contexts[1]),
                       (place.address("b"), contexts[1])])
        for number in range(ROTATIONS):
            new = pairs[number % len(pairs)]
            # A signal between the halves: the pair that doesn't match waits.
            rotator.rotate(new, ORDERS[number % len(ORDERS)],
                           place.reload if number % 2 else lambda: None)
            place.reload()
            until(lambda: shown_now(place, contexts[1]) == der(new), "the new certificate")
        crowd.stop()
        ping(one)
        ping(two)
    assert not crowd.failures, f"{len(crowd.failures)}: {crowd.failures[:3]}"
    assert crowd.served > 100
    assert crowd.shown <= {der(svid) for svid in [*pairs, shop("orders")]}
    assert not place.access.find(event="deny") and not server.errors
    applied = [line for line in place.log.find(event="reload") if line["result"] == "in_force"]
    assert len(applied) == ROTATIONS and all(line["ended"] == 0 for line in applied)
