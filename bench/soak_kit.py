"""What all parts of the soak share: the program under test, its world, plain peers, checks."""

import pathlib
import random
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from harness.bulkhead import Bulkhead, configuration  # noqa: E402
from harness.credentials import Credentials  # noqa: E402
from harness.streams import CLEAN, client_context, server_context  # noqa: E402
from soak_peers import END, Stream  # noqa: E402

MB = 1_000_000
DEADLINE_S = 180  # for what hangs; no measure of speed
GOOD_AT_ONCE = 8  # good clients beside what is tried
POOL = random.Random(1).randbytes(4 * MB)


def random_piece(generator, most):
    """Of any size, small ones as likely as large ones, from anywhere in the pool."""
    size = min(most, int(2 ** generator.uniform(0, 18)))
    start = generator.randrange(len(POOL) - size)
    return POOL[start:start + size]


class Wrong(Exception):
    """A check of correctness that failed."""


def check(condition, what):
    if not condition:
        raise Wrong(what)


class Proxy:
    """A running bulkhead and its memory."""

    def __init__(self, world, *listeners, own="orders", descriptors=None, **more):
        directory = pathlib.Path(tempfile.mkdtemp(dir=world.directory))
        config = configuration(world.credentials, *listeners, own=own,
                               **{"log": {"format": "json"}, "drain": {"timeout": "1s"}, **more})
        self.bulkhead = Bulkhead(config, directory, descriptors=descriptors)
        self.peak = {"rss": 0, "pss": 0}

    def __enter__(self):
        self.bulkhead.start()
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.bulkhead.kill()
            return
        try:
            self.bulkhead.stop()
        except AssertionError as error:
            raise Wrong(f"the end of the program: {error}") from None

    def address(self, listener=None):
        return self.bulkhead.address(listener)

    def memory(self):
        """KiB; the peak is kept."""
        now = {}
        text = pathlib.Path(f"/proc/{self.bulkhead.pid}/smaps_rollup").read_text()
        for line in text.splitlines():
            name = line.partition(":")[0].lower()
            if name in self.peak:
                now[name] = int(line.split()[1])
                self.peak[name] = max(self.peak[name], now[name])
        return now

    def sample(self):
        self.memory()

    def lines(self):
        return list(self.bulkhead.access.parsed)

    def wait_lines(self, loop, count):
        """As many access lines: every session has ended."""
        loop.until(lambda: len(self.bulkhead.access.parsed) >= count, f"{count} access lines",
                   DEADLINE_S)
        return self.lines()

    def reasons(self):
        counts = {}
        for line in self.lines():
            counts[line["reason"]] = counts.get(line["reason"], 0) + 1
        return counts


def mib(*memories):
    """RSS/PSS of each, as text."""
    return ", ".join(f"{m['rss'] / 1024:.1f}/{m['pss'] / 1024:.1f}" for m in memories)


class World:
    """What all parts share."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.credentials = Credentials.make(self.directory / "certs")

    def client(self):
        return client_context(self.credentials.pair("web"))

    def server(self):
        return server_context(self.credentials.pair("payments"),
                              self.credentials.bundle("prod.example"))


class Echo:
    """A backend that sends back what comes and ends when the peer ends."""

    def __init__(self):
        self.waiting = bytearray()
        self.ended = False

    def on_open(self, stream):
        pass

    def on_data(self, stream, data):
        self.waiting += data
        stream.wake()

    def on_end(self, stream, how):
        self.ended = True
        stream.wake()

    def more(self, stream):
        if self.waiting:
            data, self.waiting = bytes(self.waiting), bytearray()
            return data
        return END if self.ended else None


class Asker:
    """A good client: dials, asks, compares the answer, stays while hold() says so, ends."""

    QUESTION = POOL[:1000]

    def __init__(self, loop, address, context, done, hold=lambda: False):
        self.done, self.hold = done, hold
        self.answer = b""
        self.asked = self.served = False
        self.handshake_ms = None
        self.started = time.monotonic()
        self.stream = Stream.dial(loop, address, self, context)

    def on_open(self, stream):
        self.handshake_ms = 1000 * (time.monotonic() - self.started)

    def on_data(self, stream, data):
        self.answer += data
        self.served = self.answer == self.QUESTION
        stream.wake()

    def on_end(self, stream, how):
        self.served = self.served and how == CLEAN
        stream.close()
        self.done(self, how)

    def more(self, stream):
        if not self.asked:
            self.asked = True
            return self.QUESTION
        return END if self.served and not self.hold() else None


class Crowd:
    """Good clients, always as many at once, each new one after another has ended."""

    def __init__(self, loop, address, context):
        self.loop, self.address, self.context = loop, address, context
        self.finished, self.running = [], 0
        self.going = True

    def start(self, count):
        for _ in range(count):
            self.running += 1
            Asker(self.loop, self.address, self.context, self.done)

    def done(self, asker, how):
        self.running -= 1
        self.finished.append((asker, how))
        if self.going:
            self.start(1)

    def stop(self):
        self.going = False
        self.loop.until(lambda: self.running == 0, "the last good clients", DEADLINE_S)

    def times(self):
        """Of the handshakes, in ms: median, p99, most."""
        for asker, how in self.finished:
            check(asker.served, f"a good client was not served: {how}")
        times = sorted(asker.handshake_ms for asker, _ in self.finished)
        return {"served": len(times), "median_ms": statistics.median(times),
                "p99_ms": times[int(0.99 * (len(times) - 1))], "max_ms": times[-1]}


def run_crowd(loop, address, context, seconds):
    crowd = Crowd(loop, address, context)
    crowd.start(GOOD_AT_ONCE)
    loop.run(seconds)
    crowd.stop()
    return crowd.times()
