"""The parts of the soak about authority that ends: reload, rotate, churn.

The peers of `reload` are processes of their own, because 9,000 sessions take 18,000 descriptors in
the program alone: one holds the clients, one the backend, one measures how long a small message
takes that goes through the program every few milliseconds.
"""

import multiprocessing
import pathlib
import random
import ssl
import tempfile
import time

from soak_kit import DEADLINE_S, Echo, Wrong, check, mib
from harness.bulkhead import Bulkhead, bridge, rule, terminate
from harness.issuer import Issuer
from harness.reloading import Reloadable, replace
from harness.rotating import ORDERS, Crowd, Rotator, der, verifying_context
from harness.streams import CLEAN, RESET, client_context, server_context, tls_connect
from soak_peers import END, Late, Loop, Server, Stream

IDENTITIES = 90
EACH = 100
WITHIN_S = 1.0
PARTNER = "partner.example"


class Place(Reloadable):
    """A running program whose files are exchanged; ends with the part."""

    def __init__(self, world, issuer, *listeners, **more):
        self.scratch = pathlib.Path(tempfile.mkdtemp(dir=world.directory))
        super().__init__(self._start, self.scratch, issuer, *listeners,
                         **{"log": {"format": "json"}, "drain": {"timeout": "1s"}, **more})

    def _start(self, config, **more):
        return Bulkhead(config, self.scratch, **more).start()

    def memory(self):
        found = {}
        text = pathlib.Path(f"/proc/{self.bulkhead.pid}/smaps_rollup").read_text()
        for line in text.splitlines():
            name = line.partition(":")[0].lower()
            if name in ("rss", "pss"):
                found[name] = int(line.split()[1])
        return found

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.bulkhead.kill()
            return
        try:
            self.bulkhead.stop()
        except AssertionError as error:
            raise Wrong(f"the end of the program: {error}") from None


class Helper:
    """A process that runs main(pipe, *arguments) and answers questions; it ends with its part."""

    def __init__(self, main, *arguments):
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=main, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, question, timeout=DEADLINE_S):
        self.pipe.send(question)
        return self.answer(timeout)

    def answer(self, timeout=DEADLINE_S):
        if not self.pipe.poll(timeout):
            raise Late(f"not after {timeout} s: an answer of a helper process")
        return self.pipe.recv()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.join()


# ---- the peers of `reload` ---------------------------------------------------------------------


def serve_echo(pipe):
    loop = Loop()
    server = Server(loop, Echo)
    pipe.send(server.url)
    while True:
        loop.turn(1.0)


class Member:
    """A session that sends its own bytes now and then, and compares what comes back."""

    PERIOD_S = 8.0

    def __init__(self, loop, number, name, address, context):
        self.loop, self.number, self.name = loop, number, name
        self.generator = random.Random(number)
        self.expected = bytearray()
        self.next = None
        self.checked = 0
        self.wrong = False
        self.end = None  # (how, when)
        self.leaving = False
        self.stream = Stream.dial(loop, address, self, context)

    def on_open(self, stream):
        self._say()

    def _say(self):
        if self.end is None and not self.leaving and not self.wrong:
            self.next = self.generator.randbytes(self.generator.randint(1, 200))
            self.stream.wake()
            self.loop.at(self.PERIOD_S * random.uniform(0.7, 1.3), self._say)

    def on_data(self, stream, data):
        self.wrong = self.wrong or self.expected[:len(data)] != data
        del self.expected[:len(data)]
        self.checked += len(data)
        if self.leaving:
            stream.wake()

    def on_end(self, stream, how):
        self.end = (how, time.monotonic())
        if how != CLEAN:
            stream.close()

    def leave(self):
        self.leaving = True
        self.stream.wake()

    def more(self, stream):
        if self.next is not None:
            data, self.next = self.next, None
            self.expected += data
            return data
        return END if self.leaving and not self.expected else None


DIALS_AT_ONCE = 64


