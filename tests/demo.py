#!/usr/bin/env python3
"""`make demo`: a small shop, and who is let through, who is refused, and why.

    curl ─http→ [bulkhead of web] ═mTLS═> [bulkhead of orders] ─http→ orders (a real HTTP server)

Everything runs on the loopback with credentials made for this run, takes seconds, and is gone
afterwards. Exits 0 only if every step came out as said.
"""

import argparse
import http.server
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
DEADLINE_S = 20
ID = "spiffe://prod.example/ns/shop/sa/"
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
SHOWN = (
    "event", "listener", "decision", "rule", "reason", "why", "detail", "downstream_id",
    "claimed_id", "upstream_id",
)


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


class Orders(http.server.BaseHTTPRequestHandler):
    """The service. It speaks plain HTTP on the loopback and knows nothing of TLS."""

    def do_GET(self):
        body = b'{"orders": [1, 2, 3]}\n'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.answered += 1

    def log_message(self, *_):
        pass


class WrongServer:
    """A TLS server with wiki's certificate in the place of orders. Notes what it gets to see."""

    def __init__(self, certs):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certs / "wiki.pem", certs / "wiki.key")
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.load_verify_locations(certs / "prod.example.bundle.pem")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.certificate = None
        self.data = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                sock, _ = self.listener.accept()
                with self.context.wrap_socket(sock, server_side=True) as tls:
                    self.certificate = tls.getpeercert()
                    self.data += tls.recv(4096)
            except ssl.SSLError:
                continue  # the sidecar ended the handshake
            except OSError:
                return


class Bulkhead:
    """One `bulkhead run`, with its access lines."""

    def __init__(self, program, directory, name, config):
        self.file = directory / f"{name}.yaml"
        self.file.write_text(config)
        self.access_file = directory / f"{name}.access.jsonl"
        self.log_file = directory / f"{name}.log"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [program, "run", "-c", self.file], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.seen = 0

    def port(self, listener):
        """The port that the kernel has chosen, from the process log."""
        for line in self._lines(self.log_file, lambda line: line.get("event") == "ready"):
            if line.get("event") == "listening" and line["listener"] == listener:
                return int(line["addr"].rpartition(":")[2])
        raise SystemExit(f"{self.file.name}: no listener {listener}")

    def _lines(self, path, enough):
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            text = path.read_text() if path.exists() else ""
            lines = [json.loads(line) for line in text.splitlines(True) if line.endswith("\n")]
            if any(enough(line) for line in lines):
                return lines
            threading.Event().wait(0.01)
        raise SystemExit(f"bulkhead did not come up or log in time:\n{self.log_file.read_text()}")

    def next_line(self):
        """The access line of the session that has just ended."""
        wanted = self.seen + 1
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            text = self.access_file.read_text() if self.access_file.exists() else ""
            lines = text.splitlines()
            if len(lines) >= wanted and text.endswith("\n"):
                self.seen = wanted
                return json.loads(lines[wanted - 1])
            threading.Event().wait(0.01)
        raise SystemExit("no access line in time")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def orders_config(certs, directory, backend_port):
    return f"""version: 1
identity:
  files: {{certificate: {certs}/orders.pem, private_key: {certs}/orders.key}}
trust:
  prod.example: {{bundle: {certs}/prod.example.bundle.pem}}
listeners:
  - name: orders
    accept: mtls://127.0.0.1:0
    forward: tcp://127.0.0.1:{backend_port}
rules:
  - name: web-uses-orders
    from: [{ID}web]
    to: [orders]
log: {{format: json}}
access_log: {{to: {directory}/orders.access.jsonl}}
"""


def client_config(certs, directory, name, listeners):
    text = f"""version: 1
identity:
  files: {{certificate: {certs}/{name}.pem, private_key: {certs}/{name}.key}}
trust:
  prod.example: {{bundle: {certs}/prod.example.bundle.pem}}
log: {{format: json}}
access_log: {{to: {directory}/{name}.access.jsonl}}
listeners:
"""
    for listener, port in listeners.items():
        text += f"""  - name: {listener}
    accept: tcp://127.0.0.1:0
    forward: mtls://127.0.0.1:{port}
    expect: [{ID}orders]
"""
    return text


