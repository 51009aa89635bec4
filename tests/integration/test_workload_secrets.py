"""A private key of the Workload API leaves no byte behind when it has been replaced: not in memory,
so in no core file, and in no log."""

import os
import subprocess

import grpc
import pytest

from harness.agent import Agent, der_of, with_agent, x509_svid
from harness.bulkhead import is_sanitizer_build, rule, terminate
from harness.reloading import ping
from harness.streams import client_context, tls_connect
from harness.wait import until

WEB = rule("web", "spiffe://prod.example/ns/shop/sa/web", "all")
PART = 16  # bytes of a key that would already be too many


def scalar(key):
    """The private number of a P-256 key, as it stands in its DER."""
    text = subprocess.run(["openssl", "ec", "-in", key, "-noout", "-text"], check=True,
                          capture_output=True, text=True).stdout
    digits = text.split("priv:")[1].split("pub:")[0]
    return bytes.fromhex("".join(digits.split()).replace(":", "")).rjust(32, b"\0")


def forms(svid):
    """The halves of the number as DER has it and as libcrypto computes with it."""
    number = scalar(svid.key)
    turned = number[::-1]
    assert number in der_of(svid.key, "PRIVATE KEY")
    return [form[at:at + PART] for form in (number, turned) for at in (0, PART)]


def memory(pid):
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        for line in maps:
            span, access = line.split()[:2]
            if not access.startswith("rw") or "[vvar" in line:
                continue
            first, end = (int(part, 16) for part in span.split("-"))
            try:
                mem.seek(first)
                yield mem.read(end - first)
            except OSError:
                continue


def traces(pid, svid):
    wanted = forms(svid)
    return sum(any(form in piece for form in wanted) for piece in memory(pid))


@pytest.mark.skipif(is_sanitizer_build(), reason="a sanitizer keeps what is freed")
@pytest.mark.skipif(os.geteuid() != 0, reason="the process is not dumpable: only root may look")
def test_no_byte_of_a_replaced_key_is_left(start, backends, issuer, shop):
    pairs = [issuer.issue("orders") for _ in range(4)]
    agent = Agent(x509_svid(issuer, pairs[0]))
    try:
        bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB]))

        def use():
            with tls_connect(bulkhead.address(), client_context(shop("web").pair)) as stream:
                ping(stream)

        use()
        assert traces(bulkhead.pid, pairs[0]) > 0, "the key in use must be found, or this shows nothing"
        for number, svid in enumerate(pairs[1:], 1):
            # Other SVIDs come with it, whose keys are not even read; and one that is refused.
            agent.say(x509_svid(issuer, shop("orders"), identity="nonsense"))
            until(lambda: len(bulkhead.log.find(event="workload_refused")) == number, "the refusal")
            agent.say(x509_svid(issuer, svid), x509_svid(issuer, shop("payments"), hint="other"))
            until(lambda: len(bulkhead.log.find(event="reload", identity_changed=1)) == number,
                  "the new SVID")
            # The stream is open, and nothing has come behind the message to write over it.
            until(lambda: traces(bulkhead.pid, shop("payments")) == 0, "a key that is not used is kept")
            use()
        agent.say(x509_svid(issuer, shop("payments")))
        until(lambda: len(bulkhead.log.find(event="reload", identity_changed=1)) == len(pairs),
              "another SVID")
        use()
        agent.fail(grpc.StatusCode.PERMISSION_DENIED)
        until(lambda: bulkhead.log.find(event="reload", identity_removed=1), "the withdrawal")
        for svid in (*pairs, shop("orders"), shop("payments")):
            until(lambda: traces(bulkhead.pid, svid) == 0, f"the key of {svid.chain} is still there")
        text = bulkhead.log.text() + "".join(bulkhead.access.raw)
        for svid in (*pairs, shop("orders"), shop("payments")):
            assert scalar(svid.key).hex() not in text
    finally:
        agent.close()
