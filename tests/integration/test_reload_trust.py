"""A change of what vouches: bundles, CRLs, our own SVID. Whose chain no longer holds is ended, on
either side, and nobody else."""

import base64
import ssl
import time

import pytest

from harness.bulkhead import bridge, originate, rule, terminate
from harness.issuer import Issuer
from harness.reloading import overwrite, ping, replace
from harness.streams import (
    RESET, PlainStream, client_context, dial, server_context, tls_connect, tls_dial,
)

PARTNER = "partner.example"


@pytest.fixture(scope="session")
def partner(tmp_path_factory):
    return Issuer(tmp_path_factory.mktemp("partner"), PARTNER)


@pytest.fixture(scope="session")
def successor(tmp_path_factory):
    """Another root of prod.example."""
    return Issuer(tmp_path_factory.mktemp("successor"))


def anybody(*domains):
    return [rule(domain, f"spiffe://{domain}/**", "all") for domain in domains or ("prod.example",)]


def assert_lost(place, stream, reason, detail=""):
    assert stream.read_to_end() == (b"", RESET)
    line = place.ended(stream)
    assert (line["event"], line["reason"]) == ("close", reason)
    assert detail in line.get("detail", ""), line
    return line


def refusal(place, pair, listener=None):
    """The reason with which a client is refused."""
    stream, failure = tls_dial(place.address(listener), client_context(pair))
    with stream:
        if failure is None:
            stream.read_to_end()
        return place.ended(stream)["reason"]


# ---- Bundles ----------------------------------------------------------------------------------


def test_a_replaced_bundle_ends_what_rested_on_it(reloadable, backends, issuer, shop, successor):
    place = reloadable(terminate(backends.plain().url), rules=anybody())
    with place.connect(shop("web")) as web:
        replace(place.bundle, successor.bundle.read_bytes())
        line = place.reload()
        assert (line["bundle_changed"], line["ended_bundle_withdrawn"]) == (1, 1)
        assert_lost(place, web, "bundle_withdrawn", "anchor")
    assert refusal(place, shop("web").pair) == "svid_untrusted"
    with place.connect(successor.issue("web")):
        pass


def test_a_removed_trust_domain(reloadable, backends, issuer, shop, partner):
    theirs = partner.issue("web")
    trust = {"prod.example": None, PARTNER: {"bundle": str(partner.bundle)}}
    place = reloadable(terminate(backends.plain().url), rules=anybody("prod.example", PARTNER))
    trust["prod.example"] = place.config["trust"]["prod.example"]
    assert place.apply(trust=trust)["bundle_added"] == 1
    with place.connect(shop("web")) as web, place.connect(theirs) as guest:
        del trust[PARTNER]
        line = place.apply(trust=trust)
        assert (line["bundle_removed"], line["kept"]) == (1, 1)
        assert_lost(place, guest, "bundle_withdrawn", f'trust domain "{PARTNER}"')
        ping(web)
    assert refusal(place, theirs.pair) == "svid_unknown_trust_domain"


def test_a_withdrawn_bundle_ends_sessions_to_its_servers(reloadable, backends, issuer, shop,
                                                         partner, successor):
    theirs = backends.tls(server_context(partner.issue("payments").pair, issuer.bundle))
    place = reloadable(originate(theirs.url, name="out", expect=f"spiffe://{PARTNER}/**"),
                       rules=[])
    trust = {**place.config["trust"], PARTNER: {"bundle": str(partner.bundle)}}
    place.apply(trust=trust)
    with PlainStream(dial(place.address())) as stream:
        ping(stream)
        # What changes for our own domain is nothing to this session.
        replace(place.bundle, issuer.bundle.read_bytes() + successor.bundle.read_bytes())
        assert place.reload()["ended"] == 0
        ping(stream)
        del trust[PARTNER]
        place.apply(trust=trust)
        assert_lost(place, stream, "bundle_withdrawn")
        assert theirs.wait_ends() == [RESET]
    with PlainStream(dial(place.address())) as stream:
        assert stream.read_to_end() == (b"", RESET)
        assert place.ended(stream)["reason"] == "svid_unknown_trust_domain"


def test_an_anchor_more_or_another_order_ends_nothing(reloadable, backends, issuer, shop,
                                                      successor):
    place = reloadable(terminate(backends.plain().url), rules=anybody())
    ours, new = issuer.bundle.read_bytes(), successor.bundle.read_bytes()
    with place.connect(shop("web")) as web:
        for content in (ours + new, new + ours, ours + new + ours, b"# a word\n" + ours):
            replace(place.bundle, content)
            line = place.reload()
            assert (line["result"], line["bundle_changed"], line["ended"]) == ("in_force", 1, 0)
            ping(web)
    with place.connect(shop("web")):
        pass


