"""The machine under the bench: its cores, its limits, its network, and what it says of itself."""

import fcntl
import os
import pathlib
import platform
import resource
import shutil
import socket
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
SYSCTL = pathlib.Path("/proc/sys/net/ipv4")
INSIDE = "BULKHEAD_BENCH_NETWORK"  # set in the process that runs in a network of its own
PLAIN_CONTROLS = ("cubic", "reno")


class Cores:
    """The proxy has one for itself; load and backend have the other, or one each of the others."""

    def __init__(self, available):
        cores = sorted(available)
        if len(cores) < 2:
            raise SystemExit("the bench needs two cores: one for the proxy, one for the load")
        self.count = len(cores)
        self.proxy = cores[-1]
        self.client = cores[0]
        self.backend = cores[1] if len(cores) > 2 else cores[0]
        self.two = cores[-2:]  # for two workers

    def __str__(self):
        return (f"{self.count} cores: proxy on {self.proxy}, client on {self.client}, "
                f"backend on {self.backend}")


def raise_descriptors():
    """The hard limit of open files becomes the limit, here and in all children."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def congestion_control():
    return (SYSCTL / "tcp_congestion_control").read_text().strip()


def set_congestion_control(name):
    try:
        (SYSCTL / "tcp_congestion_control").write_text(name)
    except OSError:
        return False
    return congestion_control() == name


def loopback_up():
    get_flags, set_flags, up = 0x8913, 0x8914, 1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP
    with socket.socket() as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(sock, get_flags, request))[1]
        fcntl.ioctl(sock, set_flags, struct.pack("16sH14x", b"lo", flags | up))


def enter_network(wanted):
    """The same congestion control for all, also for peers that have no setting for it.

    The default belongs to a network namespace, so the whole bench moves into one of its own. That
    takes root; without it, the system's default holds for all. Returns the sentence to print.
    """
    before = os.environ.get(INSIDE)
    if before is None:
        default = congestion_control()
        if wanted == default or (not wanted and default in PLAIN_CONTROLS):
            return f"TCP congestion control {default} for all (the system's default)"
        if os.geteuid() == 0 and shutil.which("unshare") and subprocess.run(
                ["unshare", "--net", "true"], capture_output=True).returncode == 0:
            os.environ[INSIDE] = default
            os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
        return _only_the_default(default, wanted, "root may change it")
    loopback_up()
    for name in [wanted] if wanted else PLAIN_CONTROLS:
        if set_congestion_control(name):
            return (f"TCP congestion control {name} for all, in a network namespace of the bench "
                    f"(the system's default is {before})")
    return _only_the_default(before, wanted, "the kernel lets only those of "
                             "net.ipv4.tcp_allowed_congestion_control be set")


def _only_the_default(default, wanted, why):
    if wanted:
        raise SystemExit(f"TCP congestion control {wanted} can't be set here: {why}")
    return f"TCP congestion control {default} for all (the system's default; {why})"


def may_use_realtime():
    """Whether the load of one connection may go before other load on the same core."""
    return shutil.which("chrt") is not None and subprocess.run(
        ["chrt", "-r", "1", "true"], capture_output=True).returncode == 0


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def commit():
    """Of the tree that this file stands in; empty where it is none."""
    result = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=7"],
                            capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else ""


def describe(cores, network):
    return {
        "processor": processor(), "cores": str(cores), "kernel": platform.release(),
        "network": network, "load_average": round(os.getloadavg()[0], 1),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }
