"""Both ends of a connection, plain and TLS, that tell exactly how a stream ended.

Python's SSLSocket hides what matters here: whether an end was clean, and half-close. TlsStream
drives OpenSSL over memory instead, for either role.
"""

import contextlib
import errno
import socket
import ssl
import struct

from .wait import DEADLINE_S

CLEAN, TRUNCATED, RESET = "clean", "truncated", "reset"
PIECE = 256 * 1024


class Socket(socket.socket):
    was_reset = False


def bound_socket(host, used=set()):  # noqa: B006 - one set for the process is meant
    """A socket with a local port that this process has not used before: log lines are found by it,
    also when the connection fails at once."""
    while True:
        sock = Socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        sock.settimeout(DEADLINE_S)
        sock.bind((host, 0))
        if sock.getsockname() not in used:
            used.add(sock.getsockname())
            return sock
        sock.close()


def dial(address):
    """A connected socket; address is (host, port) or the path of a Unix socket."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(DEADLINE_S)
        sock.connect(address)
        return sock
    sock = bound_socket(address[0])
    # A refusal may be faster than connect() returns, and the kernel tells of a reset only once.
    try:
        sock.connect(address)
    except ConnectionResetError:
        sock.was_reset = True
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def reset(sock):
    """Closes with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def is_reset(error):
    return isinstance(error, (ConnectionResetError, BrokenPipeError)) or error.errno in (
        errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN,
    )


class PlainStream:
    def __init__(self, sock):
        self.sock = sock
        # The kernel says so once; a later recv would look like a clean end.
        self.was_reset = getattr(sock, "was_reset", False)

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as error:
            self.was_reset = is_reset(error)
            raise

    def offer(self, data):
        """Sends to a peer whose refusal may be faster; how that ended, reading tells."""
        with contextlib.suppress(ConnectionError):
            self.send(data)

    def recv(self, size=PIECE):
        """(bytes, None) or (b"", how it ended)."""
        try:
            data = self.sock.recv(size)
        except OSError as error:
            if not is_reset(error):
                raise
            return b"", RESET
        if not data and self.was_reset:
            return b"", RESET
        return data, None if data else CLEAN

    def end(self):
        """Our direction ends; the other goes on."""
        self.sock.shutdown(socket.SHUT_WR)

    def recv_exactly(self, size):
        data = bytearray()
        while len(data) < size:
            piece, end = self.recv(min(PIECE, size - len(data)))
            assert end is None, f"{end} after {len(data)} of {size} bytes"
            data += piece
        return bytes(data)

    def read_to_end(self):
        """(all bytes, how it ended)."""
        data = bytearray()
        while True:
            piece, end = self.recv()
            if end is not None:
                return bytes(data), end
            data += piece

    def local_address(self):
        return format_address(self.sock.getsockname())

    def close(self):
        self.sock.close()

    def reset(self):
        reset(self.sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class TlsStream(PlainStream):
    """TLS over a connected socket. The end of a stream may also be "alert NAME"."""

    def __init__(self, sock, context, server_side=False, server_name=None):
        super().__init__(sock)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side, server_hostname=server_name
        )

    def _flush(self):
        if self.outgoing.pending:
            super().send(self.outgoing.read())

    def _feed(self):
        """Reads from the socket; false at its end."""
        data = self.sock.recv(PIECE)
        if not data and self.was_reset:
            raise ConnectionResetError(errno.ECONNRESET, "the peer's reset was told before")
        if not data:
            self.incoming.write_eof()
            return False
        self.incoming.write(data)
        return True

    def handshake(self):
        """None, or how it failed."""
        try:
            while True:
                try:
                    self.tls.do_handshake()
                    self._flush()
                    return None
                except ssl.SSLWantReadError:
                    self._flush()
                    self._feed()
        except OSError as error:
            self._try_flush()
            return describe(error)

    def _try_flush(self):
        try:
            self._flush()
        except OSError:
            pass  # the peer is gone: the alert has no reader

    def send(self, data):
        self.tls.write(data)
        self._flush()

    def recv(self, size=PIECE):
        while True:
            try:
                data = self.tls.read(size)
                return data, None if data else CLEAN
            except ssl.SSLWantReadError:
                try:
                    self._flush()
                    self._feed()
                except OSError as error:
                    if not is_reset(error):
                        raise
                    return b"", RESET
            except ssl.SSLZeroReturnError:
                return b"", CLEAN
            except ssl.SSLError as error:
                return b"", describe(error)

    def end(self):
        """close_notify; the other direction goes on."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass  # the peer has not ended its own direction yet
        self._flush()

    def end_socket(self):
        """FIN below TLS."""
        self.sock.shutdown(socket.SHUT_WR)


def describe(error):
    if isinstance(error, ssl.SSLEOFError):
        return TRUNCATED
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "").lower()
        return reason.replace("_alert_", " alert ").replace("_", " ") or str(error)
    return RESET if is_reset(error) else str(error)


def format_address(address):
    if isinstance(address, (str, bytes)):
        return address
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}"


VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def client_context(pair=None, version=None, alpn=None, weak=False):
    """Asks nothing of the server: what is tested is the other side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return finish(context, pair, version, alpn, weak)


def server_context(pair, client_bundle=None, version=None, alpn=None, weak=False):
    """With client_bundle: demands a client certificate that those anchors vouch for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if client_bundle:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_bundle)
    return finish(context, pair, version, alpn, weak)


def finish(context, pair, version, alpn, weak):
    if version:
        context.minimum_version = context.maximum_version = VERSIONS[version]
    if weak:
        # To show certificates that a sound peer would not show.
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if pair:
        context.load_cert_chain(*pair)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def tls_dial(address, context, server_name=None):
    """A TlsStream and how its handshake failed (None: it did not)."""
    stream = TlsStream(dial(address), context, server_name=server_name)
    return stream, stream.handshake()


def tls_connect(address, context, server_name=None):
    stream, failure = tls_dial(address, context, server_name)
    assert failure is None, failure
    return stream