@pytest.mark.parametrize("anonymous", [False, True])
def test_bundles_that_share_an_anchor_are_kept_apart(reloadable, backends, issuer, shop,
                                                     tmp_path_factory, anonymous):
    """A helper that merges bundles would let the partner mint our IDs: the former bundle stays."""
    partner = Issuer(tmp_path_factory.mktemp("partner"), PARTNER, anonymous)
    third = Issuer(tmp_path_factory.mktemp("third"), "third.example")
    place = reloadable(terminate(backends.plain().url),
                       rules=anybody("prod.example", PARTNER, "third.example"))
    place.apply(trust={**place.config["trust"], PARTNER: {"bundle": str(partner.bundle)}})
    forged = partner_mints_ours(partner)
    with place.connect(shop("web")) as web, place.connect(partner.issue("web")) as guest:
        replace(place.bundle, issuer.bundle.read_bytes() + partner.bundle.read_bytes())
        line = place.reload()
        assert (line["result"], line["generation"]) == ("refused", 2), line
        (error,) = place.failures()
        assert "partner.example" in error
        ping(web)
        ping(guest)
        # A third domain is not held up by the two.
        trust = place.config["trust"]
        line = place.apply(trust={**trust, "third.example": {"bundle": str(third.bundle)}})
        assert (line["bundle_added"], line["ended"], line["kept"]) == (1, 0, 2)
        with place.connect(third.issue("web")):
            pass
    assert refusal(place, forged.pair) == "svid_untrusted"
    replace(place.bundle, issuer.bundle.read_bytes())
    assert place.reload()["result"] == "unchanged"


def partner_mints_ours(partner):
    original, partner.domain = partner.domain, "prod.example"
    try:
        return partner.issue("web")
    finally:
        partner.domain = original


# ---- CRLs -------------------------------------------------------------------------------------


def test_a_revoked_client_is_ended(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=anybody(), crl=True)
    with place.connect(shop("web")) as web, place.connect(shop("wiki")) as wiki:
        issuer.crl(place.directory / "new.crl", shop("web"))
        replace(place.crl, (place.directory / "new.crl").read_bytes())
        line = place.reload()
        assert (line["crl_changed"], line["ended_certificate_revoked"]) == (1, 1)
        assert_lost(place, web, "certificate_revoked", "revoked")
        ping(wiki)
        assert refusal(place, shop("web").pair) == "svid_revoked"
        replace(place.crl, (place.directory / "new.crl").read_bytes() + b"\n")
        place.reload()
        ping(wiki)


def test_a_revoked_server_is_ended(reloadable, backends, issuer, shop):
    revoked, fine = issuer.issue("payments"), issuer.issue("payments")
    one = backends.tls(server_context(revoked.pair, issuer.bundle))
    two = backends.tls(server_context(fine.pair, issuer.bundle))
    place = reloadable(originate(one.url, name="one"), bridge(two.url, name="two"),
                       rules=anybody(), crl=True)
    with PlainStream(dial(place.address("one"))) as to_one, \
            place.connect(shop("web"), "two") as to_two:
        ping(to_one)
        issuer.crl(place.directory / "new.crl", revoked)
        replace(place.crl, (place.directory / "new.crl").read_bytes())
        place.reload()
        assert_lost(place, to_one, "certificate_revoked")
        assert one.wait_ends() == [RESET]
        ping(to_two)


def test_a_crl_comes_into_the_configuration(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=anybody())
    with place.connect(shop("web")) as web, place.connect(shop("wiki")) as wiki:
        issuer.crl(place.crl, shop("wiki"))
        trust = place.config["trust"]["prod.example"]
        line = place.apply(trust={"prod.example": {**trust, "crl": str(place.crl)}})
        assert line["crl_added"] == 1
        assert_lost(place, wiki, "certificate_revoked")
        ping(web)
        line = place.apply(trust={"prod.example": trust})
        assert line["crl_removed"] == 1
        ping(web)
    with place.connect(shop("wiki")):
        pass


@pytest.mark.parametrize("state, reason", [
    ("missing", "svid_crl_missing"), ("expired", "svid_crl_expired"),
    ("unsigned", "svid_crl_bad_signature"), ("impostor", "svid_crl_bad_signature"),
    ("not yet valid", "svid_crl_not_yet_valid"),
])
def test_an_unusable_crl_refuses_new_peers(reloadable, backends, issuer, shop, successor, state,
                                           reason):
    now = time.time()
    place = reloadable(terminate(backends.plain().url), rules=anybody(), crl=True)
    new = place.directory / "new.crl"
    with place.connect(shop("web")) as web:
        if state == "expired":
            issuer.crl(new, start=now - 7200, end=now - 3600)
        elif state == "not yet valid":
            issuer.crl(new, start=now + 3600, end=now + 7200)
        elif state == "unsigned":
            issuer.crl(new)
            damage(new)
        elif state == "impostor":
            successor.crl(new)
        if state == "missing":
            trust = place.config["trust"]["prod.example"]
            place.crl.unlink()
            other = str(place.directory / "none.crl")
            place.write(trust={"prod.example": {**trust, "crl": other}})
            place.reload()
            # The last good state of this domain's CRLs stays: nobody is cut for a lost file.
            ping(web)
            with place.connect(shop("web")):
                pass
            return
        replace(place.crl, new.read_bytes())
        line = place.reload()
        assert line["result"] == "in_force"
        assert any("crl" in w["error"] for w in place.log.find(event="source_warning")), \
            "it is said before the first peer is refused"
        assert refusal(place, shop("web").pair) == reason
        if state == "expired":
            ping(web)
        elif reason == "svid_crl_not_yet_valid":
            pass
        else:
            assert_lost(place, web, "crl_missing")


