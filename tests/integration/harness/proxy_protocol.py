"""Reads a PROXY protocol header, version 2, by the text of the specification (proxy-protocol.txt
2.2) and by nothing else: what is not allowed there is an error here."""

import dataclasses
import ipaddress
import struct

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
ALPN, AUTHORITY, UNIQUE_ID, SSL = 0x01, 0x02, 0x05, 0x20
VERSION, CN, CIPHER, SIG_ALG, KEY_ALG, GROUP, CERTIFICATE = 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x28
SPIFFE_ID, RULE = 0xE0, 0xE1
TOP = {ALPN, AUTHORITY, UNIQUE_ID, SSL, SPIFFE_ID, RULE}
NESTED = {VERSION, CN, CIPHER, SIG_ALG, KEY_ALG, GROUP, CERTIFICATE}
UNSPEC, TCP4, TCP6, UNIX = 0x00, 0x11, 0x21, 0x31


@dataclasses.dataclass
class Header:
    family: int
    source: object
    destination: object
    tlvs: dict
    flags: int
    verify: int
    tls: dict
    length: int

    def text(self, kind):
        return {**self.tlvs, **self.tls}[kind].decode()


def read_header(stream):
    """The header that a stream begins with, and not a byte more."""
    head = stream.recv_exactly(16)
    assert head[:12] == SIGNATURE, head
    assert head[12] == 0x21, f"version and command {head[12]:#x}"
    length = struct.unpack("!H", head[14:16])[0]
    return parse(head[13], stream.recv_exactly(length) if length else b"")


def parse(family, body):
    source, destination, rest = addresses(family, body)
    tlvs = vectors(rest, TOP)
    flags, verify, tls = 0, None, {}
    if SSL in tlvs:
        flags, verify = struct.unpack("!BI", tlvs[SSL][:5])
        tls = vectors(tlvs[SSL][5:], NESTED)
        assert flags & 0x01 and not flags & ~0x07
    return Header(family, source, destination, tlvs, flags, verify, tls, 16 + len(body))


def addresses(family, body):
    if family == UNSPEC:
        return None, None, body
    size = {TCP4: 4, TCP6: 16, UNIX: 108}[family]
    first, second, rest = body[:size], body[size:2 * size], body[2 * size:]
    assert len(second) == size
    if family == UNIX:
        return first.rstrip(b"\0").decode(), second.rstrip(b"\0").decode(), rest
    ports = struct.unpack("!HH", rest[:4])
    return ((str(ipaddress.ip_address(first)), ports[0]),
            (str(ipaddress.ip_address(second)), ports[1]), rest[4:])


def vectors(data, known):
    found = {}
    while data:
        kind, length = struct.unpack("!BH", data[:3])
        assert kind in known and kind not in found, f"type {kind:#x}"
        assert length <= len(data) - 3, f"type {kind:#x} is cut"
        found[kind] = data[3:3 + length]
        data = data[3 + length:]
    return found
