#!/usr/bin/env python3
"""What metrics and logs cost: `make bench-telemetry`.

Two programs run side by side on one core and get the load of bench/load in short turns, A B B A A
B ..., so that neighbours on the machine disturb both alike. `on` is the release program with every
metric, by peer too, the access log to a file, the process log at info, and its metrics scraped each
second; `off` is the same source built without counting, no access log, the process log at error.
Shown are the medians of the program's own CPU time per unit of work, the least of each, and the
median of the differences between the two turns of each pair with the bounds of its 95 % interval
(order statistics).
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import types

import machine
import processes
from peers import INBOUND, Bulkhead
from svids import Svids

# Title, work and options of bench/load in one turn, its number, what that is multiplied with.
UNITS = (
    ("full handshake + 16 B + close, µs", "full", {"count": 50}, "cpu_per_unit_ns", 1e-3),
    ("resumed handshake + 16 B + close, µs", "resumed", {"count": 50}, "cpu_per_unit_ns", 1e-3),
    ("bulk up, ns/B", "up", {"size": 32 << 20, "count": 1}, "cpu_per_byte_ns", 1),
    ("bulk down, ns/B", "down", {"size": 32 << 20, "count": 1}, "cpu_per_byte_ns", 1),
    ("64 B round trip, µs", "round-trip", {"size": 64, "count": 500}, "cpu_per_unit_ns", 1e-3),
)
OFF = "access_log: {to: none}\nlog: {level: error}\n"
ON = ("access_log: {{to: {directory}/access.log}}\nlog: {{level: info}}\n"
      "metrics: {{peers: 1000}}\nadmin: {{listen: unix://{directory}/admin.sock}}\n")


class Scraper:
    """Reads the metrics each second; at the end it says whether what is measured was on."""

    def __init__(self, directory):
        self.directory, self.scrapes = directory, 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.scrape, daemon=True)
        self.thread.start()

    def scrape(self):
        while not self.ended.wait(1):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(self.directory / "admin.sock"))
                sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                while sock.recv(1 << 20):
                    pass
            self.scrapes += 1

    def stop(self):
        self.ended.set()
        self.thread.join()
        lines = (self.directory / "access.log").read_bytes().count(b"\n")
        assert lines > 0 and self.scrapes > 0, "what is to be measured was not on"


def measure(off, on, turns):
    values = {name: {unit[0]: [] for unit in UNITS} for name in ("off", "on")}
    for title, work, options, field, scale in UNITS:
        for number in range(turns):
            for place in ((off, on), (on, off))[number % 2]:
                answer = place.run(work, **options)
                values[place.peer.name][title].append(answer[field] * scale)
    return values


def interval(pairs):
    """Of the median: the order statistics that hold it between them 19 times in 20."""
    ordered = sorted(pairs)
    reach = 0.98 * len(ordered) ** 0.5
    low = max(0, int(len(ordered) / 2 - reach))
    return ordered[low], ordered[-1 - low]


def table(values):
    rows = ["| unit of work | off, median (least) | on, median (least) | on - off: median of pairs "
            "[95 %] |", "|---|---|---|---|"]
    for title, *_ in UNITS:
        off, on = values["off"][title], values["on"][title]
        pairs = [b - a for a, b in zip(off, on)]
        low, high = interval(pairs)
        middle, difference = statistics.median(off), statistics.median(pairs)
        rows.append(
            f"| {title} | {middle:.3f} ({min(off):.3f}) | {statistics.median(on):.3f} "
            f"({min(on):.3f}) | {difference:+.3f} [{low:+.3f}, {high:+.3f}] "
            f"({difference / middle:+.1%}) |")
    return "\n".join(rows)


def run_all(directory, cores, arguments):
    place_of = types.SimpleNamespace(
        load=pathlib.Path(arguments.load).resolve(), svids=Svids(directory / "svids").make(),
        directory=directory, cores=cores, descriptors=machine.raise_descriptors())
    off = processes.Place(place_of, Bulkhead(arguments.off, "off", OFF), INBOUND)
    on = processes.Place(place_of, Bulkhead(arguments.on, "on", ON.format(directory=directory)),
                         INBOUND)
    scraper = Scraper(directory)
    try:
        for place in (off, on):
            place.run("full", count=50)  # what is done once is not in it
        return measure(off, on, arguments.turns)
    finally:
        scraper.stop()
        for place in (off, on):
            place.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", required=True)
    parser.add_argument("--off", required=True)
    parser.add_argument("--load", required=True, help="the program of bench/load")
    parser.add_argument("--turns", type=int, default=60, help="of each kind (60)")
    arguments = parser.parse_args()
    processes.end_by_signal()
    cores = machine.Cores(os.sched_getaffinity(0))
    print(f"{Bulkhead(arguments.on).version()}; {cores.count} cores; {arguments.turns} turns of "
          f"each; load average {os.getloadavg()[0]:.1f}", flush=True)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bulkhead-bench-"))
    try:
        values = run_all(directory, cores, arguments)
    finally:
        processes.end_all()
        shutil.rmtree(directory, ignore_errors=True)
    print(table(values))
    out = machine.ROOT / "build" / "bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "telemetry.json").write_text(json.dumps(values, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
