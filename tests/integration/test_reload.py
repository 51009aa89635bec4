"""A reload by signal: what a new configuration takes away ends, with its cause in the log; all
else notices nothing."""

import contextlib
import os
import pathlib
import random
import re
import resource
import signal
import socket
import ssl
import time

import pytest

from harness.bulkhead import bridge, configuration, originate, program, rule, run_command, terminate
from harness.issuer import Issuer
from harness.reloading import ping
from harness.streams import (
    CLEAN, RESET, PlainStream, client_context, dial, server_context, tls_connect, tls_dial,
)
from harness.wait import until


def allow(issuer, *names, to="all"):
    return [rule(name, issuer.id(name), to) for name in names]


def assert_lost(place, stream, reason):
    """It ended with a reset, not like a complete answer; returns the access line."""
    assert stream.read_to_end() == (b"", RESET)
    line = place.ended(stream)
    assert (line["event"], line["reason"]) == ("close", reason)
    return line


def is_refused(address):
    with socket.socket() as sock:
        return sock.connect_ex(address) != 0


def free_port():
    """Below the ports that the kernel gives out (ip_local_port_range): no other test is given it."""
    while True:
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_removed_rule_ends_its_sessions_alone(reloadable, backends, issuer, shop, number):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web", "wiki"))
    with place.connect(shop("web")) as web, place.connect(shop("wiki")) as wiki:
        place.write(rules=allow(issuer, "wiki"))
        line = place.reload(number)
        assert (line["result"], line["generation"], line["rule_removed"]) == ("in_force", 2, 1)
        assert (line["judged"], line["kept"], line["ended"]) == (2, 1, 1)
        assert line["ended_rule_removed"] == 1 and line["level"] == "info"
        lost = assert_lost(place, web, "rule_removed")
        assert (lost["rule"], lost["downstream_id"]) == ("web", issuer.id("web"))
        assert "wiki" in lost["detail"], "the nearest rule that is left"
        ping(wiki)
        stream, _ = tls_dial(place.address(), client_context(shop("web").pair))
        with stream:
            assert stream.read_to_end() == (b"", RESET)
            assert place.ended(stream)["reason"] == "policy_no_rule"


