"""Changes that come into force by themselves: replaced files, swapped links, files written in place,
and what is not loaded by itself because it may be half written."""

import contextlib
import os
import pathlib
import shutil
import signal
import ssl

import pytest
import yaml

from harness.bulkhead import rule, terminate
from harness.reloading import overwrite, ping, replace
from harness.streams import RESET, client_context, tls_connect
from harness.wait import until

WATCH = {"reload": {"watch": "atomic"}}


def allow(issuer, *names):
    return [rule(name, issuer.id(name), "all") for name in names]


def der(svid):
    return ssl.PEM_cert_to_DER_cert(svid.chain.read_text())


def shown(place):
    with tls_connect(place.address(), client_context(None)) as stream:
        return stream.tls.getpeercert(binary_form=True)


def watched(place, before=0, **wanted):
    return place.wait_reload(before, trigger="watch", **wanted)


def test_a_renamed_configuration(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web", "wiki"), **WATCH)
    with place.connect(shop("web")) as web, place.connect(shop("wiki")) as wiki:
        place.write(rules=allow(issuer, "wiki"))
        assert watched(place, result="in_force")["rule_removed"] == 1
        assert web.read_to_end() == (b"", RESET)
        ping(wiki)


def test_a_broken_configuration_that_was_renamed(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"), **WATCH)
    replace(place.config_file, "version: 1\nlisteners: [")
    assert watched(place)["result"] == "refused"
    assert len(place.log.find(event="source_failed")) == 1
    with place.connect(shop("web")):
        pass
    place.write(rules=allow(issuer, "web", "wiki"))
    watched(place, result="in_force")
    with place.connect(shop("wiki")):
        pass


def test_a_configuration_written_in_place_waits_for_a_signal(reloadable, backends, issuer, shop):
    """A prefix of a list of rules is a valid list."""
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web", "wiki"), **WATCH)
    with place.connect(shop("web")) as web:
        overwrite(place.config_file, yaml.safe_dump({**place.config, "rules": []}))
        line = place.wait_log("configuration_written")
        assert line["level"] == "warn" and "SIGHUP" in line["error"]
        # Another file's change reads the credentials alone.
        place.rotate(issuer.issue("orders"))
        watched(place, result="in_force")
        ping(web)
        assert place.reload()["rule_removed"] == 2
        assert web.read_to_end() == (b"", RESET)


def test_watch_none_watches_credentials_alone(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"))
    with place.connect(shop("web")) as web:
        place.write(rules=[])
        new = issuer.issue("orders")
        place.rotate(new)
        line = watched(place, result="in_force")
        assert line["identity_changed"] == 1 and "rule_removed" not in line
        ping(web)
        assert shown(place) == der(new)
        assert place.reload()["rule_removed"] == 1


def test_watch_can_be_turned_on_and_off(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"))
    place.apply(**WATCH)
    place.write(rules=allow(issuer, "web", "wiki"), reload={"watch": "none"})
    watched(place, result="in_force")
    place.write(rules=[])
    place.rotate(issuer.issue("orders"))
    assert "rule_removed" not in watched(place, 1, result="in_force")


@pytest.mark.parametrize("first", ["key", "certificate"])
@pytest.mark.parametrize("how", [replace, overwrite])
def test_certificate_and_key_in_either_order(reloadable, backends, issuer, shop, first, how):
    """A pair that doesn't match waits for its other half, whatever time that takes."""
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"))
    before, new = shown(place), issuer.issue("orders")
    steps = [(place.key, new.key), (place.certificate, new.chain)]
    if first == "certificate":
        steps.reverse()
    with place.connect(shop("web")) as web:
        how(steps[0][0], steps[0][1].read_bytes())
        line = place.wait_log("source_failed")
        assert "kept" in line["error"]
        assert shown(place) == before
        how(steps[1][0], steps[1][1].read_bytes())
        line = watched(place, result="in_force")
        assert line["identity_changed"] == 1
        assert shown(place) == der(new)
        ping(web)


def test_both_renamed_at_once_come_in_one_reload(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"))
    new = issuer.issue("orders")
    with halted(place):  # for it they happen at once, however long this process takes
        place.rotate(new)
    watched(place, result="in_force")
    assert not place.log.find(event="source_failed")


@contextlib.contextmanager
def halted(place):
    """The whole process stands still meanwhile."""
    def is_halted():
        stats = pathlib.Path(f"/proc/{place.pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats)

    place.signal(signal.SIGSTOP)
    until(is_halted, "the process to stand still")
    yield
    place.signal(signal.SIGCONT)


@pytest.mark.parametrize("how", [replace, overwrite])
@pytest.mark.parametrize("file", ["bundle", "crl"])
def test_bundles_and_crls(reloadable, backends, issuer, shop, how, file):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web", "wiki"),
                       crl=True)
    with place.connect(shop("web")) as web, place.connect(shop("wiki")) as wiki:
        if file == "bundle":
            how(place.bundle, issuer.bundle.read_bytes() * 2)
            assert watched(place, result="in_force")["bundle_changed"] == 1
            ping(web)
        else:
            issuer.crl(place.directory / "new.crl", shop("web"))
            how(place.crl, (place.directory / "new.crl").read_bytes())
            assert watched(place, result="in_force")["ended_certificate_revoked"] == 1
            assert web.read_to_end() == (b"", RESET)
        ping(wiki)


def test_a_bundle_that_grows_in_place_is_read_when_it_is_still(reloadable, backends, issuer, shop,
                                                               tmp_path_factory):
    """Every prefix that ends behind a certificate is a valid bundle with fewer anchors."""
    from harness.issuer import Issuer

    other = Issuer(tmp_path_factory.mktemp("other"))
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"))
    with place.connect(shop("web")) as web:
        with open(place.bundle, "wb") as file:
            file.write(other.bundle.read_bytes())
            file.flush()
            until(lambda: place.alive() and ping(web) is None, "a look")
            file.write(issuer.bundle.read_bytes())
        line = watched(place, result="in_force")
        assert (line["bundle_changed"], line["ended"]) == (1, 0)
        ping(web)


def test_a_removed_file_withdraws_nothing(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"), crl=True)
    with place.connect(shop("web")) as web:
        for path in (place.bundle, place.crl, place.certificate, place.key):
            content = path.read_bytes()
            path.unlink()
            line = place.wait_log("file_gone", file=str(path))
            assert "kept" in line["error"]
            ping(web)
            with place.connect(shop("web")):
                pass
            replace(path, content)
        place.rotate(issuer.issue("orders"))
        watched(place, result="in_force")
        ping(web)


def test_a_swapped_directory_link(reloadable, backends, issuer, shop, start):
    """As Kubernetes mounts secrets and configuration maps: names are links into ..data, which is a
    link to the directory of today."""
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"), **WATCH)
    mount = place.directory / "mount"
    write_version(mount, 1, place, shop("orders"))
    (mount / "..data").symlink_to("..v1")
    for name in ("svid.pem", "svid.key", "bundle.pem", "rules.yaml"):
        (mount / name).symlink_to(f"..data/{name}")
    config = {**place.config,
              "identity": {"files": {"certificate": str(mount / "svid.pem"),
                                     "private_key": str(mount / "svid.key")}},
              "trust": {"prod.example": {"bundle": str(mount / "bundle.pem")}}}
    (mount / "..v1" / "rules.yaml").write_text(yaml.safe_dump(config))
    mounted = start(yaml.safe_dump(config), config_path=mount / "rules.yaml")
    with tls_connect(mounted.address(), client_context(shop("web").pair)) as web:
        ping(web)
        new = issuer.issue("orders")
        write_version(mount, 2, place, new)
        config["rules"] = allow(issuer, "web", "wiki")
        (mount / "..v2" / "rules.yaml").write_text(yaml.safe_dump(config))
        (mount / "..new").symlink_to("..v2")
        os.rename(mount / "..new", mount / "..data")
        shutil.rmtree(mount / "..v1")
        line = mounted.wait_log("reload", result="in_force")
        assert (line["rule_added"], line["identity_changed"]) == (1, 1), "one swap, one reload"
        assert not mounted.log.find(event="source_failed")
        ping(web)
    with tls_connect(mounted.address(), client_context(shop("wiki").pair)) as wiki:
        ping(wiki)


def write_version(mount, number, place, svid):
    directory = mount / f"..v{number}"
    directory.mkdir(parents=True)
    shutil.copy(svid.chain, directory / "svid.pem")
    shutil.copy(svid.key, directory / "svid.key")
    shutil.copy(place.bundle, directory / "bundle.pem")


def test_new_paths_are_watched_and_old_ones_no_more(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"))
    moved = place.directory / "moved.pem"
    shutil.copy(place.bundle, moved)
    place.apply(trust={"prod.example": {"bundle": str(moved)}})
    replace(place.bundle, "nothing")
    replace(moved, issuer.bundle.read_bytes() * 2)
    assert watched(place, result="in_force")["bundle_changed"] == 1
    assert not place.log.find(event="source_failed"), "the old path is nobody's"
