"""Deadlines. A test never sleeps for a fixed time: it waits for a condition until a deadline."""

import os
import time


def time_scale():
    """Sanitizer builds are slower: their deadlines are longer."""
    if "BULKHEAD_TEST_SCALE" in os.environ:
        return float(os.environ["BULKHEAD_TEST_SCALE"])
    build = os.environ.get("BULKHEAD", "") + os.environ.get("BULKHEAD_BUILD", "")
    return 4.0 if any(kind in build for kind in ("asan", "tsan", "coverage")) else 1.0


SCALE = time_scale()
DEADLINE_S = 15.0 * SCALE


def until(condition, what, timeout=None):
    """Waits until condition() is true and returns its value."""
    deadline = time.monotonic() + (DEADLINE_S if timeout is None else timeout)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.005)
