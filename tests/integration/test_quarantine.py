"""The quarantine: refused now and cut now, in both directions, whatever else is wrong."""

import contextlib
import hashlib
import json
import socket
import ssl

import pytest
import yaml

from harness.bulkhead import bridge, configuration, originate, rule, run_command, terminate
from harness.halting import Hanging, halted
from harness.issuer import Issuer
from harness.openssl import Interactive
from harness.reloading import overwrite, ping, replace
from harness.streams import (
    RESET, PlainStream, TlsStream, client_context, dial, server_context, tls_connect, tls_dial,
)
from harness.wait import until


def anybody():
    return [rule("all", "spiffe://prod.example/**", "all")]


def fingerprint(svid):
    der = ssl.PEM_cert_to_DER_cert(svid.chain.read_text())
    return "sha256:" + hashlib.sha256(der).hexdigest()


def assert_cut(place, stream, entry):
    assert stream.read_to_end() == (b"", RESET)
    line = place.ended(stream)
    assert (line["event"], line["reason"]) == ("close", "quarantined"), line
    assert line["detail"] == f'quarantine holds it: "{entry}"'
    return line


def assert_refused(place, svid, entry, listener=None):
    stream, failure = tls_dial(place.address(listener), client_context(svid.pair))
    with stream:
        assert failure is not None or stream.read_to_end() == (b"", RESET)
        line = place.ended(stream)
    assert (line["event"], line["reason"]) == ("deny", "policy_quarantine"), line
    assert line["detail"] == f'quarantine holds it: "{entry}"'
    return line


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "quarantine"
    path.write_text("# nobody yet\n")
    return path


# ---- Where it comes from ----------------------------------------------------------------------


def by_reload(place, _, entry):
    place.apply(quarantine=[entry])


def by_signal(place, file, entry):
    file.write_text(f"{entry}\n")
    assert place.reload()["result"] == "in_force"


def by_rename(place, file, entry):
    replace(file, f"# the incident of Monday\r\n\r\n{entry} # taken\r\n")
    place.wait_reload(trigger="watch", result="in_force")


def by_writing(place, file, entry):
    overwrite(file, f"{entry}\n")
    place.wait_reload(trigger="watch", result="in_force")


def by_include(place, _, entry):
    folder = place.directory / "rules.d"
    folder.mkdir(exist_ok=True)
    (folder / "incident.yaml").write_text(yaml.safe_dump({"quarantine": [entry]}))
    place.apply(include=[f"{folder}/*.yaml"])


WAYS = [by_reload, by_signal, by_rename, by_writing, by_include]


@pytest.mark.parametrize("way", WAYS)
def test_a_quarantine_cuts_and_refuses_its_peer_and_nobody_else(reloadable, backends, issuer, shop,
                                                                file, way):
    place = reloadable(terminate(backends.plain().url), rules=anybody(), quarantine_file=str(file))
    wiki = issuer.id("wiki")
    with place.connect(shop("wiki")) as held, place.connect(shop("web")) as other:
        way(place, file, wiki)
        line = assert_cut(place, held, wiki)
        assert line["rule"] == "all" and line["downstream_id"] == wiki
        ping(other)
        said = place.log.find(event="reload", result="in_force")[-1]
        assert (said["quarantine_added"], said["ended_quarantined"]) == (1, 1)
        assert (said["judged"], said["kept"]) == (2, 1)
        assert_refused(place, shop("wiki"), wiki)
        ping(other)
    with place.connect(shop("web")):
        pass


def test_what_leaves_the_quarantine_is_let_in_again(reloadable, backends, issuer, shop, file):
    file.write_text(f"{issuer.id('wiki')}\n")
    place = reloadable(terminate(backends.plain().url), rules=anybody(), quarantine_file=str(file),
                       quarantine=[issuer.id("web"), issuer.id("wiki")])
    assert place.wait_log("ready")["quarantine"] == 2
    assert_refused(place, shop("wiki"), issuer.id("wiki"))
    assert_refused(place, shop("web"), issuer.id("web"))
    place.apply(quarantine=[])
    with place.connect(shop("web")) as stream:
        assert_refused(place, shop("wiki"), issuer.id("wiki"))
        replace(file, "")
        line = place.wait_reload(trigger="watch", result="in_force")
        assert line["quarantine_removed"] == 1 and line["ended"] == 0
        with place.connect(shop("wiki")):
            ping(stream)


