"""Runs proxies, the backend and the client of the load, each on its core, and reads what they cost.

Every process is started here, is ended by its id, and talks to 127.0.0.1 alone.
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from peers import OUTBOUND, INBOUND, Setup
from svids import spiffe_id

DEADLINE_S = 20  # for what hangs; no measure of speed
FAULTS = ("errors", "wrong_identity", "not_resumed")


class Failed(Exception):
    """A run that did not do what it should; its figures don't count."""


class TooShort(Failed):
    """No unit ended in the window."""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def on_core(core, command, realtime=False):
    cores = ",".join(map(str, core)) if isinstance(core, (list, tuple)) else str(core)
    first = ["chrt", "-r", "1"] if realtime else []
    return [*first, "taskset", "-c", cores, *map(str, command)]


def core_set(cores):
    return set(cores) if isinstance(cores, (list, tuple)) else {cores}


def wait_for(condition, what):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"waited in vain for {what}")
        time.sleep(0.01)


STARTED = []  # all of them, so that none outlives the run


def spawn(command, **more):
    process = subprocess.Popen(command, **more)
    STARTED.append(process)
    return process


def spawn_load(command, **more):
    """Without SIGPIPE, as Python is itself: a peer that has gone is an error to count."""
    return spawn(command, restore_signals=False, **more)


def end_by_signal():
    """SIGTERM ends the run in order, as an interrupt does: nothing it started stays."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def end_all():
    for process in STARTED:
        end(process)


def end(process):
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_json(text, what):
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    raise Failed(f"{what}: no result; it said {text.strip()[-300:]!r}")


class Proxy:
    """One running process of a peer."""

    def __init__(self, peer, setup, cores):
        self.peer, self.setup, self.cores = peer, setup, core_set(cores)
        self.command = [str(part) for part in peer.configure(setup)]
        self.log_path = setup.directory / f"{peer.name.replace(' ', '-')}.log"
        with self.log_path.open("wb") as log:
            self.process = spawn(
                on_core(cores, self.command), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **peer.environment(setup)})
        try:
            wait_for(lambda: self._listens() or self.process.poll() is not None, "its port")
            if self.process.poll() is not None:
                raise Failed(f"ended at once, status {self.process.returncode}")
            self.pin()
        except Failed as error:
            self.stop()
            raise Failed(f"{peer.name} ({setup.kind}) does not start: {error}\n"
                         f"{self.log_path.read_text(errors='replace')[-1000:]}") from None

    def _listens(self):
        """As the kernel's table has it: a connection to try would be a client, and be forwarded."""
        host = struct.unpack("=I", socket.inet_aton("127.0.0.1"))[0]
        wanted = f"{host:08X}:{self.setup.port:04X}"
        table = (line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines())
        return any(fields[1] == wanted and fields[3] == "0A" for fields in table)

    def pids(self):
        """The process and all below it: some fork their worker."""
        found = [self.process.pid]
        for pid in found:
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):  # a thread that has just ended
                    found += map(int, children.read_text().split())
        return found

    def threads(self):
        for pid in self.pids():
            yield from map(int, os.listdir(f"/proc/{pid}/task"))

    def pin(self):
        """Again, for who has chosen a core by itself, as hitch's workers do: on the core of the
        load a proxy costs a third less, and is a third slower."""
        for thread in self.threads():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, self.cores)

    def check_pinned(self):
        for thread in self.threads():
            with contextlib.suppress(ProcessLookupError):
                if (found := os.sched_getaffinity(thread)) != self.cores:
                    raise Failed(f"{self.peer.name} runs on {found} and not on {self.cores}")

    def memory_kib(self, field):
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(field + ":"):
                    total += int(line.split()[1])
        return total

    def check_alive(self):
        if self.process.poll() is not None:
            raise Failed(f"{self.peer.name} ended, status {self.process.returncode}")

    def stop(self):
        end(self.process)


