#!/usr/bin/env python3
"""What metrics and logs cost: `make bench-telemetry`.

Two programs run side by side on one core and get the load of run.py in short turns, A B B A A B ...,
so that neighbours on the machine disturb both alike. `on` is the release program with every metric,
by peer too, the access log to a file, the process log at info, and its metrics scraped each second;
`off` is the same source built without counting, no access log, the process log at error. Shown are
the medians of the program's own CPU time per unit of work, the least of each, and the median of the
differences between the two turns of each pair with the bounds of its 95 % interval (order
statistics).
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading

import run

# Title, method of run.Load, what its number is multiplied with.
UNITS = (
    ("full handshake + 16 B + close, µs", "handshake", 1e-3),
    ("resumed handshake + 16 B + close, µs", "resumed", 1e-3),
    ("bulk up, ns/B", "up", 1),
    ("bulk down, ns/B", "down", 1),
    ("64 B round trip, µs", "round_trip", 1e-3),
)
HANDSHAKES, BULK, TRIPS = 50, 32 << 20, 500  # of one turn


class Off(run.Bulkhead):
    name = "off"
    more = "access_log: {{to: none}}\nlog: {{level: error}}\n"

    def command(self):
        command = super().command()
        config = pathlib.Path(command[-1])
        config.write_text(config.read_text().replace(
            "access_log: {to: none}\n", self.more.format(directory=self.directory)))
        return command


class On(Off):
    name = "on"
    more = ("access_log: {{to: {directory}/access.log}}\nlog: {{level: info}}\n"
            "metrics: {{peers: 1000}}\nadmin: {{listen: unix://{directory}/admin.sock}}\n")

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.scrapes = 0
        self.ended = threading.Event()
        self.scraper = threading.Thread(target=self.scrape, daemon=True)
        self.scraper.start()

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
        self.scraper.join()
        lines = (self.directory / "access.log").read_bytes().count(b"\n")
        assert lines > 0 and self.scrapes > 0, "what is to be measured was not on"
        super().stop()


def measure(load, off, on, turns):
    values = {kind.name: {title: [] for title, _, _ in UNITS} for kind in (off, on)}
    for title, method, scale in UNITS:
        for number in range(turns):
            for kind in ((off, on), (on, off))[number % 2]:
                values[kind.name][title].append(getattr(load, method)(kind) * scale)
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
    for title, _, _ in UNITS:
        off, on = values["off"][title], values["on"][title]
        pairs = [b - a for a, b in zip(off, on)]
        low, high = interval(pairs)
        middle, difference = statistics.median(off), statistics.median(pairs)
        rows.append(
            f"| {title} | {middle:.3f} ({min(off):.3f}) | {statistics.median(on):.3f} "
            f"({min(on):.3f}) | {difference:+.3f} [{low:+.3f}, {high:+.3f}] "
            f"({difference / middle:+.1%}) |")
    return "\n".join(rows)


def run_all(directory, core, turns):
    certs = directory / "certs"
    subprocess.run([run.ROOT / "certs" / "make.sh", certs], check=True, stdout=subprocess.DEVNULL)
    load = run.Load(certs, False)
    load.handshakes, load.bulk, load.trips = HANDSHAKES, BULK, TRIPS
    backend = run.Backend()
    proxies = []
    try:
        for kind in (Off, On):
            (directory / kind.name).mkdir()
            proxies.append(kind(directory / kind.name, certs, backend.port, core))
        for proxy in proxies:
            load.handshake(proxy)  # what is done once is not in it
        return measure(load, *proxies, turns)
    finally:
        for proxy in proxies:
            proxy.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", required=True)
    parser.add_argument("--off", required=True)
    parser.add_argument("--turns", type=int, default=60, help="of each kind (60)")
    arguments = parser.parse_args()
    On.program = pathlib.Path(arguments.on).resolve()
    Off.program = pathlib.Path(arguments.off).resolve()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    print(f"{On.version()}; {len(cores)} cores; {arguments.turns} turns of each; load average "
          f"{os.getloadavg()[0]:.1f}", flush=True)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bulkhead-bench-"))
    try:
        values = run_all(directory, cores[-1], arguments.turns)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(table(values))
    out = run.ROOT / "build" / "bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "telemetry.json").write_text(json.dumps(values, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
