"""GET /metrics: the numbers of known loads, each refusal under its reason, both formats."""

import os
import re
import socket
import ssl
import subprocess
import time

import pytest
import yaml

from harness.bulkhead import (
    ROOT, bridge, configuration, is_sanitizer_build, originate, program, rule, run_command,
    terminate,
)
from harness.metrics import TEXT, Metrics, http_get, scrape, wait_metrics
from harness.openssl import Interactive, s_client
from harness.streams import (
    PlainStream, client_context, dial, server_context, tls_connect, tls_dial,
)
from harness.wait import until

WEB = "spiffe://prod.example/ns/shop/sa/web"
ORDERS = "spiffe://prod.example/ns/shop/sa/orders"


class Site:
    def __init__(self, start, credentials, tmp_path, *listeners, trust=None, **more):
        self.credentials = credentials
        self.socket = str(tmp_path / "admin.sock")
        self.config = configuration(
            credentials, *listeners, admin={"listen": f"unix://{self.socket}"}, **more)
        self.config["trust"] = trust or self.config["trust"]
        self.bulkhead = start(self.config)

    def scrape(self, **more):
        return scrape(self.socket, **more)

    def wait(self, condition, what):
        return wait_metrics(self.socket, condition, what)

    def wait_ended(self, count, listener="in"):
        """So many sessions have ended, and none lives."""
        return self.wait(
            lambda m: sum(m.by("bulkhead_sessions_ended_total", "reason", listener=listener)
                          .values()) == count
            and m("bulkhead_connections_active", listener=listener) == 0,
            f"{count} ended sessions")

    def connect(self, name="web", listener=None):
        stream = tls_connect(self.bulkhead.address(listener),
                             client_context(self.credentials.pair(name)))
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        return stream

    def reload(self, **changes):
        self.config = {**self.config, **changes}
        self.bulkhead.config_file.write_text(yaml.safe_dump(self.config, sort_keys=False))
        return run_command("ctl", "--socket", self.socket, "reload")


@pytest.fixture
def site(start, backends, credentials, tmp_path):
    """site(*listeners) -> a Site; by default one that terminates, with an echo behind it."""

    def make(*listeners, **more):
        listeners = listeners or (terminate(backends.plain().url),)
        return Site(start, credentials, tmp_path, *listeners, **more)

    return make


def ended(metrics, listener="in"):
    return metrics.by("bulkhead_sessions_ended_total", "reason", listener=listener)


def handshakes(metrics, side="downstream", listener="in"):
    return metrics.by("bulkhead_handshakes_total", "result", listener=listener, side=side)


def failures(metrics, side="downstream", listener="in"):
    return metrics.by("bulkhead_handshake_failures_total", "reason", listener=listener, side=side)


def decisions(metrics, listener="in", mode="enforce"):
    return metrics.by("bulkhead_decisions_total", "decision", listener=listener, mode=mode)


# ---- known loads --------------------------------------------------------------------------------


def test_a_known_load_is_counted_exactly(site, credentials):
    here = site()
    context = client_context(credentials.pair("web"))
    sizes = [0, 1, 1000, 16384, 16385, 300000, 7]
    for size in sizes:
        with tls_connect(here.bulkhead.address(), context) as stream:
            stream.send(b"x" * size) if size else None
            stream.recv_exactly(size)
            stream.end()
            stream.read_to_end()
    count, total = len(sizes), sum(sizes)
    m = here.wait_ended(count)
    assert ended(m) == {"closed": count}
    assert m("bulkhead_connections_accepted_total", listener="in") == count
    assert m("bulkhead_connections_active", listener="in") == 0
    assert m("bulkhead_connections_half_open", listener="in") == 0
    assert handshakes(m) == {"full": count, "resumed": 0, "failed": 0}
    assert handshakes(m, "upstream") == {} == failures(m)
    assert decisions(m) == {"allow": count, "deny": 0}
    assert decisions(m, mode="audit") == {"allow": 0}
    assert decisions(m, mode="shadow") == {"allow": 0, "deny": 0}
    assert m.by("bulkhead_relayed_bytes_total", "direction", listener="in") == {
        "up": total, "down": total}
    assert m.by("bulkhead_upstream_dials_total", "result", listener="in") == {
        "ok": count, "failed": 0}
    assert m("bulkhead_upstream_up", listener="in") == 1
    assert m("bulkhead_handshake_duration_seconds_count", side="downstream") == count
    assert m("bulkhead_handshake_duration_seconds_count", side="upstream") == 0
    for name in ("connect", "session"):
        assert m(f"bulkhead_{name}_duration_seconds_count", listener="in") == count
        assert m(f"bulkhead_{name}_duration_seconds_bucket", listener="in", le="+Inf") == count
        assert 0 < m(f"bulkhead_{name}_duration_seconds_sum", listener="in") < 60 * count
    assert m.by("bulkhead_sessions_lost_authority_total", "cause") == {}


