#!/usr/bin/env python3
"""The run as Markdown, for people; run.py writes the same as JSON.

    bench/report.py build/bench/result.json                          prints it once more
    bench/report.py build/bench/result.json --into bench/README.md   puts it between the marks there
"""

import argparse
import json
import pathlib
import shutil
import sys

import figures
from figures import FLEET, GATEWAY, OURS, RELAY, ROW, ROWS

KINDS = {
    "inbound": "Inbound: mTLS from the client, plain to the backend (terminate)",
    "outbound": "Outbound: plain from the client, mTLS to the server (originate)",
    "bridge": "Bridge: mTLS on both sides",
}
BEGIN, END = "<!-- last full run: begin -->", "<!-- last full run: end -->"
PICTURES = ("ratio.svg", "latency.svg", "connections.svg")
NOT_RESUMED_SAID = 0.01
GREEN, RED, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"


def short(value):
    """Three figures, and no more than a table can bear."""
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def plural(count, word):
    return f"{count} {word}{'' if count == 1 else 's'}"


def table(head, rows):
    """Markdown; the first column is text, the others numbers."""
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def in_order(names, present):
    return [name for name in names if name in present]


def cost_cell(entry, best):
    if entry is None:
        return "–"
    value = short(entry["cost"])
    value = f"**{value}**" if best else value
    spread = f" ({short(entry['least'])}–{short(entry['most'])})" if entry["rounds"] > 1 else ""
    return value + spread


def cost_table(kind, summary, peers, primitives):
    """Medians, with the least and the most of the turns; the best in bold."""
    measured = summary.get(kind, {})
    names = in_order(peers, {name for row in measured.values() for name in row})
    rows = []
    for row in ROWS:
        entries = measured.get(row.key)
        if not entries:
            continue
        least = min(entry["cost"] for entry in entries.values())
        floor = figures.floor_cost(summary, primitives, kind, row.key)
        rows.append([f"{row.title}, {row.unit}", short(floor)]
                    + [cost_cell(entries.get(name), name in entries
                                 and entries[name]["cost"] == least) for name in names])
    return table(["CPU per unit, or memory", "floor", *names], rows)


def latency_cell(row, entry):
    if entry is None:
        return "–"
    rate = f"{short(entry['rate'] * row.rate_scale)} {row.rate_unit}".replace(" /s", "/s")
    if row.key in ("up", "down") or "p50" not in entry:
        return rate
    return f"{rate}; " + " / ".join(short(entry.get(key)) for key in ("p50", "p99", "p999"))


def latency_table(kind, summary, peers):
    measured = summary.get(kind, {})
    names = in_order(peers, {name for row in measured.values() for name in row})
    rows = [[row.title] + [latency_cell(row, measured[row.key].get(name)) for name in names]
            for row in ROWS if row.rate_unit and measured.get(row.key)]
    return table(["rate; p50 / p99 / p99.9 in µs", *names], rows)


def targets_table(rows):
    lines = []
    for row in rows:
        title, unit = ROW[row["row"]].title, ROW[row["row"]].unit
        if row["peer"] is None:
            against, ratio, floor, limit = "–", "–", "–", f"≤ {short(row['limit'])} {unit}"
        else:
            against = f"{row['peer']} {short(row['theirs'])}"
            ratio, limit = f"{row['ratio']:.2f}", f"≤ {row['factor']:.2f}"
            floor = "–" if row["floor_ratio"] is None else f"{row['floor_ratio']:.2f}"
        lines.append([f"{row['kind']}, {title}, {unit}", short(row["ours"]), against, ratio, limit,
                      floor, "reached" if row["reached"] else "not reached"])
    return table(["target", OURS, "best peer", "ratio", "target's", "floor's", "verdict"], lines)


def count_reached(rows):
    return f"{sum(row['reached'] for row in rows)} of {len(rows)} reached"


def storm_table(storm):
    rows = [[f"{row['peer']}, {row['work']}", short(row["alone"]["p50"]), short(row["alone"]["p99"]),
             short(row["storm"]["p50"]), short(row["storm"]["p99"]), short(row["storm"]["p999"]),
             f"{row['handshakes_per_s']:,.0f}", f"{row['not_resumed']:,}",
             f"{row['busy']:.0%}"] for row in storm["rows"]]
    return table(["64 B round trip, µs", "alone: p50", "p99", "in the storm: p50", "p99", "p99.9",
                  "handshakes done /s", "not resumed", "proxy's core busy"], rows)


