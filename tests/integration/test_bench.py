"""The parts of the bench that only compute: medians, the floor, targets, the report, the pictures."""

import json
import pathlib
import sys
import xml.etree.ElementTree

import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "bench"))

import figures  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402

PRIMITIVES = {
    "library": "OpenSSL 3.0", "sign_ns": 20000, "verify_ns": 60000, "keygen_ns": 30000,
    "derive_ns": 40000, "seal_64_ns": 300, "open_64_ns": 200, "seal_4096_ns": 900,
    "open_4096_ns": 900, "seal_16384_ns": 3276.8, "open_16384_ns": 1638.4,
}
HISTOGRAM = [[100, 50], [200, 45], [400, 4], [800, 1]]
PEERS = {"bulkhead": True, "haproxy": True, "nginx": True, "envoy": False}
SVG = "{http://www.w3.org/2000/svg}"


def sample(kind, row, peer, cost, number=0, **more):
    return {"kind": kind, "row": row, "peer": peer, "round": number, "cost": cost, **more}


def measured(kind, row, **costs):
    return [sample(kind, row, peer, cost, rate=1000.0, p50=100, p99=400, p999=800,
                   histogram=HISTOGRAM) for peer, cost in costs.items()]


@pytest.fixture
def samples():
    found = measured("relay", "full", **{"bare relay": 30.0})
    for row in ("trip64", "trip4k", "up", "down"):
        found += measured("relay", row, **{"bare relay": 0.2 if row in ("up", "down") else 6.0})
    for kind in ("inbound", "outbound"):
        for place, row in enumerate(figures.ROWS):
            found += measured(kind, row.key, bulkhead=1.0 + place, haproxy=2.0 + place,
                              nginx=3.0 + place, envoy=0.9 + place)
    return found


@pytest.fixture
def result(samples):
    summary = figures.summarise(samples)
    return {
        "commit": "abc1234", "mode": "full", "rounds": 9, "seconds": 600.0,
        "not_resumed": {"nginx, outbound": [0.0, 0.034], "bulkhead, outbound": [0.001]},
        "machine": {"processor": "a <fast> one & only", "cores": "2 cores", "kernel": "6.1",
                    "network": "reno for all", "load_average": 0.5, "load_average_after": 1.0,
                    "descriptors": 20000},
        "versions": ["bulkhead 1", "HAProxy 2"], "peers": PEERS,
        "absent": ["ghostunnel"], "primitives": PRIMITIVES, "summary": summary,
        "storm": {"how": "so", "rows": [{
            "peer": "bulkhead", "work": "full", "alone": {"p50": 50, "p99": 90, "p999": 100},
            "storm": {"p50": 60, "p99": 95, "p999": 200}, "handshakes_per_s": 2000.0, "not_resumed": 0,
            "busy": 0.6}]},
        "scaling": {"how": "so", "round_trip": {"bulkhead": [[100, 8.0], [9900, 9.0]],
                                                "bare relay": [[100, 5.0], [9900, 5.5]]},
                    "idle": {"bulkhead": [[100, 20.0], [9900, 19.0]]}, "counts": [100, 9900]},
        "workers": {"how": "so", "rows": [{"row": "full", "one": 300.0, "two": 310.0}]},
        "targets": figures.decide_all(summary, PEERS, PRIMITIVES), "problems": [],
        "directory": "build/bench", "commands": ["bulkhead run -c x"]}


def test_median_least_and_most_over_rounds():
    rounds = [sample("inbound", "full", "nginx", cost, number, p99=p99)
              for number, (cost, p99) in enumerate(((3.0, 10), (1.0, 30), (2.0, 20)))]
    entry = figures.summarise(rounds)["inbound"]["full"]["nginx"]
    assert (entry["cost"], entry["least"], entry["most"], entry["p99"]) == (2.0, 1.0, 3.0, 20)
    assert entry["rounds"] == 3 and "rate" not in entry and "histogram" not in entry


def test_histograms_add_by_class_and_give_percentiles():
    total = figures.add_histograms([[[100, 1], [200, 2]], [[200, 3], [50, 4]]])
    assert total == [[50, 4], [100, 1], [200, 5]]
    assert [figures.percentile(HISTOGRAM, share) for share in (0.5, 0.95, 0.96, 1.0)] == [
        100, 200, 400, 800]
    assert figures.percentile([], 0.5) is None


