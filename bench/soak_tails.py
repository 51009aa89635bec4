"""tails: clients that write a lot and close at once, without reading a byte.

A server that has sent something unread, a session ticket say, makes the client's kernel answer with
a reset, and what it had not yet delivered is lost (RFC 1122 4.2.2.13). Every byte must arrive.
"""

import hashlib
import os
import socket
import threading
import time

from soak_kit import DEADLINE_S, Proxy, check, mib
from harness.bulkhead import terminate

TAILS = int(os.environ.get("TAILS", "1000"))
TAIL_SIZE = 64 << 20
PIECE = os.urandom(1 << 20)
QUESTION = b"session, please"


class Sink:
    """A plain backend that digests what each connection brings, up to its end. It answers to
    nothing but QUESTION."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = "tcp://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.ended = []
        self.changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            sock, _ = self.listener.accept()
            threading.Thread(target=self._drain, args=(sock,), daemon=True).start()

    def _drain(self, sock):
        digest, size, how = hashlib.sha1(), 0, "clean"
        buffer = bytearray(1 << 20)
        with sock:
            try:
                while count := sock.recv_into(buffer):
                    if buffer[:count] == QUESTION:
                        sock.sendall(QUESTION)
                    digest.update(memoryview(buffer)[:count])
                    size += count
            except ConnectionError as error:
                how = str(error)
        with self.changed:
            self.ended.append((size, digest.digest(), how))
            self.changed.notify_all()

    def wait(self, count):
        with self.changed:
            return self.changed.wait_for(lambda: len(self.ended) >= count, DEADLINE_S)


def write_and_close(context, address, session):
    """Whether it was resumed."""
    with socket.create_connection(address, timeout=DEADLINE_S) as sock:
        with context.wrap_socket(sock, session=session, suppress_ragged_eofs=False) as tls:
            for _ in range(TAIL_SIZE // len(PIECE)):
                tls.sendall(PIECE)
            # close_notify goes out, the answer is not waited for: the socket closes at once.
            tls.setblocking(False)
            try:
                tls.unwrap()
            except OSError:
                pass
            return tls.session_reused


def session_of(context, address):
    """A session to resume: the ticket comes with the first byte of an answer."""
    with socket.create_connection(address, timeout=DEADLINE_S) as sock:
        with context.wrap_socket(sock) as tls:
            tls.sendall(QUESTION)
            answer = tls.recv(len(QUESTION))
            check(answer == QUESTION, f"the answer was {answer}")
            return tls.session


def tails(world):
    wanted = hashlib.sha1()
    for _ in range(TAIL_SIZE // len(PIECE)):
        wanted.update(PIECE)
    sink, context = Sink(), world.client()
    started, resumed = time.monotonic(), 0
    with Proxy(world, terminate(sink.url)) as proxy:
        session = session_of(context, proxy.address())
        check(sink.wait(1), "the first connection never ended")
        before = proxy.memory()
        for number in range(TAILS):
            # Every other one resumes: it would be given a new ticket too.
            resumed += bool(write_and_close(context, proxy.address(),
                                            session if number % 2 else None))
            check(sink.wait(number + 2), f"client {number}: its stream never ended")
            size, digest, how = sink.ended[-1]
            check(size == TAIL_SIZE and digest == wanted.digest() and how == "clean",
                  f"client {number}: {size} of {TAIL_SIZE} bytes arrived, ended {how}")
        after = proxy.memory()
    check(resumed == TAILS // 2, f"{resumed} of {TAILS // 2} were resumed")
    return {"clients": TAILS, "bytes_each": TAIL_SIZE, "resumed": resumed}, (
        f"{TAILS} clients wrote {TAIL_SIZE >> 20} MiB each and closed without reading, {resumed} of "
        f"them in resumed sessions: every byte arrived and every end was in order, "
        f"{time.monotonic() - started:.0f} s; RSS/PSS MiB before, after {mib(before, after)}")