def test_a_live_session_shows_before_it_ends(site):
    here = site()
    with here.connect() as stream:
        m = here.scrape()
        assert m("bulkhead_connections_active", listener="in") == 1
        assert m("bulkhead_relayed_bytes_total", listener="in", direction="up") == 4
        stream.send(b"x" * 100000)
        stream.recv_exactly(100000)
        m = here.scrape()
        assert m.by("bulkhead_relayed_bytes_total", "direction", listener="in") == {
            "up": 100004, "down": 100004}
        assert ended(m) == {}
        assert m("bulkhead_session_duration_seconds_count", listener="in") == 0
        stream.reset()
    assert ended(here.wait_ended(1)) == {"downstream_reset": 1}


def test_an_unfinished_handshake_is_half_open(site):
    here = site()
    with dial(here.bulkhead.address()) as first, dial(here.bulkhead.address()):
        m = here.wait(lambda m: m("bulkhead_connections_half_open", listener="in") == 2, "two")
        assert m("bulkhead_connections_active", listener="in") == 2
        first.send(b"\x16\x03\x01")
    m = here.wait_ended(2)
    assert m("bulkhead_connections_half_open", listener="in") == 0
    assert ended(m) == {"closed_before_hello": 1, "handshake_closed": 1}
    assert handshakes(m) == {"full": 0, "resumed": 0, "failed": 1}, "a probe is no handshake"
    assert failures(m) == {"handshake_closed": 1}


def test_both_sides_of_a_bridge(site, backends, credentials):
    backend = backends.tls(server_context(credentials.pair("orders")))
    here = site(bridge(f"mtls://{backend.address[0]}:{backend.port}", name="in"))
    for _ in range(3):
        with here.connect() as stream:
            stream.end()
            stream.read_to_end()
    m = here.wait_ended(3)
    assert handshakes(m) == {"full": 3, "resumed": 0, "failed": 0}
    upstream = handshakes(m, "upstream")
    assert upstream["failed"] == 0 and upstream["full"] >= 1
    assert upstream["full"] + upstream["resumed"] == 3
    assert decisions(m) == {"allow": 6, "deny": 0}, "the caller's and the server's"
    assert m("bulkhead_handshake_duration_seconds_count", side="upstream") == 3


def test_resumed_handshakes(site, credentials, tmp_path):
    here = site()
    session = str(tmp_path / "session.pem")
    for option in ("-sess_out", "-sess_in", "-sess_in"):
        with Interactive(here.bulkhead.address(), "-tls1_3", option, session,
                         pair=credentials.pair("web")) as peer:
            peer.send(b"ping\n")
            peer.wait_for(b"ping\n")
            peer.finish()
    m = here.wait_ended(3)
    assert handshakes(m) == {"full": 1, "resumed": 2, "failed": 0}
    assert decisions(m) == {"allow": 3, "deny": 0}, "a resumed one is decided as well"


# ---- refusals -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wall(start_shared, shared_backends, credentials, tmp_path_factory):
    return Site(start_shared, credentials, tmp_path_factory.mktemp("wall"),
                terminate(shared_backends.plain().url, timeouts={"handshake": "1s"}))


def rises(here, action, listener="in"):
    """What an action that ends as one session adds: (ended, failures of both sides, decisions)."""
    def state(m):
        return [ended(m, listener), failures(m, "downstream", listener),
                failures(m, "upstream", listener), decisions(m, listener)]

    before = here.scrape()
    count = sum(ended(before, listener).values())
    action()
    after = here.wait_ended(count + 1, listener)
    return [{key: value - old.get(key, 0) for key, value in new.items() if value != old.get(key, 0)}
            for old, new in zip(state(before), state(after))]


