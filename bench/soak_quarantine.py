"""quarantine: an ID with 1,000 live sessions is held, while 8,000 sessions of others carry on.

By the quarantine file renamed into place, by the file written in place, and by SIGHUP: each time
until the last of the thousand is cut, with the longest round trip of a session that stays.
"""

import pathlib
import signal
import tempfile
import time

from soak_kit import check, mib
from soak_reload import Helper, Place, hold_sessions, measure_pauses, pauses, place_lines, serve_echo
from harness.bulkhead import rule, terminate
from harness.issuer import Issuer
from harness.reloading import overwrite, replace
from harness.streams import RESET

HELD = 1000
OTHERS = 80
EACH = 100


def by_rename(place, file, text):
    replace(file, text)


def by_writing(place, file, text):
    overwrite(file, text)


def by_signal(place, file, text):
    """Faster than the watching: the signal comes at once."""
    overwrite(file, text)
    place.signal(signal.SIGHUP)


class Site:
    def __init__(self, world, url, echo_url):
        directory = pathlib.Path(tempfile.mkdtemp(dir=world.directory))
        self.issuer = Issuer(directory / "ours")
        self.file = directory / "quarantine"
        self.file.write_text("# nobody\n")
        self.taken = self.issuer.issue("taken")
        self.others = [self.issuer.issue(f"n{number:02}") for number in range(OTHERS)]
        self.place = Place(
            world, self.issuer, terminate(url, "in"), terminate(echo_url, "ping"),
            own=self.issuer.issue("orders"), quarantine_file=str(self.file),
            rules=[rule("all", f"spiffe://{self.issuer.domain}/**", "all")],
            limits={"handshakes": 4096})

    def plan(self, svids, each):
        address = self.place.address("in")
        return [(svid.name, address, svid.pair) for _ in range(each) for svid in svids]


def lift(site):
    """Nobody is held any more."""
    place = site.place
    before = len(place.log.find(event="reload", quarantine_removed=1))
    replace(site.file, "# nobody\n")
    place.wait_reload(before, quarantine_removed=1)


def hold(site, pinger, how):
    """Opens a thousand sessions and has them cut in that way."""
    place = site.place
    with Helper(hold_sessions, site.plan([site.taken], HELD)) as held:
        check(held.answer() == HELD, "sessions")
        lines = len(place.access.parsed)
        reloads = len(place.log.find(event="reload", quarantine_added=1))
        pinger.ask("forget")
        idle_from = time.monotonic()
        time.sleep(1.0)  # what the pinger measures in a second without a quarantine
        idle = pauses(pinger.ask("pauses"), idle_from, time.monotonic())
        began = time.monotonic()
        how(place, site.file, f"{site.issuer.id('taken')}\n")
        line = place.wait_reload(reloads, quarantine_added=1)
        ended, deadline = [], time.monotonic() + 30
        while len(ended) < HELD and time.monotonic() < deadline:
            ended += held.ask("ended")
        pinged = pauses(pinger.ask("pauses"), began, time.monotonic())
    check(len(ended) == HELD and {end for _, end, _ in ended} == {RESET},
          f"{len(ended)} of {HELD} ended, {sorted({end for _, end, _ in ended})}")
    place_lines(place, lines + HELD)
    reasons = {x["reason"] for x in place.access.parsed[lines:]}
    check(reasons == {"quarantined"}, f"access lines say {sorted(reasons)}")
    check(line["ended"] == line["ended_quarantined"] == HELD, f"the reload's line: {line}")
    last = max(when for *_, when in ended) - began
    return {"how": how.__name__, "last_end_s": last, "judged": line["judged"],
            "took_ms": line["took_ms"], "longest_slice_us": line["longest_slice_us"],
            "pauses": pinged, "pauses_idle": idle}


def quarantine(world):
    with Helper(serve_echo) as backend, Helper(serve_echo) as echo:
        site = Site(world, backend.answer(), echo.answer())
        with site.place as place:
            start = place.memory()
            pair = site.issuer.issue("pinger").pair
            with Helper(hold_sessions, site.plan(site.others, EACH)) as holder, \
                    Helper(measure_pauses, place.address("ping"), pair, 4) as pinger:
                others = holder.answer()
                steps = []
                for how in (by_rename, by_writing, by_signal):
                    steps.append(hold(site, pinger, how))
                    lift(site)
                full = place.memory()
                check(holder.ask("ended") == [], "sessions of others ended")
                left = holder.ask("leave")
                check(left["live"] == left["clean"] == others,
                      f"{left['clean']} of {others} sessions ended in order: {left}")
                check(left["wrong"] == 0 and left["waiting"] == 0, f"bytes were wrong: {left}")
    text = "; ".join(
        f"{step['how']}: the last of {HELD} cut after {1000 * step['last_end_s']:.0f} ms, "
        f"{step['judged']} judged, took {step['took_ms']} ms, longest slice "
        f"{step['longest_slice_us']} us, a message at most {step['pauses']['most_ms']:.1f} ms (the "
        f"second before {step['pauses_idle']['most_ms']:.1f})" for step in steps)
    return {
        "sessions": others + HELD, "steps": steps, "left": left, "start_kib": start,
        "full_kib": full,
    }, (f"{others + HELD} live sessions; {text}; the {others} of others: all in order, "
        f"{left['bytes']} bytes right; RSS/PSS MiB at start, at the end: {mib(start, full)}")