def hold_sessions(pipe, plan):
    """plan: (name, address, pair) for each session. Answers "ended" with (name, how, when) of those
    that ended since the last time, "leave" with the totals."""
    loop, members, contexts, told = Loop(), [], {}, set()
    for number, (name, address, pair) in enumerate(plan):
        if pair not in contexts:
            contexts[pair] = client_context(pair)
        members.append(Member(loop, number, name, address, contexts[pair]))
        loop.until(lambda: sum(m.checked == 0 for m in members[-2 * DIALS_AT_ONCE:])
                   < DIALS_AT_ONCE, "connections", DEADLINE_S)
    loop.until(lambda: all(m.checked for m in members), "all connections", DEADLINE_S)
    pipe.send(len(members))
    while True:
        loop.turn(0.005)
        if pipe.poll():
            question = pipe.recv()
            if question == "leave":
                break
            new = [m for m in members if m.end and m.number not in told]
            told.update(m.number for m in new)
            pipe.send([(m.name, *m.end) for m in new])
    live = [m for m in members if m.end is None]
    for member in live:
        member.leave()
    loop.until(lambda: all(m.end for m in live), "the last ends", DEADLINE_S)
    pipe.send({
        "live": len(live), "clean": sum(m.end[0] == CLEAN for m in live),
        "wrong": sum(m.wrong for m in members), "bytes": sum(m.checked for m in members),
        "waiting": sum(len(m.expected) for m in live),
    })


def measure_pauses(pipe, address, pair, count):
    """Small messages over `count` sessions in turn; answers with (when, ms) of each."""
    streams = [tls_connect(address, client_context(pair)) for _ in range(count)]
    seen = []
    while True:
        for stream in streams:
            began = time.monotonic()
            stream.send(b"0123456789abcdef")
            stream.recv_exactly(16)
            seen.append((began, 1000 * (time.monotonic() - began)))
        if pipe.poll():
            pipe.recv()
            pipe.send(seen)
            seen = []
        time.sleep(0.001)


BOUNDS_MS = (0.5, 1, 2, 5, 10, 20, 50, 100)


def histogram(times):
    counts = {}
    for bound in (*BOUNDS_MS, float("inf")):
        below = sum(ms <= bound for ms in times)
        counts[str(bound)] = below - sum(counts.values())
    return counts


