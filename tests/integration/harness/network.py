"""A network of its own for a test, in which every connection can be made to fall silent."""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct

import pytest

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1

libc = ctypes.CDLL(None, use_errno=True)


class Network:
    """The loopback of a network namespace. With it down, nothing is answered and nobody is told."""

    def set(self, up):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            request = struct.pack("16sH14x", b"lo", IFF_UP if up else 0)
            fcntl.ioctl(sock, SIOCSIFFLAGS, request)

    def cut(self):
        self.set(False)


@contextlib.contextmanager
def own_network():
    """What this thread starts and opens in here is in that network; a Unix socket reaches out."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET) != 0:
            pytest.skip("a network of its own needs root")
        try:
            network = Network()
            network.set(True)
            yield network
        finally:
            assert libc.setns(before, CLONE_NEWNET) == 0
    finally:
        os.close(before)
