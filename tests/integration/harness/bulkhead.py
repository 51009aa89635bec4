"""Runs the program: writes its configuration, waits for readiness, reads its logs, stops it."""

import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import threading
import time

import pytest
import yaml

from .wait import DEADLINE_S, until

ROOT = pathlib.Path(__file__).resolve().parents[3]
SANITIZER_REPORT = re.compile(
    r"(?:ERROR|WARNING): (?:Address|Leak|Thread|Memory|Undefined\w+)Sanitizer|: runtime error: "
)


def readlink(path):
    """One that was closed in between leads nowhere."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None


def program():
    path = pathlib.Path(os.environ.get("BULKHEAD", ROOT / "build" / "bulkhead"))
    return str(path if path.is_absolute() else ROOT / path)


def program_with_clock():
    """The same with a wall clock that a test turns (harness/clock.py)."""
    path = pathlib.Path(program())
    beside = path.with_name("bulkhead-clock")
    return str(beside if beside.exists() else path.with_name("release") / "bulkhead-clock")


def is_sanitizer_build():
    return any(kind in program() for kind in ("asan", "tsan"))


def configuration(credentials, *listeners, own="orders", rules=None, trust=None, **more):
    """A whole configuration as a dict; by default `web` may use everything, and each refusal has
    its line."""
    domains = ("prod.example", "partner.example") if trust is None else trust
    files = {"certificate": credentials.chain(own), "private_key": credentials.key(own)}
    if rules is None:
        rules = [rule("web-uses-all", "spiffe://prod.example/ns/shop/sa/web", "all")]
    if all(not listener["accept"].startswith("mtls") for listener in listeners):
        rules = [r for r in rules if r["to"] != "all"]
    provider = os.environ.get("BULKHEAD_TEST_PROVIDER")  # the whole suite with another tls.provider
    if provider:
        more = {"tls": {"provider": provider}, **more}
    return {
        "version": 1,
        "identity": {"files": files},
        "trust": {domain: {"bundle": credentials.bundle(domain)} for domain in domains},
        "listeners": list(listeners),
        "rules": rules,
        "log": {"format": "json", "level": "debug"},
        "workers": 2,
        **more,
        "access_log": {"fold": "0s", **more.get("access_log", {})},
    }


def rule(name, from_, to, **more):
    return {"name": name, "from": from_, "to": to, **more}


def terminate(forward, name="in", **more):
    return {"name": name, "accept": "mtls://127.0.0.1:0", "forward": forward, **more}


def originate(forward, name="out", expect="spiffe://prod.example/**", **more):
    return {
        "name": name, "accept": "tcp://127.0.0.1:0", "forward": forward, "expect": expect, **more,
    }


def bridge(forward, name="bridge", expect="spiffe://prod.example/**", **more):
    return {
        "name": name, "accept": "mtls://127.0.0.1:0", "forward": forward, "expect": expect, **more,
    }


def matches(line, wanted):
    return all(line.get(key) == value for key, value in wanted.items())


class Lines:
    """One of the program's outputs, read by a thread so that its pipe never fills."""

    def __init__(self, stream):
        self.raw = []
        self.bad = []  # lines that begin like JSON and are none
        self.parsed = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream):
        with stream:
            for line in stream:
                self._add(line.decode("utf-8", "replace"))

    def _add(self, line):
        with self._changed:
            self.raw.append(line)
            if line.startswith("{"):
                try:
                    self.parsed.append(json.loads(line))
                except ValueError:
                    self.bad.append(line)
            self._changed.notify_all()

    def wait(self, predicate, what, timeout, alive=lambda: True):
        deadline = time.monotonic() + timeout
        seen = 0
        with self._changed:
            while True:
                for line in self.parsed[seen:]:
                    if predicate(line):
                        return line
                seen = len(self.parsed)
                left = deadline - time.monotonic()
                if left <= 0 or not alive():
                    raise AssertionError(f"no line {what}; there was:\n{''.join(self.raw[-20:])}")
                self._changed.wait(min(left, 0.2))

    def find(self, **wanted):
        with self._changed:
            return [line for line in self.parsed if matches(line, wanted)]

    def text(self):
        with self._changed:
            return "".join(self.raw)

    def join(self):
        self._thread.join(DEADLINE_S)


class Bulkhead:
    """`bulkhead run` with a configuration: a dict, or the file's text; with config_path the file
    is there already."""

    def __init__(self, config, directory, env=None, descriptors=None, stdout=subprocess.PIPE,
                 pass_fds=(), before_exec=None, clock=None, config_path=None, through=(),
                 executable=None, options=(), arguments=None, stdin=None):
        """arguments: instead of `-c FILE`; stdin: a text."""
        self.directory = pathlib.Path(directory)
        self.config_file = config_path or self.directory / "bulkhead.yaml"
        if config_path is None:
            text = config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False)
            self.config_file.write_text(text)

        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        before_exec = limit if descriptors else before_exec
        if clock is not None:
            env = {**(env or {}), **clock.environment()}
            pass_fds = (*pass_fds, clock.fd)

        executable = executable or (program() if clock is None else program_with_clock())
        self.process = subprocess.Popen(
            [*through, str(executable), "run",
             *(("-c", str(self.config_file)) if arguments is None else arguments), *options],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=stdout, stderr=subprocess.PIPE, env={**os.environ, **(env or {})},
            cwd=self.directory, preexec_fn=before_exec, pass_fds=pass_fds,
        )
        if stdin is not None:
            with self.process.stdin as pipe:
                pipe.write(stdin.encode())
        self.log = Lines(self.process.stderr)
        self.access = Lines(self.process.stdout) if stdout == subprocess.PIPE else None
        self.stopped = False

    def start(self):
        """Waits until it serves."""
        self.wait_log("ready")
        return self

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def wait_log(self, event, timeout=None, **wanted):
        wanted["event"] = event
        return self.log.wait(
            lambda line: matches(line, wanted), wanted, timeout or DEADLINE_S, self.alive
        )

    def wait_access(self, predicate=None, timeout=None, **wanted):
        """The first access line with these fields (and for which predicate is true)."""
        return self.access.wait(
            lambda line: matches(line, wanted) and (predicate is None or predicate(line)),
            wanted or "that the test waits for", timeout or DEADLINE_S,
        )

    def address(self, listener=None):
        """(host, port) or the path of a Unix socket, as the log says it."""
        wanted = {"listener": listener} if listener else {}
        text = self.wait_log("listening", **wanted)["addr"]
        if text.startswith(("unix:", "/")):
            return text.removeprefix("unix://").removeprefix("unix:")
        host, _, port = text.rpartition(":")
        return host.strip("[]"), int(port)

    def port(self, listener=None):
        return self.address(listener)[1]

    def rss_kib(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))

    def descriptors(self):
        return len(self.open_files())

    def open_files(self):
        """What its descriptors lead to. The process is not dumpable: only root may look."""
        directory = f"/proc/{self.pid}/fd"
        try:
            numbers = os.listdir(directory)
        except PermissionError:
            pytest.skip("only root may look at another process's descriptors")
        return [readlink(f"{directory}/{number}") for number in numbers]

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait_exit(self, code=0, timeout=None):
        """It has ended by itself, with that code, and no sanitizer has complained."""
        self.stopped = True
        try:
            actual = self.process.wait(timeout or 2 * DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"does not end:\n{self.log.text()}") from None
        self.log.join()
        if self.access:
            self.access.join()
            assert not self.access.bad, f"access lines that are no JSON: {self.access.bad}"
            others = [line for line in self.access.raw if not line.startswith("{")]
            assert not others, f"stdout holds other things than access lines: {others}"
        text = self.log.text()
        assert not SANITIZER_REPORT.search(text), text
        assert not self.log.bad, f"log lines that are no JSON: {self.log.bad}"
        assert actual == code, f"exit status {actual}, not {code}:\n{text}"

    def stop(self):
        if self.stopped:
            return
        if self.alive():
            self.signal()
        self.wait_exit()

    def kill(self):
        if self.alive():
            self.process.kill()
        self.process.wait()
        self.stopped = True


def run_command(*arguments, timeout=None, stdout_file=subprocess.PIPE, **more):
    """One short command of the program, to its end."""
    result = subprocess.run(
        [program(), *map(str, arguments)], stdout=stdout_file, stderr=subprocess.PIPE, text=True,
        errors="replace", stdin=subprocess.DEVNULL, timeout=timeout or 2 * DEADLINE_S, **more,
    )
    assert not SANITIZER_REPORT.search(result.stderr), result.stderr
    return result


__all__ = [
    "Bulkhead", "bridge", "configuration", "is_sanitizer_build", "originate", "program", "rule",
    "run_command", "terminate", "until",
]
