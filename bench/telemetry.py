#!/usr/bin/env python3
"""What metrics and logs cost: `make bench-telemetry`.

Two programs, A B A B ..., on the same core, with the load of run.py: `on` is the release program
with every metric, by peer too, the access log to a file, the process log at info, and its metrics
scraped each second; `off` is the same source built without counting, no access log, the process log
at error. Shown are the medians of the program's own CPU time per unit of work, the least of each,
and the median of the differences between neighbours, which neighbours on the machine disturb least.
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

UNITS = (
    ("full handshake + 16 B + close, µs", "handshake", 1e-3),
    ("resumed handshake + 16 B + close, µs", "resumed", 1e-3),
    ("bulk up, ns/B", "up", 1),
    ("bulk down, ns/B", "down", 1),
    ("64 B round trip, µs", "round_trip", 1e-3),
)


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


def measure(load, directory, certs, backend, rounds, core):
    values = {kind.name: {title: [] for title, _, _ in UNITS} for kind in (Off, On)}
    for number in range(rounds):
        for kind in ((Off, On), (On, Off))[number % 2]:
            proxy = kind(directory, certs, backend.port, core)
            try:
                for title, method, scale in UNITS:
                    values[kind.name][title].append(getattr(load, method)(proxy) * scale)
            finally:
                proxy.stop()
    return values


def table(values):
    rows = ["| unit of work | off, median (least) | on, median (least) | on - off, median of pairs |",
            "|---|---|---|---|"]
    for title, _, _ in UNITS:
        off, on = values["off"][title], values["on"][title]
        pairs = [b - a for a, b in zip(off, on)]
        middle = statistics.median(off)
        difference = statistics.median(pairs)
        rows.append(
            f"| {title} | {middle:.3f} ({min(off):.3f}) | {statistics.median(on):.3f} ({min(on):.3f})"
            f" | {difference:+.3f} ({difference / middle:+.1%}) |")
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", required=True)
    parser.add_argument("--off", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    On.program = pathlib.Path(arguments.on).resolve()
    Off.program = pathlib.Path(arguments.off).resolve()
    quick = bool(os.environ.get("QUICK"))
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    print(f"{On.version()}; {len(cores)} cores; {arguments.rounds} rounds"
          f"{', quick' if quick else ''}; load average {os.getloadavg()[0]:.1f}", flush=True)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bulkhead-bench-"))
    try:
        certs = directory / "certs"
        subprocess.run([run.ROOT / "certs" / "make.sh", certs], check=True,
                       stdout=subprocess.DEVNULL)
        values = measure(run.Load(certs, quick), directory, certs, run.Backend(),
                         arguments.rounds, cores[-1])
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(table(values))
    out = run.ROOT / "build" / "bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "telemetry.json").write_text(json.dumps(values, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
