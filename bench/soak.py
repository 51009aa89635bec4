#!/usr/bin/env python3
"""Soak: what must hold under load. Each part starts the real program and says one line. It is wrong
for a byte, an end, a bound or a client that was not served, never for a time.

    bench/soak.py [--json] [PART...]         exits 1 when a part is wrong

bulk     200 MB each way through a terminate, an originate and a bridge listener at once
stalled  1,000 connections whose readers stop, first in one direction, then in both
slow     2,000 clients that send a byte of their handshake each second, beside good ones
few      64 descriptors, two workers and 200 clients

These take minutes, and only run when they are named:

reload   9,000 live sessions of 90 identities, of which a reload takes one's authority away
quarantine   an ID with 1,000 live sessions is held, while 8,000 others carry on
drain    SIGTERM with 5,000 live sessions, and with clients that still come
rotate   1,000 rotations of certificate and key in every order of writing, under load
churn    1,000 reloads and 200,000 connections, good and bad
workload   from an agent's message to the new SVID, and memory after 10,000 rotations (ROTATIONS=)
tails    1,000 clients that write 64 MiB and close at once without reading (TAILS=100: fewer)
mixed    random sizes, pauses and closes through all three kinds of listener, for T= seconds (60)

Only 127.0.0.1 is talked to, on ports of the kernel's choice; what is started is ended by its id.
"""

import argparse
import hashlib
import json
import os
import pathlib
import platform
import random
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time

# First of ours: it says where the harness is.
from soak_kit import (
    DEADLINE_S, MB, POOL, Asker, Crowd, Echo, Proxy, World, Wrong, check, mib, random_piece,
    run_crowd,
)
from harness.bulkhead import bridge, originate, program, terminate
from harness.streams import CLEAN
from soak_drain import drain
from soak_mixed import mixed
from soak_peers import END, Late, Loop, Server, Stream
from soak_quarantine import quarantine
from soak_reload import churn, reload, rotate
from soak_tails import tails
from soak_workload import workload

# ---- what several parts use ------------------------------------------------------------------

class Side:
    """One side of a connection: digests what it sends and what comes. A client says first which
    one it is, a server learns it; both then send what piece() gives."""

    def __init__(self, index=None, servers=None):
        self.index, self.servers = index, servers
        self.hello = b"" if index is None else index.to_bytes(8, "big")
        self.is_client = index is not None
        self.sent, self.got = hashlib.sha256(), hashlib.sha256()
        self.bytes_sent = self.bytes_got = 0
        self.how = None
        self.generator = random.Random(index)

    def on_open(self, stream):
        self.stream = stream

    def on_data(self, stream, data):
        if self.index is None:
            missing = 8 - len(self.hello)
            self.hello += data[:missing]
            data = data[missing:]
            if len(self.hello) < 8:
                return
            self.index = int.from_bytes(self.hello, "big")
            self.servers[self.index] = self
            stream.wake()
        self.got.update(data)
        self.bytes_got += len(data)

    def on_end(self, stream, how):
        self.how = how
        stream.wake()

    def more(self, stream):
        if self.index is None:
            return None
        if self.is_client and self.hello:
            hello, self.hello = self.hello, None
            return hello
        piece = self.piece()
        if piece is not None and piece is not END:
            self.sent.update(piece)
            self.bytes_sent += len(piece)
        return piece


def check_sides(clients, servers, also=""):
    """The number of directions, when all of them arrived whole and ended in order."""
    faults = []
    for index, client in clients.items():
        server = servers[index]
        for name, sender, receiver in (("up", client, server), ("down", server, client)):
            if receiver.how != CLEAN or sender.sent.digest() != receiver.got.digest():
                faults.append(f"connection {index} {name} ended {receiver.how} after "
                              f"{receiver.bytes_got} of {sender.bytes_sent} bytes")
    count = 2 * len(clients)
    check(not faults, f"{len(faults)} of {count} directions, the first: {faults[:1]}{also}")
    return count


# ---- bulk ------------------------------------------------------------------------------------

HELD_BACK = 64 * 1024  # what the side that ends last keeps until it has seen the other's end
BULK_CONNECTIONS = 4   # of each listener


class Transfer(Side):
    """Sends size bytes. Of connections with even numbers the client ends first, of odd ones the
    server."""

    def __init__(self, size, *arguments):
        super().__init__(*arguments)
        self.left = size

    def piece(self):
        ends_last = (self.index % 2 == 1) == self.is_client
        keep = HELD_BACK if ends_last and self.how is None else 0
        if self.left <= keep:
            return END if self.left == 0 else None
        piece = random_piece(self.generator, self.left - keep)
        self.left -= len(piece)
        return piece