def test_floor_is_relay_and_primitives(samples):
    summary = figures.summarise(samples)

    def floor(kind, row):
        return figures.floor_cost(summary, PRIMITIVES, kind, row)
    assert floor("inbound", "full") == pytest.approx(30 + 150)
    assert floor("inbound", "resumed") == pytest.approx(30 + 70)
    assert floor("bridge", "full") == pytest.approx(30 + 300)
    assert floor("inbound", "trip64") == pytest.approx(6.5)
    assert floor("inbound", "up") == pytest.approx(0.2 + 0.1)  # opened
    assert floor("inbound", "down") == floor("outbound", "up") == pytest.approx(0.2 + 0.2)
    assert floor("bridge", "down") == pytest.approx(0.2 + 0.3)
    assert floor("inbound", "idle") is None
    assert figures.floor_cost({}, PRIMITIVES, "inbound", "full") is None


@pytest.mark.parametrize("ours, reached", [(5.0, True), (5.001, False), (0.1, True), (10.0, False)])
def test_target_is_a_factor_of_the_best_peer(ours, reached):
    target = figures.Target("inbound", "full", 0.75, 0.56)
    summary = figures.summarise(measured("inbound", "full", bulkhead=ours, haproxy=12.0, nginx=10.0))
    row = figures.decide(target, summary, ["bulkhead", "haproxy", "nginx"], 0.5)
    assert (row["peer"], row["theirs"], row["reached"]) == ("nginx", 10.0, reached)


def test_a_ratio_is_of_windows_that_lie_together():
    """The machine took three times as long in the second turn, and ours was measured in it twice."""
    costs = {0: (4.0, 10.0), 1: (12.6, 30.0), 2: (13.2, 30.0)}
    samples = [sample("inbound", "full", peer, pair[place], turn)
               for turn, pair in costs.items() for place, peer in enumerate(("bulkhead", "nginx"))]
    summary = figures.summarise(samples)
    row = figures.decide(figures.Target("inbound", "full", 0.75, 0.56), summary, PEERS, 0.43)
    assert row["ratio"] == pytest.approx(0.42) and row["reached"]
    assert (row["ours"], row["theirs"]) == (12.6, 30.0)
    alone = figures.summarise([sample("inbound", "full", "bulkhead", 4.0, 0),
                               sample("inbound", "full", "nginx", 10.0, 1)])
    assert figures.ratio_of(alone, "inbound", "full", "nginx") == pytest.approx(0.4)


def test_what_was_not_resumed_is_said(result):
    text = report.markdown(result)
    assert "to resume and did not: nginx, outbound 3.4%." in text


def test_absolute_target():
    target = figures.Target("inbound", "start", most=7.0)
    for ours, reached in ((7.0, True), (7.1, False)):
        summary = figures.summarise(measured("inbound", "start", bulkhead=ours, nginx=1.0))
        assert figures.decide(target, summary, ["nginx"], 0)["reached"] is reached


def test_no_verdict_without_figures():
    target = figures.Target("inbound", "full", 0.75, 0.56)
    only_ours = figures.summarise(measured("inbound", "full", bulkhead=1.0))
    only_theirs = figures.summarise(measured("inbound", "full", nginx=1.0))
    assert figures.decide(target, only_ours, ["bulkhead"], 0.5) is None
    assert figures.decide(target, only_theirs, ["nginx"], 0.5) is None
    assert figures.decide_all({}, PEERS) == {"Debian's peers": []}


def test_the_set_with_ghostunnel_only_when_it_ran(samples):
    with_it = figures.decide_all(figures.summarise(
        samples + measured("inbound", "full", ghostunnel=0.5)), {**PEERS, "ghostunnel": False})
    assert list(with_it) == ["with Ghostunnel", "Debian's peers"]
    rows = {name: {(row["kind"], row["row"]): row for row in rows}
            for name, rows in with_it.items()}
    assert rows["with Ghostunnel"]["inbound", "full"]["peer"] == "ghostunnel"
    assert rows["with Ghostunnel"]["inbound", "trip64"]["peer"] == "envoy"
    assert rows["Debian's peers"]["inbound", "full"]["peer"] == "haproxy"
    assert list(figures.decide_all(figures.summarise(samples), PEERS)) == ["Debian's peers"]


