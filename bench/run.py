#!/usr/bin/env python3
"""`make bench`: bulkhead beside other proxies, on equal terms, in one run.

What counts is the proxy's own CPU time (user + system, all its threads) per unit of work, because it
holds on shared machines where rates don't. The load comes from bench/load (C) on another core. The
proxies run side by side and are measured in turn, A B C, then C B A in the next turn; shown are the
medians. Every byte and every identity is verified, and a run with an error fails the bench.

On stdout comes a report in Markdown; below build/bench/ are result.json, the pictures and the
configurations. bench/README.md says how to read it all.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import time

import figures
import machine
import peers
import plot
import processes
import report
from figures import OURS, RELAY
from machine import ROOT
from peers import BRIDGE, INBOUND, KINDS, OUTBOUND
from processes import Failed, Held, Place
from svids import Svids

STORM_PEERS = (OURS, "haproxy-nt", "nginx-nt")
SCALING_PEERS = (OURS, "haproxy", "nginx")
MIB = 1 << 20

# How the load makes each row: its work, and the options of bench/load.
HANDSHAKES_AT_ONCE = 16
WORKS = {
    "full": ("full", {"connections": HANDSHAKES_AT_ONCE}),
    "resumed": ("resumed", {"connections": HANDSHAKES_AT_ONCE}),
    "trip64": ("round-trip", {"connections": 100, "size": 64}),
    "trip4k": ("round-trip", {"connections": 100, "size": 4096}),
    "up": ("up", {"connections": 4, "size": 2 * MIB}),
    "down": ("down", {"connections": 4, "size": 2 * MIB}),
}
HANDSHAKES = ("full", "resumed")


@dataclasses.dataclass(frozen=True)
class Plan:
    mode: str
    rounds: int          # each with processes of its own
    turns: int           # of a round: each row that often, each time all proxies one after the other
    seconds: float       # of one measured window: short, so that they meet the same neighbours
    warm_up: float
    idle: int            # connections held
    idle_bridge: int     # the same of bridges, for which no target asks
    storm_seconds: float
    storm_rounds: int
    counts: tuple        # of connections, for scaling; 0 is the most that can be
    scaling_seconds: float
    worker_rounds: int


FULL = Plan("full", rounds=3, turns=3, seconds=0.3, warm_up=0.1, idle=5000, idle_bridge=1000, storm_seconds=1.5,
            storm_rounds=2, counts=(10, 100, 1000, 0), scaling_seconds=1.0, worker_rounds=3)
QUICK = Plan("quick", rounds=1, turns=1, seconds=0.3, warm_up=0.1, idle=400, idle_bridge=200, storm_seconds=0.8,
             storm_rounds=1, counts=(100, 1000), scaling_seconds=0.4, worker_rounds=1)


def shown(command):
    """Without paths of this machine: what is found on PATH by its name, ours from the root on."""
    program, *rest = (part.replace(f"{ROOT}/", "") for part in command)
    if program.startswith("/") and not program.startswith("/usr/"):
        program = os.path.basename(program)
    return shlex.join([program, *rest])


class Progress:
    """One line on a terminal's stderr; nothing elsewhere."""

    def __init__(self):
        self.started = time.monotonic()
        self.shown = sys.stderr.isatty()

    def seconds(self):
        return time.monotonic() - self.started

    def __call__(self, what):
        if self.shown:
            minutes, seconds = divmod(int(self.seconds()), 60)
            print(f"\r\x1b[K{minutes}:{seconds:02} {what}"[:110], end="", file=sys.stderr, flush=True)

    def end(self):
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class Bench:
    def __init__(self, arguments, plan, cores, descriptors):
        build = pathlib.Path(arguments.build).resolve()
        self.load = build / "bench" / "load"
        self.primitives_program = build / "bench" / "crypto_floor"
        self.relay = peers.Relay(build / "bench" / "relay")
        self.plan, self.cores, self.descriptors = plan, cores, descriptors
        self.directory = build.parent / "bench"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.svids = Svids(self.directory / "svids").make()
        known = [peer for peer in peers.known_peers(arguments.bulkhead)
                 if not arguments.peers or peer.name in (OURS, *arguments.peers)]
        strange = set(arguments.peers) - {peer.name for peer in known}
        if strange:
            raise SystemExit(f"no such peer: {', '.join(sorted(strange))}")
        self.peers = [peer for peer in known if peer.find()]
        self.absent = [peer.name for peer in known if not peer.find()]
        self.progress = Progress()
        self.samples, self.problems, self.commands = [], [], {}
        self.primitives, self.not_resumed = [], {}

    # ---- bookkeeping -----------------------------------------------------------------------

    def problem(self, error):
        self.progress.end()
        print(f"ERROR: {error}", file=sys.stderr, flush=True)
        self.problems.append(str(error))

    def place(self, peer, kind, **more):
        place = Place(self, peer, kind, **more)
        self.commands.setdefault((peer.name, kind, place.setup.role), shown(place.proxy.command))
        return place

    def places(self, kind, wanted):
        """One process each of `wanted`, [(peer, options)]; those that don't start are problems."""
        found = []
        for peer, options in wanted:
            try:
                found.append(self.place(peer, kind if peer is not self.relay else None, **options))
            except Failed as error:
                self.problem(error)
        return found

    def sample(self, place, row, number, answer=None, **fields):
        kind = place.kind or "relay"
        if answer is not None:
            bulk = row in ("up", "down")
            latency = answer["latency_us"]
            fields = {
                "cost": answer["cpu_per_byte_ns"] if bulk else answer["cpu_per_unit_ns"] / 1e3,
                "rate": answer["bytes"] / answer["seconds"] if bulk else answer["units_per_s"],
                "load_busy": answer["own_cpu_ns"] / answer["seconds"] / 1e9,
                **{key: latency[key] for key in ("p50", "p99", "p999", "histogram")}}
        self.samples.append({"kind": kind, "row": row, "peer": place.peer.name, "round": number,
                             **fields})

    def stop(self, places):
        """Their backends have the last word on errors; a list of what each saw."""
        seen = []
        for place in places:
            try:
                seen.append((place, place.stop()))
            except Failed as error:
                self.problem(f"{place.peer.name}, {place.kind or 'plain'}: {error}")
        return seen

    # ---- handshakes, round trips, bulk -------------------------------------------------------

    def measure_kind(self, kind, number):
        """One round: every row, in each of them every peer in turn, the order reversed every second
        time."""
        chosen = [peer for peer in self.peers if kind in peer.kinds]
        kept = self.places(kind, [(peer, {}) for peer in chosen])
        first = again = kept
        if kind == INBOUND:
            for place in kept:
                self.sample(place, "start", number, cost=place.proxy.memory_kib("Rss") / 1024)
            kept += self.places(kind, [(self.relay, {})])
        else:  # the proxy is who resumes, so each has a process that does and one that doesn't
            first = self.places(kind, [(peer, {"role": "full"}) for peer in chosen])
            again = self.places(kind, [(peer, {"role": "resumed"}) for peer in chosen])
        try:
            for row in WORKS:
                places = {"full": first, "resumed": again}.get(row, kept)
                for turn in range(number * self.plan.turns, (number + 1) * self.plan.turns):
                    for place in in_turn(places, turn):
                        if not self.leaves_out(place, row):
                            self.measure_row(place, row, turn)
        finally:
            self.stop(kept)
            if first is not kept:
                self.check_resumption(self.stop(first), self.stop(again))

    def leaves_out(self, place, row):
        return (place.peer.handshakes_only and row not in HANDSHAKES) or (
            place.kind is None and row == "resumed")

    def measure_row(self, place, row, number):
        self.progress(f"turn {number + 1} of {self.plan.rounds * self.plan.turns}: {place.kind or 'plain'}, "
                      f"{figures.ROW[row].title}: {place.peer.name}")
        work, options = WORKS[row]
        if row == "resumed" and place.kind == OUTBOUND:
            work = "full"  # of the plain client; it is the proxy that resumes
        try:
            self.sample(place, row, number, place.run(
                work, seconds=self.plan.seconds, warm_up=self.plan.warm_up, **options))
        except Failed as error:
            self.problem(error)

    def check_resumption(self, fresh, resumed):
        """What was measured as full with the server must have been it, and so must the resumed."""
        for place, seen in fresh:
            if seen["resumed"]:
                self.problem(f"{place.peer.name}, {place.kind}: {seen['resumed']} of "
                             f"{seen['connections']} full handshakes with the server were resumed")
        for place, seen in resumed:
            missed = seen["connections"] - seen["resumed"]
            self.not_resumed.setdefault(f"{place.peer.name}, {place.kind}", []).append(
                missed / max(1, seen["connections"]))
            # Those at work at the same time begin without a session, in each window. More than that
            # makes a proxy look dearer than it is: up to one in ten is borne, and the report says so.
            if missed > max(4 * HANDSHAKES_AT_ONCE, seen["connections"] // 10):
                self.problem(f"{place.peer.name}, {place.kind}: {missed} of {seen['connections']} "
                             "handshakes with the server were not resumed")

    # ---- memory ------------------------------------------------------------------------------

    def idle_kib(self, place, count):
        """PSS for each connection held, after as much as a start takes."""
        place.run("full", count=20)
        before = place.proxy.memory_kib("Pss")
        held = Held(place, count)
        try:
            after = place.proxy.memory_kib("Pss")
        finally:
            held.release()
        return (after - before) / count

    def measure_idle(self, kind):
        count = self.plan.idle_bridge if kind == BRIDGE else self.plan.idle
        for peer in self.peers:
            if kind not in peer.kinds or peer.handshakes_only:
                continue
            self.progress(f"{count:,} idle connections, {kind}: {peer.name}")
            for place in self.places(kind, [(peer, {})]):
                try:
                    self.sample(place, "idle", 0, cost=self.idle_kib(place, count))
                except Failed as error:
                    self.problem(error)
                finally:
                    self.stop([place])

    # ---- a storm of handshakes ---------------------------------------------------------------

    def storm_once(self, place, realtime):
        """Round trips alone, then while new connections come in: (alone, {work: (during, them)})."""
        seconds = self.plan.storm_seconds
        trips = {"connections": 4, "size": 64, "seconds": seconds, "realtime": realtime}
        what = f"{place.peer.name}, round trips in the storm"
        alone = place.finish(place.start("round-trip", warm_up=0.2, **trips), what)
        storms = {}
        for work in HANDSHAKES:
            storm = place.start(work, connections=256, rate=2000, seconds=seconds + 0.8, warm_up=0.4)
            during = place.finish(place.start("round-trip", warm_up=0.8, **trips), what)
            # In a storm a full handshake in place of a resumed one is a sane answer; it is counted.
            storms[work] = during, place.finish(storm, f"{place.peer.name}, the storm itself",
                                                bears=("not_resumed",))
        return alone, storms

    def measure_storm(self):
        realtime = machine.may_use_realtime()
        found = {}
        for number in range(self.plan.storm_rounds):
            chosen = [peer for peer in self.peers if peer.name in STORM_PEERS]
            for peer in in_turn(chosen, number):
                self.progress(f"a storm of handshakes: {peer.name}")
                for place in self.places(INBOUND, [(peer, {"realtime": realtime})]):
                    try:
                        found.setdefault(peer.name, []).append(self.storm_once(place, realtime))
                    except Failed as error:
                        self.problem(error)
                    finally:
                        self.stop([place])
        rows = [{"peer": peer.name, "work": work, **storm_row(found[peer.name], work)}
                for peer in self.peers if peer.name in found for work in HANDSHAKES]
        return {"rows": rows, "how": (
            "Four kept connections exchange 64 B (inbound), first alone, then while another client "
            "asks for 2,000 new mTLS connections a second, full or resumed. Both clients and the backend share one "
            "core, which is itself busy then"
            + ("; the exchanging client and the backend go before the other (SCHED_RR)."
               if realtime else "."))}

    # ---- the number of connections, of workers -----------------------------------------------

    def measure_scaling(self):
        most = (self.descriptors - 200) // 2
        counts = sorted({count or most for count in self.plan.counts if count <= most})
        chosen = [peer for peer in self.peers if peer.name in SCALING_PEERS] + [self.relay]
        trips, idle = {}, {}
        for peer in chosen:
            for place in self.places(INBOUND, [(peer, {})]):
                for count in counts:
                    self.progress(f"{count:,} connections: {peer.name}")
                    try:
                        answer = place.run("round-trip", connections=count, size=64, warm_up=0.3,
                                           seconds=self.plan.scaling_seconds)
                        trips.setdefault(peer.name, []).append(
                            [count, answer["cpu_per_unit_ns"] / 1e3])
                    except Failed as error:
                        self.problem(error)
                self.stop([place])
        for count in filter(lambda count: count >= 100, counts):  # fewer do not fill a page each
            self.progress(f"{count:,} idle connections: {OURS}")
            for place in self.places(INBOUND, [(self.peers[0], {})]):
                try:
                    idle.setdefault(OURS, []).append([count, self.idle_kib(place, count)])
                except Failed as error:
                    self.problem(error)
                finally:
                    self.stop([place])
        return {"round_trip": trips, "idle": idle, "counts": counts, "how": (
            f"RLIMIT_NOFILE's hard limit is {self.descriptors:,}; a proxy has two descriptors for a "
            f"connection, so {most:,} are the most here (200 are left for the rest)"
            + ("." if most in counts else "; the quick run stays below."))}

    def measure_workers(self):
        """CPU per handshake with one worker and with two; two cores can't show the rate."""
        costs = {}
        for number in range(self.plan.worker_rounds):
            for workers in in_turn([1, 2], number):
                self.progress(f"{workers} workers: {OURS}")
                options = {"workers": workers,
                           "cores": self.cores.proxy if workers == 1 else self.cores.two}
                for place in self.places(INBOUND, [(self.peers[0], options)]):
                    try:
                        for row in HANDSHAKES:
                            answer = place.run(row, connections=HANDSHAKES_AT_ONCE, seconds=self.plan.seconds,
                                               warm_up=self.plan.warm_up)
                            costs.setdefault((row, workers), []).append(
                                answer["cpu_per_unit_ns"] / 1e3)
                    except Failed as error:
                        self.problem(error)
                    finally:
                        self.stop([place])
        rows = [{"row": row, "one": statistics.median(costs[row, 1]),
                 "two": statistics.median(costs[row, 2])}
                for row in HANDSHAKES if (row, 1) in costs and (row, 2) in costs]
        spare = self.cores.count >= 4
        return {"rows": rows, "how": (
            "Inbound. Two workers have a core each"
            + ("." if spare else ", one of which the load has too, so their rate says nothing here; "
               "what a handshake costs does: what workers do to each other would show in it."))}

    # ---- all -----------------------------------------------------------------------------------

    def measure_primitives(self):
        command = processes.on_core(self.cores.proxy, [self.primitives_program, "--rounds", 5])
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        self.primitives.append(json.loads(text))

    def median_primitives(self):
        first = self.primitives[0]
        return {key: value if isinstance(value, str)
                else statistics.median(entry[key] for entry in self.primitives)
                for key, value in first.items()}

    def run(self):
        for number in range(self.plan.rounds):
            self.progress("the cryptography's primitives")
            self.measure_primitives()
            for kind in KINDS:
                self.measure_kind(kind, number)
        for kind in KINDS:
            self.measure_idle(kind)
        parts = {"storm": self.measure_storm(), "scaling": self.measure_scaling(),
                 "workers": self.measure_workers()}
        self.progress.end()
        return parts

    def result(self, parts, described):
        summary = figures.summarise(self.samples)
        names = {peer.name: peer.debian for peer in self.peers}
        primitives = self.median_primitives()
        described["load_average_after"] = round(os.getloadavg()[0], 1)
        return {
            "commit": machine.commit(), "mode": self.plan.mode,
            "rounds": self.plan.rounds * self.plan.turns, "not_resumed": self.not_resumed,
            "seconds": self.progress.seconds(), "machine": described,
            "versions": [peer.version() for peer in self.peers if not peer.handshakes_only],
            "peers": names, "absent": self.absent, "primitives": primitives, "summary": summary,
            **parts, "targets": figures.decide_all(summary, names, primitives),
            "paper": {"gateway": {name: figures.gateway_on_paper(summary, name) for name in names},
                      "fleet": {name: figures.fleet_on_paper(summary, name) for name in names}},
            "problems": self.problems, "directory": str(self.directory).replace(f"{ROOT}/", ""),
            "commands": list(self.commands.values()), "samples": self.samples}


def in_turn(items, number):
    return list(items) if number % 2 == 0 else list(reversed(items))


def storm_row(rounds, work):
    """Medians of what storm_once said in each round."""
    def middle(answers, key):
        return statistics.median(answer["latency_us"][key] for answer in answers)
    alone = [entry[0] for entry in rounds]
    during = [entry[1][work][0] for entry in rounds]
    keys = ("p50", "p99", "p999")
    return {
        "alone": {key: middle(alone, key) for key in keys},
        "storm": {key: middle(during, key) for key in keys},
        "handshakes_per_s": statistics.median(entry[1][work][1]["units_per_s"] for entry in rounds),
        "not_resumed": sum(entry[1][work][1]["not_resumed"] for entry in rounds),
        "busy": statistics.median(answer["cpu_ns_total"] / answer["seconds"] / 1e9
                                  for answer in during)}


def write_all(result, directory):
    (directory / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    (directory / "report.md").write_text(report.markdown(result))
    names = list(result["peers"])
    summary, caption = result["summary"], report.captions(result)
    shown = [*names, "floor"]
    (directory / "ratio.svg").write_text(plot.ratio_plot(
        report.ratio_rows(summary, result["peers"], result["primitives"]), shown, caption))
    (directory / "connections.svg").write_text(plot.scaling_plot(
        result["scaling"]["round_trip"], caption))
    (directory / "latency.svg").write_text(plot.latency_plot(
        report.latency_panels(summary, [*names, RELAY]), caption))


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n\n")[0],
        epilog="QUICK=1 in the environment makes a short run; its figures are rough.")
    parser.add_argument("--bulkhead", default=str(ROOT / "build" / "bulkhead"))
    parser.add_argument("--build", default=str(ROOT / "build" / "release"))
    parser.add_argument("--congestion", default="", metavar="NAME",
                        help="TCP congestion control of everything (cubic or reno when it can be set)")
    parser.add_argument("--peers", default="", metavar="NAME,...", help="only these beside bulkhead",
                        type=lambda text: [name for name in text.split(",") if name])
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    network = machine.enter_network(arguments.congestion)
    cores = machine.Cores(os.sched_getaffinity(0))
    bench = Bench(arguments, QUICK if os.environ.get("QUICK", "0") not in ("", "0") else FULL, cores,
                  machine.raise_descriptors())
    processes.end_by_signal()
    described = machine.describe(cores, network)
    try:
        parts = bench.run()
    finally:
        bench.progress.end()
        processes.end_all()
    result = bench.result(parts, described)
    write_all(result, bench.directory)
    text = report.markdown(result)
    print(report.coloured(text) if sys.stdout.isatty() else text, end="")
    print(f"\n{result['directory']}/ has result.json, report.md, ratio.svg, connections.svg, "
          "latency.svg and the configurations.")
    return 1 if bench.problems else 0


if __name__ == "__main__":
    sys.exit(main())
