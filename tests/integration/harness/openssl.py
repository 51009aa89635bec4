"""The openssl program as a peer, for what Python's ssl can't do."""

import contextlib
import ssl
import subprocess
import threading

from .streams import format_address
from .wait import DEADLINE_S


# What two of this system's libssl agree on in TLS 1.3, by the registered name.
POST_QUANTUM = ssl.OPENSSL_VERSION_INFO >= (3, 5)
BEST_GROUP = "X25519MLKEM768" if POST_QUANTUM else "x25519"


def s_client(address, *options, input=b"", pair=None):
    """Runs `openssl s_client` to its end; returns what it printed on both outputs."""
    command = ["openssl", "s_client", "-connect", format_address(address), *options]
    if pair:
        command += ["-cert", pair[0], "-cert_chain", pair[0], "-key", pair[1]]
    result = subprocess.run(
        command, input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=2 * DEADLINE_S,
    )
    return result.stdout.decode("utf-8", "replace")


class Interactive:
    """`openssl s_client` that is written to and read from step by step."""

    def __init__(self, address, *options, pair):
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", format_address(address), "-cert", pair[0],
             "-key", pair[1], *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
        )
        self.output = b""
        self.watchdog = threading.Timer(DEADLINE_S, self.process.kill)
        self.watchdog.start()

    def send(self, data):
        self.process.stdin.write(data)

    def offer(self, data):
        """For a server whose refusal may be faster, and end the program."""
        with contextlib.suppress(BrokenPipeError):
            self.send(data)

    def wait_for(self, text):
        """Reads until text is there."""
        while text not in self.output:
            piece = self.process.stdout.read(4096)
            assert piece, f"it ended without {text}: {self.output.decode('utf-8', 'replace')}"
            self.output += piece

    def finish(self):
        """All that it printed."""
        self.process.stdin.close()
        self.output += self.process.stdout.read()
        self.process.stdout.close()
        self.process.wait(DEADLINE_S)
        return self.output.decode("utf-8", "replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.watchdog.cancel()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Server:
    """`openssl s_server` that demands a client certificate and shows any certificate."""

    def __init__(self, pair, *options):
        self.process = subprocess.Popen(
            ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", pair[0], "-key", pair[1],
             "-Verify", "1", "-naccept", "1", *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        self.watchdog = threading.Timer(DEADLINE_S, self.process.kill)
        self.watchdog.start()
        # It says where: ACCEPT 127.0.0.1:PORT
        said = next(line for line in self.process.stdout if line.startswith(b"ACCEPT"))
        self.url = f"mtls://127.0.0.1:{int(said.rpartition(b':')[2])}"

    def output(self):
        """All that it printed, once its one connection has ended."""
        return self.process.communicate()[0].decode("utf-8", "replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.watchdog.cancel()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
