"""Servers behind bulkhead. Each counts every connection and every byte that ever reached it."""

import socket
import threading

from .streams import CLEAN, PlainStream, TlsStream, format_address
from .wait import DEADLINE_S, until


def echo(stream):
    """Sends back what comes, and ends when the peer ends."""
    while True:
        data, end = stream.recv()
        if end is not None:
            if end == CLEAN:
                stream.end()
            return end
        stream.send(data)


def drain(stream):
    """Reads to the end and says nothing."""
    return stream.read_to_end()[1]


class Backend:
    """A server with a thread for each connection; handler(stream) returns how the stream ended."""

    def __init__(self, handler=echo, host="127.0.0.1", path=None, port=0):
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.listener = socket.socket(family)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind((host, port))
        self.listener.listen(256)
        self.address = self.listener.getsockname()
        self.path = path
        self.handler = handler
        self.connections = 0
        self.bytes = 0
        self.ends = []
        self.errors = []
        self._lock = threading.Lock()
        self._sockets = set()
        self._closed = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"unix://{self.path}" if self.path else f"tcp://{format_address(self.address)}"

    @property
    def port(self):
        return self.address[1]

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self._lock:
                if self._closed:
                    sock.close()
                    return
                self.connections += 1
                self._sockets.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        end = None
        try:
            sock.settimeout(4 * DEADLINE_S)
            stream = self.wrap(Counted(sock, self))
            if stream is not None:
                end = self.handler(stream)
        except OSError as error:
            self.errors.append(error)
            end = str(error)
        finally:
            with self._lock:
                self._sockets.discard(sock)
                self.ends.append(end)
            sock.close()

    def wrap(self, sock):
        return PlainStream(sock)

    def count(self, size):
        with self._lock:
            self.bytes += size

    def wait_ends(self, count=1):
        """How the first `count` streams that ended did so."""
        until(lambda: len(self.ends) >= count, f"{count} ended streams at the backend")
        return self.ends[:count]

    def untouched(self):
        return self.connections == 0 and self.bytes == 0

    def close(self):
        with self._lock:
            self._closed = True
            open_sockets = list(self._sockets)
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for sock in open_sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended by itself

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Counted:
    """A socket whose received bytes are counted."""

    def __init__(self, sock, backend):
        self._sock = sock
        self._backend = backend

    def recv(self, size):
        data = self._sock.recv(size)
        self._backend.count(len(data))
        return data

    def __getattr__(self, name):
        return getattr(self._sock, name)


class TlsBackend(Backend):
    """A TLS server. `bytes` counts the wire; `plain_bytes` what came through TLS. The context may
    be changed between connections."""

    def __init__(self, context, handler=echo, **more):
        self.context = context
        self.handshakes = []  # how each failed, or None
        self.peers = []       # client certificates (DER), or None
        self.plain_bytes = 0
        super().__init__(self._counted(handler), **more)

    def _counted(self, handler):
        def serve(stream):
            receive = stream.recv

            def recv(*arguments):
                data, end = receive(*arguments)
                self.plain_bytes += len(data)
                return data, end

            stream.recv = recv
            return handler(stream)

        return serve

    @property
    def url(self):
        return f"mtls+unix://{self.path}" if self.path else f"mtls://{format_address(self.address)}"

    def wrap(self, sock):
        stream = TlsStream(sock, self.context, server_side=True)
        failure = stream.handshake()
        self.peers.append(stream.tls.getpeercert(binary_form=True) if failure is None else None)
        self.handshakes.append(failure)
        return stream if failure is None else None
