"""Nothing stays behind: no descriptor, no memory, no work for connections that do nothing."""

import contextlib
import os
import pathlib
import threading

import pytest

from harness.bulkhead import bridge, configuration, is_sanitizer_build, originate, terminate
from harness.credentials import spiffe
from harness.streams import (
    PlainStream, client_context, dial, server_context, tls_connect, tls_dial,
)
from harness.wait import SCALE, until


def good(address, context):
    with tls_connect(address, context) as stream:
        stream.send(b"ping")
        stream.recv_exactly(4)
        stream.end()
        stream.read_to_end()


def refused(address, context):
    stream, failure = tls_dial(address, context)
    with stream:
        if failure is None:
            with contextlib.suppress(OSError):
                stream.read_to_end()


def truncated(address, context):
    with tls_connect(address, context) as stream:
        stream.send(b"ping")
        stream.end_socket()
        with contextlib.suppress(OSError):
            stream.read_to_end()


def reset(address, context):
    stream = tls_connect(address, context)
    stream.send(b"ping")
    stream.reset()


def garbage(address, _):
    with PlainStream(dial(address)) as stream:
        with contextlib.suppress(OSError):
            stream.send(b"GET / HTTP/1.1\r\n\r\n")
            stream.read_to_end()


def probe(address, _):
    dial(address).close()


def every_way_to_end(address, credentials):
    web = client_context(credentials.pair("web"))
    return [
        lambda: good(address, web),
        lambda: refused(address, client_context(credentials.pair("wiki"))),
        lambda: refused(address, client_context(credentials.pair("expired"))),
        lambda: refused(address, client_context()),
        lambda: truncated(address, web),
        lambda: reset(address, web),
        lambda: garbage(address, None),
        lambda: probe(address, None),
    ]


@pytest.mark.parametrize("kind", ["terminate", "bridge"])
def test_every_way_to_end_gives_back_what_it_took(start, backends, credentials, kind):
    if kind == "terminate":
        listener = terminate(backends.plain().url)
    else:
        context = server_context(credentials.pair("payments"), credentials.bundle("prod.example"))
        listener = bridge(backends.tls(context).url, expect=spiffe("payments"))
    bulkhead = start(configuration(credentials, listener))
    ways = every_way_to_end(bulkhead.address(), credentials)
    before = bulkhead.descriptors()

    def round_of(times):
        for _ in range(times):
            for way in ways:
                way()
        until(lambda: bulkhead.descriptors() <= before, "all descriptors to be closed")
        return bulkhead.rss_kib()

    first = round_of(15)
    second = round_of(30)
    if not is_sanitizer_build():
        assert second - first < 1024, "memory grows with the number of sessions"


def test_a_dead_upstream_gives_back_what_it_took(start, backends, credentials):
    backend = backends.plain()
    backend.close()
    bulkhead = start(configuration(
        credentials, terminate(backend.url, "in"),
        originate(backend.url.replace("tcp:", "mtls:"), "out"),
    ))
    before = bulkhead.descriptors()
    for _ in range(20):
        refused(bulkhead.address("in"), client_context(credentials.pair("web")))
        with PlainStream(dial(bulkhead.address("out"))) as stream:
            stream.read_to_end()
    until(lambda: bulkhead.descriptors() <= before, "all descriptors to be closed")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_waiting_connections_cost_no_time(start, backends, credentials):
    """Idle ones, half-closed ones, and ones whose reader stalls: none may spin."""
    gate = threading.Event()

    def hold(stream):
        gate.wait(60 * SCALE)

    bulkhead = start(configuration(credentials, terminate(backends.plain(hold).url)))
    context = client_context(credentials.pair("web"))
    streams = [tls_connect(bulkhead.address(), context) for _ in range(60)]
    for stream in streams[20:40]:
        stream.end()
        stream.end_socket()
    for stream in streams[40:44]:
        stream.sock.settimeout(0.1)
        with contextlib.suppress(OSError):  # until the kernel's buffers are full
            while True:
                stream.send(bytes(1_000_000))
    before = cpu_seconds(bulkhead.pid)
    gate.wait(1)  # time to spin in, if anything does
    used = cpu_seconds(bulkhead.pid) - before
    assert used < 0.1 * SCALE, f"{used} s of CPU in one second of waiting"
    gate.set()
    for stream in streams:
        stream.close()
