"""The benchmark's load generator: what it measures it has verified, and what is wrong it says."""

import contextlib
import json
import os
import pathlib
import resource
import select
import signal
import socket
import subprocess

import pytest

from harness.bulkhead import SANITIZER_REPORT, configuration, originate, program, terminate
from harness.credentials import spiffe
from harness.streams import dial, reset
from harness.wait import DEADLINE_S

WORKS = ("full", "resumed", "round-trip", "up", "down")
HEADER = 16


def load_program():
    build = pathlib.Path(os.environ.get("BULKHEAD_BUILD") or pathlib.Path(program()).parent / "release")
    return build.resolve() / "bench" / "load"


def tls(credentials, own, expect, bundle="prod.example"):
    certificate, key = credentials.pair(own)
    return ["--tls", "--certificate", certificate, "--key", key,
            "--bundle", credentials.bundle(bundle), "--expect", expect]


class Load:
    """A run of it: exit code, the last line as JSON, stderr."""

    def __init__(self, *arguments, **more):
        self.process = subprocess.Popen(
            [load_program(), *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, **more)

    def line(self):
        return self.process.stdout.readline().strip()

    def end(self, expected=0):
        """Closes its stdin and takes what it says."""
        try:
            out, self.stderr = self.process.communicate(timeout=4 * DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"does not end: {self.process.communicate()}") from None
        assert not SANITIZER_REPORT.search(self.stderr), self.stderr
        assert self.process.returncode == expected, (self.process.returncode, out, self.stderr)
        return json.loads(out.splitlines()[-1]) if out else None


class LoadBackend(Load):
    def __init__(self, *arguments):
        super().__init__("backend", "--listen", "127.0.0.1:0", *arguments)
        word, self.address = self.line().split()
        assert word == "listening"
        self.port = int(self.address.rpartition(":")[2])


@contextlib.contextmanager
def backend(*arguments, expected=0):
    """The block's `.said` is what it says in the end."""
    running = LoadBackend(*arguments)
    try:
        yield running
        running.said = running.end(expected)
    finally:
        running.process.kill()


def client(address, work, *arguments, expected=0):
    """(JSON, stderr)."""
    running = Load("client", "--connect", address, "--work", work, *arguments)
    return running.end(expected), running.stderr


def amount(work, count=6):
    size = {"up": 300_001, "down": 300_001, "round-trip": 5000}.get(work, 0)
    return ["--connections", 2, "--count", count, *(["--size", size] if size else [])]


def verify(said, work, count=6):
    size = {"up": 300_001, "down": 300_001, "round-trip": 5000}.get(work, HEADER)
    assert (said["units"], said["bytes"]) == (count, count * size)
    assert (said["errors"], said["wrong_identity"], said["not_resumed"]) == (0, 0, 0)
    assert sum(number for _, number in said["latency_us"]["histogram"]) == count
    assert 0 < said["latency_us"]["p50"] <= said["latency_us"]["max"]


# --- direct ---


def test_every_work_is_done_over_plain_tcp():
    with backend() as peer:
        for work in ("full", "round-trip", "up", "down"):
            said, _ = client(peer.address, work, *amount(work), "--pid", peer.process.pid)
            verify(said, work)
            assert said["tls"] == "none"
            assert said["cpu_ns"][str(peer.process.pid)] == said["cpu_ns_total"] > 0
    assert peer.said["connections"] == 6 + 3 * 2
    assert peer.said["errors"] == peer.said["resets"] == peer.said["aborted"] == 0


@pytest.mark.parametrize("version", ["TLSv1.3", "TLSv1.2"])
def test_every_work_is_done_over_mutual_tls(credentials, version):
    old = ["--tls12"] if version == "TLSv1.2" else []
    with backend(*tls(credentials, "orders", spiffe("web")), *old) as peer:
        for work in WORKS:
            said, _ = client(peer.address, work, *tls(credentials, "web", spiffe("orders")), *old,
                             *amount(work))
            verify(said, work)
            assert said["tls"] == version
    # Two sessions were fetched before anything was resumed.
    assert (peer.said["connections"], peer.said["resumed"]) == (6 + 2 + 6 + 3 * 2, 6)
    assert peer.said["errors"] == peer.said["truncated"] == 0


def test_idle_connections_are_held_and_used_once_more(credentials):
    with backend(*tls(credentials, "orders", spiffe("web"))) as peer:
        held = Load("client", "--connect", peer.address, "--work", "idle", "--connections", 150,
                    *tls(credentials, "web", spiffe("orders")))
        assert json.loads(held.line()) == {"held": 150}
        held.process.send_signal(signal.SIGTERM)
        said = held.end()
    assert (said["units"], said["errors"]) == (150, 0)
    assert peer.said["bytes_in"] == peer.said["bytes_out"] == 150 * 2 * HEADER


def test_a_rate_is_kept_and_units_are_counted_exactly():
    with backend() as peer:
        said, _ = client(peer.address, "full", "--rate", 100, "--count", 21, "--connections", 4)
    assert said["units"] == peer.said["connections"] == 21
    assert said["seconds"] >= 20 / 100


def test_a_window_counts_what_ends_in_it():
    with backend() as peer:
        said, _ = client(peer.address, "round-trip", "--seconds", 0.1, "--warm-up", 0.05)
    assert 0 < said["units"] < peer.said["bytes_in"] / 64
    assert said["seconds"] >= 0.1


# --- through the program ---


def test_through_bulkhead_both_ways(start, credentials):
    with backend() as plain, backend(*tls(credentials, "payments", spiffe("orders"))) as secure:
        proxy = start(configuration(
            credentials, terminate(f"tcp://{plain.address}"), originate(f"mtls://{secure.address}")))
        for work in WORKS:
            said, _ = client(f"127.0.0.1:{proxy.port('in')}", work, *amount(work),
                             *tls(credentials, "web", spiffe("orders")))
            verify(said, work)
        for work in ("full", "round-trip", "up", "down"):
            verify(client(f"127.0.0.1:{proxy.port('out')}", work, *amount(work))[0], work)
        proxy.stop()
    assert plain.said["errors"] == secure.said["errors"] == 0
    assert secure.said["resumed"] > 0


# --- who it is ---


def test_another_identity_than_expected_is_an_error(credentials):
    with backend(*tls(credentials, "orders", spiffe("web")), expected=1) as peer:
        said, told = client(peer.address, "full", "--count", 7, expected=1,
                            *tls(credentials, "web", spiffe("payments")))
    assert (said["units"], said["errors"], said["wrong_identity"]) == (0, 7, 7)
    assert f'the peer is "{spiffe("orders")}", expected was "{spiffe("payments")}"' in told
    assert told.count("connection 0: handshake") == 5  # the first five; all are counted


def test_the_backend_refuses_another_client_than_expected(credentials):
    with backend(*tls(credentials, "orders", spiffe("payments")), expected=1) as peer:
        said, _ = client(peer.address, "full", "--count", 2, expected=1,
                         *tls(credentials, "web", spiffe("orders")))
    assert (said["units"], said["errors"]) == (0, 2)
    assert (peer.said["wrong_identity"], peer.said["bytes_out"]) == (2, 0)


def test_a_peer_that_the_bundle_does_not_vouch_for_is_an_error(credentials):
    with backend(*tls(credentials, "orders", spiffe("web")), expected=1) as peer:
        said, told = client(peer.address, "full", "--count", 1, expected=1,
                            *tls(credentials, "web", spiffe("orders"), bundle="partner.example"))
    assert (said["units"], said["errors"], said["wrong_identity"]) == (0, 1, 0)
    assert "certificate verify failed" in told


def test_a_full_handshake_does_not_pass_for_a_resumed_one(credentials):
    with backend(*tls(credentials, "orders", spiffe("web")), "--tickets", 0) as peer:
        said, told = client(peer.address, "resumed", "--count", 4, expected=1,
                            *tls(credentials, "web", spiffe("orders")))
    assert (said["units"], said["not_resumed"], peer.said["resumed"]) == (0, 4, 0)
    assert "nothing was done" in told


# --- peers that do wrong ---


class Meddler:
    """A relay to a backend that does one thing once: up or down, behind so many bytes. A change
    returns what is sent instead, or None when it has ended the connection that it sends to."""

    def __init__(self, port, direction, behind, change):
        self.port, self.direction, self.behind, self.change = port, direction, behind, change

    def __call__(self, stream):
        here, there = stream.sock, dial(("127.0.0.1", self.port))
        passed = {here: 0, there: 0}
        with there, contextlib.suppress(OSError):
            while all([self.pass_on(source, here, there, passed)
                       for source in select.select([here, there], [], [], DEADLINE_S)[0]]):
                pass

    def pass_on(self, source, here, there, passed):
        target, direction = (there, "up") if source is here else (here, "down")
        data = source.recv(65536)
        at, passed[source] = self.behind - passed[source], passed[source] + len(data)
        if direction == self.direction and 0 <= at < len(data):
            data = self.change(target, data, at)
        if data:
            target.sendall(data)
        return data


def flip(_target, data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def drop(_target, data, at):
    return data[:at] + data[at + 1:]


def double(_target, data, at):
    return data[:at + 1] + data[at:]


def cut(target, data, at):
    target.sendall(data[:at])
    target.shutdown(socket.SHUT_WR)


def cut_off(target, _data, _at):
    reset(target)


@pytest.mark.parametrize("work, direction, behind, change, told", [
    ("full", "down", 3, flip, "what came back is not what was sent"),
    ("full", "down", 0, cut, "the peer ended the stream"),
    ("full", "down", 7, cut_off, "onnection reset by peer"),
    ("full", "up", 9, flip, "what came back is not what was sent"),
    ("round-trip", "down", 7000, flip, "what came back is not what was sent"),
    ("round-trip", "down", 7000, drop, "what came back is not what was sent"),
    ("round-trip", "down", 7000, cut, "the peer ended the stream"),
    ("down", "down", 200_000, flip, "wrong bytes in the "),
    ("down", "down", 200_000, drop, "wrong bytes in the "),
    ("down", "down", 200_000, double, "wrong bytes in the "),
    ("down", "down", 200_000, cut, "the peer ended the stream"),
    ("idle", "down", 20, flip, "what came back is not what was sent"),
], ids=lambda value: getattr(value, "__name__", None))
def test_what_is_wrong_on_the_way_back_is_an_error(backends, work, direction, behind, change, told):
    with backend() as peer:
        meddler = backends.plain(Meddler(peer.port, direction, behind, change))
        more = [] if work == "idle" else amount(work, count=2)
        said, text = client(f"127.0.0.1:{meddler.port}", work, *more, "--connections", 1, expected=1)
    assert said["errors"] >= 1
    assert told in text


@pytest.mark.parametrize("change, told", [
    (flip, "300001 arrived, 1 of them wrong"), (double, "300001 arrived, "), (cut, "connection 0: "),
], ids=lambda value: getattr(value, "__name__", None))
def test_what_is_wrong_on_the_way_there_is_an_error_on_both_sides(backends, change, told):
    with backend(expected=1) as peer:
        meddler = backends.plain(Meddler(peer.port, "up", 200_000, change))
        said, text = client(f"127.0.0.1:{meddler.port}", "up", "--size", 300_001, "--count", 1,
                            expected=1)
    assert (said["units"], said["errors"], peer.said["errors"] > 0) == (0, 1, True)
    assert told in text


def test_bytes_that_nobody_asked_for_are_an_error(backends):
    def talk(stream):
        header = b""
        while len(header) < HEADER:
            header += stream.sock.recv(HEADER)
        stream.send(header)
        stream.send(b"more")
        stream.sock.recv(1)

    peer = backends.plain(talk)
    said, told = client(f"127.0.0.1:{peer.port}", "idle", expected=1)
    assert (said["units"], said["errors"]) == (0, 1)


def test_a_client_that_speaks_otherwise_is_an_error_of_the_backend():
    with backend(expected=1) as peer:
        sock = dial(("127.0.0.1", peer.port))
        sock.sendall(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b""
        sock.close()
    assert (peer.said["errors"], peer.said["bytes_out"]) == (1, 0)


def test_nobody_there_is_an_error():
    with backend() as peer:
        gone = peer.address
    said, told = client(gone, "full", expected=1)
    assert said["units"] == 0 and "connect: Connection refused" in told
    assert "gave up: too many errors" in told
    assert "no connection is left" in client(gone, "round-trip", "--connections", 3, expected=1)[1]


def test_a_process_that_is_not_there_is_an_error():
    ended = subprocess.Popen(["true"])
    ended.wait()
    with backend() as peer:
        said, told = client(peer.address, "full", "--count", 1, "--pid", ended.pid, expected=1)
    assert f"--pid {ended.pid}: no such process" in told


def test_more_connections_than_descriptors_are_refused_with_what_would_be_right():
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    running = Load("client", "--connect", "127.0.0.1:1", "--work", "idle", "--connections", 100,
                   preexec_fn=limit)
    running.end(expected=1)
    assert "needs 116 file descriptors, the hard limit is 64" in running.stderr


# --- how it is called ---

AT = ("--connect", "127.0.0.1:1")


@pytest.mark.parametrize("arguments, told", [
    ((), 'the first argument must be "backend" or "client"'),
    (("backend",), "a backend needs --listen"),
    (("backend", "--listen", "localhost:1"), '"localhost" is no IP'),
    (("backend", "--listen", "127.0.0.1"), "must be IP:PORT"),
    (("backend", "--listen", "127.0.0.1:0", "--tls"), "--tls needs --certificate"),
    (("backend", "--listen", "127.0.0.1:0", "--connect", "127.0.0.1:1"), "--connect is the client's"),
    (("client", "--work", "full"), "a client needs --connect"),
    (("client", *AT), "a client needs --work"),
    (("client", *AT, "--work", "fast"), "must be full, resumed,"),
    (("client", *AT, "--work", "full", "more"), '"more": not an option'),
    (("client", *AT, "--work", "full", "--more"), "unknown option"),
    (("client", *AT, "--work", "full", "--expect", "spiffe://a/b"), "need --tls"),
    (("client", *AT, "--work", "full", "--tickets", "1"), "--tickets is the backend's"),
    (("client", *AT, "--work", "full", "--count", "0"), "whole number from 1"),
    (("client", *AT, "--work", "full", "--count", "3", "--seconds", "1"), "--count goes without"),
    (("client", *AT, "--work", "full", "--seconds", "1s"), "must be a number"),
    (("client", *AT, "--work", "full", "--pid", "1,x"), "must be a process ID"),
    (("client", *AT, "--work", "up", "--rate", "5"), "--rate goes with"),
    (("client", *AT, "--work", "resumed"), "--work resumed needs --tls"),
    (("client", *AT, "--work", "round-trip", "--size", "65537"), "at most 65536"),
])
def test_a_wrong_use_is_told(arguments, told):
    running = Load(*arguments)
    assert running.end(expected=2) is None
    assert told in running.stderr


def test_help_shows_how_it_is_called():
    running = Load("--help")
    out, _ = running.process.communicate()
    assert running.process.returncode == 0
    assert "load client --connect 127.0.0.1:7000 --work round-trip" in out
