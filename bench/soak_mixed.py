"""mixed: random sizes, pauses and closes through terminate, originate and bridge at once.

The load is bench/mixed, in C: clients and servers in one process, which compares every byte, and
asks the kernel where bytes are that do not come (bench/mixed/stalls.h says how a stall is told from
one of the machine). What bulkhead logs and counts must be what the load did. T= says how many
seconds (60), SEED= repeats a run's sizes, pauses and ends, PAIRS= how many at once.
"""

import collections
import os
import pathlib
import random
import statistics
import subprocess
import threading
import time

from soak_kit import DEADLINE_S, ROOT, Proxy, check, mib
from harness.bulkhead import Lines, bridge, originate, terminate
from harness.credentials import spiffe
from harness.metrics import scrape

SECONDS = int(os.environ.get("T") or 60)
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
PAIRS = int(os.environ.get("PAIRS") or 240)
KINDS = ("in", "out", "bridge")
ENDS_WITHIN_S = 90  # after T; no measure of speed
# The allocator's wavering, which holds some pages more or less as sessions come and go.
# In ten minutes 16,000 sessions end between the medians of the second and of the last fifth: a leak
# of 64 bytes in each would be more.
GROWTH_MAX_KIB = 1024
# Until then the session store fills (1,024 sessions of each of two peers) and memory grows with it.
FLAT_FROM_S = 300
LOAD = pathlib.Path(os.environ.get("BENCH_BUILD", ROOT / "build" / "release")) / "bench" / "mixed"
VERSIONS = {0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}


