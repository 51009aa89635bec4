"""The warning when somebody may reach the application, or use our identity, past bulkhead."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

import pytest

from harness.backends import Backend
from harness.bulkhead import configuration, originate, terminate
from harness.metrics import Metrics, http_get
from harness.network import own_network
from harness.wait import until

LISTEN = """
import socket, sys, time
sock = socket.socket()
sock.bind(("127.0.0.1", 0))
sock.listen()
print(sock.getsockname()[1], flush=True)
time.sleep(600)
"""


def doors(bulkhead):
    """All that were told of so far."""
    return sorted((line["listener"], line["at"], line["addr"])
                  for line in bulkhead.log.find(event="open_door"))


@pytest.fixture
def network():
    with own_network() as network:
        yield network


class Watched:
    def __init__(self, start, credentials, tmp_path, *listeners, **more):
        self.socket = str(tmp_path / "admin.sock")
        self.bulkhead = start(configuration(credentials, *listeners, **more,
                                            admin={"listen": f"unix://{self.socket}"}))

    def metric(self, listener):
        return Metrics(http_get(self.socket, "/metrics")[2])("bulkhead_open_doors",
                                                             listener=listener)

    def readiness(self):
        status, _, body = http_get(self.socket, "/readyz?json")
        return status, json.loads(body)["details"]

    def reload(self):
        before = len(self.bulkhead.log.find(event="reload"))
        self.bulkhead.signal(1)
        self.bulkhead.log.wait(lambda _: len(self.bulkhead.log.find(event="reload")) > before,
                               "reload", 20)


def test_a_port_that_is_open_to_others(network, start, credentials, tmp_path):
    """At the start, when it changes by itself, and at a reload."""
    with contextlib.ExitStack() as stack:
        wide = stack.enter_context(Backend(host="0.0.0.0"))
        narrow = stack.enter_context(Backend())
        six = stack.enter_context(Backend(host="::"))
        at_path = stack.enter_context(Backend(path=str(tmp_path / "app.sock")))
        with Backend() as free:
            own_port = free.port
        here = Watched(
            start, credentials, tmp_path,
            terminate(f"tcp://127.0.0.1:{wide.port}", name="wide"),
            terminate(f"tcp://localhost:{wide.port}", name="by-name"),
            terminate(narrow.url, name="narrow"),
            terminate(f"tcp://[::1]:{six.port}", name="six"),
            terminate(at_path.url, name="at-path"),
            # not a door beside itself: its own socket
            terminate(f"tcp://127.0.0.1:{own_port}", name="own") | {
                "accept": f"mtls://0.0.0.0:{own_port}"})
        wanted = sorted([("wide", "forward", f"0.0.0.0:{wide.port}"),
                         ("by-name", "forward", f"0.0.0.0:{wide.port}"),
                         ("six", "forward", f"[::]:{six.port}")])
        assert doors(here.bulkhead) == wanted, "told before `ready`"
        line = here.bulkhead.log.find(event="open_door", listener="wide")[0]
        assert line["level"] == "warn" and f"uid {os.geteuid()}" in line["error"]
        assert "passes by all rules" in line["error"] and "wide: port" in line["error"]
        assert [here.metric(name) for name in ("wide", "by-name", "six")] == [1, 1, 1]
        status, details = here.readiness()
        assert status == 200, "a detail takes no readiness"
        assert [d["code"] for d in details] == ["open_door"] * 3
        assert line["error"] in [d["text"] for d in details]
        assert [here.metric(name) for name in ("narrow", "at-path", "own")] == [0, 0, 0]
        # it is repaired, and nobody reloads
        port = wide.port
        wide.close()
        stack.enter_context(Backend(port=port))
        here.bulkhead.wait_log("open_door_closed", listener="wide", addr=f"0.0.0.0:{port}")
        assert here.metric("wide") == 0 and here.metric("six") == 1
        assert doors(here.bulkhead) == wanted, "what stays is told once"
        here.reload()
        wanted = sorted([*wanted, ("six", "forward", f"[::]:{six.port}")])
        until(lambda: doors(here.bulkhead) == wanted, "the door that is still there")


@contextlib.contextmanager
def listening_as(uid):
    with subprocess.Popen([sys.executable, "-c", LISTEN], stdout=subprocess.PIPE, user=uid) as one:
        try:
            one.stdout.readline()
            yield
        finally:
            one.kill()


def others():
    """Who has a process here, beside root and ourselves."""
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if entry.name.isdigit():
                found.add(entry.stat().st_uid)
    return found - {0, os.geteuid()}


def test_a_loopback_accept_among_other_users(network, start, credentials, tmp_path):
    """The application is one user; another one could use our identity as well."""
    if len(others()) > 0:
        pytest.skip("other users have processes on this machine")
    server = "mtls://127.0.0.1:1"
    listeners = [originate(server, name="tcp"),
                 originate(server, name="at-path") | {"accept": f"unix://{tmp_path}/out.sock"}]
    with listening_as(4001):
        here = Watched(start, credentials, tmp_path, *listeners)
        assert doors(here.bulkhead) == [] and here.metric("tcp") == 0
        with listening_as(4002):
            here.reload()
            address = "{}:{}".format(*here.bulkhead.address("tcp"))
            line = here.bulkhead.wait_log("open_door")
            assert doors(here.bulkhead) == [("tcp", "accept", address)]
            assert "uid 4001" in line["error"] and "uid 4002" in line["error"]
            assert "Unix socket" in line["error"]
            assert here.metric("tcp") == 1 and here.metric("at-path") == 0
        here.reload()
        here.bulkhead.wait_log("open_door_closed", listener="tcp", at="accept")
        assert here.metric("tcp") == 0