def test_one_certificate_and_not_its_replicas(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=anybody())
    taken, sound = issuer.issue("web"), issuer.issue("web")
    entry = fingerprint(taken)
    with place.connect(taken) as held, place.connect(sound) as other:
        place.apply(quarantine=entry)
        assert_cut(place, held, entry)
        assert_refused(place, taken, entry)
        ping(other)
    with place.connect(sound):
        pass


def test_a_pattern_holds_all_that_it_fits(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=anybody())
    entry = "spiffe://prod.example/ns/*/sa/wiki"
    with place.connect(shop("wiki")) as held, place.connect(shop("web")) as other:
        place.apply(quarantine=[entry, "spiffe://prod.example/ns/shop"])
        assert_cut(place, held, entry)
        ping(other)


# ---- Above everything -------------------------------------------------------------------------


@pytest.mark.parametrize("more", [
    {"enforcement": "audit", "rules": []}, {"rules": anybody()},
    {"rules": [rule("shadow", "spiffe://prod.example/**", "all", mode="shadow")],
     "enforcement": "audit"},
])
def test_no_rule_and_no_audit_lets_it_through(reloadable, backends, issuer, shop, more):
    backend = backends.plain()
    place = reloadable(terminate(backend.url), quarantine=[issuer.id("wiki")], **more)
    assert_refused(place, shop("wiki"), issuer.id("wiki"))
    assert backend.untouched()


@pytest.mark.parametrize("resumption", ["none", "memory"])
@pytest.mark.parametrize("kind", [originate, bridge])
def test_a_server_in_quarantine_gets_neither_certificate_nor_byte(reloadable, backends, issuer,
                                                                  shop, kind, resumption):
    """One that resumes has seen our certificate before: it gets no byte."""
    server = backends.tls(server_context(shop("payments").pair, issuer.bundle))
    place = reloadable(kind(server.url, name="x", resumption=resumption), rules=anybody())
    entry = issuer.id("payments")

    def call():
        return (PlainStream(dial(place.address())) if kind is originate
                else tls_connect(place.address(), client_context(shop("web").pair)))

    with call() as held:
        ping(held)
        place.apply(quarantine=[entry])
        assert_cut(place, held, entry)
        assert server.wait_ends() == [RESET]
        for _ in range(2):
            with call() as refused:
                refused.offer(b"secret")
                assert refused.read_to_end() == (b"", RESET)
                line = place.ended(refused)
                assert (line["event"], line["reason"]) == ("deny", "policy_quarantine")
                assert line["detail"] == f'quarantine holds it: "{entry}"'
                assert line["claimed_id"] == entry
    until(lambda: len(server.handshakes) == 3, "the refused handshakes")
    assert server.handshakes[0] is None and server.plain_bytes == 4
    if resumption == "none":
        assert server.peers[1:] == [None, None]


def test_a_bridge_holds_its_caller_too(reloadable, backends, issuer, shop):
    server = backends.tls(server_context(shop("payments").pair, issuer.bundle))
    place = reloadable(bridge(server.url, name="x"), rules=anybody())
    with place.connect(shop("wiki")) as held, place.connect(shop("web")) as other:
        place.apply(quarantine=[issuer.id("wiki")])
        assert_cut(place, held, issuer.id("wiki"))
        ping(other)


