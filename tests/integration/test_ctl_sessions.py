"""`ctl sessions` and `ctl terminate`: found by identity, rule, listener and number; cut, counted and
logged; and nothing is cut by a filter that is missing or misspelt."""

import contextlib
import json
import re
import signal

import pytest

from harness.bulkhead import ROOT, bridge, configuration, originate, rule, run_command, terminate, until
from harness.metrics import http_get, scrape
from harness.streams import RESET, PlainStream, client_context, dial, server_context, tls_connect

WEB = "spiffe://prod.example/ns/shop/sa/web"
ORDERS = "spiffe://prod.example/ns/shop/sa/orders"
PAYMENTS = "spiffe://prod.example/ns/shop/sa/payments"


@pytest.fixture(scope="module")
def place(start_shared, shared_backends, credentials, tmp_path_factory):
    """Each kind of listener; `first` and `second` let in web and orders."""
    directory = tmp_path_factory.mktemp("admin")
    server = shared_backends.tls(server_context(credentials.pair("payments")))
    plain = shared_backends.plain()
    bulkhead = start_shared(configuration(
        credentials, terminate(plain.url, name="in"), originate(server.url),
        bridge(server.url), terminate(plain.url, name="spare"),
        rules=[rule("first", WEB, "all"), rule("second", ORDERS, "all")],
        admin={"listen": f"unix://{directory}/admin.sock"}))
    bulkhead.socket = f"{directory}/admin.sock"
    return bulkhead


@pytest.fixture
def connect(place, credentials):
    """connect("web", listener) -> a stream that is served; all end with the test."""
    with contextlib.ExitStack() as stack:
        def make(name, listener="in"):
            address = place.address(listener)
            if listener == "out":
                stream = PlainStream(dial(address))
            else:
                stream = tls_connect(address, client_context(credentials.pair(name)))
            stack.enter_context(contextlib.closing(stream))
            ping(stream)
            return stream
        yield make
    until(lambda: not ask(place, "sessions")["sessions"], "no session is left")


def ping(stream):
    stream.send(b"ping")
    assert stream.recv_exactly(4) == b"ping"


def ctl(place, *arguments):
    return run_command("ctl", "--socket", place.socket, *arguments)


