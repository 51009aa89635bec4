"""From samples to figures: medians, the floor, targets, and what it all costs on paper.

Nothing here starts a process or reads a file. A sample is one measurement of one round:

    {"kind": "inbound", "row": "full", "peer": "nginx", "round": 0, "cost": 612.0,
     "rate": 1520.0, "p50": ..., "p99": ..., "p999": ..., "histogram": [[upper_us, count], ...]}

`cost` is in the row's unit; a field may be missing (memory has only a cost).
"""

import dataclasses
import statistics

OURS = "bulkhead"
RELAY = "bare relay"  # its samples have the kind "relay"


@dataclasses.dataclass(frozen=True)
class Row:
    key: str
    title: str
    unit: str
    rate_unit: str = ""
    rate_scale: float = 1.0


ROWS = (
    Row("full", "full handshake + 16 B + close", "µs", "/s"),
    Row("resumed", "resumed handshake + 16 B + close", "µs", "/s"),
    Row("trip64", "64 B round trip", "µs", "/s"),
    Row("trip4k", "4 KiB round trip", "µs", "/s"),
    Row("up", "bulk up", "ns/B", "MB/s", 1e-6),
    Row("down", "bulk down", "ns/B", "MB/s", 1e-6),
    Row("idle", "idle connection", "KiB PSS"),
    Row("start", "memory at start", "MiB RSS"),
)
ROW = {row.key: row for row in ROWS}
FIELDS = ("cost", "rate", "p50", "p99", "p999")


@dataclasses.dataclass(frozen=True)
class Target:
    """Our cost is to be at most `factor` of the best peer's; or at most `most`, in the row's unit."""
    kind: str
    row: str
    with_ghostunnel: float = 0.0  # against the best of all that ran, Ghostunnel among them
    debian: float = 0.0           # against the best of Debian's packages
    most: float = 0.0


# One row each; `make bench` says of each whether it was reached, on the same run.
TARGETS = (
    Target("inbound", "full", 0.75, 0.56),
    Target("inbound", "resumed", 0.48, 0.48),
    Target("inbound", "trip64", 0.92, 0.91),
    Target("inbound", "trip4k", 0.93, 0.93),
    Target("inbound", "up", 1.00, 0.82),
    Target("inbound", "down", 1.00, 0.90),
    Target("inbound", "idle", 0.85, 0.85),
    Target("outbound", "full", 0.85, 0.60),
    Target("outbound", "resumed", 0.90, 0.90),
    Target("outbound", "trip64", 0.92, 0.92),
    Target("outbound", "trip4k", 0.93, 0.93),
    Target("outbound", "up", 1.00, 0.78),
    Target("outbound", "down", 1.00, 0.76),
    Target("outbound", "idle", 0.73, 0.73),
    Target("inbound", "start", most=7.0),
)


def percentile(histogram, share):
    """The upper bound of the class in which `share` of all counts is reached."""
    wanted = share * sum(count for _, count in histogram)
    seen = 0
    for upper, count in histogram:
        seen += count
        if seen >= wanted and count:
            return upper
    return None


def add_histograms(histograms):
    """One of the sums; classes are told apart by their upper bound."""
    total = {}
    for histogram in histograms:
        for upper, count in histogram:
            total[upper] = total.get(upper, 0) + count
    return sorted([upper, count] for upper, count in total.items())


def summarise(samples):
    """summary[kind][row][peer] = medians over the turns, and the least and the most of the cost."""
    groups = {}
    for sample in samples:
        key = sample["kind"], sample["row"], sample["peer"]
        groups.setdefault(key, []).append(sample)
    summary = {}
    for (kind, row, peer), group in groups.items():
        figures = {"rounds": len(group)}
        for field in FIELDS:
            values = [sample[field] for sample in group if sample.get(field) is not None]
            if values:
                figures[field] = statistics.median(values)
        costs = [sample["cost"] for sample in group]
        figures["least"], figures["most"] = min(costs), max(costs)
        figures["turns"] = {sample["round"]: sample["cost"] for sample in group}
        histograms = [sample["histogram"] for sample in group if sample.get("histogram")]
        if histograms:
            figures["histogram"] = add_histograms(histograms)
        summary.setdefault(kind, {}).setdefault(row, {})[peer] = figures
    return summary


def cost(summary, kind, row, peer, field="cost"):
    return summary.get(kind, {}).get(row, {}).get(peer, {}).get(field)


def best_peer(summary, kind, row, names):
    """(name, cost) of the cheapest of the others that were measured; (None, None) without any."""
    costs = {name: cost(summary, kind, row, name) for name in names if name != OURS}
    costs = {name: value for name, value in costs.items() if value is not None}
    if not costs:
        return None, None
    name = min(costs, key=costs.get)
    return name, costs[name]


