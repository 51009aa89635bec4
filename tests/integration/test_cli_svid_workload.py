"""`bulkhead svid --workload-api`: what the agent gives, and what to do when it gives nothing."""

import json
import os

import grpc
import pytest

from harness.agent import Agent, RawAgent, crl, der_of, federated, x509_svid
from harness.bulkhead import run_command
from harness.issuer import Issuer


@pytest.fixture(scope="module")
def partner(tmp_path_factory):
    return Issuer(tmp_path_factory.mktemp("partner"), domain="partner.example")


@pytest.fixture
def agent():
    one = Agent()
    yield one
    one.close()


def ask(*arguments, env=None):
    clean = {k: v for k, v in os.environ.items() if k != "SPIFFE_ENDPOINT_SOCKET"}
    result = run_command("svid", "--workload-api", *arguments, env={**clean, **(env or {})})
    return result.returncode, result.stdout, result.stderr


def test_it_prints_all_but_keys(agent, issuer, shop, partner, tmp_path):
    issuer.crl(tmp_path / "crl", shop("web"))
    agent.say(x509_svid(issuer, shop("orders"), hint="internal\n"),
              x509_svid(issuer, shop("payments")), federated(partner),
              federated(issuer, anchors=b"", domain="empty.example"), crl(tmp_path / "crl"))
    code, out, err = ask(agent.address)
    assert (code, err) == (0, "")
    rows = [line.split(None, 1) for line in out.splitlines()]
    assert ["hint", "internal?"] in rows, out
    for text in (f"{agent.address} gives this process:", "SVID 1 (the default):", "SVID 2:",
                 issuer.id("orders"), issuer.id("payments"), "EC256", "1 certificate\n",
                 "valid X509-SVID, its key belongs to it",
                 "bundle of prod.example (own): 1 anchor, the last ends 9999-12-31T23:59:59Z",
                 "bundle of partner.example (federated): 1 anchor",
                 "bundle of empty.example (federated): 0 anchors: nobody of it is trusted",
                 "CRLs: 1, certificates that they revoke: 1"):
        assert text in out, out
    assert out.count("bundle of prod.example") == 1
    # By the variable, for machines.
    code, out, _ = ask("--json", env={"SPIFFE_ENDPOINT_SOCKET": agent.address})
    answer = json.loads(out)
    assert code == 0 and answer["valid"] and answer["crls"] == 1
    assert [svid["hint"] for svid in answer["svids"]] == ["internal\n", ""]
    assert [b["anchors"] for b in answer["bundles"]] == [1, 1, 0]
    for name in ("orders", "payments"):
        key = der_of(shop(name).key, "PRIVATE KEY")
        assert key.hex()[70:110] not in out


def test_it_names_every_fault(agent, issuer, shop, partner):
    now = 1_000_000_000
    agent.say(x509_svid(issuer, shop("orders"), identity=issuer.id("web")),
              x509_svid(issuer, shop("payments"), key=der_of(shop("web").key, "PRIVATE KEY")),
              x509_svid(issuer, issuer.issue("old", start=now, end=now + 10)),
              x509_svid(issuer, shop("web")), federated(partner, anchors=b"\x30\x00"),
              federated(partner, domain="Up.example"))
    code, out, _ = ask(agent.address)
    assert code == 1
    for text in ("the certificate has another ID", "does not belong to the certificate",
                 "it is not valid now", "valid X509-SVID",
                 "bundle of partner.example (federated): broken:",
                 "bundle of spiffe://Up.example (federated): broken:"):
        assert text in out, out


def test_it_judges_the_message_as_a_start_would(agent, issuer, shop, tmp_path):
    """Each part is sound, and not all of them together."""
    anonymous = Issuer(tmp_path / "anonymous", anonymous=True)
    other = Issuer(tmp_path / "other", anonymous=True)
    svid = x509_svid(anonymous, anonymous.issue("orders"))
    for refused, more, why in (
            (True, federated(other, domain="partner.example/path"), "a trust domain's ID has no"),
            (True, federated(other), "two bundles for prod.example in one message"),
            (False, federated(anonymous, domain="partner.example"),
             'the key of its anchor "CN=root,O=prod.example" is also in the bundle of prod')):
        agent.say(svid, more)
        code, out, _ = ask(agent.address)
        start = "refused, nothing of this message counts: " if refused else "note: "
        line = out.splitlines()[-1]
        assert code == 1 and line.startswith(start) and why in line, out
        answer = json.loads(ask("--json", agent.address)[1])
        assert not answer["valid"] and why in answer["refused" if refused else "note"]
        assert answer["note" if refused else "refused"] is None


def test_when_the_agent_denies(agent):
    agent.fail(grpc.StatusCode.PERMISSION_DENIED, "no identity issued\x1b[2J")
    code, out, err = ask(agent.address)
    assert (code, out) == (1, "")
    assert "gives nothing: PermissionDenied: no identity issued" in err and "\x1b" not in err
    assert "spire-server entry create" in err and f"unix:uid:{os.geteuid()}" in err
    code, out, _ = ask("--json", agent.address)
    assert code == 1 and json.loads(out)["status"] == "PermissionDenied"


@pytest.mark.parametrize("status, hint", [
    (grpc.StatusCode.UNIMPLEMENTED, "is no SPIFFE Workload API"),
    (grpc.StatusCode.INVALID_ARGUMENT, "is no SPIFFE Workload API"),
    (grpc.StatusCode.UNAVAILABLE, "Unavailable"),
])
def test_when_it_answers_otherwise(agent, status, hint):
    agent.fail(status)
    code, out, err = ask(agent.address)
    assert (code, out) == (2, "") and hint in err


def test_when_nobody_is_there(tmp_path):
    code, _, err = ask(f"unix://{tmp_path}/none.sock")
    assert code == 2 and "No such file" in err and "Is the agent running" in err
    agent = RawAgent(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    try:
        code, _, err = ask(agent.address)
        assert code == 2 and "HTTP/2" in err
    finally:
        agent.close()


def test_a_message_that_can_not_be_used(agent):
    agent.say(b"\x0b\x0c")
    code, out, err = ask(agent.address)
    assert (code, out) == (1, "") and "its message can't be used: field 1 is a group" in err


@pytest.mark.parametrize("arguments, error", [
    ((), "which Workload API?"),
    (("/run/agent.sock",), "must start with unix:// or tcp://"),
    (("unix:///a", "unix:///b"), "takes one address at most"),
    (("--bundle", "x", "--trust-domain", "y"), "and no --bundle"),
])
def test_wrong_usage(arguments, error):
    code, out, err = ask(*arguments)
    assert (code, out) == (2, "") and error in err
