"""A service manager's end of sd_notify(3)."""

import socket
import threading

from .wait import until


class Manager:
    """Keeps every message that comes, as a dict."""

    def __init__(self, place):
        """A path, or "@name" for an abstract socket."""
        self.place = place
        self.messages = []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + place[1:] if place.startswith("@") else place)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                text = self.sock.recv(65536).decode()
            except OSError:
                return
            self.messages.append(dict(line.split("=", 1) for line in text.split("\n")))

    def environment(self, **more):
        return {"NOTIFY_SOCKET": self.place, **more}

    def of(self, key):
        """The messages that have it."""
        return [message for message in self.messages if key in message]

    def wait(self, key, count=1):
        """The count-th that has it."""
        return until(lambda: len(self.of(key)) >= count and self.of(key)[count - 1],
                     f"{key} number {count}")

    def keys(self):
        """In order, without the watchdog."""
        return [key for message in self.messages for key in message
                if key not in ("WATCHDOG", "STATUS", "MONOTONIC_USEC")]

    def close(self):
        self.sock.close()