def client(here, name, version="1.3"):
    context = client_context(here.credentials.pair(name), version, weak=True)
    stream, failure = tls_dial(here.bulkhead.address(), context)
    with stream:
        if failure is None:
            stream.read_to_end()


def test_each_bad_certificate_is_counted_under_its_reason(wall, bad_row):
    """In TLS 1.2, which has a signature for every key; those that Python's ssl refuses to load are
    shown by the openssl program."""
    def show():
        try:
            client(wall, bad_row.name, "1.2")
        except ssl.SSLError:
            s_client(wall.bulkhead.address(), "-tls1_2", "-cipher", "DEFAULT:@SECLEVEL=0",
                     "-ign_eof", pair=wall.credentials.pair(bad_row.name))

    found = rises(wall, show)
    assert found == [{bad_row.reason: 1}, {bad_row.reason: 1}, {}, {}]


def raw(here, data):
    with PlainStream(dial(here.bulkhead.address())) as stream:
        stream.offer(data)
        stream.read_to_end()


def without_certificate(here):
    stream, failure = tls_dial(here.bulkhead.address(), client_context(None))
    with stream:
        if failure is None:
            stream.read_to_end()


@pytest.mark.parametrize("action, reason", [
    (lambda here: raw(here, b"GET / HTTP/1.1\r\n\r\n"), "tls_not_tls"),
    (lambda here: raw(here, b"\x16\x03\x01"), "handshake_timeout"),
    (without_certificate, "svid_no_certificate"),
])
def test_each_failed_handshake_is_counted_under_its_reason(wall, action, reason):
    assert rises(wall, lambda: action(wall)) == [{reason: 1}, {reason: 1}, {}, {}]


def test_a_denial_is_a_decision_and_no_failed_handshake(wall):
    full = handshakes(wall.scrape())["full"]
    assert rises(wall, lambda: client(wall, "orders")) == [
        {"policy_no_rule": 1}, {}, {}, {"deny": 1}]
    assert handshakes(wall.scrape())["full"] == full + 1


def test_a_probe_is_only_counted_as_one(wall):
    assert rises(wall, lambda: dial(wall.bulkhead.address()).close()) == [
        {"closed_before_hello": 1}, {}, {}, {}]


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_an_upstream_that_is_not_there(site):
    here = site(terminate(f"tcp://127.0.0.1:{free_port()}"))
    assert here.scrape()("bulkhead_upstream_up", listener="in") is None
    assert rises(here, lambda: client(here, "web")) == [
        {"upstream_connect_refused": 1}, {}, {}, {"allow": 1}]
    m = here.scrape()
    assert m("bulkhead_upstream_up", listener="in") == 0
    assert m.by("bulkhead_upstream_dials_total", "result", listener="in") == {"ok": 0, "failed": 1}
    assert m("bulkhead_connect_duration_seconds_count", listener="in") == 0
    assert m("bulkhead_session_duration_seconds_count", listener="in") == 0


def plain_client(here, listener):
    with PlainStream(dial(here.bulkhead.address(listener))) as stream:
        stream.offer(b"x")
        stream.read_to_end()


def test_a_server_that_is_not_expected(site, backends, credentials):
    backend = backends.tls(server_context(credentials.pair("web")))
    here = site(originate(f"mtls://{backend.address[0]}:{backend.port}", name="in", expect=ORDERS))
    found = rises(here, lambda: plain_client(here, "in"))
    assert found == [{"policy_not_expected": 1}, {}, {"policy_not_expected": 1}, {"deny": 1}]
    m = here.scrape()
    assert handshakes(m, "upstream") == {"full": 0, "resumed": 0, "failed": 1}
    assert handshakes(m) == {}, "its downstream speaks no TLS"
    assert m("bulkhead_upstream_up", listener="in") == 0


