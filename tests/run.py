#!/usr/bin/python3
"""Runs the tests of one build: unit programs, corpus replay, integration tests.

    tests/run.py --build build/release --jobs 2 [--only NAME] [--unit-only] [--wrap 'valgrind ...']

The last line counts all of them: `N passed, N failed` and, when there are any, `, N skipped`.
Exits 1 when anything failed or nothing ran.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What is ended then has hung: the longest takes a minute of CPU, and the machine may be busy.
PROGRAM_TIMEOUT_S = 1200
# Begun first, so that nothing waits for it alone in the end.
LONGEST = "test_out_of_memory"
WRAPPED_TIMEOUT_S = 1800
PYTEST_TIMEOUT_S = 3600
PYTEST_NONE_SELECTED = 5

SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=0:exitcode=66",
}
SANITIZER_REPORT = re.compile(
    r"(?:ERROR|WARNING): (?:Address|Leak|Thread|Memory)Sanitizer|: runtime error: "
)
# Newer ones say whose tests failed: "[  FAILED  ] tests: 2 test(s), listed below:".
CMOCKA_COUNT = re.compile(r"^\[  (PASSED |FAILED |SKIPPED) *\] (?:\w+: )?(\d+) test\(s\)", re.MULTILINE)
PYTEST_COUNT = re.compile(r"(\d+) (passed|failed|skipped|xfailed|xpassed|errors?)\b")


class Counts:
    def __init__(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = passed, failed, skipped

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def total(self):
        return self.passed + self.failed + self.skipped

    def __str__(self):
        text = f"{self.passed} passed, {self.failed} failed"
        return text + (f", {self.skipped} skipped" if self.skipped else "")


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_program(command, timeout_s, env):
    """Returns (output, what went wrong or None). Takes the whole process group down with it."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        kill_group(process)
        output, _ = process.communicate()
        return output.decode(errors="replace"), f"timed out after {timeout_s} s"
    except BaseException:
        kill_group(process)
        raise
    output = output.decode(errors="replace")
    if process.returncode < 0:
        return output, f"killed by {signal.Signals(-process.returncode).name}"
    if process.returncode > 0:
        return output, f"exit status {process.returncode}"
    if SANITIZER_REPORT.search(output):
        return output, "sanitizer report"
    return output, None


def cmocka_counts(output):
    counts = Counts()
    for kind, number in CMOCKA_COUNT.findall(output):
        setattr(counts, kind.strip().lower(), getattr(counts, kind.strip().lower()) + int(number))
    return counts


def run_unit(source, options):
    name = f"{source.parent.name}/{source.stem}"
    program = options.build / "tests" / "unit" / source.parent.name / source.stem
    if not program.is_file():
        return name, Counts(failed=1), f"{program} is missing: build it with `make test-programs`\n"
    output, problem = run_program(options.wrap + [str(program)], options.timeout_s, options.env)
    counts = cmocka_counts(output)
    if problem is None and counts.total() == 0:
        problem = "no test ran"
    if problem and counts.failed == 0:
        counts.failed = 1
    return name, counts, f"{output}{name}: {problem}\n" if counts.failed else ""


def run_replay(source, options):
    name = source.stem.removeprefix("fuzz_")
    program = options.build / "tests" / "replay" / name
    corpus = ROOT / "tests" / "corpus" / name
    if not program.is_file():
        return name, Counts(failed=1), f"{program} is missing: build it with `make test-programs`\n"
    if not corpus.is_dir() or not any(corpus.iterdir()):
        return name, Counts(failed=1), f"tests/corpus/{name}/ is missing or empty\n"
    command = options.wrap + [str(program), str(corpus)]
    output, problem = run_program(command, options.timeout_s, options.env)
    if problem:
        return name, Counts(failed=1), f"{output}{name}: {problem}\n"
    return name, Counts(passed=1), ""


def run_stage(stage, run_one, sources, options):
    """Runs one kind of program in parallel; output is shown only of what failed."""
    started = time.monotonic()
    sum_of_all = Counts()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for future in concurrent.futures.as_completed(
            pool.submit(run_one, source, options) for source in sources
        ):
            name, counts, output = future.result()
            sum_of_all.add(counts)
            if counts.failed:
                print(f"--- FAILED {stage} {name}\n{output}", flush=True)
    seconds = time.monotonic() - started
    print(f"{stage}: {len(sources)} programs, {sum_of_all} ({seconds:.1f} s)", flush=True)
    return sum_of_all


def pytest_counts(output):
    """The counts of the closing line, such as `1 failed, 20 passed, 2 skipped in 3.21s`."""
    counts = Counts()
    closing = [line for line in output.splitlines() if re.search(r" in \d+(\.\d+)?s\b", line)]
    for number, kind in PYTEST_COUNT.findall(closing[-1] if closing else ""):
        if kind in ("passed", "xpassed"):
            counts.passed += int(number)
        elif kind in ("skipped", "xfailed"):
            counts.skipped += int(number)
        else:
            counts.failed += int(number)
    return counts


def run_pytest(options):
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(options.jobs), "tests/integration"]
    if options.only:
        command += ["-k", options.only]
    env = dict(options.env, BULKHEAD=str(options.build / "bulkhead"), BULKHEAD_BUILD=str(options.build))
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True, text=True, errors="replace",
    )
    watchdog = threading.Timer(PYTEST_TIMEOUT_S, kill_group, [process])
    watchdog.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            print(line, end="", flush=True)
        status = process.wait()
    except BaseException:
        kill_group(process)
        raise
    finally:
        watchdog.cancel()
    counts = pytest_counts("".join(lines))
    none_selected = status == PYTEST_NONE_SELECTED and options.only
    if status != 0 and counts.failed == 0 and not none_selected:
        print(f"--- FAILED integration: pytest ended with status {status}")
        counts.failed = 1
    print(f"integration: {counts} ({time.monotonic() - started:.1f} s)", flush=True)
    return counts


def selected(pattern, only):
    sources = sorted((ROOT / "tests").glob(pattern), key=lambda s: (s.stem != LONGEST, s))
    return [s for s in sources if not only or only in f"{s.parent.name}/{s.stem}"]


def parse_options():
    parser = argparse.ArgumentParser(description="Runs the tests of one build.")
    parser.add_argument("--build", required=True, type=pathlib.Path, help="such as build/release")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="part of a program's or a test's name")
    parser.add_argument("--unit-only", action="store_true", help="no integration tests")
    parser.add_argument("--wrap", default="", type=shlex.split, help="command put before each program")
    options = parser.parse_args()
    options.build = ROOT / options.build
    options.jobs = max(1, options.jobs)
    options.timeout_s = WRAPPED_TIMEOUT_S if options.wrap else PROGRAM_TIMEOUT_S
    slow = {"BULKHEAD_TEST_SCALE": "10"} if options.wrap else {}
    options.env = {**SANITIZER_OPTIONS, **slow, **os.environ}
    return options


def main():
    options = parse_options()
    counts = Counts()
    counts.add(run_stage("unit", run_unit, selected("unit/*/test_*.c", options.only), options))
    counts.add(run_stage("replay", run_replay, selected("fuzz/fuzz_*.c", options.only), options))
    if not options.unit_only:
        counts.add(run_pytest(options))
    if counts.total() == 0:
        print("no test was selected" if options.only else "no test ran")
    print(counts)
    return 1 if counts.failed or counts.total() == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