def test_a_written_deny_ends_what_an_allow_let_in(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web", "wiki"))
    with place.connect(shop("web")) as web, place.connect(shop("wiki")) as wiki:
        place.apply(rules=[*allow(issuer, "web", "wiki"),
                           rule("no-wiki", issuer.id("wiki"), "all", action="deny")])
        lost = assert_lost(place, wiki, "rule_denies")
        assert "no-wiki" in lost["detail"]
        ping(web)


def test_a_rule_changed_to_deny(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web", "wiki"))
    with place.connect(shop("web")) as web, place.connect(shop("wiki")) as wiki:
        line = place.apply(rules=[rule("web", issuer.id("web"), "all"),
                                  rule("wiki", issuer.id("wiki"), "all", action="deny")])
        assert line["rule_changed"] == 1
        assert_lost(place, wiki, "rule_denies")
        ping(web)


def test_another_rule_that_grants_it_keeps_a_session(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"))
    with place.connect(shop("web")) as web:
        line = place.apply(rules=[rule("shop", "spiffe://prod.example/ns/shop/sa/*", "in")])
        assert (line["rule_added"], line["rule_removed"], line["ended"]) == (1, 1, 0)
        ping(web)
        web.end()
        assert web.read_to_end() == (b"", CLEAN)
        assert place.ended(web)["rule"] == "shop", "the session goes on under the rule of today"


def test_what_changes_nothing_is_unchanged(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"))
    with place.connect(shop("web")) as web:
        for _ in range(3):
            line = place.reload()
            assert (line["result"], line["generation"]) == ("unchanged", 1)
        place.write()
        assert place.reload()["result"] == "unchanged", "the same text in a new file"
        ping(web)


def test_expect_changed_ends_the_sessions_to_that_server(reloadable, backends, issuer, shop):
    server = backends.tls(server_context(shop("payments").pair, issuer.bundle))
    other = backends.tls(server_context(shop("wiki").pair, issuer.bundle))
    place = reloadable(
        originate(server.url, name="a", expect=[issuer.id("payments"), issuer.id("batch")]),
        originate(other.url, name="b", expect=issuer.id("wiki")))
    with PlainStream(dial(place.address("a"))) as to_a, PlainStream(dial(place.address("b"))) as to_b:
        ping(to_a)
        ping(to_b)
        line = place.apply(listeners=place.listener("a", expect=[issuer.id("batch")]))
        assert (line["listener_changed"], line["ended_expect_changed"]) == (1, 1)
        lost = assert_lost(place, to_a, "expect_changed")
        assert lost["upstream_id"] == issuer.id("payments") and "batch" in lost["detail"]
        assert server.wait_ends() == [RESET], "the server's side is cut too"
        ping(to_b)


def test_a_bridge_is_judged_on_both_sides(reloadable, backends, issuer, shop):
    server = backends.tls(server_context(shop("payments").pair, issuer.bundle))
    place = reloadable(bridge(server.url, expect=issuer.id("payments")),
                       rules=allow(issuer, "web", "wiki"))
    with place.connect(shop("web")) as web, place.connect(shop("wiki")) as wiki:
        place.apply(rules=allow(issuer, "wiki"))
        assert_lost(place, web, "rule_removed")
        ping(wiki)
        place.apply(listeners=place.listener(expect=issuer.id("batch")))
        assert_lost(place, wiki, "expect_changed")


def test_a_removed_listener(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url, name="one"),
                       terminate(backends.plain().url, name="two"), rules=allow(issuer, "web"))
    first = place.address("one")
    with place.connect(shop("web"), "one") as one, place.connect(shop("web"), "two") as two:
        line = place.apply(listeners=place.config["listeners"][1:])
        assert line["listener_removed"] == 1
        assert_lost(place, one, "listener_removed")
        ping(two)
        assert is_refused(first)
        ping(two)


def test_forward_elsewhere(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url, name="one"),
                       terminate(backends.plain().url, name="two"), rules=allow(issuer, "web"))
    new = backends.plain()
    with place.connect(shop("web"), "one") as one, place.connect(shop("web"), "two") as two:
        place.apply(listeners=place.listener("one", forward=new.url))
        assert_lost(place, one, "listener_changed")
        ping(two)
        assert new.connections == 0
        with place.connect(shop("web"), "one"):
            assert new.connections == 1


def test_a_renamed_listener_is_another_one(reloadable, backends, issuer, shop):
    port = free_port()
    place = reloadable({**terminate(backends.plain().url, name="one"),
                        "accept": f"mtls://127.0.0.1:{port}"}, rules=allow(issuer, "web"))
    with place.connect(shop("web"), "one") as one:
        line = place.apply(listeners=place.listener("one", name="two"))
        assert (line["listener_removed"], line["listener_added"]) == (1, 1)
        assert_lost(place, one, "listener_removed")
    with tls_connect(("127.0.0.1", port), client_context(shop("web").pair)) as two:
        ping(two)
        two.end()
        two.read_to_end()
        assert place.ended(two)["listener"] == "two"


def test_what_is_for_new_sessions_leaves_live_ones_alone(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"))
    with place.connect(shop("web")) as web:
        place.apply(listeners=place.listener("in", timeouts={"idle": "1ms"}, alpn=["h2"]))
        ping(web)
        with tls_connect(place.address(), client_context(shop("web").pair, alpn=["h2"])) as stream:
            assert stream.tls.selected_alpn_protocol() == "h2"
            stream.read_to_end()
            assert place.ended(stream)["reason"] == "idle_timeout"
        ping(web)


# ---- Sockets ----------------------------------------------------------------------------------


def listening_inodes(place):
    """The descriptors of its listening TCP sockets: {number: inode}."""
    listening = {line.split()[9] for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()
                 if line.split()[3] == "0A"}
    found = {}
    directory = f"/proc/{place.pid}/fd"
    try:
        numbers = os.listdir(directory)
    except PermissionError:
        pytest.skip("only root may look at another process's descriptors")
    for number in numbers:
        try:
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"{directory}/{number}"))
        except FileNotFoundError:
            continue
        if match and match.group(1) in listening:
            found[number] = match.group(1)
    return found


def test_unchanged_sockets_keep_their_descriptors(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url, name="one"),
                       terminate(backends.plain().url, name="two"), rules=allow(issuer, "web"))
    before = listening_inodes(place)
    assert len(before) == 4, "two listeners, two workers"
    place.apply(rules=allow(issuer, "web", "wiki"))
    place.apply(listeners=[*place.config["listeners"], terminate(backends.plain().url, "three")])
    three = listening_inodes(place)
    assert before.items() < three.items() and len(three) == 6
    place.apply(listeners=place.config["listeners"][:2])
    assert listening_inodes(place) == before