def test_an_upstream_handshake_that_its_session_cut_short(site, backends):
    silent = backends.plain(handler=lambda stream: stream.read_to_end()[1])
    here = site(originate(f"mtls://127.0.0.1:{silent.port}", name="in", expect=ORDERS),
                timeouts={"handshake": "1s"})
    found = rises(here, lambda: plain_client(here, "in"))
    assert found == [{"upstream_handshake_timeout": 1}, {}, {"upstream_handshake_timeout": 1}, {}]


def test_an_upstream_handshake_that_its_session_took_along(site, backends):
    silent = backends.plain(handler=lambda stream: stream.read_to_end()[1])
    other = originate(f"mtls://127.0.0.1:{silent.port}", name="other", expect=ORDERS)
    here = site(originate(f"mtls://127.0.0.1:{silent.port}", name="in", expect=ORDERS), other)
    with PlainStream(dial(here.bulkhead.address("in"))):
        until(lambda: silent.bytes > 0, "the ClientHello")
        here.reload(listeners=[other])
        m = here.wait(lambda m: ended(m) == {"listener_removed": 1}, "its end")
    assert failures(m, "upstream") == {"listener_removed": 1}
    assert handshakes(m, "upstream") == {"failed": 1}
    assert m.by("bulkhead_upstream_dials_total", "result", listener="in") == {}, "it never ended"
    assert m("bulkhead_upstream_up", listener="in") is None


# ---- changes ------------------------------------------------------------------------------------


def test_lost_authority_by_cause(site):
    here = site(rules=[rule("web", WEB, "in"), rule("orders", ORDERS, "in")])
    with here.connect(), here.connect("orders") as kept:
        here.reload(rules=[rule("orders", ORDERS, "in")])
        m = here.wait(lambda m: ended(m) == {"rule_removed": 1}, "the cut session")
        assert m.by("bulkhead_sessions_lost_authority_total", "cause") == {"rule_removed": 1}
        assert m("bulkhead_connections_active", listener="in") == 1
        kept.send(b"ping")
        assert kept.recv_exactly(4) == b"ping"


def test_counts_belong_to_a_listeners_name(site, backends):
    first, second = terminate(backends.plain().url), terminate(backends.plain().url, name="two")
    here = site(first, second)
    with here.connect(listener="in"):
        here.reload(listeners=[second])
        m = here.wait(lambda m: ended(m) == {"listener_removed": 1}, "its end")
    assert m("bulkhead_connections_accepted_total", listener="in") == 1
    assert m("bulkhead_connections_active", listener="in") is None, "nothing to tell of"
    assert m("bulkhead_enforcement_audit", listener="in") is None
    third = terminate(backends.plain().url, name="three")
    here.reload(listeners=[second, third])
    assert here.scrape()("bulkhead_connections_accepted_total", listener="three") == 0
    here.reload(listeners=[third, first])
    m = here.scrape()
    assert m("bulkhead_connections_active", listener="in") == 0
    # The slot's port is another one now: the last line that says where "in" listens.
    lines = until(lambda: here.bulkhead.log.find(event="listening", listener="in")[1:], "its line")
    port = int(lines[-1]["addr"].split(":")[1])
    context = client_context(here.credentials.pair("web"))
    tls_connect(("127.0.0.1", port), context).close()
    m = here.wait(lambda m: m("bulkhead_connections_accepted_total", listener="in") == 2, "two")
    assert m("bulkhead_connections_accepted_total", listener="three") == 0


def test_reloads(site):
    here = site()
    start = here.scrape()
    assert start("bulkhead_generation") == 1
    assert start("bulkhead_config_last_reload_successful") == 1
    began = start("bulkhead_config_last_reload_success_timestamp_seconds")
    assert abs(began - start("process_start_time_seconds")) < 60
    here.reload()
    here.reload(nonsense=1)
    m = here.scrape()
    assert m.by("bulkhead_reloads_total", "result") == {
        "in_force": 0, "unchanged": 1, "refused": 1, "quarantine_alone": 0}
    assert m("bulkhead_config_last_reload_successful") == 0
    good = m("bulkhead_config_last_reload_success_timestamp_seconds")
    assert good >= began and m("bulkhead_generation") == 1
    del here.config["nonsense"]
    here.reload(rules=[rule("orders", ORDERS, "in")])
    m = here.scrape()
    assert m.by("bulkhead_reloads_total", "result") == {
        "in_force": 1, "unchanged": 1, "refused": 1, "quarantine_alone": 0}
    assert (m("bulkhead_generation"), m("bulkhead_config_last_reload_successful")) == (2, 1)
    assert m("bulkhead_config_last_reload_success_timestamp_seconds") > good


