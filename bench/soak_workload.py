"""The part of the soak about the Workload API: workload.

How long it takes from an agent's message to the first handshake that shows the new SVID, and what
memory ten thousand rotations leave behind. The agent is a gRPC server in this process: its own time
is in the figure.
"""

import os
import pathlib
import tempfile
import time

from soak_kit import DEADLINE_S, Wrong, check
from harness.agent import Agent, federated, with_agent, x509_svid
from harness.backends import Backend
from harness.bulkhead import Bulkhead, rule, terminate
from harness.issuer import Issuer
from harness.reloading import ping
from harness.rotating import der, verifying_context
from harness.streams import client_context, tls_connect
from soak_peers import Late

ROTATIONS = int(os.environ.get("ROTATIONS", "10000"))
MEASURED = 100
SETTLED = 1000
GROWTH_KIB = 1024


def pss_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise Wrong("no Pss")


class InForce:
    """Counts the updates that have come into force, each line looked at once."""

    def __init__(self, bulkhead):
        self.bulkhead, self.seen, self.count, self.ended = bulkhead, 0, 0, 0

    def look(self):
        lines = self.bulkhead.log.parsed
        for line in lines[self.seen:]:
            if line["event"] == "reload" and line["result"] == "in_force":
                self.count += 1
                self.ended += line["ended"]
        self.seen = len(lines)
        return self.count

    def wait(self, count):
        deadline = time.monotonic() + DEADLINE_S
        while self.look() < count:
            if time.monotonic() > deadline or not self.bulkhead.alive():
                raise Late(f"not after {DEADLINE_S} s: {count} updates in force")
            time.sleep(0.002)


def latencies(bulkhead, agent, issuer, context, pairs, parts):
    found = []
    for number in range(MEASURED):
        new = pairs[number % len(pairs)]
        began = time.monotonic()
        agent.say(x509_svid(issuer, new), *parts)
        while True:
            with tls_connect(bulkhead.address(), context) as stream:
                at = time.monotonic()
                if stream.tls.getpeercert(binary_form=True) == der(new):
                    break
            if at - began > DEADLINE_S:
                raise Late(f"rotation {number}: the new SVID is not shown")
        found.append(1000 * (at - began))
        time.sleep(0.05)  # past the moment in which the stream is not read after a message
    return sorted(found)


def rotations(bulkhead, agent, issuer, pairs, parts, in_force, live):
    samples = {}
    messages = [b"".join((x509_svid(issuer, pair), *parts)) for pair in pairs]
    start = in_force.look()
    for number in range(1, ROTATIONS + 1):
        agent.say(messages[number % len(pairs)])
        in_force.wait(start + number)
        if number % 200 == 0:
            ping(live)  # or it would end for idleness
        if number in (min(SETTLED, ROTATIONS), ROTATIONS) or number % 2000 == 0:
            samples[number] = pss_kib(bulkhead.pid)
    return samples


def workload(world):
    directory = pathlib.Path(tempfile.mkdtemp(dir=world.directory))
    issuer = Issuer(directory / "ours")
    partner = Issuer(directory / "partner", domain="partner.example")
    web, pairs = issuer.issue("web"), [issuer.issue("orders") for _ in range(4)]
    parts = [federated(partner)]
    agent = Agent(x509_svid(issuer, pairs[-1]), *parts, path=str(directory / "agent.sock"))
    with Backend() as backend:
        config = with_agent(agent, terminate(backend.url),
                            rules=[rule("web", issuer.id("web"), "all")], log={"format": "json"})
        bulkhead = Bulkhead(config, directory).start()
        in_force = InForce(bulkhead)
        try:
            with tls_connect(bulkhead.address(), client_context(web.pair)) as live:
                ping(live)
                times = latencies(bulkhead, agent, issuer, verifying_context(issuer, web), pairs,
                                  parts)
                began = time.monotonic()
                memory = rotations(bulkhead, agent, issuer, pairs, parts, in_force, live)
                seconds = time.monotonic() - began
                ping(live)
            check(in_force.ended == 0, f"{in_force.ended} sessions ended by a rotation")
            first, last = memory[min(SETTLED, ROTATIONS)], memory[ROTATIONS]
            check(last - first <= GROWTH_KIB,
                  f"{last - first} KiB more after {ROTATIONS} rotations: {memory}")
            bulkhead.stop()
        finally:
            bulkhead.kill() if bulkhead.alive() else None
            agent.close()
    median, worst = times[len(times) // 2], times[-1]
    return {"ms": times, "pss_kib": memory, "rotations": ROTATIONS, "seconds": seconds}, (
        f"from a message to a handshake with the new SVID: median {median:.1f} ms, least "
        f"{times[0]:.1f}, most {worst:.1f} of {MEASURED}; {ROTATIONS} rotations in {seconds:.0f} s, "
        f"PSS {first / 1024:.2f} MiB after {min(SETTLED, ROTATIONS)} of them and "
        f"{last / 1024:.2f} MiB at the end; the live session has felt none")
