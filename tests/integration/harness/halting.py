"""Peers that stop on the way: a client in the middle of its last flight, a server that accepts and
says nothing."""

import socket
import ssl

from .streams import RESET, TlsStream, client_context, dial
from .wait import DEADLINE_S


class Halting(TlsStream):
    """A client whose last flight stops on the way: step(n) sends the next n of its TLS records."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.records = None

    def begin(self):
        """All but the last flight; for TLS 1.3 that is Certificate, CertificateVerify, Finished."""
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._feed()
        self.records = split(self.outgoing.read())
        return self

    def step(self, count=None):
        for record in self.records[:count]:
            self.sock.sendall(record)
        del self.records[:count]

    def outcome(self):
        """How it ended, having asked for an answer."""
        try:
            self.tls.write(b"ping")
            self._flush()
            data, end = self.recv(4)
        except OSError:
            data, end = b"", RESET
        return data or end


def split(data):
    """The TLS records in data."""
    records = []
    while data:
        size = 5 + int.from_bytes(data[3:5], "big")
        records.append(data[:size])
        data = data[size:]
    return records


def halted(place, svid, listener=None, **more):
    return Halting(dial(place.address(listener)), client_context(svid.pair, **more)).begin()


class Hanging:
    """A server that accepts and says nothing until it is told to."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self):
        self.listener.settimeout(DEADLINE_S)
        sock, _ = self.listener.accept()
        sock.settimeout(DEADLINE_S)
        return sock

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