def pauses(seen, began, ended):
    """What the messages took that were under way then."""
    times = sorted(ms for when, ms in seen if when + ms / 1000 >= began and when <= ended)
    return {"count": len(times), "median_ms": times[len(times) // 2] if times else 0,
            "most_ms": times[-1] if times else 0, "histogram": histogram(times)}


# ---- reload ------------------------------------------------------------------------------------


def names():
    return [f"n{number:02}" for number in range(IDENTITIES - 1)]


class Shop:
    """The program with its 90 identities, and what takes one's authority away."""

    def __init__(self, world, url, echo_url):
        directory = pathlib.Path(tempfile.mkdtemp(dir=world.directory))
        self.issuer = Issuer(directory / "ours")
        self.partner = Issuer(directory / "partner", PARTNER)
        self.svids = {name: self.issuer.issue(name) for name in names()}
        self.svids["partner"] = self.partner.issue("guest")
        self.rules = [rule(name, self.issuer.id(name), "all") for name in names()]
        self.rules.append(rule("partner", self.partner.id("guest"), "all"))
        self.rules.append(rule("pinger", self.issuer.id("pinger"), "ping"))
        self.place = Place(
            world, self.issuer, terminate(url, "in"), terminate(url, "extra"),
            terminate(echo_url, "ping"), own=self.issuer.issue("orders"), crl=True,
            rules=self.rules, limits={"handshakes": 4096})
        self.place.apply(trust={**self.place.config["trust"],
                                PARTNER: {"bundle": str(self.partner.bundle)}})

    def plan(self):
        """One identity's sessions go through the listener that will be removed."""
        listener = {"n03": "extra"}
        addresses = {name: self.place.address(name) for name in ("in", "extra")}
        return [(name, addresses[listener.get(name, "in")], svid.pair)
                for _ in range(EACH) for name, svid in self.svids.items()]

    def take_rule(self):
        self.rules = [r for r in self.rules if r["name"] != "n01"]
        self.place.write(rules=self.rules)
        return "n01", "rule_removed"

    def take_bundle(self):
        trust = {k: v for k, v in self.place.config["trust"].items() if k != PARTNER}
        self.place.write(trust=trust)
        return "partner", "bundle_withdrawn"

    def revoke(self):
        new = self.place.directory / "new.crl"
        self.issuer.crl(new, self.svids["n02"])
        replace(self.place.crl, new.read_bytes())
        return "n02", "certificate_revoked"

    def take_listener(self):
        self.place.write(listeners=[listener for listener in self.place.config["listeners"]
                                    if listener["name"] != "extra"])
        return "n03", "listener_removed"

    def rotate(self):
        self.place.rotate(self.issuer.issue("orders"))
        return None, None

    def touch_rules(self):
        """Every session is judged by other rules, and each still stands."""
        self.rules = list(reversed(self.rules))
        self.place.write(rules=self.rules)
        return None, None


def one_change(shop, holder, pinger, change):
    """Brings one change into force; who ended, when and how."""
    place = shop.place
    lines_before = len(place.access.parsed)
    pinger.ask("forget")
    idle_from = time.monotonic()
    time.sleep(1.0)  # what the pinger measures in a second without a reload
    idle = pauses(pinger.ask("pauses"), idle_from, time.monotonic())
    name, reason = change()
    began = time.monotonic()
    line = place.reload()
    in_force = time.monotonic()
    check(line["result"] == "in_force", f"the reload: {line}")
    wanted = EACH if name else 0
    ended, deadline = [], time.monotonic() + 30
    while len(ended) < wanted and time.monotonic() < deadline:
        ended += holder.ask("ended")
    pinged = pauses(pinger.ask("pauses"), began, in_force + 0.2)
    check(len(ended) == wanted and {(n, how) for n, how, _ in ended} <= {(name, RESET)},
          f"{reason}: {len(ended)} sessions ended, {sorted({e[:2] for e in ended})}")
    place_lines(place, lines_before + wanted)
    lines = place.access.parsed[lines_before:]
    check(all(x["reason"] == reason for x in lines) and len(lines) == wanted,
          f"access lines say {sorted({x['reason'] for x in lines})}, not {reason}")
    check(line["ended"] == wanted, f"the reload's line: {line}")
    last = max((when for *_, when in ended), default=began) - began
    check(last <= WITHIN_S, f"{reason}: the last of {wanted} ended after {last:.3f} s")
    return {
        "what": change.__name__, "reason": reason, "ended": wanted, "last_end_s": last,
        "in_force_s": in_force - began, "judged": line["judged"], "took_ms": line["took_ms"],
        "longest_slice_us": line["longest_slice_us"], "pauses": pinged, "pauses_idle": idle,
    }


def place_lines(place, count):
    deadline = time.monotonic() + DEADLINE_S
    while len(place.access.parsed) < count:
        if time.monotonic() > deadline:
            raise Late(f"not after {DEADLINE_S} s: {count} access lines")
        time.sleep(0.01)


def reload(world):
    with Helper(serve_echo) as backend, Helper(serve_echo) as echo:
        shop = Shop(world, backend.answer(), echo.answer())
        with shop.place as place:
            start = place.memory()
            pair = shop.issuer.issue("pinger").pair
            with Helper(hold_sessions, shop.plan()) as holder, \
                    Helper(measure_pauses, place.address("ping"), pair, 4) as pinger:
                count = holder.answer()
                full = place.memory()
                steps = [one_change(shop, holder, pinger, change) for change in (
                    shop.take_rule, shop.take_bundle, shop.revoke, shop.take_listener,
                    shop.touch_rules, shop.rotate)]
                left = holder.ask("leave")
                gone = sum(step["ended"] for step in steps)
                check(left["live"] == left["clean"] == count - gone,
                      f"{left['clean']} of {count - gone} sessions ended in order: {left}")
                check(left["wrong"] == 0 and left["waiting"] == 0, f"bytes were wrong: {left}")
    text = "; ".join(
        f"{step['reason'] or step['what']} {step['ended']} ended within "
        f"{1000 * step['last_end_s']:.0f} ms, {step['judged']} judged, took {step['took_ms']} ms, "
        f"longest slice {step['longest_slice_us']} us, a message at most "
        f"{step['pauses']['most_ms']:.1f} ms (the second before "
        f"{step['pauses_idle']['most_ms']:.1f})" for step in steps)
    found = {"sessions": count, "steps": steps, "left": left, "start_kib": start, "full_kib": full}
    return found, (
        f"{count} sessions of {IDENTITIES} identities (RSS/PSS MiB at start, full: "
        f"{mib(start, full)}): {text}; the other {left['live']} had every byte right "
        f"({left['bytes']} compared) and ended in order")


# ---- rotate ------------------------------------------------------------------------------------

ROTATIONS = 1000


def serve_tls_echo(pipe, pair, bundle):
    loop = Loop()
    server = Server(loop, Echo, server_context(pair, bundle))
    pipe.send(server.url)
    while True:
        loop.turn(1.0)


def rotate(world):
    issuer = Issuer(pathlib.Path(tempfile.mkdtemp(dir=world.directory)) / "ours")
    web, pairs = issuer.issue("web"), [issuer.issue("orders") for _ in range(8)]
    with Helper(serve_tls_echo, issuer.issue("payments").pair, issuer.bundle) as server, \
            Helper(serve_echo) as plain, \
            Place(world, issuer, terminate(plain.answer(), "a"), bridge(server.answer(), "b"),
                  own=pairs[-1], rules=[rule("web", issuer.id("web"), "all")]) as place:
        contexts = [verifying_context(issuer, web, version)
                    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
        rotator, started = Rotator(place), time.monotonic()
        crowd = Crowd([(place.address("a"), contexts[0]), (place.address("a"), contexts[1]),
                               (place.address("b"), contexts[1])])
        for number in range(ROTATIONS):
            new = pairs[number % len(pairs)]
            halves = place.reload if number % 3 == 0 else lambda: None
            rotator.rotate(new, ORDERS[number % len(ORDERS)], halves)
            place.reload()
            with tls_connect(place.address("a"), contexts[1]) as stream:
                shown = stream.tls.getpeercert(binary_form=True)
            check(shown == der(new), f"rotation {number}: the former certificate is still shown")
        crowd.stop()
        seconds = time.monotonic() - started
        check(not crowd.failures, f"{len(crowd.failures)} failed: {crowd.failures[:3]}")
        check(crowd.shown <= {der(svid) for svid in pairs}, "an unknown certificate was shown")
        check(not place.access.find(event="deny"), "somebody was refused")
        applied = place.log.find(event="reload", result="in_force")
        check(len(applied) == ROTATIONS, f"{len(applied)} came into force")
        check(all(line["ended"] == 0 for line in applied), "a rotation ended a session")
    return {"rotations": ROTATIONS, "served": crowd.served, "seconds": seconds}, (
        f"{ROTATIONS} rotations in {len(ORDERS)} orders of writing in {seconds:.0f} s; "
        f"{crowd.served} of {crowd.served} clients served meanwhile (TLS 1.2 and 1.3, through a "
        f"terminate and a bridge listener), each shown one of the {len(pairs)} pairs whole")


# ---- churn -------------------------------------------------------------------------------------

RELOADS = 1000
CONNECTIONS = 200_000
AT_ONCE = 16
WARM_UP = 0.1  # of it all, before memory is compared
RSS_GROWTH_KIB = 4096


class Visitor:
    """A connection that does what its kind does and counts as done when it is over."""

    def __init__(self, loop, address, contexts, kind, done):
        self.kind, self.done, self.over = kind, done, False
        self.data = {"garbage": b"GET / HTTP/1.0\r\n\r\n", "half": contexts["hello"][:90],
                     "probe": b""}.get(kind, b"ping")
        self.answer = b""
        context = contexts.get(kind)
        self.stream = Stream.dial(loop, address, self, context)

    def on_open(self, stream):
        if self.kind in ("probe", "reset"):
            (stream.close if self.kind == "probe" else stream.reset)()
            self._finish()

    def on_data(self, stream, data):
        self.answer += data
        stream.wake()

    def on_end(self, stream, how):
        self.how = how
        stream.close()
        self._finish()

    def _finish(self):
        if not self.over:
            self.over = True
            self.done(self)

    def more(self, stream):
        if self.data:
            data, self.data = self.data, b""
            if self.kind == "half":
                stream.loop.at(0, lambda: (stream.close(), self._finish()))
            return data
        return END if self.answer else None


KINDS = ("good", "good", "probe", "reset", "garbage", "half", "none", "denied", "evil", "expired")


def visit(pipe, address, pairs):
    """As many connections as are asked for, AT_ONCE at a time; answers with the number of each kind
    so far, and those that fared otherwise than they should."""
    loop, done, wrong = Loop(), dict.fromkeys(KINDS, 0), []
    contexts = {kind: client_context(pair) for kind, pair in pairs.items()}
    contexts["hello"] = hello_of(contexts["none"])
    state = {"begun": 0, "running": 0, "may": 0}

    def begin():
        while state["running"] < AT_ONCE and state["begun"] < state["may"]:
            kind = KINDS[state["begun"] % len(KINDS)]
            state["begun"] += 1
            state["running"] += 1
            Visitor(loop, address, contexts, kind, finish)

    def finish(visitor):
        state["running"] -= 1
        done[visitor.kind] += 1
        served = visitor.answer == b"ping"
        if served != (visitor.kind == "good"):
            wrong.append((visitor.kind, getattr(visitor, "how", None)))
        loop.at(0, begin)

    while True:
        state["may"] += pipe.recv()
        begin()
        loop.until(lambda: state["begun"] == state["may"] and state["running"] == 0,
                   "the visitors", DEADLINE_S)
        pipe.send((dict(done), wrong[:5]))


def hello_of(context):
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def settled_descriptors(place):
    """Once those of ended sessions are closed."""
    last, deadline = [], time.monotonic() + DEADLINE_S
    while len(last) < 100 or len(set(last[-100:])) > 1:
        if time.monotonic() > deadline:
            raise Late(f"descriptors never settle: {last[-10:]}")
        last.append(place.bulkhead.descriptors())
        time.sleep(0.02)
    return last[-1]


class Changes:
    """Reloads of every kind, one after another, that leave `web` its authority."""

    def __init__(self, place, issuer, other):
        self.place, self.issuer = place, issuer
        self.pairs = [issuer.issue("orders") for _ in range(2)]
        self.bundles = [issuer.bundle.read_bytes(),
                        issuer.bundle.read_bytes() + other.bundle.read_bytes()]
        self.crls = []
        for revoked in ([], [issuer.issue("nobody")]):
            path = place.directory / f"crl-{len(self.crls)}"
            issuer.crl(path, *revoked)
            self.crls.append(path.read_bytes())
        self.listeners = place.config["listeners"]

    def make(self, number):
        place, odd = self.place, number // 6 % 2
        kind = number % 6
        if kind == 0:
            place.rotate(self.pairs[odd])
        elif kind == 1:
            replace(place.bundle, self.bundles[odd])
        elif kind == 2:
            replace(place.crl, self.crls[odd])
        elif kind == 3:
            extra = [rule(f"r{k}", self.issuer.id(f"r{k}"), "in") for k in range(100)]
            place.write(rules=[*place.config["rules"][:1], *(extra if odd else [])])
        elif kind == 4:
            third = {**self.listeners[0], "name": "third"}
            place.write(listeners=[*self.listeners, third] if odd else self.listeners)
        else:
            replace(place.bundle, b"broken")
        line = place.reload()
        check(line["result"] != "refused" or kind == 5, f"reload {number}: {line}")


    def rest(self):
        """The listeners of the beginning."""
        self.place.write(listeners=self.listeners)
        self.place.reload()


def churn(world):
    directory = pathlib.Path(tempfile.mkdtemp(dir=world.directory))
    issuer, other = Issuer(directory / "ours"), Issuer(directory / "other")
    pairs = {"good": issuer.issue("web").pair, "none": None,
             "denied": issuer.issue("wiki").pair, "evil": other_domain(directory).pair,
             "expired": issuer.issue("web", time.time() - 7200, time.time() - 3600).pair}
    marks, started = {}, time.monotonic()
    with Helper(serve_echo) as backend, \
            Place(world, issuer, terminate(backend.answer(), "in"), crl=True,
                  own=issuer.issue("orders"), rules=[rule("web", issuer.id("web"), "all")],
                  log={"format": "json", "level": "info"}) as place, \
            Helper(visit, place.address("in"), pairs) as visitors:
        changes = Changes(place, issuer, other)
        reloads, step = 0, 50
        for number in range(step):
            visitors.pipe.send(CONNECTIONS // step)
            for _ in range(RELOADS // step):
                changes.make(reloads)
                reloads += 1
            done, wrong = visitors.answer()
            check(not wrong, f"visitors of which kinds fared otherwise than they should: {wrong}")
            if number + 1 in (int(step * WARM_UP), step):
                changes.rest()
                marks[number + 1] = (settled_descriptors(place), place.memory())
            del place.access.raw[:], place.access.parsed[:]
    (first, memory), (last, after) = marks.values()
    seconds = time.monotonic() - started
    check(first == last, f"descriptors {first} after a tenth, {last} at the end")
    check(after["rss"] - memory["rss"] <= RSS_GROWTH_KIB,
          f"RSS {memory['rss']} KiB after a tenth, {after['rss']} at the end")
    total = sum(done.values())
    return {
        "reloads": reloads, "connections": done, "seconds": seconds, "descriptors": [first, last],
        "memory_kib": [memory, after],
    }, (f"{reloads} reloads and {total} connections ({done['good']} good) in {seconds:.0f} s; "
        f"descriptors {first} after a tenth, {last} at the end; RSS/PSS MiB "
        f"{mib(memory, after)}")


def other_domain(directory):
    return Issuer(directory / "evil", "evil.example").issue("web")