def test_a_broken_source_is_no_success_though_others_go_through(site, credentials, tmp_path):
    here = site()
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing\n")
    trust = {**here.config["trust"], "partner.example": {"bundle": str(broken)}}
    here.reload(trust=trust, rules=[rule("orders", ORDERS, "in")])
    m = here.scrape()
    assert m.by("bulkhead_reloads_total", "result")["in_force"] == 1
    assert m("bulkhead_config_last_reload_successful") == 0


# ---- rules --------------------------------------------------------------------------------------


def hits(metrics, mode):
    return metrics.by("bulkhead_rule_hits_total", "rule", mode=mode)


def test_rules_hits_times_and_modes(site):
    rules = [rule("web", WEB, "in", expires="2099-01-31"), rule("idle", f"{WEB}2", "in"),
             rule("no-orders", ORDERS, "in", action="deny"),
             rule("try-no-web", WEB, "in", action="deny", mode="shadow"),
             rule("off", WEB, "in", mode="disabled")]
    here = site(rules=rules)
    began = time.time()
    for _ in range(3):
        here.connect().close()
    client(here, "orders")
    m = here.wait_ended(4)
    assert hits(m, "enforce") == {"web": 3, "idle": 0, "no-orders": 1}
    assert hits(m, "shadow") == {"try-no-web": 3}
    assert m("bulkhead_rule_hits_total", rule="no-orders", action="deny", mode="enforce") == 1
    last = m.by("bulkhead_rule_last_hit_timestamp_seconds", "rule")
    assert set(last) == {"web", "no-orders", "try-no-web"}
    assert all(began - 1 <= at <= time.time() + 1 for at in last.values())
    assert m.by("bulkhead_rule_expiry_timestamp_seconds", "rule") == {"web": 4073500800}
    assert decisions(m) == {"allow": 3, "deny": 1}
    assert decisions(m, mode="shadow") == {"allow": 0, "deny": 3}
    here.reload(rules=[rules[0], rules[1], rules[2], rule("try-no-web", f"{WEB}3", "in",
                                                          action="deny")])
    m = here.scrape()
    assert hits(m, "enforce") == {"web": 3, "idle": 0, "no-orders": 1, "try-no-web": 0}
    assert hits(m, "shadow") == {"try-no-web": 3}, "what it was counted for before"


def test_audit_admits_and_counts(site, backends):
    here = site(terminate(backends.plain().url, enforcement="audit"))
    here.connect().close()
    here.connect("orders").close()
    m = here.wait_ended(2)
    assert decisions(m) == {"allow": 1, "deny": 0}
    assert decisions(m, mode="audit") == {"allow": 1}


def memory_peak_kib(bulkhead):
    status = open(f"/proc/{bulkhead.pid}/status", encoding="ascii").read()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def test_many_rules_come_in_pieces_and_each_once(site):
    """And take no memory of the answer's size."""
    count = 28000
    here = site(rules=[rule(f"rule-number-{i}", f"spiffe://prod.example/ns/shop/sa/s{i}", "in")
                       for i in range(count)])
    before = memory_peak_kib(here.bulkhead)
    status, _, body = http_get(here.socket, "/metrics")
    assert status == 200 and len(body) > 2 << 20
    if not is_sanitizer_build():
        assert memory_peak_kib(here.bulkhead) - before < 1800, "counts of rules, and pieces"
    assert len(hits(Metrics(body), "enforce")) == count


def test_a_reload_in_the_middle_tells_no_rule_twice(site):
    """The answer waits in the socket while the rules change places."""
    rules = [rule(f"rule-{i:05}", f"spiffe://prod.example/ns/shop/sa/s{i}", "in")
             for i in range(6000)]
    here = site(rules=rules)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(here.socket)
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = sock.recv(1000)
        here.reload(rules=rules[::-1][:3000])
        assert here.scrape()("bulkhead_generation") == 2
        while piece := sock.recv(1 << 20):
            answer += piece
    m = Metrics(answer.partition(b"\r\n\r\n")[2])
    assert len(hits(m, "enforce")) == 6000