def scaling_table(scaling):
    counts = sorted({count for values in scaling["round_trip"].values() for count, _ in values})
    rows = []
    for peer, values in scaling["round_trip"].items():
        found = dict(values)
        rows.append([f"{peer}: 64 B round trip, µs"] + [short(found.get(n)) for n in counts])
    for peer, values in scaling["idle"].items():
        found = dict(values)
        rows.append([f"{peer}: idle connection, KiB PSS"] + [short(found.get(n)) for n in counts])
    return table(["connections", *(f"{count:,}" for count in counts)], rows)


def workers_table(workers):
    rows = [[f"{ROW[row['row']].title}, µs", short(row["one"]), short(row["two"]),
             f"{row['two'] / row['one']:.2f}"] for row in workers["rows"]]
    return table(["CPU per unit", "1 worker", "2 workers", "ratio"], rows)


def paper(summary, peers):
    """The two estimates, with their assumptions; only of proxies that have all the figures."""
    gateway = {name: figures.gateway_on_paper(summary, name) for name in peers}
    gateway = {name: g for name, g in gateway.items() if None not in g.values()}
    fleet = {name: figures.fleet_on_paper(summary, name) for name in peers}
    fleet = {name: f for name, f in fleet.items() if f}
    rows = [[name, short(g["full"]), short(g["resumed"]), short(g["trip4k"]),
             short(g["up"] / 1e9), short(g["down"] / 1e9), short(g["idle_gib"])]
            for name, g in gateway.items()]
    parts = [
        f"A gateway of {GATEWAY['cores']} such cores, {GATEWAY['busy']:.0%} of them busy, that does "
        "one thing alone (inbound figures; cores × share / cost, so it takes cores to scale as "
        f"processes do), and the memory of {GATEWAY['idle_connections']:,} idle connections:", "",
        table(["", "full handshakes /s", "resumed /s", "4 KiB round trips /s", "up, GB/s",
               "down, GB/s", "idle, GiB"], rows), "",
        f"A fleet of {FLEET['sidecars']:,} sidecars, each with "
        f"{FLEET['new_connections_per_s']:g} new connections a second "
        f"({FLEET['full_share']:.0%} full handshakes, the rest resumed), "
        f"{FLEET['round_trips_per_s']:g} round trips of 4 KiB a second, "
        f"{FLEET['bytes_per_s'] / 1e3:g} kB/s of bulk and {FLEET['idle_connections']} idle "
        "connections, half of all inbound and half outbound:", "",
        table(["", "cores in all", "GiB in all"],
              [[name, short(f["cores"]), short(f["gib"])] for name, f in fleet.items()])]
    return "\n".join(parts)


def primitives_line(primitives):
    return (f"{primitives['library']}, µs: P-256 sign {primitives['sign_ns'] / 1e3:.1f}, verify "
            f"{primitives['verify_ns'] / 1e3:.1f}; X25519 key {primitives['keygen_ns'] / 1e3:.1f}, "
            f"secret {primitives['derive_ns'] / 1e3:.1f}; AES-128-GCM, ns/B in records of 16 KiB: "
            f"seal {primitives['seal_16384_ns'] / 16384:.2f}, open "
            f"{primitives['open_16384_ns'] / 16384:.2f}")


def head(result):
    machine = result["machine"]
    lines = [
        f"Commit {result['commit'] or 'unknown'}, {result['mode']} run of {result['seconds']:.0f} s, "
        f"medians of {plural(result['rounds'], 'turn')} (least–most).",
        f"Versions: {', '.join(result['versions'])}.",
        f"Machine: {machine['processor']}; {machine['cores']}; Linux {machine['kernel']}; load "
        f"average {machine['load_average']} before, {machine['load_average_after']} after.",
        f"{machine['network']}. TLS 1.3, TLS_AES_128_GCM_SHA256, X25519, P-256 SVIDs, client "
        "certificate required and verified; one worker, pinned.",
        f"{primitives_line(result['primitives'])}."]
    if result["absent"]:
        lines.append(f"Not found, so not measured: {', '.join(result['absent'])}.")
    missed = [f"{who} {max(shares):.1%}" for who, shares in result["not_resumed"].items()
              if max(shares) >= NOT_RESUMED_SAID]
    if missed:
        lines.append(f"Handshakes with the server that were to resume and did not: {', '.join(missed)}.")
    return "\n".join(f"* {line}" for line in lines)


