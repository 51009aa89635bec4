"""Runs this repository's make from a test: each target once at a time, though tests run in parallel."""

import contextlib
import fcntl
import os
import subprocess

from .bulkhead import ROOT


@contextlib.contextmanager
def locked(file):
    """Nobody else is in here with the same file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make(target, *variables):
    """`make deb` builds in a tree of its own; installing and removing share build/bulkhead.service."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    with locked(ROOT / "build" / f".{'deb' if target == 'deb' else 'make'}-from-tests"):
        made = subprocess.run(["make", "-s", target, *variables], cwd=ROOT, env=env,
                              capture_output=True, text=True, timeout=600)
    assert made.returncode == 0, f"{made.stdout}{made.stderr}"


def make_once(target, tmp_path_factory):
    """The same, once for all workers of a run of the tests."""
    run = tmp_path_factory.getbasetemp()
    run = run.parent if "PYTEST_XDIST_WORKER" in os.environ else run
    done = run / f"{target}.made"
    with locked(run / f"{target}.lock"):
        if not done.exists():
            make(target)
            done.touch()