# ---- state --------------------------------------------------------------------------------------


def enddate(file, option="-enddate", kind="x509"):
    text = subprocess.run(["openssl", kind, "-in", file, "-noout", option], capture_output=True,
                          text=True, check=True).stdout
    return int(subprocess.run(["date", "-u", "-d", text.split("=")[1], "+%s"], capture_output=True,
                              text=True, check=True).stdout)


def test_certificates(reloadable, backends, tmp_path):
    socket_path = str(tmp_path / "a.sock")
    here = reloadable(terminate(backends.plain().url), crl=True,
                      admin={"listen": f"unix://{socket_path}"})
    m = scrape(socket_path)
    domain = here.issuer.domain
    assert m.by("bulkhead_svid_not_after_timestamp_seconds", "spiffe_id") == {
        ORDERS: enddate(here.certificate)}
    assert m("bulkhead_svid_not_before_timestamp_seconds", spiffe_id=ORDERS) == enddate(
        here.certificate, "-startdate")
    assert m("bulkhead_bundle_not_after_timestamp_seconds", trust_domain=domain) == enddate(
        here.bundle)
    assert m("bulkhead_bundle_anchors", trust_domain=domain) == 1
    assert m("bulkhead_crl_next_update_timestamp_seconds", trust_domain=domain) == enddate(
        here.crl, "-nextupdate", "crl")
    assert m("bulkhead_anchors_without_crl", trust_domain=domain) == 0


def test_an_anchor_without_a_crl(site, credentials, issuer, tmp_path):
    """The domain has several anchors, one of which has expired; the CRL is another CA's."""
    crl = tmp_path / "other.crl"
    issuer.crl(crl)
    here = site(trust={"prod.example": {"bundle": credentials.bundle("prod.example"),
                                        "crl": str(crl)}})
    m = here.scrape()
    warnings = [line for line in here.bulkhead.log.find(event="config_warning")
                if "what the anchor" in line["message"]]
    assert m("bulkhead_anchors_without_crl", trust_domain="prod.example") == len(warnings) > 1
    assert m("bulkhead_bundle_anchors", trust_domain="prod.example") == len(warnings) + 1


def test_audit_and_quarantine_and_the_logs(site, backends):
    here = site(terminate(backends.plain().url, enforcement="audit"),
                terminate(backends.plain().url, name="two"),
                quarantine=["spiffe://prod.example/ns/shop/sa/wiki"])
    m = here.scrape()
    assert m.by("bulkhead_enforcement_audit", "listener") == {"in": 1, "two": 0}
    assert m("bulkhead_quarantine_entries") == 1
    assert m("bulkhead_failing_tests") == 0
    assert m.by("bulkhead_log_lines_dropped_total", "log") == {"access": 0, "process": 0}


def test_the_process(site):
    here = site()
    before = here.bulkhead.descriptors()
    m = here.scrape()
    status = open(f"/proc/{here.bulkhead.pid}/status", encoding="ascii").read()
    assert m("process_threads") == int(re.search(r"Threads:\s+(\d+)", status)[1])
    assert m("process_open_fds") == before + 1, "and the scrape's own"
    limits = open(f"/proc/{here.bulkhead.pid}/limits", encoding="ascii").read()
    assert m("process_max_fds") == int(re.search(r"Max open files\s+(\d+)", limits)[1])
    assert m("process_cpu_seconds_total") > 0
    assert m("process_virtual_memory_bytes") > m("process_resident_memory_bytes") > 1 << 20
    assert m.by("bulkhead_build_info", "version") == {
        run_command("version").stdout.split()[1]: 1}


def test_peers_up_to_the_cap(site):
    here = site(rules=[rule("web", WEB, "in"), rule("orders", ORDERS, "in")], metrics={"peers": 1})
    for name in ("web", "orders", "web"):
        here.connect(name).close()
    here.wait_ended(3)
    m = here.scrape()
    assert m.by("bulkhead_peer_decisions_total", "peer", decision="allow") == {WEB: 2, "other": 1}
    assert m.by("bulkhead_peer_decisions_total", "peer", decision="deny") == {WEB: 0, "other": 0}
    assert not [key for key in site_families(here, "bulkhead_peer_decisions_total")
                if ORDERS in str(key)]