class Load:
    """The running load and what it says."""

    def __init__(self, world):
        client, server = (world.credentials.pair(name) for name in ("web", "payments"))
        self.process = subprocess.Popen(
            [LOAD, "--seconds", str(SECONDS), "--seed", str(SEED), "--pairs", str(PAIRS),
             "--bundle", world.credentials.bundle("prod.example"), "--expect", spiffe("orders"),
             "--client-certificate", client[0], "--client-key", client[1],
             "--server-certificate", server[0], "--server-key", server[1]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lines = Lines(self.process.stdout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def ports(self):
        line = self.lines.wait(lambda line: line["event"] == "listening", "listening", DEADLINE_S)
        return line["plain"], line["tls"]

    def go(self, proxy):
        words = [*(proxy.address(kind)[1] for kind in KINDS), proxy.bulkhead.pid]
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.process.stdin.flush()

    def find(self, event):
        return self.lines.find(event=event)


class Memory(threading.Thread):
    """Samples bulkhead's memory once a second."""

    def __init__(self, proxy):
        super().__init__(daemon=True)
        self.proxy, self.samples, self.over = proxy, [], threading.Event()

    def run(self):
        while not self.over.wait(1.0):
            self.samples.append(self.proxy.memory())

    def fifth(self, number):
        """The median of the samples of one fifth of the time, from 1 to 5."""
        count = len(self.samples)
        part = self.samples[count * (number - 1) // 5:count * number // 5]
        return {name: statistics.median(sample[name] for sample in part) for name in ("rss", "pss")}


def tls_of(line, name):
    tls = line.get(name, {})
    return tls.get("version"), bool(tls.get("resumed"))


def compare_lines(proxy, pairs):
    """An access line for each pair, with its bytes, and with what each handshake was."""
    wanted = collections.Counter(
        (pair["kind"], f"127.0.0.1:{pair['port']}", pair["up"], pair["down"],
         VERSIONS.get(pair["client"]), bool(pair["client_resumed"]),
         VERSIONS.get(pair["server"]), bool(pair["server_resumed"])) for pair in pairs)
    logged = collections.Counter(
        (line["listener"], line["downstream"], line.get("bytes_up"), line.get("bytes_down"),
         *tls_of(line, "tls"), *tls_of(line, "upstream_tls")) for line in proxy.lines())
    check(wanted == logged, f"the load and the access log differ: {list((wanted - logged))[:2]} "
          f"against {list((logged - wanted))[:2]}")


def compare_metrics(admin, pairs):
    def gone():
        metrics = scrape(admin)
        return metrics if all(metrics("bulkhead_connections_active", listener=kind) == 0
                              for kind in KINDS) else None

    deadline = time.monotonic() + DEADLINE_S
    while not (metrics := gone()):
        check(time.monotonic() < deadline, "sessions are still counted as active")
        time.sleep(0.05)
    wanted = collections.Counter()
    for pair in pairs:
        kind = pair["kind"]
        wanted["ended", kind] += 1
        wanted["up", kind] += pair["up"]
        wanted["down", kind] += pair["down"]
        for end, side in (("client", "downstream"), ("server", "upstream")):
            if pair[end]:
                wanted[side, kind, "resumed" if pair[f"{end}_resumed"] else "full"] += 1
    for key, value in wanted.items():
        labels = {"listener": key[1]}
        if key[0] == "ended":
            name, labels["reason"] = "bulkhead_sessions_ended_total", "closed"
        elif key[0] in ("up", "down"):
            name, labels["direction"] = "bulkhead_relayed_bytes_total", key[0]
        else:
            name, labels["side"], labels["result"] = "bulkhead_handshakes_total", key[0], key[2]
        check(metrics(name, **labels) == value,
              f"{name} {labels} is {metrics(name, **labels)}, the load counts {value}")


def wait_end(load):
    """The load's exit status."""
    try:
        return load.process.wait(SECONDS + ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        check(False, f"the load does not end; it said {load.lines.raw[-3:]}, seed {SEED}")


def describe_stalls(stalls):
    """Of each cause the longest."""
    longest = {}
    for stall in stalls:
        if stall["ms"] > longest.get(stall["cause"], {"ms": 0})["ms"]:
            longest[stall["cause"]] = stall
    return "; ".join(
        f"{cause}: {sum(s['cause'] == cause for s in stalls)}, the longest {stall['ms']} ms "
        f"({stall['kind']} {stall['direction']} {stall['phase']}: {stall['kernel_ms']} in the "
        f"kernel, {stall['cpu_ms']} for a CPU, {stall['left_ms']} left; "
        f"{' '.join(f'{k}+{v}' for k, v in stall['counters'].items()) or 'no counter moved'})"
        for cause, stall in sorted(longest.items()))


def check_memory(memory):
    early, late = memory.fifth(2), memory.fifth(5)
    for name in ("rss", "pss") if SECONDS >= FLAT_FROM_S else ():
        check(late[name] - early[name] <= GROWTH_MAX_KIB,
              f"{name.upper()} has grown from {early[name]} to {late[name]} KiB")
    return early, late


def mixed(world):
    with Load(world) as load:
        plain, tls = load.ports()
        listeners = (terminate(f"tcp://127.0.0.1:{plain}", "in"),
                     originate(f"mtls://127.0.0.1:{tls}", "out"),
                     bridge(f"mtls://127.0.0.1:{tls}", "bridge"))
        admin = str(world.directory / "mixed.sock")
        with Proxy(world, *listeners, admin={"listen": f"unix://{admin}"}) as proxy:
            before = proxy.memory()
            memory = Memory(proxy)
            memory.start()
            load.go(proxy)
            status = wait_end(load)
            load.lines.join()
            memory.over.set()
            memory.join()
            pairs, stalls, wrong = (load.find(event) for event in ("pair", "stall", "wrong"))
            totals = load.find("end")[0] if load.find("end") else {}
            check(not wrong, f"{totals.get('failures')} failures, the first: {wrong[:3]}, "
                  f"seed {SEED}; reasons {proxy.reasons()}; {describe_stalls(stalls)}")
            bad = [stall for stall in stalls if stall["cause"] == "unexplained"]
            check(not bad, f"{len(bad)} stalls that nothing explains, the first: {bad[:1]}, "
                  f"seed {SEED}; {describe_stalls(stalls)}")
            check(status == 0, f"the load ended with {status}: {load.lines.raw[-3:]}")
            deadline = time.monotonic() + DEADLINE_S
            while len(proxy.lines()) < len(pairs) and time.monotonic() < deadline:
                time.sleep(0.05)
            check(proxy.reasons() == {"closed": len(pairs)},
                  f"reasons {proxy.reasons()} of {len(pairs)} pairs, seed {SEED}")
            compare_lines(proxy, pairs)
            compare_metrics(admin, pairs)
            early, late = check_memory(memory)
            peak = proxy.peak
    for name in ("resumed", "tls12", "key_updates", "closed_by_client", "closed_by_server",
                 "half_closed_by_client", "half_closed_by_server", "read_pauses", "blocked"):
        check(totals[name] > 0, f"{name}: none, so this run says little; seed {SEED}")
    return {
        "seconds": SECONDS, "seed": SEED, "pairs_at_once": PAIRS, "totals": totals,
        "stalls": stalls, "before_kib": before, "second_fifth_kib": early, "last_fifth_kib": late,
        "peak_kib": peak, "samples": memory.samples,
    }, (f"seed {SEED}: {len(pairs)} connections in {SECONDS} s, {PAIRS} at once (terminate "
        f"{totals['in']}, originate {totals['out']}, bridge {totals['bridge']}), "
        f"{totals['bytes'] / 1e9:.2f} GB, every byte as it should be, all closed in order; "
        f"{totals['handshakes']} handshakes of ours, {totals['resumed']} resumed, "
        f"{totals['tls12']} TLS 1.2, {totals['key_updates']} key updates; half-closed first by the "
        f"client {totals['half_closed_by_client']}, by the server "
        f"{totals['half_closed_by_server']}; closed in a pause by the client "
        f"{totals['closed_by_client']}, by the server {totals['closed_by_server']}; "
        f"{totals['read_pauses']} times a reader stopped, {totals['blocked']} times a sender had "
        f"to wait; access log and metrics agree. The longest wait {totals['longest_ms']} ms, "
        f"{totals['over_100_ms']} over 100 ms, {len(stalls)} over 250"
        f"{': ' + describe_stalls(stalls) if stalls else ''}. RSS/PSS MiB before, second fifth, "
        f"last fifth, peak: {mib(before, early, late, peak)}"
        f"{'' if SECONDS >= FLAT_FROM_S else ' (too short to judge: the store of sessions fills)'}")