def test_paper_follows_from_the_figures(samples):
    summary = figures.summarise(samples)
    gateway = figures.gateway_on_paper(summary, "bulkhead")
    assert gateway["full"] == pytest.approx(64 * 0.7 * 1e6 / 1.0)
    assert gateway["idle_gib"] == pytest.approx(1e6 * 7.0 / (1 << 20))
    fleet = figures.fleet_on_paper(summary, "bulkhead")
    one = 2 * (0.1 * 1 + 0.9 * 2) * 1e-6 + 100 * 4e-6 + 1e5 * 5.5e-9
    assert fleet["cores"] == pytest.approx(1e5 * one)
    assert fleet["gib"] == pytest.approx(1e5 * (200 * 7 / (1 << 20) + 8 / 1024))
    assert figures.fleet_on_paper(summary, "hitch") is None


def test_report_has_every_part_and_whole_tables(result):
    text = report.markdown(result)
    json.dumps(result)
    for wanted in ("Targets, Debian's peers", "Not found, so not measured: ghostunnel", "On paper",
                   "abc1234", "not reached", "| reached |", "bulkhead run -c x", "\nnone\n"):
        assert wanted in text
    width = 0
    for line in text.splitlines():
        if line.startswith("|"):
            assert width in (0, line.count("|")), line
            width = line.count("|")
        else:
            width = 0
    assert "\x1b" not in text and "\x1b[31mnot reached" in report.coloured(text)


def test_report_names_errors_and_bears_a_lost_peer(result, samples):
    result["problems"] = ["nginx, inbound: 3 wrong bytes"]
    result["summary"] = figures.summarise(
        [s for s in samples if (s["peer"], s["row"]) not in (("nginx", "full"), ("envoy", "down"))])
    text = report.markdown(result)
    paper = text.partition("## On paper")[2].partition("\n## ")[0]
    assert "\n| haproxy |" in paper and "nginx" not in paper and "envoy" not in paper
    assert "* nginx, inbound: 3 wrong bytes" in text
    assert "| – |" in next(line for line in text.splitlines() if line.startswith("| full handshake"))


def test_report_goes_between_the_marks(result):
    before = f"# Title\n\n{report.BEGIN}\nold\n{report.END}\n\n## Next\n"
    after = report.put_into(before, result)
    assert after.startswith(f"# Title\n\n{report.BEGIN}\n![ratio](ratio.svg)\n")
    assert after.endswith(f"{report.END}\n\n## Next\n") and "\nold\n" not in after
    assert "\n#### Errors\n" in after and after.count("\n## ") == 1
    assert report.put_into(after, result) == after
    with pytest.raises(ValueError):
        report.put_into("# Title\n", result)


def test_best_of_a_row_is_bold():
    summary = figures.summarise(measured("inbound", "full", bulkhead=5.0, nginx=4.0))
    row = report.cost_table("inbound", summary, PEERS, None).splitlines()[-1]
    assert row == "| full handshake + 16 B + close, µs | – | 5.00 | **4.00** |"


def test_ratios_are_to_the_best_on_openssl(result):
    rows = dict(report.ratio_rows(result["summary"], PEERS, PRIMITIVES))
    assert rows["inbound: full handshake"] == pytest.approx(
        {"bulkhead": 0.5, "haproxy": 1.0, "nginx": 1.5, "envoy": 0.45, "floor": 90.0})
    assert "floor" not in rows["inbound: idle connection"]


def test_pictures_are_well_formed_and_show_every_peer(result):
    names = list(result["peers"])
    caption = report.captions(result)
    pictures = [
        plot.ratio_plot(report.ratio_rows(result["summary"], PEERS, PRIMITIVES),
                        [*names, "floor"], caption),
        plot.scaling_plot(result["scaling"]["round_trip"], caption),
        plot.latency_plot(report.latency_panels(result["summary"], names), caption)]
    for picture in pictures:
        root = xml.etree.ElementTree.fromstring(picture)
        texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
        assert root.tag == f"{SVG}svg" and root.find(f"{SVG}title").text
        assert "bulkhead" in texts and any("abc1234" in text for text in texts)
        assert any("a <fast> one & only" in text for text in texts)
        assert any("logarithmic" in text for text in texts)
        for place in root.iter():
            for name in ("x", "y", "cx", "cy", "x1", "x2"):
                assert -1 <= float(place.get(name, 0)) <= 2000


def test_pictures_of_nothing_are_pictures_too():
    for picture in (plot.ratio_plot([], [], []), plot.scaling_plot({}, []), plot.latency_plot([], [])):
        xml.etree.ElementTree.fromstring(picture)
