"""`ctl identity`, `ctl trust`, `ctl config`: what is in force, where it came from and since when;
and never a key."""

import hashlib
import json
import pathlib
import ssl
import subprocess

import pytest
import yaml

from harness.bulkhead import rule, run_command, terminate
from harness.metrics import http_get
from harness.reloading import replace


@pytest.fixture
def place(reloadable, backends, issuer, tmp_path):
    made = reloadable(
        terminate(backends.plain().url), rules=[rule("web", issuer.id("web"), "all")], crl=True,
        admin={"listen": f"unix://{tmp_path}/admin.sock"}, timeouts={"idle": "2h"},
        variables={"shop": "prod.example"})
    made.socket = f"{tmp_path}/admin.sock"
    return made


def ask(place, verb):
    result = run_command("ctl", "--socket", place.socket, verb, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def people(place, verb):
    result = run_command("ctl", "--socket", place.socket, verb)
    assert result.returncode == 0, result.stderr
    return result.stdout


def fingerprint(path):
    pem = pathlib.Path(path).read_text()
    first = pem[:pem.index("-----END CERTIFICATE-----") + 25]
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()


def openssl(path, field):
    text = subprocess.run(["openssl", "x509", "-in", path, "-noout", f"-{field}"],
                          capture_output=True, text=True, check=True).stdout
    return text.strip().partition("=")[2]


def test_our_identity_and_its_successor(place, issuer):
    answer = ask(place, "identity")
    [own] = answer["identities"]
    assert answer["generation"] == 1
    assert own["spiffe_id"] == issuer.id("orders") and own["source"] == "files"
    assert own["file"] == str(place.certificate) and own["key_type"].startswith("EC P-")
    assert own["serial"].lower() == openssl(place.certificate, "serial").lower()
    assert own["sha256"] == fingerprint(place.certificate) == own["chain"][0]["sha256"]
    assert own["not_before"] < own["loaded"] < own["not_after"]
    text = people(place, "identity")
    assert own["sha256"] in text and own["spiffe_id"] in text and own["not_after"] in text
    successor = issuer.issue("orders")
    replace(place.certificate, successor.chain.read_bytes())
    replace(place.key, successor.key.read_bytes())
    place.reload()
    answer = ask(place, "identity")
    assert answer["generation"] == 2
    assert answer["identities"][0]["sha256"] == fingerprint(successor.chain)
    replace(place.certificate, "broken\n")
    assert place.reload()["result"] == "refused"
    assert ask(place, "identity") == answer  # what is in force, not what the file holds


def test_whom_we_trust(place, issuer, shop):
    [domain] = ask(place, "trust")["domains"]
    assert (domain["trust_domain"], domain["bundle"]) == ("prod.example", str(place.bundle))
    [anchor] = domain["anchors"]
    assert anchor["sha256"] == fingerprint(place.bundle) and "CN=root" in anchor["subject"]
    assert anchor["not_after"] == "9999-12-31T23:59:59Z"
    assert (domain["crl"], domain["crl_check"]) == (str(place.crl), "leaf")
    [crl] = domain["crls"]
    assert (crl["revoked"], crl["replaced"]) == (0, False) and crl["this_update"] < crl["next_update"]
    assert domain["anchors_without_crl"] == []
    issuer.crl(place.directory / "new.crl", shop("web"), shop("wiki"))
    replace(place.crl, (place.directory / "new.crl").read_bytes())
    place.reload()
    [after] = ask(place, "trust")["domains"]
    assert after["crls"][0]["revoked"] == 2 and after["loaded"] == domain["loaded"]
    assert after["crl_loaded"] >= domain["crl_loaded"]
    text = people(place, "trust")
    assert anchor["sha256"] in text and "THIS_UPDATE" in text and str(place.crl) in text
    issuer.crl(place.directory / "new.crl", start=1000000000, end=1000003600)
    replace(place.crl, (place.directory / "new.crl").read_bytes())
    place.reload()
    [after] = ask(place, "trust")["domains"]
    assert after["crls"][0]["next_update"] == "2001-09-09T02:46:40Z"
    [gap] = after["anchors_without_crl"]
    assert gap["reason"] == "svid_crl_expired" and "CN=root" in gap["subject"]
    assert "svid_crl_expired" in people(place, "trust")


def keys_of(answer):
    keys = {key["key"]: key for key in answer["keys"]}
    assert len(keys) == len(answer["keys"])
    return keys


def test_the_configuration_in_force(place):
    answer = ask(place, "config")
    assert answer["generation"] == 1 and answer["files"] == [str(place.config_file)]
    keys = keys_of(answer)
    assert keys["timeouts.idle"] == {
        "key": "timeouts.idle", "value": "2h", "default": False, "reloadable": True}
    assert keys["timeouts.connect"]["default"] and keys["listeners[in].timeouts.idle"]["default"]
    assert not keys["admin.listen"]["reloadable"] and keys["workers"]["value"] == 2
    assert keys["rules[web].to"]["value"] == ["all"] and "rules[web].owner" not in keys
    text = people(place, "config")
    assert [line.split() for line in text.splitlines() if line.startswith("timeouts.")][:2] == [
        ["timeouts.handshake", "10s", "default", "reload"],
        ["timeouts.connect", "5s", "default", "reload"]]
    place.config_file.write_text(yaml.safe_dump({**place.config, "nothing": 1}))
    assert place.reload()["result"] == "refused"
    assert keys_of(ask(place, "config")) == keys
    place.write(timeouts={"idle": "3h"})
    place.reload()
    assert keys_of(ask(place, "config"))["timeouts.idle"]["value"] == "3h"


def test_many_rules_are_told_whole(place):
    many = [rule(f"r{i}", f"spiffe://prod.example/ns/shop/sa/s{i}", "all") for i in range(5000)]
    place.write(rules=many)
    place.reload()
    keys = keys_of(ask(place, "config"))
    for i in (0, 2500, 4999):
        assert keys[f"rules[r{i}].from"]["value"] == [f"spiffe://prod.example/ns/shop/sa/s{i}"]
    assert sum(key.startswith("rules[") for key in keys) == 5 * 5000


def test_no_answer_holds_a_key(place):
    secret = "".join(place.key.read_text().splitlines()[1:-1]).encode()
    for path in ("/identity", "/trust", "/config", "/sessions", "/rules", "/metrics"):
        status, _, body = http_get(place.socket, path)
        assert status == 200
        assert b"PRIVATE" not in body and secret[10:40] not in body
        assert http_get(place.socket, path, method="POST")[0] == 405
        assert http_get(place.socket, path + "?x=1")[0] == 400
