#!/usr/bin/python3
"""What Debian's Prometheus makes of GET /metrics: `make prometheus`, a part of `make check`.

    tests/prometheus.py --build build/release [--seconds 60]

1. `promtool check metrics` finds nothing to say of an exposition in which every family stands.
2. A Prometheus server scrapes bulkhead each second, while a known load runs for so many seconds
   (3 by default), and then shows that load's numbers exactly: every scrape went well, no counter
   was ever set back, and each sum is what was sent.

Exits 1 when anything is otherwise.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "integration"))

WEB = "spiffe://prod.example/ns/shop/sa/web"
SIZES = (1, 1000, 20000, 300000)
DEADLINE_S = 60


def wait(condition, what, process=None):
    deadline = time.monotonic() + DEADLINE_S
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline or (process and process.poll() is not None):
            raise SystemExit(f"prometheus: waited in vain for {what}")
        time.sleep(0.05)


class Forward:
    """TCP on the loopback to the admin socket: Prometheus has no Unix sockets."""

    def __init__(self, path):
        self.path = path
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self.path)
            request = b""
            while b"\r\n\r\n" not in request:
                piece = client.recv(65536)
                if not piece:
                    return
                request += piece
            server.sendall(request)
            while piece := server.recv(65536):
                client.sendall(piece)


class Prometheus:
    def __init__(self, directory, target):
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.port = sock.getsockname()[1]
        config = directory / "prometheus.yml"
        config.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{
                "job_name": "bulkhead", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
            }],
        }))
        self.log = open(directory / "prometheus.log", "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"],
            stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def query(self, query):
        """{labels as a sorted tuple: value} of an instant query."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?" + urllib.parse.urlencode(
            {"query": query})
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                result = json.load(answer)["data"]["result"]
        except OSError:
            return {}
        return {tuple(sorted((k, v) for k, v in row["metric"].items()
                             if k not in ("__name__", "job", "instance"))): float(row["value"][1])
                for row in result}

    def one(self, query):
        values = list(self.query(query).values())
        return values[0] if len(values) == 1 else None

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def check_with_promtool(text):
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    said = (result.stdout + result.stderr).decode()
    if result.returncode != 0 or said.strip():
        raise SystemExit(f"prometheus: promtool says:\n{said}")
    families = text.decode().count("# TYPE ")
    print(f"promtool check metrics: nothing to say of {families} families")


class Load:
    """Sessions one after the other, of known sizes, some of them refused, for a time."""

    def __init__(self, address, credentials):
        from harness.streams import client_context
        self.address = address
        self.good = client_context(credentials.pair("web"))
        self.denied = client_context(credentials.pair("orders"))
        self.sessions = self.bytes = self.refused = 0

    def one(self, size):
        from harness.streams import tls_connect
        with tls_connect(self.address, self.good) as stream:
            stream.send(b"x" * size)
            stream.recv_exactly(size)
            stream.end()
            stream.read_to_end()
        self.sessions += 1
        self.bytes += size

    def refuse(self):
        from harness.streams import tls_dial
        stream, failure = tls_dial(self.address, self.denied)
        with stream:
            if failure is None:
                stream.read_to_end()
        self.refused += 1

    def run(self, seconds):
        end = time.monotonic() + seconds
        while self.sessions == 0 or time.monotonic() < end:
            for size in SIZES:
                self.one(size)
            self.refuse()
            time.sleep(0.05)


def expect(prometheus, query, wanted):
    found = wait(lambda: prometheus.query(query), query, prometheus.process)
    flat = {" ".join(v for k, v in labels if k != "listener"): value
            for labels, value in found.items()}
    if flat != wanted:
        raise SystemExit(f"prometheus: {query}: {flat}, not {wanted}")
    print(f"  {query}: {wanted}")


def check_numbers(prometheus, load, seconds):
    sessions, refused = float(load.sessions), float(load.refused)
    wait(lambda: prometheus.one("sum(bulkhead_sessions_ended_total)") == sessions + refused,
         "the last session's end", prometheus.process)
    window = f"[{int(seconds) + 60}s]"
    scrapes = prometheus.one(f"count_over_time(up{window})")
    print(f"scraped {int(scrapes)} times during {load.sessions} sessions of {load.bytes} bytes and "
          f"{load.refused} denials:")
    if scrapes < seconds * 0.8:
        raise SystemExit("prometheus: too few scrapes")
    expect(prometheus, f"min_over_time(up{window})", {"": 1.0})
    expect(prometheus, "bulkhead_connections_accepted_total", {"": sessions + refused})
    expect(prometheus, "bulkhead_sessions_ended_total",
           {"closed": sessions, "policy_no_rule": refused})
    expect(prometheus, "bulkhead_handshakes_total",
           {"full downstream": sessions + refused, "resumed downstream": 0.0,
            "failed downstream": 0.0})
    expect(prometheus, 'bulkhead_decisions_total{mode="enforce"}',
           {"allow enforce": sessions, "deny enforce": refused})
    expect(prometheus, "bulkhead_relayed_bytes_total",
           {"up": float(load.bytes), "down": float(load.bytes)})
    expect(prometheus, "bulkhead_session_duration_seconds_count", {"": sessions})
    expect(prometheus, 'bulkhead_connect_duration_seconds_bucket{le="+Inf"}', {"+Inf": sessions})
    expect(prometheus, "bulkhead_connections_active", {"": 0.0})
    expect(prometheus, f"sum(resets({{__name__=~\"bulkhead_.*_total\"}}{window}))", {"": 0.0})


def run(directory, seconds):
    from harness.backends import Backend
    from harness.bulkhead import Bulkhead, configuration, rule, terminate
    from harness.credentials import Credentials
    from harness.metrics import http_get
    credentials = Credentials.make(directory / "certs")
    backend = Backend()
    admin = str(directory / "admin.sock")
    bulkhead = Bulkhead(configuration(
        credentials, terminate(backend.url), rules=[rule("web", WEB, "in")],
        admin={"listen": f"unix://{admin}"}, metrics={"peers": 10}), directory).start()
    prometheus = Prometheus(directory, Forward(admin).port)
    try:
        load = Load(bulkhead.address(), credentials)
        wait(lambda: prometheus.one("up") == 1, "the first scrape", prometheus.process)
        load.run(seconds)
        check_numbers(prometheus, load, seconds)
        check_with_promtool(http_get(admin, "/metrics")[2])
    finally:
        prometheus.stop()
        bulkhead.stop()
        backend.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    for name in ("prometheus", "promtool"):
        if shutil.which(name) is None:
            raise SystemExit(f"prometheus: {name} is missing: Debian's package prometheus")
    os.environ["BULKHEAD"] = str(ROOT / options.build / "bulkhead")
    with tempfile.TemporaryDirectory(prefix="bulkhead-prometheus-") as directory:
        run(pathlib.Path(directory), options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
