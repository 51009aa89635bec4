"""Files that can't be used at a reload: the last good state stays, one line says what is wrong, the
other files go through, and a good file later goes in force."""

import os
import shutil

import pytest
import yaml

from harness.bulkhead import rule, terminate
from harness.reloading import ping, replace
from harness.streams import RESET

FILES = ["configuration", "certificate", "private_key", "bundle", "crl"]
STATES = ["missing", "unreadable", "empty", "half", "directory", "garbage", "endless"]
WHERE = {"certificate": "identity.files", "private_key": "identity.files",
         "bundle": "trust.prod.example.bundle", "crl": "trust.prod.example.crl"}


def anybody():
    return [rule("all", "spiffe://prod.example/**", "all")]


def paths(place):
    return {"configuration": place.config_file, "certificate": place.certificate,
            "private_key": place.key, "bundle": place.bundle, "crl": place.crl}


def as_nobody():
    """Drops what root may beyond others: to read what its mode forbids."""
    import ctypes

    PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
    libc = ctypes.CDLL(None)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def make(place, path, state):
    good = path.read_bytes()
    if state in ("missing", "directory"):
        path.unlink()
    if state == "directory":
        path.mkdir()
    elif state == "unreadable":
        path.chmod(0)
    elif state == "endless":
        path.unlink()
        path.symlink_to("/dev/zero")
    elif state != "missing":
        # A half of a PEM file must not end where a line does: that could be a shorter good file.
        content = {"empty": b"", "half": good[: len(good) // 2 - 7], "garbage": b"\0\xff: [" * 99}
        replace(path, content[state])
    return good


def restore(path, good):
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    elif path.exists() and not path.is_symlink():
        path.chmod(0o600)
    replace(path, good)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("state", STATES)
def test_a_broken_file(reloadable, backends, issuer, shop, file, state):
    place = reloadable(terminate(backends.plain().url), rules=anybody(), crl=True,
                       before_exec=as_nobody)
    path = paths(place)[file]
    with place.connect(shop("web")) as web:
        good = make(place, path, state)
        line = place.reload()
        assert (line["result"], line["generation"], line["level"]) == ("refused", 1, "error")
        errors = place.failures()
        assert len(errors) == 1, errors
        assert path.name in errors[0], errors
        if file != "configuration":
            assert WHERE[file] in errors[0] and "kept" in errors[0]
        ping(web)
        with place.connect(shop("wiki")) as other:
            ping(other)
        restore(path, good)
        assert place.reload()["result"] == "unchanged"
        place.rotate(issuer.issue("orders"))
        assert place.reload()["result"] == "in_force"
        ping(web)


@pytest.mark.parametrize("file", ["certificate", "bundle", "crl"])
def test_the_other_sources_go_through(reloadable, backends, issuer, shop, file):
    place = reloadable(terminate(backends.plain().url),
                       rules=[rule(name, issuer.id(name), "all") for name in ("web", "wiki")],
                       crl=True)
    with place.connect(shop("web")) as web, place.connect(shop("wiki")) as wiki:
        make(place, paths(place)[file], "garbage")
        place.write(rules=[rule("wiki", issuer.id("wiki"), "all")])
        line = place.reload()
        assert (line["result"], line["rule_removed"], line["ended"]) == ("in_force", 1, 1)
        assert len(place.failures()) == 1
        assert web.read_to_end() == (b"", RESET)
        ping(wiki)


def test_a_broken_configuration_holds_up_no_credential(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=anybody(), crl=True)
    with place.connect(shop("web")) as web, place.connect(shop("wiki")) as wiki:
        make(place, place.config_file, "half")
        issuer.crl(place.directory / "new.crl", shop("web"))
        replace(place.crl, (place.directory / "new.crl").read_bytes())
        line = place.reload()
        assert (line["result"], line["configuration"], line["level"]) == (
            "in_force", "refused", "error")
        assert web.read_to_end() == (b"", RESET)
        assert place.ended(web)["reason"] == "certificate_revoked"
        ping(wiki)


def test_a_new_domain_without_a_bundle_is_refused_and_no_other(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=anybody())
    with place.connect(shop("web")) as web:
        trust = {**place.config["trust"],
                 "partner.example": {"bundle": str(place.directory / "none.pem")}}
        place.write(trust=trust)
        line = place.reload()
        assert line["result"] == "in_force"
        assert len(place.failures()) == 1
        ping(web)


def test_every_error_of_a_configuration_is_told(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=anybody())
    broken = {**place.config, "lsteners": [], "workers": "many"}
    replace(place.config_file, yaml.safe_dump(broken))
    assert place.reload()["result"] == "refused"
    text = "\n".join(place.failures())
    assert "lsteners" in text and "workers" in text and "bulkhead.yaml:" in text


def test_all_of_it_gone(reloadable, backends, issuer, shop):
    """The directory is unmounted, say: it serves on, and follows when all is back."""
    place = reloadable(terminate(backends.plain().url), rules=anybody(), crl=True)
    kept = {path: path.read_bytes() for path in paths(place).values()}
    with place.connect(shop("web")) as web:
        for path in kept:
            os.unlink(path)
        assert place.reload()["result"] == "refused"
        ping(web)
        with place.connect(shop("web")) as other:
            ping(other)
        for path, content in kept.items():
            replace(path, content)
        assert place.reload()["result"] == "unchanged"
        place.rotate(issuer.issue("orders"))
        assert place.reload()["result"] == "in_force"
        ping(web)


def test_a_key_of_another_certificate_waits(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=anybody())
    new = issuer.issue("orders")
    with place.connect(shop("web")) as web:
        shutil.copy(new.key, place.key)
        line = place.reload()
        assert line["result"] == "refused"
        assert "kept" in place.failures()[0]
        with place.connect(shop("web")):
            pass
        shutil.copy(new.chain, place.certificate)
        assert place.reload()["result"] == "in_force"
        ping(web)