class Backend:
    """The load generator's serving side."""

    def __init__(self, load, tls, svids, core, realtime=False):
        command = [load, "backend", "--listen", "127.0.0.1:0"]
        if tls:
            command += tls_options(svids, "server", "proxy")
        self.process = spawn_load(on_core(core, command, realtime), stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("listening "):
            end(self.process)
            raise Failed(f"the backend does not start: {line!r}")
        self.port = int(line.rpartition(":")[2])

    def stop(self):
        """What it saw; anything wrong is a failure."""
        self.process.send_signal(signal.SIGTERM)
        try:
            text, _ = self.process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise Failed("the backend did not end") from None
        if self.process.returncode < 0:
            raise Failed(f"the backend was ended by signal {-self.process.returncode}")
        seen = last_json(text, "the backend")
        wrong = {key: seen[key] for key in ("errors", "wrong_identity") if seen.get(key)}
        if wrong or self.process.returncode != 0:
            raise Failed(f"the backend saw {wrong}, status {self.process.returncode}: {seen}")
        return seen


def tls_options(svids, own, other):
    return ["--tls", "--certificate", svids.certificate(own), "--key", svids.key(own),
            "--bundle", svids.bundle, "--expect", spiffe_id(other)]


class Place:
    """A proxy and its backend, and the way to put load on them."""

    def __init__(self, bench, peer, kind, *, role="", workers=1, cores=None, realtime=False):
        self.bench, self.peer, self.kind = bench, peer, kind
        self.backend = Backend(bench.load, kind not in (INBOUND, None), bench.svids,
                               bench.cores.backend, realtime)
        self.setup = Setup(kind or INBOUND, free_port(), self.backend.port, bench.svids,
                           bench.directory, role != "full", workers, bench.descriptors, role)
        try:
            self.proxy = Proxy(peer, self.setup, bench.cores.proxy if cores is None else cores)
        except Failed:
            end(self.backend.process)
            raise

    def client_command(self, work, options):
        """`kind` None is the bare relay: plain on both sides."""
        command = [self.bench.load, "client", "--connect", f"127.0.0.1:{self.setup.port}",
                   "--work", work, "--pid", ",".join(map(str, self.proxy.pids()))]
        if self.kind not in (OUTBOUND, None):
            command += tls_options(self.bench.svids, "client", "proxy")
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", value]
        return command

    def start(self, work, realtime=False, **options):
        self.proxy.check_alive()
        return spawn_load(
            on_core(self.bench.cores.client, self.client_command(work, options), realtime),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, process, what, timeout=120, bears=()):
        """The client's answer, verified; `bears` names counts that may be other than 0."""
        try:
            text, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Failed(f"{what}: no end after {timeout} s") from None
        if process.returncode != 0:
            raise Failed(f"{what}: {complaint(process, text, errors)}")
        self.proxy.check_pinned()
        answer = last_json(text, what)
        check_answer(answer, what, self.kind not in (OUTBOUND, None), bears)
        return answer

    def run(self, work, **options):
        """Once more, and four times as long, when the window was too short for a single unit."""
        what = f"{self.peer.name}, {self.kind or 'plain'}, {work}"
        try:
            return self.finish(self.start(work, **options), what)
        except TooShort:
            if "seconds" not in options:
                raise
            options["seconds"] *= 4
            return self.finish(self.start(work, **options), what)

    def hold(self, count):
        return Held(self, count)

    def stop(self):
        """What the backend saw."""
        self.proxy.stop()
        return self.backend.stop()


def complaint(process, text, errors):
    """In one line: what a client that failed said first, and its counts."""
    counts = ""
    with contextlib.suppress(Failed):
        answer = last_json(text, "")
        counts = ", ".join(f"{answer[key]} {key}" for key in ("units", *FAULTS) if key in answer)
    first = (errors.strip().splitlines() or ["nothing on stderr"])[0]
    return f"status {process.returncode}: {first} ({counts or 'no counts'})"


def check_answer(answer, what, tls, bears=()):
    """Bytes and identities are compared by the client; here it is asked whether all was well."""
    wrong = {key: answer[key] for key in FAULTS if answer.get(key) and key not in bears}
    if wrong:
        raise Failed(f"{what}: {wrong}")
    if not answer.get("units"):
        raise TooShort(f"{what}: no unit ended in {answer.get('seconds')} s")
    if tls:
        used = (answer.get("tls"), answer.get("cipher"), answer.get("group"))
        if used[0] != "TLSv1.3" or used[1] != "TLS_AES_128_GCM_SHA256" or "25519" not in str(used[2]):
            raise Failed(f"{what}: not the parameters that were to be measured: {used}")


class Held:
    """Idle connections, each of which has echoed once and will echo once more."""

    def __init__(self, place, count):
        self.place, self.count = place, count
        self.process = place.start("idle", connections=count)
        self.watchdog = threading.Timer(120, self.process.kill)
        self.watchdog.start()
        line = self.process.stdout.readline()
        if not line.startswith("{") or json.loads(line).get("held") != count:
            self.process.kill()
            _, errors = self.process.communicate()
            self.watchdog.cancel()
            raise Failed(f"{place.peer.name}, {place.kind}: {count} connections can't be held: "
                         f"{complaint(self.process, line, errors)}")

    def release(self):
        text, errors = self.process.communicate(timeout=120)
        self.watchdog.cancel()
        if self.process.returncode != 0:
            raise Failed(f"{self.place.peer.name}, {self.place.kind}, held connections: "
                         f"{complaint(self.process, text, errors)}")