def damage(path):
    """Another signature."""
    lines = path.read_text().split("-----")
    der = bytearray(base64.b64decode(lines[2]))
    der[-1] ^= 1
    path.write_text("-----BEGIN X509 CRL-----\n" + base64.encodebytes(bytes(der)).decode() +
                    "-----END X509 CRL-----\n")


def test_a_domain_whose_crl_was_never_there_is_refused(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=anybody())
    with place.connect(shop("web")) as web:
        trust = place.config["trust"]["prod.example"]
        place.write(trust={"prod.example": {**trust, "crl": str(place.crl)}})
        line = place.reload()
        assert line["result"] == "in_force" and line["crl_added"] == 1
        assert len(place.failures()) == 1
        assert_lost(place, web, "crl_missing")
    assert refusal(place, shop("web").pair) == "svid_crl_missing"
    issuer.crl(place.crl)
    assert place.reload()["result"] == "in_force"
    with place.connect(shop("web")):
        pass


# ---- Our own SVID -----------------------------------------------------------------------------


def test_a_rotation_ends_nothing_and_is_shown_at_once(reloadable, backends, issuer, shop):
    upstream = backends.tls(server_context(shop("payments").pair, issuer.bundle))
    place = reloadable(terminate(backends.plain().url), bridge(upstream.url), rules=anybody())
    with place.connect(shop("web"), "in") as one, place.connect(shop("web"), "bridge") as two:
        new = issuer.issue("orders")
        place.rotate(new)
        line = place.reload()
        assert (line["identity_changed"], line["ended"], line["kept"]) == (1, 0, 2)
        assert line["spiffe_id"] == issuer.id("orders")
        ping(one)
        ping(two)
        assert one.tls.getpeercert(binary_form=True) != shown(place, "in") == der(new)
        with place.connect(shop("web"), "bridge"):
            assert upstream.peers[-1] == der(new), "towards the server too"


def der(svid):
    return ssl.PEM_cert_to_DER_cert(svid.chain.read_text())


def shown(place, listener=None):
    with tls_connect(place.address(listener), client_context(None)) as stream:
        return stream.tls.getpeercert(binary_form=True)


def test_another_identity_of_ours_ends_all(reloadable, backends, issuer, shop):
    plain = backends.plain()
    upstream = backends.tls(server_context(shop("payments").pair, issuer.bundle))
    place = reloadable(terminate(plain.url), originate(upstream.url), rules=anybody())
    with place.connect(shop("web"), "in") as web, PlainStream(dial(place.address("out"))) as out:
        ping(out)
        place.rotate(issuer.issue("billing"))
        line = place.reload()
        assert (line["ended"], line["ended_own_identity_changed"]) == (2, 2)
        assert line["spiffe_id"] == issuer.id("billing")
        assert_lost(place, web, "own_identity_changed")
        assert_lost(place, out, "own_identity_changed")
    with place.connect(shop("web"), "in") as web:
        web.end()
        web.read_to_end()
        assert place.ended(web)["own_id"] == issuer.id("billing")


def test_a_pinned_identity_takes_no_other(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=anybody())
    place.apply(identity={**place.config["identity"], "spiffe_id": issuer.id("orders")})
    with place.connect(shop("web")) as web:
        before = shown(place)
        place.rotate(issuer.issue("billing"))
        assert place.reload()["result"] == "refused"
        errors = place.failures()
        assert len(errors) == 1 and "billing" in errors[0]
        ping(web)
        assert shown(place) == before
        # A pin that nothing fits is the configuration's fault, and refuses it.
        place.write(identity={**place.config["identity"], "spiffe_id": issuer.id("nobody")})
        assert place.reload()["result"] == "refused"
        ping(web)
        # Both at once fit again.
        place.write(identity={**place.config["identity"], "spiffe_id": issuer.id("billing")})
        assert place.reload()["result"] == "in_force"
        assert_lost(place, web, "own_identity_changed")


def test_an_expired_successor_is_not_taken(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=anybody())
    before = shown(place)
    place.rotate(issuer.issue("orders", time.time() - 7200, time.time() - 3600))
    assert place.reload()["result"] == "refused"
    assert "expired" in place.failures()[0]
    assert shown(place) == before


def test_a_touch_is_no_rotation(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=anybody(), crl=True)
    with place.connect(shop("web")) as web:
        for path in (place.certificate, place.key, place.bundle, place.crl):
            overwrite(path, path.read_bytes())
        assert place.reload()["result"] == "unchanged"
        ping(web)