class Demo:
    def __init__(self, program, directory):
        self.program = program
        self.directory = directory
        self.certs = directory / "certs"
        self.failed = 0
        self.step_number = 0
        self.running = []

    def start(self, name, config):
        bulkhead = Bulkhead(self.program, self.directory, name, config)
        self.running.append(bulkhead)
        return bulkhead

    def curl(self, *arguments):
        command = ["curl", "-sS", "--max-time", "10", *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True)
        # What a person would type; -k: curl can't check a SPIFFE ID, bulkhead's side does.
        text = " ".join(["curl", *map(str, arguments)])
        return text.replace(str(self.directory) + "/", ""), result

    def step(self, title, command, result, line, good):
        """Shows one step and counts it as failed unless it came out as said."""
        self.step_number += 1
        verdict = paint("32", "as expected") if good else paint("31", "NOT as expected")
        outcome = result.stdout.strip() or result.stderr.strip() or "(nothing)"
        print(f"\n{paint('1', f'{self.step_number}. {title}')}")
        print(f"   $ {command}")
        print(f"   {outcome}")
        shown = {key: line[key] for key in SHOWN if key in line}
        print(f"   log: {json.dumps(shown)}")
        print(f"   {verdict}")
        self.failed += not good

    def close(self):
        for bulkhead in self.running:
            bulkhead.stop()


def refused(result, line, reason):
    return result.returncode != 0 and result.stdout == "" and line["reason"] == reason and (
        line["decision"] == "deny"
    )


def run_steps(demo, orders, backend):
    wrong = WrongServer(demo.certs)
    port = orders.port("orders")
    web = demo.start("web", client_config(demo.certs, demo.directory, "web",
                                          {"to-orders": port, "to-impostor": wrong.port}))
    wiki = demo.start("wiki", client_config(demo.certs, demo.directory, "wiki",
                                            {"to-orders": port}))

    command, result = demo.curl(f"http://127.0.0.1:{web.port('to-orders')}/orders")
    line = orders.next_line()
    web.next_line()
    demo.step("web calls orders through its own sidecar: a rule allows it", command, result, line,
              result.returncode == 0 and '"orders"' in result.stdout and
              line["rule"] == "web-uses-orders" and line["downstream_id"] == ID + "web")

    answered = backend.answered
    command, result = demo.curl(f"http://127.0.0.1:{wiki.port('to-orders')}/orders")
    line = orders.next_line()
    demo.step("wiki, with a good certificate but no rule, is denied", command, result, line,
              refused(result, line, "policy_no_rule"))

    pair = ["--cert", demo.certs / "other-domain.pem", "--key", demo.certs / "other-domain.key"]
    command, result = demo.curl("-k", *pair, f"https://127.0.0.1:{port}/orders")
    line = orders.next_line()
    demo.step("a client of another trust domain is refused in the handshake", command, result,
              line, refused(result, line, "svid_unknown_trust_domain"))

    command, result = demo.curl("-k", f"https://127.0.0.1:{port}/orders")
    line = orders.next_line()
    demo.step("a client with no certificate is refused", command, result, line,
              refused(result, line, "svid_no_certificate"))

    command, result = demo.curl(f"http://127.0.0.1:{web.port('to-impostor')}/orders")
    line = web.next_line()
    demo.step("a server that shows wiki's identity gets nothing from web's sidecar", command,
              result, line, refused(result, line, "policy_not_expected") and
              wrong.certificate is None and wrong.data == b"")
    print(f"   the server saw: certificate {wrong.certificate}, data {wrong.data!r}")
    if backend.answered != answered:
        print("   orders was reached by one of the refused")
        demo.failed += 1


def run(program):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bulkhead-demo-"))
    backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Orders)
    backend.answered = 0
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    demo = Demo(program, directory)
    try:
        subprocess.run([ROOT / "certs" / "make.sh", demo.certs], check=True,
                       stdout=subprocess.DEVNULL)
        print("A small shop: orders is an HTTP server behind a bulkhead; its one rule lets web in.")
        orders = demo.start("orders", orders_config(demo.certs, directory, backend.server_port))
        run_steps(demo, orders, backend)
    finally:
        demo.close()
        backend.shutdown()
        backend.server_close()
        shutil.rmtree(directory, ignore_errors=True)
    return demo.failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bulkhead", default=str(ROOT / "build" / "bulkhead"))
    failed = run(str(pathlib.Path(parser.parse_args().bulkhead).resolve()))
    if failed:
        print(paint("31", f"\n{failed} steps did not come out as said."))
        return 1
    print(paint("32", "\nAll five steps came out as said."))
    print("For your own service, copy and edit two files:\n"
          "  config/sidecar.yaml    beside the service: who may call it\n"
          "  config/originate.yaml  beside its client: which server it expects\n"
          "then: build/bulkhead check -c FILE, and build/bulkhead run -c FILE.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