def markdown(result):
    summary, names = result["summary"], list(result["peers"])
    parts = ["# bulkhead bench", "", head(result)]
    for kind, title in KINDS.items():
        if summary.get(kind):
            parts += ["", f"## {title}", "",
                      cost_table(kind, summary, names, result["primitives"]), "",
                      latency_table(kind, summary, names)]
    relay = summary.get("relay", {})
    if relay:
        costs = ", ".join(f"{ROW[key].title.replace('full handshake', 'connect')} "
                          f"{short(row[RELAY]['cost'])} {ROW[key].unit}"
                          for key, row in relay.items() if RELAY in row)
        parts += ["", f"The floor is a bare TCP relay ({costs}) and the cryptography's primitives."]
    if result.get("storm"):
        parts += ["", "## Round trips in a storm of handshakes", "", result["storm"]["how"], "",
                  storm_table(result["storm"])]
    if result.get("scaling"):
        parts += ["", "## The number of connections", "", result["scaling"]["how"], "",
                  scaling_table(result["scaling"])]
    if result.get("workers"):
        parts += ["", "## Workers", "", result["workers"]["how"], "",
                  workers_table(result["workers"])]
    for name, rows in result["targets"].items():
        parts += ["", f"## Targets, {name}: {count_reached(rows)}", "", targets_table(rows)]
    parts += ["", "## On paper", "", paper(summary, names)]
    parts += ["", "## Commands and configurations", "",
              f"Configurations and this run's credentials: `{result['directory']}/`.", "", "```",
              *result["commands"], "```", "", "## Errors", "",
              *([f"* {problem}" for problem in result["problems"]] or ["none"])]
    return "\n".join(parts) + "\n"


def coloured(text):
    """For a terminal."""
    return (text.replace("| not reached |", f"| {RED}not reached{PLAIN} |")
            .replace("| reached |", f"| {GREEN}reached{PLAIN} |"))


def captions(result):
    """The lines under each picture."""
    versions = ", ".join(result["versions"])
    machine = result["machine"]
    return [f"{versions}; commit {result['commit'] or 'unknown'}.",
            f"{machine['processor']}, {machine['cores']}; Linux {machine['kernel']}; "
            f"{machine['network']}; TLS 1.3, TLS_AES_128_GCM_SHA256, X25519, P-256; "
            f"{result['mode']} run, medians of {plural(result['rounds'], 'turn')}."]


def ratio_rows(summary, peers, primitives):
    """For the plot: each row's costs over those of the best of Debian's packages, which all use the
    same OpenSSL; peers: {name: whether it is Debian's}."""
    names = [name for name in peers if peers[name]]
    rows = []
    for kind in KINDS:
        for row in ROWS:
            entries = summary.get(kind, {}).get(row.key)
            if not entries or OURS not in entries:
                continue
            peer, best = figures.best_peer(summary, kind, row.key, names)
            if peer is None:
                continue
            ratios = {name: entry["cost"] / best for name, entry in entries.items()}
            floor = figures.floor_cost(summary, primitives, kind, row.key)
            if floor is not None:
                ratios["floor"] = floor / best
            rows.append((f"{kind}: {row.title.replace(' + 16 B + close', '')}", ratios))
    return rows


def latency_panels(summary, names):
    panels = []
    for kind, key, title in (("inbound", "trip64", "64 B round trip, inbound"),
                             ("inbound", "full", "full handshake + 16 B, inbound")):
        entries = summary.get(kind, {}).get(key, {})
        histograms = {name: entries[name]["histogram"] for name in names
                      if entries.get(name, {}).get("histogram")}
        if histograms:
            panels.append((title, histograms))
    return panels


def put_into(text, result):
    """A document with the run between its marks, headings two levels deeper than the report's."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} and {END} in it")
    lines = markdown(result).splitlines()[2:]  # without its title
    body = "\n".join("##" + line if line.startswith("## ") else line for line in lines)
    pictures = "\n".join(f"![{name.partition('.')[0]}]({name})" for name in PICTURES)
    return f"{before}{BEGIN}\n{pictures}\n\n{body}\n{END}{after}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=pathlib.Path, help="result.json of a run")
    parser.add_argument("--into", type=pathlib.Path, metavar="FILE", help="a document with the marks")
    arguments = parser.parse_args()
    result = json.loads(arguments.result.read_text())
    if arguments.into is None:
        print(markdown(result), end="")
        return 0
    arguments.into.write_text(put_into(arguments.into.read_text(), result))
    for name in PICTURES:
        shutil.copy(arguments.result.parent / name, arguments.into.parent / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