def bulk(world):
    loop, servers, clients, streams = Loop(), {}, {}, []
    size = 200 * MB // BULK_CONNECTIONS
    plain = Server(loop, lambda: Transfer(size, None, servers))
    tls = Server(loop, lambda: Transfer(size, None, servers), world.server())
    kinds = {"in": terminate(plain.url), "out": originate(tls.url), "bridge": bridge(tls.url)}
    with Proxy(world, *kinds.values(), own="web") as proxy:
        before = proxy.memory()
        loop.every(0.1, proxy.sample)
        started = time.monotonic()
        for number in range(BULK_CONNECTIONS * len(kinds)):
            kind = list(kinds)[number % len(kinds)]
            # Which side ends last must not depend on the kind.
            index = 2 * number + number // len(kinds) % 2
            clients[index] = Transfer(size, index)
            context = None if kind == "out" else world.client()
            streams.append(Stream.dial(loop, proxy.address(kind), clients[index], context))
        loop.until(lambda: len(servers) == len(clients) and all(
            side.how for side in [*clients.values(), *servers.values()]), "all ends", DEADLINE_S)
        seconds = time.monotonic() - started
        whole = check_sides(clients, servers)
        for stream in streams:
            stream.close()
        lines = proxy.wait_lines(loop, len(clients))
        check(all(line["reason"] == "closed" for line in lines), f"reasons {proxy.reasons()}")
        counted = {(line["bytes_up"], line["bytes_down"]) for line in lines}
        check(counted == {(size + 8, size)}, f"access lines count {counted}")
        after, peak = proxy.memory(), proxy.peak
    total = 2 * size * len(clients)
    return {
        "bytes": total, "seconds": seconds, "directions_whole": whole, "before_kib": before,
        "peak_kib": peak, "after_kib": after,
    }, (f"{total // MB} MB in {seconds:.1f} s over {len(clients)} connections (terminate, "
        f"originate, bridge), SHA-256 equal in {whole} of {whole} directions, all half-closed; "
        f"RSS/PSS MiB before, peak, after: {mib(before, peak, after)}")


# ---- stalled ---------------------------------------------------------------------------------

STALLED = 1000
DIALS_AT_ONCE = 64
# The largest read, what TLS adds to its records, and the buffer that keeps it.
WAITING_MAX_KIB = 64 + 16
QUIET_S = 1.0
# What waits shall wait in the program: the kernel's buffers grow with the segments, which are huge
# on the loopback, and with megabytes in each of 2,000 it would run short of memory first.
SMALL = (
    (socket.SOL_SOCKET, socket.SO_RCVBUF, 16384),
    (socket.SOL_SOCKET, socket.SO_SNDBUF, 16384),
    (socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1448),
)