def floor_cost(summary, primitives, kind, row):
    """What can't be left out: a bare relay of the same run, and the cryptography's primitives.

    A full handshake signs once and verifies the other's signature once (a chain that was verified
    before need not be again); a resumed one does neither. Both make an X25519 key and a secret.
    """
    sides = 2 if kind == "bridge" else 1
    relay = cost(summary, "relay", "full" if row == "resumed" else row, RELAY)
    if relay is None or not primitives:
        return None
    exchange = primitives["keygen_ns"] + primitives["derive_ns"]
    if row == "full":
        return relay + sides * (primitives["sign_ns"] + primitives["verify_ns"] + exchange) / 1e3
    if row == "resumed":
        return relay + sides * exchange / 1e3
    if row in ("trip64", "trip4k"):
        size = 64 if row == "trip64" else 4096
        return relay + sides * (primitives[f"seal_{size}_ns"] + primitives[f"open_{size}_ns"]) / 1e3
    if row in ("up", "down"):
        seal, open_ = primitives["seal_16384_ns"] / 16384, primitives["open_16384_ns"] / 16384
        if kind == "bridge":
            return relay + seal + open_
        return relay + (open_ if (kind == "inbound") == (row == "up") else seal)
    return None


def ratio_of(summary, kind, row, peer):
    """Our cost over the peer's: the median over the turns, because two windows of one turn lie
    seconds apart and those of two turns minutes, in which a shared machine changes its speed."""
    ours = summary[kind][row][OURS]["turns"]
    theirs = summary[kind][row][peer]["turns"]
    both = [ours[turn] / theirs[turn] for turn in ours if turn in theirs]
    return statistics.median(both) if both else (
        cost(summary, kind, row, OURS) / cost(summary, kind, row, peer))


def decide(target, summary, names, factor, primitives=None):
    """One row of the table of targets; None where the run has no figure to decide by."""
    ours = cost(summary, target.kind, target.row, OURS)
    if ours is None:
        return None
    row = {"kind": target.kind, "row": target.row, "ours": ours}
    if target.most:
        return {**row, "peer": None, "limit": target.most, "reached": ours <= target.most}
    peer, theirs = best_peer(summary, target.kind, target.row, names)
    if peer is None:
        return None
    floor = floor_cost(summary, primitives, target.kind, target.row)
    ratio = ratio_of(summary, target.kind, target.row, peer)
    return {**row, "peer": peer, "theirs": theirs, "factor": factor, "ratio": ratio,
            "floor_ratio": None if floor is None else floor / theirs,
            "limit": factor * theirs, "reached": ratio <= factor}


def decide_all(summary, peers, primitives=None):
    """peers: {name: whether it is Debian's}. The two sets of targets; the first only with Ghostunnel."""
    everybody = list(peers)
    debian = [name for name in peers if peers[name]]
    sets = {}
    if "ghostunnel" in everybody:
        sets["with Ghostunnel"] = [
            decide(t, summary, everybody, t.with_ghostunnel, primitives) for t in TARGETS]
    sets["Debian's peers"] = [decide(t, summary, debian, t.debian, primitives) for t in TARGETS]
    return {name: [row for row in rows if row is not None] for name, rows in sets.items()}


# On paper: a gateway that does one thing alone with most of its cores, and a fleet in which every
# sidecar has the same modest day. The assumptions are these numbers and nothing else.
GATEWAY = {"cores": 64, "busy": 0.7, "idle_connections": 1_000_000}
FLEET = {"sidecars": 100_000, "new_connections_per_s": 2.0, "full_share": 0.1,
         "round_trips_per_s": 100.0, "bytes_per_s": 100_000.0, "idle_connections": 200}


def gateway_on_paper(summary, peer, kind="inbound"):
    """Units a second that the gateway's busy cores have CPU for, each if it were the only one."""
    core_seconds = GATEWAY["cores"] * GATEWAY["busy"]
    result = {}
    for row in ("full", "resumed", "trip4k"):
        each = cost(summary, kind, row, peer)
        result[row] = None if each is None else core_seconds * 1e6 / each
    for row in ("up", "down"):
        each = cost(summary, kind, row, peer)
        result[row] = None if each is None else core_seconds * 1e9 / each
    idle = cost(summary, kind, "idle", peer)
    result["idle_gib"] = None if idle is None else GATEWAY["idle_connections"] * idle / (1 << 20)
    return result


def fleet_on_paper(summary, peer):
    """Cores and GiB of all sidecars together: half of the work inbound, half outbound."""
    cores = memory_kib = 0.0
    for kind in ("inbound", "outbound"):
        values = {row: cost(summary, kind, row, peer)
                  for row in ("full", "resumed", "trip4k", "up", "down", "idle")}
        if None in values.values():
            return None
        full = FLEET["full_share"]
        handshake_us = full * values["full"] + (1 - full) * values["resumed"]
        cores += (FLEET["new_connections_per_s"] * handshake_us * 1e-6
                  + FLEET["round_trips_per_s"] * values["trip4k"] * 1e-6
                  + FLEET["bytes_per_s"] * (values["up"] + values["down"]) / 2 * 1e-9) / 2
        memory_kib += FLEET["idle_connections"] * values["idle"] / 2
    start = cost(summary, "inbound", "start", peer) or 0.0
    count = FLEET["sidecars"]
    return {"cores": count * cores, "gib": count * (memory_kib / (1 << 20) + start / 1024)}
