#!/usr/bin/env python3
"""First figures: the CPU that a terminating proxy takes per unit of work, beside HAProxy and nginx.

What counts is the proxy's own CPU time (user + system, all its threads, from
/proc/PID/task/*/schedstat) per unit, because it holds on shared machines where rates don't. The
load is made here, in Python, on the other core: it limits the rate, not what is measured. All run in
one go, interleaved (A B C B C A ...). Shown are the medians and, behind them, the least: neighbours
on the same machine only ever add. Every transfer is verified.

Only 127.0.0.1 is talked to; every process started here is ended by its id.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PIECE = bytes(range(256)) * 256
DEADLINE_S = 20


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(condition, what):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain for {what}")
        threading.Event().wait(0.02)


def answers(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Backend:
    """Plain TCP: the first byte says what it does: e echoes, u counts and tells, d sends as told."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            sock, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    @staticmethod
    def serve(sock):
        with sock, contextlib.suppress(ConnectionResetError):  # the idle ones are cut at the end
            head = b""
            while len(head) < 9:
                piece = sock.recv(9 - len(head))
                if not piece:
                    return
                head += piece
            kind, size = head[:1], int.from_bytes(head[1:], "big")
            if kind == b"d":
                for _ in range(size // len(PIECE)):
                    sock.sendall(PIECE)
                return
            got = 0
            while got < size:
                piece = sock.recv(1 << 18)
                if not piece:
                    return
                got += len(piece)
                if kind == b"e":
                    sock.sendall(piece)
            if kind == b"u":
                sock.sendall(got.to_bytes(8, "big"))
            sock.recv(1)


def head(kind, size):
    return kind + size.to_bytes(8, "big")


class Proxy:
    name = ""

    def __init__(self, directory, certs, backend_port, core):
        self.directory, self.certs, self.backend_port, self.core = (
            directory, certs, backend_port, core)
        self.port = free_port()
        command = self.command()
        self.log = (directory / f"{self.name}.log").open("wb")
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), *map(str, command)], stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log)
        wait_for(lambda: answers(self.port) or self.process.poll() is not None,
                 f"{self.name} to listen")
        if self.process.poll() is not None:
            raise SystemExit(f"{self.name} does not start:\n"
                             f"{(directory / (self.name + '.log')).read_text()}")

    def write(self, name, text):
        path = self.directory / name
        path.write_text(text)
        return path

    def pids(self):
        """The process and its children (nginx forks its worker)."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [self.process.pid, *map(int, children.read_text().split())]

    def cpu_ns(self):
        total = 0
        for pid in self.pids():
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
        return total

    def memory_kib(self, field):
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(field + ":"):
                    total += int(line.split()[1])
        return total

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Bulkhead(Proxy):
    name = "bulkhead"
    program = ROOT / "build" / "bulkhead"

    def command(self):
        return [self.program, "run", "-c", self.write("bulkhead.yaml", f"""version: 1
identity:
  files: {{certificate: {self.certs}/orders.pem, private_key: {self.certs}/orders.key}}
trust:
  prod.example: {{bundle: {self.certs}/prod.example.bundle.pem}}
listeners:
  - name: in
    accept: mtls://127.0.0.1:{self.port}
    forward: tcp://127.0.0.1:{self.backend_port}
