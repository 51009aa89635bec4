"""The key exchange with the openssl program, as both sides tell it: X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem)
where this system's OpenSSL has it, X25519 where not. Its offer byte by byte: unit/tls/test_tls_groups.c."""

import re

import pytest

from harness.bulkhead import configuration, originate, terminate
from harness.credentials import spiffe
from harness.openssl import BEST_GROUP, POST_QUANTUM, Server, s_client
from harness.streams import PlainStream, dial

BEST = "X25519MLKEM768" if BEST_GROUP == "X25519MLKEM768" else "X25519"
CLIENTS = {
    "by its own list": ((), BEST),
    "X25519 alone": (("-groups", "X25519"), "X25519"),
    "P-384 alone": (("-groups", "P-384"), "P-384"),
    "TLS 1.2": (("-tls1_2",), "X25519"),
}
if POST_QUANTUM:
    # It names the better one and sends no share for it: it is asked for one (RFC 8446 4.1.4).
    CLIENTS["the better one without a share"] = (("-groups", "*X25519:X25519MLKEM768"), "X25519MLKEM768")


@pytest.fixture(scope="module")
def names():
    """What s_client calls a group: newer ones by its registered name, older ones the key's kind."""
    return {"X25519MLKEM768": r"Negotiated TLS1.3 group: X25519MLKEM768",
            "X25519": r"(Server|Peer) Temp Key: X25519, 253 bits",
            "P-384": r"(Server|Peer) Temp Key: ECDH, (P-384|secp384r1), 384 bits"}


@pytest.mark.parametrize("case", CLIENTS)
def test_a_client_gets(case, start, backends, credentials, names):
    options, group = CLIENTS[case]
    bulkhead = start(configuration(credentials, terminate(backends.plain().url)))
    text = s_client(bulkhead.address(), *options, pair=credentials.pair("web"))
    assert re.search(names[group], text), text
    [line] = [bulkhead.wait_access(kind="terminate")]
    assert (line["decision"], line["tls"]["group"]) == ("allow", group)


@pytest.mark.parametrize("options, group", [
    ((), BEST), (("-groups", "X25519"), "X25519"), (("-groups", "P-521"), "P-521"), (("-tls1_2",), "X25519")],
    ids=["by its own list", "X25519 alone", "P-521 alone", "TLS 1.2"])
def test_a_server_is_offered(options, group, start, credentials):
    with Server(credentials.pair("orders"), *options) as server:
        bulkhead = start(configuration(credentials, originate(server.url, expect=spiffe("orders")), own="web"))
        with PlainStream(dial(bulkhead.address())) as stream:
            stream.send(b"hello")
            stream.end()
            stream.read_to_end()
        text = server.output()
    line = bulkhead.wait_access(kind="originate")
    assert (line["decision"], line["upstream_tls"]["group"]) == ("allow", group), text
    if "-tls1_2" not in options:
        first = re.search(r"^Supported groups: ([^:\s]+)", text, re.M | re.I)
        assert first and first[1].upper() == BEST.upper(), text