def ask(place, *arguments):
    result = ctl(place, *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def ended(place):
    return scrape(place.socket)("bulkhead_sessions_ended_total", reason="terminated", listener="in") or 0


def status_of(place, target, method="POST"):
    return http_get(place.socket, target, method=method)[0]


def test_a_session_is_told_whole(place, connect):
    connect("web", "bridge")
    answer = ask(place, "sessions")
    assert (answer["matched"], answer["truncated"]) == (1, False)
    [session] = answer["sessions"]
    assert session["downstream"].startswith("127.0.0.1:")
    assert session["upstream"].startswith("127.0.0.1:")
    assert (session["downstream_id"], session["upstream_id"]) == (WEB, PAYMENTS)
    assert (session["rule"], session["listener"], session["state"]) == ("first", "bridge", "relay")
    assert (session["tls_version"], session["resumed"]) == ("TLSv1.3", False)
    assert (session["upstream_tls_version"], session["upstream_resumed"]) == ("TLSv1.3", False)
    assert (session["bytes_up"], session["bytes_down"]) == (4, 4)
    assert session["ends_by"] == "peer_expired" and session["authority_ends"].endswith("Z")
    people = ctl(place, "sessions").stdout
    assert "\n1 session\n" in people and session["upstream"] in people and "TLSv1.3" in people


def test_sessions_are_found_by_each_filter(place, connect):
    connect("web"), connect("orders"), connect("web", "bridge"), connect("", "out")
    sessions = ask(place, "sessions")["sessions"]
    numbers = [s["session"] for s in sessions]
    assert numbers == sorted(numbers) and len(numbers) == 4

    def found(*filters):
        answer = ask(place, "sessions", *filters)
        assert answer["matched"] == len(answer["sessions"])
        return answer["matched"]

    assert found("--identity", WEB) == 2
    assert found("--identity", PAYMENTS) == 2  # whom we dialled
    assert found("--identity", "spiffe://prod.example/ns/shop/sa/*") == 4
    assert found("--identity", "spiffe://partner.example/**") == 0
    assert found("--rule", "first") == 2 and found("--rule", "expect") == 1
    assert found("--listener", "in") == 2 and found("--listener", "spare") == 0
    assert found("--session", numbers[0]) == 1
    assert found("--session", numbers[-1] + 100) == 0
    assert found("--identity", WEB, "--listener", "bridge", "--rule", "first") == 1
    assert found("--identity", WEB, "--rule", "second") == 0


def test_an_answer_is_bounded_and_says_so(place, connect):
    connect("web"), connect("orders"), connect("web", "bridge")
    oldest = [s["session"] for s in ask(place, "sessions")["sessions"]][:2]
    answer = ask(place, "sessions", "--limit", 2)
    assert [s["session"] for s in answer["sessions"]] == oldest
    assert (answer["matched"], answer["truncated"]) == (3, True)
    assert "the oldest of 3 that match" in ctl(place, "sessions", "--limit", 2).stdout
    assert not ask(place, "sessions", "--limit", 3)["truncated"]


def test_terminate_wants_to_know_whom(place):
    for verb in (("terminate",), ("terminate", "--json")):
        refused = ctl(place, *verb)
        assert refused.returncode == 1
        assert refused.stderr == "bulkhead ctl: say which: identity, rule, listener or session, or all\n"
        assert refused.stdout.count("\n") == (1 if "--json" in verb else 0)


@pytest.mark.parametrize("target", [
    "/sessions?limit=0", "/sessions?limit=10001", "/sessions?limit=1e3", "/sessions?limit=",
    "/sessions?limit=-1", "/sessions?session=0", "/sessions?session=18446744073709551616",
    "/sessions?session=x", "/sessions?identity=web", "/sessions?identity=", "/sessions?rule=none",
    "/sessions?listener=none", "/sessions?listener=in%00", "/sessions?all=true",
    "/sessions?identity=spiffe://prod.example", "/sessions?rule=first&rule=second",
])
def test_a_filter_that_is_no_filter_is_refused(place, target):
    assert status_of(place, target, "GET") == 400


@pytest.mark.parametrize("query, status", [
    ("", 400), ("?", 400), ("?all=false", 400), ("?all=1", 400), ("?all=", 400),
    ("?all=true&rule=first", 400), ("?rule=", 400), ("?rule=frist", 400), ("?listener=inn", 400),
    ("?identity=*", 400), ("?session=0", 400), ("?limit=1", 400), ("?identiy=x", 400),
])
def test_nothing_is_cut_by_mistake(place, connect, query, status):
    stream = connect("web")
    assert status_of(place, f"/sessions/terminate{query}") == status
    assert status_of(place, "/sessions/terminate?all=true", "GET") == 405
    ping(stream)


@pytest.mark.parametrize("arguments", [
    ["terminate"], ["terminate", "--all", "--rule", "first"], ["terminate", "--rule", "frist"],
    ["terminate", "--identity", "web"],
])
def test_what_is_refused_is_exit_code_1(place, arguments):
    result = ctl(place, *arguments)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("bulkhead ctl: ")


@pytest.mark.parametrize("arguments", [
    ["terminate", "--limit", "1"], ["terminate", "x"], ["sessions", "--all"], ["rules", "--rule", "x"],
])
def test_an_option_belongs_to_its_verb(place, arguments):
    result = ctl(place, *arguments)
    assert result.returncode == 2 and "--help" in result.stderr


def test_terminate_cuts_what_matches_and_leaves_the_rest(place, connect):
    web, orders, bridged = connect("web"), connect("orders"), connect("web", "bridge")
    before = ended(place)
    assert ask(place, "terminate", "--identity", WEB, "--listener", "in") == {"terminated": 1}
    assert web.read_to_end() == (b"", RESET)
    line = place.wait_access(reason="terminated", downstream=web.local_address())
    assert (line["event"], line["rule"], line["bytes_up"]) == ("close", "first", 4)
    line = place.wait_log("sessions_terminated", identity=WEB, listener="in", count=1)
    assert line["level"] == "info" and "uid" in line and "all" not in line
    ping(orders), ping(bridged)
    number = ask(place, "sessions", "--rule", "second")["sessions"][0]["session"]
    assert ctl(place, "terminate", "--session", number).stdout == "1 session ended\n"
    assert orders.read_to_end() == (b"", RESET)
    assert ask(place, "terminate", "--session", number) == {"terminated": 0}
    assert ask(place, "terminate", "--rule", "first") == {"terminated": 1}
    assert bridged.read_to_end() == (b"", RESET)
    after = ended(place)
    assert after - before == 2


def test_terminate_all_ends_handshakes_too_and_who_dials_again_is_served(place, connect):
    streams = [connect("web"), connect("orders", "bridge"), connect("", "out")]
    with dial(place.address("in")) as waiting:
        until(lambda: ask(place, "sessions")["matched"] == 4, "the fourth")
        assert ctl(place, "terminate", "--all").stdout == "4 sessions ended\n"
        assert PlainStream(waiting).recv() == (b"", RESET)
    assert [stream.read_to_end() for stream in streams] == [(b"", RESET)] * 3
    connect("web")


def test_sessions_are_told_while_the_process_drains(start, backends, credentials, tmp_path):
    address = f"{tmp_path}/admin.sock"
    place = start(configuration(credentials, terminate(backends.plain().url, name="in"),
                                admin={"listen": f"unix://{address}"}))
    place.socket = address
    stream = tls_connect(place.address(), client_context(credentials.pair("web")))
    ping(stream)
    place.signal()
    place.wait_log("draining")
    assert ask(place, "sessions")["matched"] == 1
    ctl(place, "terminate", "--all")  # its answer may come too late for the end of the process
    assert stream.read_to_end() == (b"", RESET)
    place.wait_exit(0)


def test_drain_is_a_verb(start, backends, credentials, tmp_path):
    address = f"{tmp_path}/admin.sock"
    place = start(configuration(credentials, terminate(backends.plain().url, name="in"),
                                drain={"delay": "1h"}, admin={"listen": f"unix://{address}"}))
    place.socket = address
    people = ctl(place, "drain")
    assert people.returncode == 0, people.stderr
    assert people.stdout == ("the drain has begun: after drain.delay (3600000 ms) no more is accepted, and "
                             "open sessions may end within drain.timeout (25000 ms)\n")
    assert ctl(place, "drain").stdout.startswith("the drain had begun before: ")
    place.wait_log("draining", trigger="ctl")
    assert ask(place, "drain")["begun_before"]
    place.signal(signal.SIGQUIT)
    place.wait_exit(0)


@pytest.mark.parametrize("verb", ["reload", "check", "sessions", "terminate", "rules", "identity",
                                  "trust", "peers", "config", "log-level", "drain", "metrics"])
def test_each_verb_has_help_with_examples(verb):
    for arguments in ([verb, "--help"], ["--help", verb]):
        result = run_command("ctl", *arguments)
        assert result.returncode == 0 and result.stderr == ""
        assert result.stdout.startswith("usage: bulkhead ctl [--socket PATH | -c FILE] " + verb)
        assert "Examples:\n  bulkhead ctl " in result.stdout and "Exit code: 0" in result.stdout
    assert f"\n  {verb} " in run_command("ctl", "--help").stdout


def test_the_readme_names_verbs_that_exist():
    text = (ROOT / "README.md").read_text()
    table = text.split("### Ask a running bulkhead")[1].split("\n## ")[0]
    known = set(re.findall(r"^  ([a-z-]+)  +\S", run_command("ctl", "--help").stdout, re.M))
    named = set(re.findall(r"(?<=\| )`([a-z][a-z-]*)[ `]", table)) | set(
        re.findall(r"`(?:bulkhead )?ctl ([a-z][a-z-]*)", text))
    assert named - {"bulkhead"} == known