def site_families(here, name):
    return [key for key in here.scrape().samples if key[0] == name]


def test_no_peers_by_default(site):
    here = site()
    here.connect().close()
    m = here.wait_ended(1)
    assert "bulkhead_peer_decisions_total" not in m.families()
    assert not [key for key in m.samples if WEB in str(key)]


# ---- the answer ---------------------------------------------------------------------------------


def test_both_formats_say_the_same_in_the_same_order(site):
    here = site()
    here.connect().close()
    here.wait_ended(1)
    text, again, opened = here.scrape(), here.scrape(), here.scrape(openmetrics=True)
    assert text.order == again.order
    assert [name for name, _ in text.order] == [name for name, _ in opened.order]
    assert {family.removesuffix("_total") for family in text.families()} == opened.families()
    changing = ("process_cpu", "process_resident", "process_virtual", "process_open_fds")
    for key in text.order:
        if not key[0].startswith(changing) and not any(label == "le" for label, _ in key[1]):
            assert opened.samples[key] == text.samples[key], key


def test_requests(site):
    here = site()
    status, headers, body = http_get(here.socket, "/metrics", method="HEAD")
    assert (status, headers["Content-Type"], body) == (200, TEXT, b"")
    status, headers, body = http_get(here.socket, "/metrics", version="1.0")
    assert status == 200 and "Transfer-Encoding" not in headers
    assert Metrics(body)("bulkhead_generation") == 1
    status, headers, _ = http_get(here.socket, "/metrics", method="POST")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_ctl_prints_them(site):
    here = site()
    result = run_command("ctl", "--socket", here.socket, "metrics")
    assert result.returncode == 0 and result.stderr == ""
    assert Metrics(result.stdout.encode())("bulkhead_generation") == 1
    result = run_command("ctl", "--socket", here.socket, "metrics", "--json")
    assert result.returncode == 2 and "not JSON" in result.stderr
    result = run_command("ctl", "--socket", here.socket, "metrics", stdout_file=open("/dev/full", "w"))
    assert result.returncode == 1


def test_many_listeners_come_in_pieces_and_each_once(site, backends):
    backend = backends.plain()
    here = site(*[terminate(backend.url, name=f"listener-{i}") for i in range(300)])
    status, _, body = http_get(here.socket, "/metrics")
    assert status == 200 and len(body) > 1 << 20
    m = Metrics(body)
    assert len(m.by("bulkhead_connections_accepted_total", "listener")) == 300


def test_clients_that_go_in_the_middle_leave_nothing(site, backends):
    backend = backends.plain()
    here = site(*[terminate(backend.url, name=f"listener-{i}") for i in range(300)])
    before = here.bulkhead.descriptors()
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(here.socket)
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            sock.recv(1000)
    here.wait(lambda m: m("process_open_fds") == before + 1, "their descriptors to close")


# ---- the document -------------------------------------------------------------------------------


def tool(name):
    beside = os.path.join(os.path.dirname(program()), "tests", "tools", name)
    return beside if os.path.exists(beside) else str(ROOT / "build/release/tests/tools" / name)


def test_the_reference_is_what_the_table_says():
    made = subprocess.run([tool("metrics_reference")], capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "config" / "METRICS.md").read_text(), "run `make reference`"


def test_every_documented_family_is_served_and_no_other(site, backends, credentials, issuer,
                                                        tmp_path):
    crl = tmp_path / "some.crl"
    issuer.crl(crl)
    trust = {"prod.example": {"bundle": credentials.bundle("prod.example")},
             "partner.example": {"bundle": credentials.bundle("partner.example"),
                                 "crl": str(crl)}}
    orders = rule("orders", ORDERS, "in", expires="2099-01-31")
    here = site(trust=trust, metrics={"peers": 1}, rules=[rule("web", WEB, "in"), orders])
    here.connect("orders").close()
    without_certificate(here)
    with here.connect():
        here.reload(rules=[orders])
    m = here.wait_ended(3)
    text = (ROOT / "config" / "METRICS.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", text, re.M))
    assert m.types == rows