class Staller(Side):
    """Sends one byte, all it can while it flows, and its end when it is told to finish."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.flowing = self.finishing = False

    def piece(self):
        if self.finishing:
            return END
        if self.bytes_sent == 0:
            return b"x"
        return random_piece(self.generator, len(POOL)) if self.flowing else None


def flow(sides, readers):
    for reader in readers:
        reader.stream.read(False)
    for side in sides:
        side.flowing = True
        side.stream.wake()


def wait_quiet(loop, sides):
    """No side could send anything for a while."""
    last = {"sent": -1, "at": 0.0}

    def quiet():
        sent = sum(side.bytes_sent - len(side.stream.out) for side in sides)
        now = time.monotonic()
        if sent != last["sent"]:
            last.update(sent=sent, at=now)
        return now - last["at"] >= QUIET_S

    loop.until(quiet, "all senders to block", DEADLINE_S)


def finish(loop, sides):
    for side in sides:
        side.flowing, side.finishing = False, True
        side.stream.read(True)
        side.stream.wake()
    loop.until(lambda: all(side.how for side in sides), "all ends", DEADLINE_S)


def stalled(world):
    loop, servers, clients, context = Loop(), {}, {}, world.client()
    backend = Server(loop, lambda: Staller(None, servers), options=SMALL)
    with Proxy(world, terminate(backend.url)) as proxy:
        memory = {"start": proxy.memory()}
        for index in range(STALLED):
            clients[index] = Staller(index)
            Stream.dial(loop, proxy.address(), clients[index], context, SMALL)
            loop.until(lambda: sum(c.bytes_got == 0 for c in clients.values()) < DIALS_AT_ONCE,
                       "connections", DEADLINE_S)
        both = lambda: [*clients.values(), *servers.values()]  # noqa: E731
        loop.until(lambda: len(servers) == STALLED and all(side.bytes_got for side in both()),
                   "all connections", DEADLINE_S)
        memory["connected"] = proxy.memory()
        flow(servers.values(), clients.values())
        wait_quiet(loop, both())
        memory["down"] = proxy.memory()
        flow(clients.values(), servers.values())
        wait_quiet(loop, both())
        memory["both"] = proxy.memory()
        finish(loop, both())
        proxy.wait_lines(loop, STALLED)
        memory["after"] = proxy.memory()
        used = ("; RSS/PSS MiB at start, connected, stalled down, stalled both ways, after: "
                f"{mib(*memory.values())}")
        whole = check_sides(clients, servers, f"; reasons {proxy.reasons()}{used}")
        check(proxy.reasons() == {"closed": STALLED}, f"reasons {proxy.reasons()}")
    kib = {
        "idle": (memory["connected"]["rss"] - memory["start"]["rss"]) / STALLED,
        "down": (memory["down"]["rss"] - memory["connected"]["rss"]) / STALLED,
        "up": (memory["both"]["rss"] - memory["down"]["rss"]) / STALLED,
    }
    for direction in ("down", "up"):
        check(kib[direction] <= WAITING_MAX_KIB,
              f"{kib[direction]:.1f} KiB wait per stalled direction ({direction})")
    return {
        "connections": STALLED, "memory_kib": memory, "kib_per_connection": kib,
        "directions_whole": whole,
    }, (f"{STALLED} connections{used}; KiB per idle connection {kib['idle']:.1f}, per stalled "
        f"direction {kib['down']:.1f} down and {kib['up']:.1f} up (bound {WAITING_MAX_KIB}); then "
        f"read to the end, SHA-256 equal in {whole} of {whole} directions")


# ---- slow ------------------------------------------------------------------------------------

SLOW = 2000
SLOW_S = 20
GOOD_ALONE_S = 3


class SlowHello:
    """A byte of a valid ClientHello each second; comes back a second after it was cut."""

    def __init__(self, loop, address, hello):
        self.loop, self.address, self.hello = loop, address, hello
        self.next = 0
        self.due = False
        self.stream = None
        self.dials = 0
        loop.at(random.random(), lambda: loop.every(1.0, self.tick))

    def tick(self):
        if self.stream is None:
            self.dials += 1
            self.next, self.stream = 0, Stream.dial(self.loop, self.address, self)
        else:
            self.due = True
            self.stream.wake()

    def on_open(self, stream):
        pass

    def on_data(self, stream, data):
        pass

    def on_end(self, stream, how):
        self.stream = None
        stream.close()

    def more(self, stream):
        if not self.due:
            return None
        self.due = False
        self.next += 1
        return self.hello[self.next - 1:self.next]


def client_hello(context):
    """The first flight of a client."""
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def slow(world):
    loop, context = Loop(), world.client()
    backend = Server(loop, Echo)
    with Proxy(world, terminate(backend.url), timeouts={"handshake": "30s"}) as proxy:
        alone = run_crowd(loop, proxy.address(), context, GOOD_ALONE_S)
        hello = client_hello(context)
        crowd = [SlowHello(loop, proxy.address(), hello) for _ in range(SLOW)]
        loop.until(lambda: all(client.dials for client in crowd), "the slow clients", DEADLINE_S)
        beside = run_crowd(loop, proxy.address(), context, SLOW_S)
        evicted = proxy.reasons().get("handshake_evicted", 0)
        dials = sum(client.dials for client in crowd)
        served = alone["served"] + beside["served"]
        check(backend.accepted == served,
              f"{backend.accepted} connections at the backend, {served} good clients")
        memory = proxy.memory()
    return {
        "slow": SLOW, "slow_connections": dials, "evicted": evicted, "alone": alone,
        "beside": beside, "memory_kib": memory,
    }, (f"{beside['served']} of {beside['served']} good clients served in {SLOW_S} s beside {SLOW} "
        f"slow ones, handshake ms median {beside['median_ms']:.1f}, p99 {beside['p99_ms']:.1f}, "
        f"max {beside['max_ms']:.1f} (alone {alone['median_ms']:.1f}, {alone['p99_ms']:.1f}, "
        f"{alone['max_ms']:.1f}); {dials} slow connections, {evicted} evicted, none got "
        f"further; RSS/PSS MiB {mib(memory)}")


# ---- few -------------------------------------------------------------------------------------

DESCRIPTORS = 64
FEW_AT_ONCE = 200
FEW_CLIENTS = 2000


def held_at_once(loop, askers):
    """How many hold a session when no more get one."""
    last = {"served": -1, "at": 0.0}

    def settled():
        served, now = sum(asker.served for asker in askers), time.monotonic()
        if served != last["served"]:
            last.update(served=served, at=now)
        return served > 0 and now - last["at"] >= QUIET_S

    loop.until(settled, "the first sessions", DEADLINE_S)
    return last["served"]


def few(world):
    loop, context = Loop(), world.client()
    backend = Server(loop, Echo)
    with Proxy(world, terminate(backend.url), descriptors=DESCRIPTORS) as proxy:
        at_start = proxy.bulkhead.descriptors()
        done, full = [], {"now": True}
        askers = [Asker(loop, proxy.address(), context, lambda *end: done.append(end),
                        lambda: full["now"]) for _ in range(FEW_AT_ONCE)]
        held = held_at_once(loop, askers)
        at_most = proxy.bulkhead.descriptors()
        check(held < FEW_AT_ONCE, f"{held} sessions at once with {DESCRIPTORS} descriptors")
        full["now"] = False
        for asker in askers:
            asker.stream.wake()
        loop.until(lambda: len(done) == FEW_AT_ONCE, "those that waited", DEADLINE_S)
        check(all(asker.served for asker, _ in done), f"ends {sorted({end for _, end in done})}")
        crowd = Crowd(loop, proxy.address(), context)
        crowd.start(FEW_AT_ONCE)
        loop.until(lambda: len(crowd.finished) >= FEW_CLIENTS, "the load", DEADLINE_S)
        crowd.stop()
        times = crowd.times()
        loop.until(lambda: proxy.bulkhead.descriptors() == at_start,
                   f"{at_start} descriptors again", DEADLINE_S)
        last = run_crowd(loop, proxy.address(), context, 0)
        total = len(done) + times["served"] + last["served"]
        proxy.wait_lines(loop, total)
        check(proxy.reasons() == {"closed": total}, f"reasons {proxy.reasons()}, served {total}")
    return {
        "descriptors": {"limit": DESCRIPTORS, "start": at_start, "full": at_most},
        "sessions_at_once": held, "served": total, "load": times, "after": last,
    }, (f"ulimit -n {DESCRIPTORS}, {at_start} descriptors in use at start; {held} of {FEW_AT_ONCE} "
        f"clients held a session at once ({at_most} in use), the others waited; all {total} were "
        f"served; handshake ms under {FEW_AT_ONCE} at once median {times['median_ms']:.0f}, after "
        f"{last['median_ms']:.1f}; {at_start} descriptors in use afterwards")


# ---- all -------------------------------------------------------------------------------------

SHORT = {"bulk": bulk, "stalled": stalled, "slow": slow, "few": few}
PARTS = {**SHORT, "reload": reload, "quarantine": quarantine, "drain": drain, "rotate": rotate,
         "churn": churn, "tails": tails, "workload": workload, "mixed": mixed}


def machine():
    control = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    version = subprocess.run([program(), "--version"], capture_output=True, text=True, check=True)
    return {
        "version": version.stdout.splitlines()[0], "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(), "python": platform.python_version(),
        "openssl_of_the_peers": ssl.OPENSSL_VERSION, "tcp_congestion_control": control,
    }


def describe(of):
    return (f"{of['version']}; {of['cores']} cores, Linux {of['kernel']}, TCP congestion control "
            f"{of['tcp_congestion_control']}; peers: Python {of['python']}, "
            f"{of['openssl_of_the_peers']}")


def run(part, world):
    """One part; what it says of itself when it is wrong."""
    started = time.monotonic()
    try:
        numbers, sentence = PARTS[part](world)
        ok = True
    except (Wrong, Late, AssertionError) as problem:
        numbers, sentence, ok = {}, str(problem), False
    return {"ok": ok, "sentence": sentence, "took_s": time.monotonic() - started, **numbers}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="all numbers, for machines")
    parser.add_argument("part", nargs="*", help=f"{', '.join(PARTS)}; without: {', '.join(SHORT)}")
    arguments = parser.parse_args()
    unknown = [part for part in arguments.part if part not in PARTS]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    directory = tempfile.mkdtemp(prefix="bulkhead-soak-")
    result = {"machine": machine(), "parts": {}}
    try:
        if not arguments.json:
            print(describe(result["machine"]))
        world = World(directory)
        for part in arguments.part or SHORT:
            found = result["parts"][part] = run(part, world)
            if not arguments.json:
                print(f"{part}: {'ok' if found['ok'] else 'WRONG'}: {found['sentence']}",
                      flush=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if arguments.json:
        print(json.dumps(result, indent=1))
    return 0 if all(found["ok"] for found in result["parts"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
