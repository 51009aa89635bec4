"""A SPIFFE Workload API agent: a real gRPC server, whose messages are written by hand."""

import base64
import concurrent.futures
import socket
import ssl
import tempfile
import threading
import time
from contextlib import suppress

import grpc

from .bulkhead import configuration
from .wait import DEADLINE_S

# ---- protobuf ---------------------------------------------------------------------------------


def varint(number):
    out = bytearray()
    while True:
        byte, number = number & 0x7F, number >> 7
        out.append(byte | (0x80 if number else 0))
        if not number:
            return bytes(out)


def field(number, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def der_certificates(pem):
    """The DER of each certificate of a PEM text or file, one behind the other."""
    text = pem if isinstance(pem, str) else pem.read_text()
    blocks = text.split("-----BEGIN CERTIFICATE-----")[1:]
    return b"".join(ssl.PEM_cert_to_DER_cert("-----BEGIN CERTIFICATE-----" +
                                             block.split("-----END")[0] +
                                             "-----END CERTIFICATE-----") for block in blocks)


def der_of(pem, label):
    text = pem if isinstance(pem, str) else pem.read_text()
    body = text.split(f"-----BEGIN {label}-----")[1].split("-----END")[0]
    return base64.b64decode(body)


def x509_svid(issuer, svid, hint=None, identity=None, key=None, bundle=None):
    """An X509SVID; what is given replaces what belongs to the SVID."""
    return field(1, field(1, identity or issuer.id(svid.name)) +
                 field(2, der_certificates(svid.chain)) +
                 field(3, key if key is not None else der_of(svid.key, "PRIVATE KEY")) +
                 field(4, bundle if bundle is not None else der_certificates(issuer.bundle)) +
                 (field(5, hint) if hint is not None else b""))


def federated(issuer, anchors=None, domain=None):
    anchors = der_certificates(issuer.bundle) if anchors is None else anchors
    return field(3, field(1, f"spiffe://{domain or issuer.domain}") + field(2, anchors))


def crl(path):
    return field(2, der_of(path, "X509 CRL"))


# ---- the agent --------------------------------------------------------------------------------


class Agent:
    """Gives every stream its state, and each new state as soon as there is one."""

    def __init__(self, *parts, path=None, address=None):
        self.path = path or f"{tempfile.mkdtemp(prefix='bulkhead-agent-')}/agent.sock"
        self.address = address or f"unix://{self.path}"
        self.changed = threading.Condition()
        self.message = b"".join(parts) or None
        self.failure = None
        self.version = 0
        self.streams = 0  # that were opened
        self.open = 0  # that are
        self.told = 0  # messages that were sent
        self.requests = []
        self.wants_header = True
        self.server = None
        self.start()

    def start(self):
        self.server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(8),
            options=(("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1)))
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
            "SpiffeWorkloadAPI",
            {"FetchX509SVID": grpc.unary_stream_rpc_method_handler(self._serve)}),))
        target = self.address.removeprefix("tcp://")
        port = self.server.add_insecure_port(target)
        assert port, target
        if self.address == "tcp://127.0.0.1:0":
            self.address = f"tcp://127.0.0.1:{port}"
        self.server.start()

    def stop(self):
        """As if killed: every stream breaks off."""
        if self.server:
            with self.changed:
                self.version += 1
                self.changed.notify_all()
            self.server.stop(None).wait(DEADLINE_S)
            self.server = None

    def close(self):
        self.stop()

    def say(self, *parts):
        """The state from now on."""
        with self.changed:
            self.message, self.failure = b"".join(parts), None
            self.version += 1
            self.changed.notify_all()

    def fail(self, code, details="because the test wants it"):
        """Every stream ends with that status, and each new one too."""
        with self.changed:
            self.message, self.failure = None, (code, details)
            self.version += 1
            self.changed.notify_all()

    def _serve(self, request, context):
        metadata = dict(context.invocation_metadata())
        with self.changed:
            self.requests.append((request, metadata))
            self.streams += 1
            self.open += 1
            server = self.server
            self.changed.notify_all()
        try:
            if self.wants_header and metadata.get("workload.spiffe.io") != "true":
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing")
            yield from self._states(context, server)
        finally:
            with self.changed:
                self.open -= 1
                self.changed.notify_all()

    def _states(self, context, server):
        seen = None
        while context.is_active():
            with self.changed:
                if self.server is not server:
                    return
                if self.version == seen:
                    self.changed.wait(0.2)
                    continue
                seen, message, failure = self.version, self.message, self.failure
            if failure:
                context.abort(*failure)
            if message is not None:
                yield message
                with self.changed:
                    self.told += 1
                    self.changed.notify_all()

    def wait(self, predicate, what):
        with self.changed:
            assert self.changed.wait_for(predicate, DEADLINE_S), what


def with_agent(agent, *listeners, identity=None, trust=None, **more):
    """A configuration whose identity and trust come from the agent."""
    class Nothing:
        def chain(self, _):
            return None
        key = bundle = chain

    config = configuration(Nothing(), *listeners, trust=(), **more)
    config["identity"] = {"workload_api": agent.address, **(identity or {})}
    del config["trust"]
    if trust is not None:
        config["trust"] = trust
    return {**config, "reload": {"watch": "none"}}


# ---- an agent that is none --------------------------------------------------------------------


class RawAgent:
    """Accepts, and says the given bytes to everyone; then it stays silent, or hangs up."""

    def __init__(self, data=b"", hang_up=False):
        self.path = f"{tempfile.mkdtemp(prefix='bulkhead-agent-')}/agent.sock"
        self.address = f"unix://{self.path}"
        self.data, self.hang_up = data, hang_up
        self.connections = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                with suppress(OSError):
                    connection.sendall(self.data)
                    if self.hang_up:
                        connection.close()

    def close(self):
        # A blocked accept() would hold the socket open beyond close().
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            connection.close()


def settle(seconds=0.3):
    """For what must not happen: nobody tells of it."""
    time.sleep(seconds)