def test_another_address_and_the_same_sessions(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"))
    old, new = place.address(), ("127.0.0.1", free_port())
    with place.connect(shop("web")) as web:
        place.apply(listeners=place.listener(accept=f"mtls://127.0.0.1:{new[1]}"))
        ping(web)
        assert is_refused(old)
        with tls_connect(new, client_context(shop("web").pair)) as stream:
            ping(stream)
        ping(web)


def test_two_listeners_swap_their_addresses(reloadable, backends, issuer, shop):
    ports = {"one": free_port(), "two": free_port()}
    targets = {name: backends.plain() for name in ports}
    place = reloadable(*({**terminate(targets[name].url, name),
                          "accept": f"mtls://127.0.0.1:{port}"} for name, port in ports.items()),
                       rules=allow(issuer, "web"))
    inodes = listening_inodes(place)
    context = client_context(shop("web").pair)
    with place.connect(shop("web"), "one") as one:
        place.apply(listeners=[{**listener, "accept": f"mtls://127.0.0.1:{ports[other]}"}
                               for listener, other in zip(place.config["listeners"],
                                                          ("two", "one"))])
        ping(one)
        assert listening_inodes(place) == inodes, "no socket was closed: none lost its queue"
        for _ in range(4):
            with tls_connect(("127.0.0.1", ports["two"]), context) as stream:
                ping(stream)
                stream.end()
                stream.read_to_end()
                assert place.ended(stream)["listener"] == "one"
        assert targets["two"].connections == 0


def test_an_address_in_use_refuses_the_configuration_alone(reloadable, backends, issuer, shop):
    """Half of a configuration is nobody's intent; what has come to the places that the former one
    names goes through."""
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"))
    rotated = issuer.issue("orders")
    with socket.create_server(("127.0.0.1", 0)) as taken, place.connect(shop("web")) as web:
        place.rotate(rotated)
        place.write(rules=[], listeners=[
            *place.config["listeners"],
            {**terminate(backends.plain().url, "taken"),
             "accept": f"mtls://127.0.0.1:{taken.getsockname()[1]}"}])
        line = place.reload()
        assert (line["result"], line["configuration"], line["level"]) == (
            "in_force", "refused", "error")
        failed = place.failures()
        assert len(failed) == 1 and str(taken.getsockname()[1]) in failed[0]
        assert line["identity_changed"] == 1
        ping(web)
        assert shown_by(place) == der(rotated)
    place.apply()


def test_what_a_refused_configuration_names_does_not_count(reloadable, backends, issuer, shop, tmp_path):
    """Neither its identity nor its trust domains: they are the other half of nobody's intent."""
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"))
    other = Issuer(tmp_path / "other", domain=issuer.domain)
    with socket.create_server(("127.0.0.1", 0)) as taken, place.connect(shop("web")) as web:
        wiki = shop("wiki")
        good = place.config
        place.write(
            identity={"files": {"certificate": str(wiki.chain), "private_key": str(wiki.key)}},
            trust={issuer.domain: {"bundle": str(other.bundle)}},
            listeners=[*good["listeners"],
                       {**terminate(backends.plain().url, "taken"),
                        "accept": f"mtls://127.0.0.1:{taken.getsockname()[1]}"}])
        line = place.reload()
        assert (line["result"], line["generation"]) == ("refused", 1), line
        ping(web)
        assert shown_by(place) == der(place.own)
        with place.connect(shop("web")):
            pass
        stream, _ = tls_dial(place.address(), client_context(other.issue("web").pair))
        with stream:
            stream.read_to_end()
            assert place.ended(stream)["reason"] == "svid_untrusted"
        ping(web)


def der(svid):
    return ssl.PEM_cert_to_DER_cert(svid.chain.read_text())


def shown_by(place, listener=None):
    """The certificate that a new client is shown."""
    with tls_connect(place.address(listener), client_context(None)) as stream:
        return stream.tls.getpeercert(binary_form=True)


def test_a_unix_socket_is_moved(reloadable, backends, issuer, shop, tmp_path):
    old, new = str(tmp_path / "old.sock"), str(tmp_path / "new.sock")
    place = reloadable({**terminate(backends.plain().url), "accept": f"mtls+unix://{old}"},
                       rules=allow(issuer, "web"))
    context = client_context(shop("web").pair)
    with tls_connect(old, context) as stream:
        ping(stream)
        place.apply(listeners=place.listener(accept=f"mtls+unix://{new}", socket={"mode": "0666"}))
        assert not os.path.exists(old) and os.stat(new).st_mode & 0o777 == 0o666
        ping(stream)
        with tls_connect(new, context) as other:
            ping(other)
        place.apply(listeners=place.listener(socket={"mode": "0600"}))
        assert os.stat(new).st_mode & 0o777 == 0o600, "a mode needs no new socket"


def test_a_refused_configuration_leaves_socket_modes_alone(reloadable, backends, issuer, tmp_path):
    path = str(tmp_path / "in.sock")
    place = reloadable({**terminate(backends.plain().url), "accept": f"mtls+unix://{path}"},
                       rules=allow(issuer, "web"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place.write(listeners=[
            place.listener(socket={"mode": "0666"})[0],
            {**terminate(backends.plain().url, "taken"),
             "accept": f"mtls://127.0.0.1:{taken.getsockname()[1]}"}])
        assert place.reload()["result"] == "refused"
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_preview_leaves_socket_modes_alone(reloadable, backends, issuer, tmp_path):
    path, admin = str(tmp_path / "in.sock"), f"unix://{tmp_path}/admin.sock"
    place = reloadable({**terminate(backends.plain().url), "accept": f"mtls+unix://{path}"},
                       rules=allow(issuer, "web"), admin={"listen": admin})
    place.write(listeners=place.listener(socket={"mode": "0666"}))
    result = run_command("ctl", "--socket", tmp_path / "admin.sock", "reload", "--dry-run")
    assert result.returncode == 0, result.stdout + result.stderr
    assert os.stat(path).st_mode & 0o777 == 0o600
    place.reload()
    assert os.stat(path).st_mode & 0o777 == 0o666


# ---- What a reload can't do -------------------------------------------------------------------


def test_fixed_keys_need_a_restart(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"))
    with place.connect(shop("web")) as web:
        used = place.config.get("tls", {}).get("provider")
        place.apply(workers=1, access_log={"to": "none"}, rules=allow(issuer, "web", "wiki"),
                    tls={"provider": "filtered" if used == "stock" else "stock"})
        until(lambda: len(place.log.find(event="needs_restart")) == 3, "the keys")
        keys = {line["key"] for line in place.log.find(event="needs_restart")}
        assert keys == {"workers", "access_log.to", "tls.provider"}
        ping(web)
        web.end()
        web.read_to_end()
        assert place.ended(web)["reason"] == "closed", "the access log is where it was"


def test_a_storm_of_signals_is_a_few_reloads(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web", "wiki"))
    with place.connect(shop("web")) as web, place.connect(shop("wiki")) as wiki:
        place.write(rules=allow(issuer, "wiki"))
        for _ in range(200):
            place.signal(signal.SIGHUP)
            place.signal(signal.SIGUSR1)
        place.wait_reload(result="in_force")
        assert web.read_to_end() == (b"", RESET)
        # What waits already does for the next: one more, at the most, after the last signal, and
        # it has the name of the last that joined it, which may still be one of the storm's.
        before = len(place.log.find(event="reload"))
        place.signal(signal.SIGHUP)
        line = place.wait_reload(before)
        assert (line["result"], line["generation"]) == ("unchanged", 2)
        assert len(place.log.find(event="reload", result="in_force")) == 1
        ping(wiki)


def test_a_reload_during_the_drain_is_refused(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"),
                       drain={"delay": "0s", "timeout": "1h"})
    with place.connect(shop("web")) as web:
        place.signal()
        place.wait_log("draining")
        place.write(rules=[])
        line = place.reload()
        assert (line["result"], line["generation"]) == ("refused", 1)
        assert "stopping" in line["error"]
        ping(web)
        web.end()
        web.read_to_end()
    place.wait_exit(0)


def test_a_stop_in_the_middle_of_a_reload(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"),
                       drain={"timeout": "100ms"})
    streams = [place.connect(shop("web")) for _ in range(20)]
    place.write(rules=[])
    place.signal(signal.SIGHUP)
    place.signal(signal.SIGTERM)
    for stream in streams:
        stream.read_to_end()
        stream.close()
    place.wait_exit(0)


def test_limits_follow(reloadable, backends, issuer, shop):
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"), workers=1)
    place.apply(limits={"connections": 1})
    with place.connect(shop("web")) as web:
        with PlainStream(dial(place.address())) as waiting:
            waiting.send(b"GET / HTTP/1.0\r\n\r\n")
            ping(web)
            assert not place.access.find(reason="tls_not_tls"), "the second is not accepted yet"
            place.apply(limits={"connections": 10})
            assert place.ended(waiting)["reason"] == "tls_not_tls"
        ping(web)


def test_listening_sockets_count_among_the_descriptors(reloadable, backends, issuer):
    """What a reload opens is taken from what connections may hold, and given back."""
    place = reloadable(terminate(backends.plain().url), rules=allow(issuer, "web"),
                       limits={"connections": 100_000},
                       before_exec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200)))

    def possible():
        return place.log.find(event="connections_limited")[-1]["possible"]

    first, before = place.config["listeners"], possible()
    place.apply(listeners=[*first, *(terminate(backends.plain().url, f"l{i}") for i in range(10))])
    assert possible() == before - 10, "two workers' sockets, two descriptors for a session"
    place.apply(listeners=first)
    assert possible() == before


def test_the_release_program_has_no_clock_to_turn(start, backends, credentials, clock):
    """Only the program for these tests is built with one."""
    clock.set(3600 * 24 * 365)
    config = configuration(credentials, terminate(backends.plain().url))
    turned = start(config, clock=clock)
    year = lambda bulkhead: int(bulkhead.wait_log("ready")["time"][:4])  # noqa: E731
    assert year(turned) == time.gmtime(time.time() + 3600 * 24 * 365).tm_year
    plain = start(config, env=clock.environment(), pass_fds=(clock.fd,))
    assert year(plain) == time.gmtime().tm_year
    assert b"BULKHEAD_TEST_CLOCK" not in pathlib.Path(program()).read_bytes()