def test_who_resumes_is_refused_as_well(reloadable, backends, issuer, shop, tmp_path):
    place = reloadable(terminate(backends.plain().url), rules=anybody())
    session = tmp_path / "session.pem"

    def connect(*options):
        with Interactive(place.address(), "-tls1_3", *options, pair=shop("wiki").pair) as client:
            client.send(b"ping\n")
            if "-sess_out" in options:
                client.wait_for(b"ping\n")
            return client.finish()

    connect("-sess_out", str(session))
    place.apply(quarantine=[issuer.id("wiki")])
    output = connect("-sess_in", str(session))
    line = place.wait_access(event="deny")
    assert line["reason"] == "policy_quarantine" and line["tls"].get("resumed"), (line, output)


# ---- In every state ---------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [0, 1, 2, 3])
def test_a_quarantine_between_the_records_of_a_handshake(reloadable, backends, issuer, shop, sent):
    backend = backends.plain()
    place = reloadable(terminate(backend.url), rules=anybody())
    with halted(place, shop("wiki")) as stream:
        stream.step(sent)
        place.apply(quarantine=[issuer.id("wiki")])
        try:
            stream.step()
        except OSError:
            pass  # cut already
        assert stream.outcome() != b"ping"
        line = place.ended(stream)
        wanted = {"policy_quarantine"} | ({"quarantined"} if sent == 3 else set())
        assert line["reason"] in wanted, line
        assert backend.connections == 0 or sent == 3


def test_a_quarantine_of_a_caller_that_waits_for_its_dial(reloadable, backends, issuer, shop):
    with Hanging() as server:
        place = reloadable(bridge(server.url.replace("tcp", "mtls")), rules=anybody())
        caller = tls_connect(place.address(), client_context(shop("wiki").pair))
        with caller, server.accept():
            place.apply(quarantine=[issuer.id("wiki")])
            assert caller.read_to_end() == (b"", RESET)
            line = place.ended(caller)
            assert (line["event"], line["reason"]) == ("deny", "quarantined")


class Dawdler(TlsStream):
    """A server that keeps the last record of its first flight until it is told to send it."""

    def begin(self):
        while not self.outgoing.pending:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                if not self.outgoing.pending:
                    self._feed()
        data = self.outgoing.read()
        at, last = 0, 0
        while at < len(data):
            last, at = at, at + 5 + int.from_bytes(data[at + 3:at + 5], "big")
        self.rest = data[last:]
        self.sock.sendall(data[:last])
        return self


@pytest.mark.parametrize("change, reason", [
    ("quarantine", "quarantined"), ("expect", "expect_changed"), ("bundle", "bundle_withdrawn"),
])
def test_a_change_between_a_servers_certificate_and_its_finished(reloadable, backends, issuer, shop,
                                                                 tmp_path, change, reason):
    """It was admitted by its certificate, and is held before its handshake is over."""
    with Hanging() as server:
        place = reloadable(originate(server.url.replace("tcp", "mtls"), name="x"), rules=[])
        with PlainStream(dial(place.address())) as caller, server.accept() as sock:
            caller.send(b"secret")
            stream = Dawdler(sock, server_context(shop("payments").pair, issuer.bundle),
                             server_side=True).begin()
            wait_read(sock)
            if change == "quarantine":
                place.apply(quarantine=[issuer.id("payments")])
            elif change == "expect":
                place.apply(listeners=place.listener(expect=issuer.id("wiki")))
            else:
                replace(place.bundle, Issuer(tmp_path / "other").bundle.read_bytes())
                assert place.reload()["ended"] == 1
            assert caller.read_to_end() == (b"", RESET)
            assert place.ended(caller)["reason"] == reason
            # Its Finished comes too late: our certificate never goes out.
            with contextlib.suppress(OSError):
                stream.sock.sendall(stream.rest)
            assert stream.handshake() is not None


def wait_read(sock):
    """The other end has read, and so judged, all that was sent on sock."""
    port = f"{sock.getpeername()[1]:04X}"

    def queues():
        with open("/proc/self/net/tcp", encoding="ascii") as table:
            rows = [line.split() for line in table][1:]
        return [row[4] for row in rows
                if row[1].endswith(f":{port}") or row[2].endswith(f":{port}")]

    until(lambda: set(queues()) == {"00000000:00000000"}, "the other end to read")