rules:
  - {{name: web, from: spiffe://prod.example/ns/shop/sa/web, to: in}}
workers: 1
drain: {{timeout: 1s}}
access_log: {{to: none}}
""")]

    @classmethod
    def version(cls):
        return subprocess.run([cls.program, "--version"], capture_output=True,
                              text=True).stdout.splitlines()[0]


class Haproxy(Proxy):
    name = "haproxy"
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"

    def command(self):
        both = (self.certs / "orders.pem").read_text() + (self.certs / "orders.key").read_text()
        pem = self.write("haproxy.pem", both)
        return [self.program, "-db", "-f", self.write("haproxy.cfg", f"""global
  nbthread 1
  maxconn 8000
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend in
  bind 127.0.0.1:{self.port} ssl crt {pem} ca-file {self.certs}/prod.example.bundle.pem verify required
  default_backend out
backend out
  server s 127.0.0.1:{self.backend_port}
""")]

    @classmethod
    def version(cls):
        return subprocess.run([cls.program, "-v"], capture_output=True,
                              text=True).stdout.splitlines()[0]


class Nginx(Proxy):
    name = "nginx"
    program = shutil.which("nginx") or "/usr/sbin/nginx"

    def command(self):
        module = "/usr/lib/nginx/modules/ngx_stream_module.so"
        return [self.program, "-p", self.directory, "-c", self.write("nginx.conf", f"""
load_module {module};
daemon off; worker_processes 1; pid {self.directory}/nginx.pid; error_log stderr;
worker_rlimit_nofile 20000;
events {{ worker_connections 8000; }}
stream {{
  server {{
    listen 127.0.0.1:{self.port} ssl;
    ssl_certificate {self.certs}/orders.pem;
    ssl_certificate_key {self.certs}/orders.key;
    ssl_client_certificate {self.certs}/prod.example.bundle.pem;
    ssl_verify_client on;
    ssl_protocols TLSv1.2 TLSv1.3;
    proxy_timeout 1h;
    proxy_pass 127.0.0.1:{self.backend_port};
  }}
}}
""")]

    @classmethod
    def version(cls):
        return subprocess.run([cls.program, "-v"], capture_output=True,
                              text=True).stderr.splitlines()[0]


class Load:
    def __init__(self, certs, quick):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.load_verify_locations(certs / "prod.example.bundle.pem")
        self.context.load_cert_chain(certs / "web.pem", certs / "web.key")
        self.handshakes = 300 if quick else 1000
        self.bulk = (64 if quick else 256) << 20
        self.trips = 1000 if quick else 5000
        self.idle = 300 if quick else 1500

    def connect(self, port, session=None):
        sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = self.context.wrap_socket(sock, session=session)
        assert tls.version() == "TLSv1.3", tls.version()
        return tls

    @staticmethod
    def receive(tls, size):
        got = 0
        while got < size:
            piece = tls.recv(1 << 18)
            assert piece, "the stream ended early"
            got += len(piece)

    def handshake(self, proxy):
        """ns of CPU per full handshake, 16-byte echo and close."""
        before = proxy.cpu_ns()
        for _ in range(self.handshakes):
            with self.connect(proxy.port) as tls:
                tls.sendall(head(b"e", 16) + PIECE[:16])
                assert tls.recv(16) == PIECE[:16]
        return (proxy.cpu_ns() - before) / self.handshakes

    def resumed(self, proxy):
        """The same with a TLS 1.3 session of the connection before."""
        session, before = None, 0
        for number in range(self.handshakes + 1):
            with self.connect(proxy.port, session) as tls:
                tls.sendall(head(b"e", 16) + PIECE[:16])
                assert tls.recv(16) == PIECE[:16]
                assert tls.session_reused == (number > 0), "not resumed"
                session = tls.session
            if number == 0:
                before = proxy.cpu_ns()
        return (proxy.cpu_ns() - before) / self.handshakes

    def up(self, proxy):
        with self.connect(proxy.port) as tls:
            tls.sendall(head(b"u", self.bulk))
            before = proxy.cpu_ns()
            for _ in range(self.bulk // len(PIECE)):
                tls.sendall(PIECE)
            assert int.from_bytes(tls.recv(8), "big") == self.bulk
            return (proxy.cpu_ns() - before) / self.bulk

    def down(self, proxy):
        with self.connect(proxy.port) as tls:
            before = proxy.cpu_ns()
            tls.sendall(head(b"d", self.bulk))
            self.receive(tls, self.bulk)
            return (proxy.cpu_ns() - before) / self.bulk

    def round_trip(self, proxy):
        with self.connect(proxy.port) as tls:
            tls.sendall(head(b"e", 64 * self.trips))
            before = proxy.cpu_ns()
            for _ in range(self.trips):
                tls.sendall(PIECE[:64])
                self.receive(tls, 64)
            return (proxy.cpu_ns() - before) / self.trips

    def idle_kib(self, proxy):
        """KiB of PSS per held connection."""
        before = proxy.memory_kib("Pss")
        held = []
        for _ in range(self.idle):
            held.append(self.connect(proxy.port))
            held[-1].sendall(head(b"e", 1 << 20) + b"x")
            assert held[-1].recv(1) == b"x"
        result = (proxy.memory_kib("Pss") - before) / self.idle
        for tls in held:
            tls.close()
        return result


UNITS = (
    ("full handshake + 16 B + close, µs", "handshake", 1e-3),
    ("resumed handshake + 16 B + close, µs", "resumed", 1e-3),
    ("bulk up, ns/B", "up", 1),
    ("bulk down, ns/B", "down", 1),
    ("64 B round trip, µs", "round_trip", 1e-3),
)


def measure(kinds, load, directory, certs, backend, rounds, core):
    result = {kind.name: {} for kind in kinds}
    for number in range(rounds):
        first = number % len(kinds)
        for kind in kinds[first:] + kinds[:first]:  # A B C, B C A, C A B
            proxy = kind(directory, certs, backend.port, core)
            values = result[kind.name]
            try:
                values.setdefault("memory at start, MiB RSS", []).append(
                    proxy.memory_kib("Rss") / 1024)
                for title, method, scale in UNITS:
                    values.setdefault(title, []).append(getattr(load, method)(proxy) * scale)
                values.setdefault("idle connection, KiB PSS", []).append(load.idle_kib(proxy))
            finally:
                proxy.stop()
    return result


def table(result):
    names = list(result)
    rows = [f"| unit of work, median (least) | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for title in result[names[0]]:
        cells = (f"{statistics.median(result[name][title]):.2f} ({min(result[name][title]):.2f})"
                 for name in names)
        rows.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bulkhead", default=str(ROOT / "build" / "bulkhead"))
    parser.add_argument("--build", default=str(ROOT / "build" / "release"))
    arguments = parser.parse_args()
    Bulkhead.program = pathlib.Path(arguments.bulkhead).resolve()
    quick = bool(os.environ.get("QUICK"))
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    kinds = [Bulkhead]
    for kind in (Haproxy, Nginx):
        if pathlib.Path(kind.program).exists():
            kinds.append(kind)
        else:
            print(f"{kind.name}: not installed, skipped")
    control = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    for kind in kinds:
        print(kind.version())
    print(f"{ssl.OPENSSL_VERSION}; TCP congestion control {control} for all; "
          f"{len(cores)} cores; {'quick' if quick else 'full'}")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bulkhead-bench-"))
    try:
        certs = directory / "certs"
        subprocess.run([ROOT / "certs" / "make.sh", certs], check=True, stdout=subprocess.DEVNULL)
        result = measure(kinds, Load(certs, quick), directory, certs, Backend(),
                         1 if quick else 3, cores[-1])
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(table(result))
    out = pathlib.Path(arguments.build).parent / "bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
