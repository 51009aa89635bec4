"""Thousands of peers in one thread: plain and TLS streams over non-blocking sockets.

A stream belongs to a user, an object with these methods, each called with the stream first:

    on_open(stream)        connected, and the handshake is done
    on_data(stream, data)  bytes came
    on_end(stream, how)    the peer's direction is over: CLEAN, TRUNCATED, RESET, or an alert
    more(stream)           the next bytes to send; None: nothing now (until stream.wake()); END: no
                           more ever, and the stream's own direction ends in order

A stream closes its socket once both directions have ended.
"""

import fcntl
import heapq
import random
import selectors
import socket
import ssl
import struct
import termios
import time

from harness.streams import CLEAN, RESET, describe, is_reset, reset

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
END = object()
PIECES_PER_TURN = 4
READ_MAX = 128 * 1024


class Late(Exception):
    """What was waited for has not come."""


class Loop:
    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.timers = []
        self.count = 0

    def at(self, delay_s, function):
        """Once, in delay_s."""
        self.count += 1
        heapq.heappush(self.timers, (time.monotonic() + delay_s, self.count, function))

    def every(self, period_s, function):
        """Until function returns True."""
        def tick():
            if not function():
                self.at(period_s, tick)
        tick()

    def turn(self, wait_s=0.05):
        now = time.monotonic()
        while self.timers and self.timers[0][0] <= now:
            heapq.heappop(self.timers)[2]()
        if self.timers:
            wait_s = min(wait_s, max(0.0, self.timers[0][0] - now))
        for key, events in self.selector.select(wait_s):
            key.data(events)

    def until(self, condition, what, timeout_s):
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise Late(f"not after {timeout_s} s: {what}")
            self.turn()

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def watch(self, sock, events, function):
        """events 0: not at all (a hang-up would be told for ever)."""
        if sock in self.selector.get_map():
            if events:
                self.selector.modify(sock, events, function)
            else:
                self.selector.unregister(sock)
        elif events:
            self.selector.register(sock, events, function)


class Stream:
    def __init__(self, loop, sock, user, context=None, server_side=False, reading=True):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.loop, self.sock, self.user = loop, sock, user
        self.opened = self.closed = self.ending = self.shut = self.finishing = False
        self.reading, self.active = reading, True
        self.ended = None  # how the peer's direction ended
        self.out = bytearray()
        self.events = 0
        self.tls = None
        if context:
            self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side)
        if server_side:
            self._begin()
        else:
            self.connecting = True
            self._watch()

    @classmethod
    def dial(cls, loop, address, user, context=None, options=()):
        """options: rows for setsockopt, before the connect."""
        sock = socket.socket()
        sock.setblocking(False)
        for option in options:
            sock.setsockopt(*option)
        sock.connect_ex(address)
        return cls(loop, sock, user, context)

    def wake(self):
        """more() has something again."""
        self.active = True
        self._watch()

    def read(self, wanted):
        self.reading = wanted
        self._watch()

    def close(self):
        if not self.closed:
            self._forget()
            self.sock.close()

    def reset(self):
        if not self.closed:
            self._forget()
            reset(self.sock)

    def _finish(self):
        """Closes once the peer's kernel has all: ours may reset what is closed before."""
        self.events = 0
        self.loop.watch(self.sock, 0, None)
        if not self.finishing:
            self.finishing = True
            self.loop.every(0.1, self._close_if_sent)

    def _close_if_sent(self):
        if not self.closed and self._unsent() == 0:
            self.close()
        return self.closed

    def _unsent(self):
        return struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)))[0]

    def _forget(self):
        self.closed = True
        self.loop.watch(self.sock, 0, None)

    def _begin(self):
        self.connecting = False
        if self.tls:
            self._guard(self._decrypt)
        else:
            self._open()
        self._watch()

    def _open(self):
        self.opened = True
        self.user.on_open(self)

    def _watch(self):
        if self.closed:
            return
        if self.ended is not None and self.shut and not self.out:
            self._finish()
            return
        wants_read = (self.reading or not self.opened) and self.ended is None
        wants_write = self.connecting or self.out or (
            self.opened and not self.shut and (self.active or self.ending))
        events = (READ if wants_read and not self.connecting else 0) | (WRITE if wants_write else 0)
        if events != self.events:
            self.events = events
            self.loop.watch(self.sock, events, self._on_events)

    def _on_events(self, events):
        if self.closed:
            return  # by what came before in this turn
        if self.connecting:
            error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._end(RESET)
                return
            self._begin()
            return
        if events & WRITE:
            self._guard(self._writable)
        if events & READ and not self.closed:
            self._guard(self._readable)
        self._watch()

    def _guard(self, step):
        try:
            step()
            if self.tls and not self.closed:
                self._collect()
        except BlockingIOError:
            pass
        except OSError as error:
            if not is_reset(error):
                raise
            self.out.clear()
            self.shut = True
            self._end(RESET)

    def _end(self, how):
        if self.ended is None:
            self.ended = how
            self.user.on_end(self, how)
            self._watch()

    def _collect(self):
        if self.outgoing.pending:
            self.out += self.outgoing.read()
            self._send()

    def _send(self):
        while self.out:
            sent = self.sock.send(memoryview(self.out)[:1 << 18])
            del self.out[:sent]

    def _writable(self):
        self._send()
        for _ in range(PIECES_PER_TURN):
            if not self.opened or not self.active or self.ending:
                break
            data = self.user.more(self)
            if self.closed:
                return
            if data is None:
                self.active = False
            elif data is END:
                self.ending = True
            elif self.tls:
                self.tls.write(data)
                self._collect()
            else:
                self.out += data
                self._send()
        if self.ending and not self.shut:
            self._shut()

    def _shut(self):
        self.shut = True
        if self.tls:
            try:
                self.tls.unwrap()
            except ssl.SSLWantReadError:
                pass  # the peer has not ended its own direction yet
        else:
            self.sock.shutdown(socket.SHUT_WR)

    def _readable(self):
        data = self.sock.recv(random.randint(1, READ_MAX))
        if self.tls:
            if data:
                self.incoming.write(data)
            else:
                self.incoming.write_eof()
            self._decrypt()
        elif data:
            self.user.on_data(self, data)
        else:
            self._end(CLEAN)

    def _decrypt(self):
        try:
            if not self.opened:
                self.tls.do_handshake()
                self._open()
            while not self.closed and self.ended is None:
                data = self.tls.read(random.randint(1, READ_MAX))
                if data:
                    self.user.on_data(self, data)
                else:
                    self._end(CLEAN)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._end(CLEAN)
        except ssl.SSLError as error:
            self._end(describe(error))


class Server:
    """A listening socket on a port of the kernel's choice; user(stream) for each connection."""

    def __init__(self, loop, make_user, context=None, options=()):
        self.loop, self.make_user, self.context = loop, make_user, context
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
        for option in options:  # what is accepted inherits them
            self.sock.setsockopt(*option)
        self.sock.setblocking(False)
        self.accepted = 0
        host, port = self.sock.getsockname()
        self.url = f"{'mtls' if context else 'tcp'}://{host}:{port}"
        loop.watch(self.sock, READ, self._on_events)

    def _on_events(self, _):
        for _ in range(64):
            try:
                sock, _ = self.sock.accept()
            except BlockingIOError:
                return
            self.accepted += 1
            Stream(self.loop, sock, self.make_user(), self.context, server_side=True)

    def close(self):
        self.loop.watch(self.sock, 0, None)
        self.sock.close()
