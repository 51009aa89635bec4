"""A wall clock for bulkhead alone, that a test turns: see src/base/clock.c. The monotonic clock and
everybody else's time stay as they are."""

import mmap
import os
import struct
import time


class Clock:
    def __init__(self, ahead_s=0.0):
        self.fd = os.memfd_create("clock")
        os.ftruncate(self.fd, mmap.PAGESIZE)
        self._memory = mmap.mmap(self.fd, mmap.PAGESIZE)
        self.set(ahead_s)

    def set(self, ahead_s):
        """Ahead of the host's clock; a negative number: behind it."""
        struct.pack_into("q", self._memory, 0, int(ahead_s * 1000))

    def set_to(self, wall_s):
        self.set(wall_s - time.time())

    def environment(self):
        return {"BULKHEAD_TEST_CLOCK_FD": str(self.fd)}

    def close(self):
        self._memory.close()
        os.close(self.fd)