def test_a_quarantine_cuts_a_broken_stream_that_flushes(reloadable, backends, issuer, shop):
    """Its end has come already, but not all of its bytes: none goes on."""
    sent = 64 * 1024 * 1024

    def stall(stream):
        until(lambda: stalled["go"], "the test")
        return stream.read_to_end()[1]

    stalled = {"go": False}
    backend = backends.plain(handler=stall)
    place = reloadable(terminate(backend.url), rules=anybody())
    with tls_connect(place.address(), client_context(shop("wiki").pair)) as stream:
        stream.sock.setblocking(False)
        try:
            for _ in range(sent // 65536):
                stream.send(b"x" * 65536)
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        address = stream.local_address()
        stream.reset()
    place.apply(quarantine=[issuer.id("wiki")])
    line = place.wait_access(downstream=address)
    assert line["reason"] in ("quarantined", "downstream_reset", "downstream_truncated"), line
    stalled["go"] = True
    assert backend.wait_ends() == [RESET]


def test_a_quarantine_takes_effect_while_the_process_drains(reloadable, backends, issuer, shop,
                                                            file):
    place = reloadable(terminate(backends.plain().url), rules=anybody(), quarantine_file=str(file),
                       drain={"timeout": "1h"})
    with place.connect(shop("wiki")) as held, place.connect(shop("web")) as other:
        place.signal(15)
        place.wait_log("draining")
        place.write(rules=[], quarantine=[issuer.id("wiki")])
        line = place.reload()
        assert (line["result"], line["error"]) == ("quarantine_alone", "the process is stopping")
        assert_cut(place, held, issuer.id("wiki"))
        ping(other)
        with socket.socket() as sock:
            assert sock.connect_ex(place.address()) != 0, "it accepts no more"
        replace(file, f"{issuer.id('web')}\n")
        assert_cut(place, other, issuer.id("web"))
    place.wait_exit()


# ---- Nothing holds it back --------------------------------------------------------------------


def port_in_use(place):
    taken = socket.create_server(("127.0.0.1", 0))
    place.taken = taken
    port = taken.getsockname()[1]
    return {"listeners": place.listener(accept=f"mtls://127.0.0.1:{port}")}


REFUSED = {
    "an unknown key": lambda place: {"ruls": []},
    "a wrong rule": lambda place: {"rules": [rule("x", "spiffe://*/x", "all")]},
    "an unknown listener": lambda place: {"rules": [rule("x", place.issuer.id("x"), "none")]},
    "an unknown group": lambda place: {"rules": [rule("x", "group:none", "all")]},
    "a wrong listener": lambda place: {"listeners": place.listener(accept="tcp://127.0.0.1:0")},
    "no listener": lambda place: {"listeners": []},
    "a wrong pin": lambda place: {"identity": {**place.config["identity"],
                                               "spiffe_id": "spiffe://prod.example/none"}},
    "a wrong trust domain": lambda place: {"trust": {"Prod": {"bundle": "/none"}}},
    "a wrong version": lambda place: {"version": 2},
    "a port in use": port_in_use,
    "another wrong entry": lambda place: {"quarantine": ["spiffe:/x", place.issuer.id("wiki"),
                                                         "sha256:00"]},
    "an include that is not there": lambda place: {"include": ["none.yaml"]},
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refused_configuration_adds_its_quarantine(reloadable, backends, issuer, shop, what):
    place = reloadable(terminate(backends.plain().url), rules=anybody(),
                       quarantine=[issuer.id("mobile")])
    wiki = issuer.id("wiki")
    with place.connect(shop("wiki")) as held, place.connect(shop("web")) as other:
        place.write(**{"quarantine": [wiki], **REFUSED[what](place)})
        line = place.reload()
        assert (line["result"], line["level"]) == ("in_force", "error"), line
        assert line["configuration"] == "refused" and line["quarantine_added"] == 1
        assert "quarantine_removed" not in line and line["ended_quarantined"] == 1
        assert place.wait_log("quarantine_spared")["entries"] == 1
        assert_cut(place, held, wiki)
        ping(other)
        assert_refused(place, shop("wiki"), wiki)
        assert_refused(place, shop("mobile"), issuer.id("mobile"))  # nothing was taken away


def test_a_refused_configuration_takes_nothing_away(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=anybody(),
                       quarantine=[issuer.id("wiki")])
    place.write(quarantine=[], ruls=[])
    assert place.reload()["result"] == "refused"
    assert_refused(place, shop("wiki"), issuer.id("wiki"))
    # What a refused one has added stays until a good one lacks it.
    place.write(quarantine=[issuer.id("mobile")], ruls=[])
    assert place.reload()["result"] == "in_force"
    place.write(quarantine=[], ruls=[])
    assert place.reload()["result"] == "refused"
    assert_refused(place, shop("mobile"), issuer.id("mobile"))
    del place.config["ruls"]
    place.apply(quarantine=[])
    with place.connect(shop("wiki")), place.connect(shop("mobile")):
        pass


def test_a_main_file_that_is_no_yaml_holds_back_no_included_quarantine(reloadable, backends, issuer,
                                                                       shop, tmp_path):
    folder = tmp_path / "rules.d"
    folder.mkdir()
    place = reloadable(terminate(backends.plain().url), rules=anybody(),
                       include=[f"{folder}/*.yaml"])
    with place.connect(shop("wiki")) as held, place.connect(shop("web")) as other:
        replace(place.config_file, "version: 1\nrules: [\n")
        (folder / "incident.yaml").write_text(yaml.safe_dump({"quarantine": [issuer.id("wiki")]}))
        (folder / "wrong.yaml").write_text("quarantine: [\n")
        assert place.reload()["configuration"] == "refused"
        assert_cut(place, held, issuer.id("wiki"))
        ping(other)


@pytest.mark.parametrize("damage", ["certificate", "bundle", "crl"])
def test_broken_credentials_hold_back_no_quarantine(reloadable, backends, issuer, shop, file,
                                                    damage):
    place = reloadable(terminate(backends.plain().url), rules=anybody(), crl=True,
                       quarantine_file=str(file))
    with place.connect(shop("wiki")) as held, place.connect(shop("web")) as other:
        replace(getattr(place, damage), "nothing")
        replace(file, f"{issuer.id('wiki')}\n")
        assert_cut(place, held, issuer.id("wiki"))
        ping(other)


def test_max_cut_holds_back_no_quarantine(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=anybody(),
                       reload={"watch": "none", "max_cut": "10%"})
    with place.connect(shop("wiki")) as held, place.connect(shop("web")) as other:
        place.apply(quarantine=[issuer.id("wiki")])
        assert_cut(place, held, issuer.id("wiki"))
        with place.connect(shop("mobile")) as third:
            # The rules would cut too much and are refused, the quarantine is not.
            place.write(rules=[], quarantine=[issuer.id("wiki"), issuer.id("mobile")])
            line = place.reload()
            assert line["result"] == "quarantine_alone" and line["level"] == "error"
            assert "max_cut" in line["error"]
            assert (line["quarantine_added"], line["ended"]) == (1, 1)
            assert "rule_removed" not in line
            assert_cut(place, third, issuer.id("mobile"))
            ping(other)
        with place.connect(shop("web")):
            pass


# ---- The file ---------------------------------------------------------------------------------


def test_a_broken_line_keeps_what_was_and_adds_what_is_good(reloadable, backends, issuer, shop,
                                                            file):
    file.write_text(f"{issuer.id('mobile')}\n")
    place = reloadable(terminate(backends.plain().url), rules=anybody(), quarantine_file=str(file))
    with place.connect(shop("wiki")) as held:
        replace(file, f"# Tuesday\nprod.example/x\n{issuer.id('wiki')}\n")
        assert_cut(place, held, issuer.id("wiki"))
        said = place.wait_log("source_failed")["error"]
        assert said.startswith(f'{file}:2:1: error: quarantine_file: "prod.example/x": '), said
        assert said.endswith("is kept, and what can be understood is added"), said
        assert_refused(place, shop("mobile"), issuer.id("mobile"))
    replace(file, f"{issuer.id('wiki')}\n")
    place.wait_log("reload", quarantine_removed=1)
    with place.connect(shop("mobile")):
        pass


@pytest.mark.parametrize("what", ["gone", "a directory", "too large", "unreadable"])
def test_a_file_that_cannot_be_read_is_kept(reloadable, backends, issuer, shop, file, what):
    file.write_text(f"{issuer.id('wiki')}\n")
    place = reloadable(terminate(backends.plain().url), rules=anybody(), quarantine_file=str(file))
    file.unlink()
    if what == "a directory":
        file.mkdir()
    elif what == "too large":
        with open(file, "wb") as big:
            big.truncate(16 * 1024 * 1024 + 1)
    elif what == "unreadable":
        file.symlink_to(file)
    assert place.reload()["result"] == "refused"
    assert any(str(file) in text and "kept" in text for text in place.failures())
    assert_refused(place, shop("wiki"), issuer.id("wiki"))
    if file.is_dir() and not file.is_symlink():
        file.rmdir()
    replace(file, "")
    until(lambda: place.log.find(event="reload", quarantine_removed=1), "the file's return")
    with place.connect(shop("wiki")):
        pass


def test_a_file_that_is_no_longer_configured_holds_nobody(reloadable, backends, issuer, shop, file):
    file.write_text(f"{issuer.id('wiki')}\n")
    place = reloadable(terminate(backends.plain().url), rules=anybody(), quarantine_file=str(file))
    assert_refused(place, shop("wiki"), issuer.id("wiki"))
    del place.config["quarantine_file"]
    place.apply()
    with place.connect(shop("wiki")):
        pass


@pytest.mark.parametrize("text, said", [
    (None, "No such file"), ("spiffe:/x\n", "quarantine:1:1: error: quarantine_file"),
    ("- spiffe://prod.example/x\n", 'without "-"'),
])
def test_a_start_needs_the_file_whole(credentials, backends, tmp_path, text, said):
    file = tmp_path / "quarantine"
    if text is not None:
        file.write_text(text)
    config = tmp_path / "bulkhead.yaml"
    config.write_text(yaml.safe_dump(configuration(
        credentials, terminate(backends.plain().url), quarantine_file=str(file))))
    for command in ("run", "check"):
        result = run_command(command, "-c", config)
        assert result.returncode == 2 and said in result.stderr, result.stderr


def test_an_empty_file_starts(reloadable, backends, shop, file):
    file.write_text("")
    place = reloadable(terminate(backends.plain().url), rules=anybody(), quarantine_file=str(file))
    with place.connect(shop("wiki")):
        pass


# ---- Looking before cutting -------------------------------------------------------------------


def test_a_dry_run_says_whom_a_quarantine_would_cut(reloadable, backends, issuer, shop, tmp_path):
    place = reloadable(terminate(backends.plain().url), rules=anybody(),
                       admin={"listen": f"unix://{tmp_path}/admin.sock"})
    with place.connect(shop("wiki")) as wiki, place.connect(shop("web")):
        place.write(quarantine=[issuer.id("wiki")])
        for arguments in (("reload", "--dry-run"), ("check", place.config_file)):
            result = run_command("ctl", "-c", place.config_file, *arguments, "--json")
            answer = json.loads(result.stdout)
            assert answer["sessions"]["by_reason"] == {"quarantined": 1}
            assert {"kind": "quarantine", "name": issuer.id("wiki"), "change": "added"} \
                in answer["changes"]
            assert any(issuer.id("wiki") in (group.get("detail") or "")
                       for group in answer["groups"])
        ping(wiki)
        people = run_command("ctl", "-c", place.config_file, "reload")
        assert f"quarantine added {issuer.id('wiki')}" in people.stdout
        assert people.returncode == 0
