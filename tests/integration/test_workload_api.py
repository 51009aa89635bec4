"""Our identity from a SPIFFE Workload API: start, rotation, federation, CRLs, the choice of one."""

import json
import os
import ssl

import grpc
import pytest
import yaml

from harness.agent import Agent, crl, federated, with_agent, x509_svid
from harness.bulkhead import bridge, configuration, rule, run_command, terminate
from harness.issuer import Issuer
from harness.metrics import http_get
from harness.reloading import ping, replace
from harness.rotating import Crowd, der, verifying_context
from harness.streams import RESET, client_context, server_context, tls_connect, tls_dial
from harness.wait import until


@pytest.fixture(scope="module")
def partner(tmp_path_factory):
    return Issuer(tmp_path_factory.mktemp("partner"), domain="partner.example")


@pytest.fixture
def agents():
    opened = []

    def make(*arguments, **more):
        opened.append(Agent(*arguments, **more))
        return opened[-1]

    yield make
    for agent in opened:
        agent.close()


WEB = rule("web", ["spiffe://prod.example/ns/shop/sa/web",
                   "spiffe://partner.example/ns/shop/sa/web"], "all")


def served(bulkhead, svid, listener=None):
    """A stream of that client which has had an answer."""
    stream = tls_connect(bulkhead.address(listener), client_context(svid.pair))
    ping(stream)
    return stream


def refused(bulkhead, svid):
    stream, _ = tls_dial(bulkhead.address(), client_context(svid.pair))
    with stream:
        return bulkhead.wait_access(downstream=stream.local_address())


def shown(bulkhead, context):
    with tls_connect(bulkhead.address(), context) as stream:
        return stream.tls.getpeercert(binary_form=True)


def in_force(bulkhead, count):
    """The count-th reload of the API's doing that is in force."""
    def lines():
        found = bulkhead.log.find(event="reload", trigger="workload_api", result="in_force")
        return found if len(found) >= count else None
    return until(lines, f"{count} updates in force")[count - 1]


def test_it_starts_with_the_first_identity(start, backends, issuer, shop, partner, agents):
    agent = agents()
    backend = backends.plain()
    bulkhead = start(with_agent(agent, terminate(backend.url), rules=[WEB]), wait=False)
    agent.wait(lambda: agent.streams == 1, "no stream")
    request, metadata = agent.requests[0]
    assert request == b"" and metadata["workload.spiffe.io"] == "true"
    assert not bulkhead.log.find(event="listening") and not bulkhead.log.find(event="ready")
    agent.say(x509_svid(issuer, shop("orders")), federated(partner))
    ready = bulkhead.wait_log("ready")
    assert ready["spiffe_id"] == issuer.id("orders")
    for client in (shop("web"), partner.issue("web")):
        served(bulkhead, client).close()
    update = bulkhead.wait_log("workload_update")
    assert (update["svids"], update["domains"], update["level"]) == (1, 2, "info")
    assert refused(bulkhead, shop("other"))["reason"] == "policy_no_rule"


def test_the_environment_says_where_and_tcp_is_as_good(start, backends, issuer, shop, agents):
    agent = agents(x509_svid(issuer, shop("orders")), address="tcp://127.0.0.1:0")
    config = with_agent(agent, terminate(backends.plain().url), rules=[WEB])
    del config["identity"]
    bulkhead = start(config, env={"SPIFFE_ENDPOINT_SOCKET": agent.address})
    served(bulkhead, shop("web")).close()
    # What is written comes first.
    other = agents(x509_svid(issuer, shop("payments")))
    config["identity"] = {"workload_api": other.address}
    bulkhead = start(config, env={"SPIFFE_ENDPOINT_SOCKET": agent.address})
    assert bulkhead.wait_log("ready")["spiffe_id"] == issuer.id("payments")


def test_files_take_no_notice_of_the_environment(start, backends, credentials, agents):
    agent = agents()
    start(configuration(credentials, terminate(backends.plain().url)),
          env={"SPIFFE_ENDPOINT_SOCKET": agent.address})
    assert agent.streams == 0


@pytest.mark.parametrize("identity, environment, error", [
    (None, None, "nothing says where our SVID comes from"),
    (None, "/run/agent.sock", 'SPIFFE_ENDPOINT_SOCKET: "/run/agent.sock": must start with'),
    ({"workload_api": "unix://run/agent.sock"}, None, "must be followed by an absolute path"),
    ({"workload_api": "tcp://localhost:80"}, None, "must be followed by an IP address"),
])
def test_an_address_must_be_one(start, backends, identity, environment, error):
    class Nowhere:
        address = "unix:///nonexistent"
    config = with_agent(Nowhere, terminate("tcp://127.0.0.1:1"), rules=[WEB])
    config["identity"] = identity
    if identity is None:
        del config["identity"]
    env = {} if environment is None else {"SPIFFE_ENDPOINT_SOCKET": environment}
    bulkhead = start(config, wait=False, env=env)
    bulkhead.wait_exit(2)
    assert error in bulkhead.log.text()


def test_readiness_and_ctl_say_what_is_missing(start, backends, issuer, shop, agents, tmp_path):
    agent = agents()
    agent.fail(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
    socket = tmp_path / "admin.sock"
    bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB],
                                probes={"listen": "tcp://127.0.0.1:0", "metrics": True},
                                admin={"listen": f"unix://{socket}"}), wait=False)
    host, _, port = bulkhead.wait_log("probes_listening")["addr"].rpartition(":")
    bulkhead.wait_log("workload_denied")

    def answer(path):
        status, _, body = http_get((host, int(port)), path)
        return status, body.decode()

    def identity():
        result = run_command("ctl", "-s", str(socket), "identity", "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def check_missing():
        status, body = answer("/readyz")
        assert status == 503 and "svid_missing: there is no SVID of our own: " in body
        assert "PermissionDenied: no identity issued" in body
        assert answer("/livez")[0] == 200
        assert "bulkhead_svid_not_after_timestamp_seconds{" not in answer("/metrics")[1]
        told = identity()
        assert told["identities"] == [] and "no identity issued" in told["missing"]
        assert "no identity issued" in run_command("ctl", "-s", str(socket), "identity").stdout

    check_missing()
    assert "listener_closed" in answer("/readyz")[1]
    agent.say(x509_svid(issuer, shop("orders")))
    bulkhead.signal(1)  # asks at once
    bulkhead.wait_log("ready")
    until(lambda: answer("/readyz")[0] == 200, "readiness")
    told = identity()["identities"][0]
    assert (told["source"], told["address"]) == ("workload_api", agent.address)
    agent.fail(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
    until(lambda: answer("/readyz")[0] == 503, "the withdrawal")
    check_missing()


def test_it_waits_only_so_long(start, backends, agents):
    agent = agents()
    bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB],
                                identity={"start_timeout": "1s"}), wait=False)
    bulkhead.wait_exit(1)
    line = bulkhead.wait_log("not_started")
    assert line["error"].startswith("identity.start_timeout: no identity from unix://")
    assert not bulkhead.log.find(event="listening")


def test_a_signal_ends_the_waiting(start, backends, agents):
    agent = agents()
    bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB]), wait=False)
    agent.wait(lambda: agent.streams == 1, "no stream")
    bulkhead.stop()


def test_a_socket_that_cannot_be_had_ends_the_start(start, backends, issuer, shop, agents):
    agent = agents(x509_svid(issuer, shop("orders")))
    taken = backends.plain()
    bulkhead = start(with_agent(agent, terminate("tcp://127.0.0.1:1",
                                                 accept=f"mtls://127.0.0.1:{taken.port}"),
                                rules=[WEB]), wait=False)
    bulkhead.wait_exit(1)
    bulkhead.wait_log("not_started")


def test_rotation_under_load_fails_no_handshake(start, backends, issuer, shop, agents):
    pairs = [issuer.issue("orders") for _ in range(4)]
    agent = agents(x509_svid(issuer, pairs[0]))
    server = backends.tls(server_context(shop("payments").pair, issuer.bundle))
    bulkhead = start(with_agent(agent, terminate(backends.plain().url, name="a"),
                                bridge(server.url, name="b"), rules=[WEB]))
    contexts = [verifying_context(issuer, shop("web"), version)
                for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
    with served(bulkhead, shop("web"), "a") as one, served(bulkhead, shop("web"), "b") as two:
        crowd = Crowd([(bulkhead.address("a"), contexts[0]), (bulkhead.address("a"), contexts[1]),
                       (bulkhead.address("b"), contexts[1])])
        for number in range(1, 41):
            agent.say(x509_svid(issuer, pairs[number % 4]))
            until(lambda: shown(bulkhead, contexts[1]) == der(pairs[number % 4]), "the new SVID")
        crowd.stop()
        ping(one)
        ping(two)
    assert not crowd.failures, f"{len(crowd.failures)}: {crowd.failures[:3]}"
    assert crowd.served > 50
    assert crowd.shown <= {der(svid) for svid in pairs}
    assert not bulkhead.access.find(event="deny") and not server.errors
    assert all(line["ended"] == 0 for line in bulkhead.log.find(event="reload"))


def test_a_federated_domain_comes_and_goes(start, backends, issuer, shop, partner, agents):
    own = x509_svid(issuer, shop("orders"))
    agent = agents(own)
    bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB]))
    stranger = partner.issue("web")
    assert refused(bulkhead, stranger)["reason"] == "svid_unknown_trust_domain"
    agent.say(own, federated(partner))
    assert in_force(bulkhead, 2)["bundle_added"] == 1
    with served(bulkhead, shop("web")) as ours, served(bulkhead, stranger) as theirs:
        agent.say(own)
        line = in_force(bulkhead, 3)
        assert (line["bundle_removed"], line["ended_bundle_withdrawn"], line["kept"]) == (1, 1, 1)
        assert theirs.read_to_end()[1] == RESET
        ping(ours)
    assert refused(bulkhead, stranger)["reason"] == "svid_unknown_trust_domain"
    # None at all, and one that is none: nobody, and the domain's own matter.
    agent.say(own, federated(partner, anchors=b""))
    in_force(bulkhead, 4)
    assert refused(bulkhead, stranger)["reason"].startswith("svid_")
    agent.say(own, federated(partner, anchors=b"garbage"))
    line = bulkhead.wait_log("workload_update", bundles_kept=1)
    assert "the bundle of partner.example" in line["error"]
    served(bulkhead, shop("web")).close()


def test_a_crl_counts_for_its_own_domain(start, backends, issuer, shop, partner, agents, tmp_path):
    own, other = x509_svid(issuer, shop("orders")), partner.issue("web")
    agent = agents(own, federated(partner))
    bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB]))
    with served(bulkhead, shop("web")) as ours, served(bulkhead, other) as theirs:
        partner.crl(tmp_path / "partner.crl", other)
        agent.say(own, federated(partner), crl(tmp_path / "partner.crl"))
        line = in_force(bulkhead, 2)
        assert (line["crl_added"], line["ended_certificate_revoked"], line["kept"]) == (1, 1, 1)
        assert theirs.read_to_end()[1] == RESET
        ping(ours)
    assert refused(bulkhead, other)["reason"] == "svid_revoked"
    served(bulkhead, shop("web")).close()
    # What is not in a message is not in force.
    agent.say(own, federated(partner))
    in_force(bulkhead, 3)
    served(bulkhead, other).close()


def test_one_of_several_by_hint_and_by_id(start, backends, issuer, shop, agents):
    parts = [x509_svid(issuer, shop("orders"), hint="internal"),
             x509_svid(issuer, shop("payments"), hint="external"),
             x509_svid(issuer, shop("web"), hint="external")]
    agent = agents(*parts)
    for identity, chosen in (({}, "orders"), ({"hint": "external"}, "payments"),
                             ({"spiffe_id": issuer.id("web")}, "web"),
                             ({"spiffe_id": issuer.id("web"), "hint": "external"}, "web")):
        bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB],
                                    identity=identity))
        assert bulkhead.wait_log("ready")["spiffe_id"] == issuer.id(chosen)


def test_the_chosen_one_is_taken_away_and_comes_back(start, backends, issuer, shop, agents):
    first, second = (x509_svid(issuer, shop(name)) for name in ("orders", "payments"))
    agent = agents(first, second)
    bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB],
                                identity={"spiffe_id": issuer.id("payments")}))
    with served(bulkhead, shop("web")) as stream:
        agent.say(first)
        line = in_force(bulkhead, 2)
        assert (line["identity_removed"], line["ended_own_identity_withdrawn"]) == (1, 1)
        assert stream.read_to_end()[1] == RESET
    assert "none of the agent's 1 SVIDs has the ID" in bulkhead.wait_log("workload_withdrawn")["error"]
    assert refused(bulkhead, shop("web"))["reason"] == "own_svid_missing"
    agent.say(first, second)
    assert in_force(bulkhead, 3)["identity_added"] == 1
    served(bulkhead, shop("web")).close()


def test_another_id_ends_what_was_made_under_the_former(start, backends, issuer, shop, agents):
    agent = agents(x509_svid(issuer, shop("orders")))
    bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB]))
    with served(bulkhead, shop("web")) as stream:
        agent.say(x509_svid(issuer, shop("payments")))
        assert in_force(bulkhead, 2)["ended_own_identity_changed"] == 1
        assert stream.read_to_end()[1] == RESET


def test_trust_in_the_file_adds_to_it(start, backends, issuer, shop, partner, agents, tmp_path):
    """A domain of the file's own, CRLs for one of the agent's, and two bundles that disagree."""
    web, other = shop("web"), partner.issue("web")
    issuer.crl(tmp_path / "prod.crl", web)
    trust = {"partner.example": {"bundle": str(partner.bundle)},
             "prod.example": {"crl": str(tmp_path / "prod.crl")}}
    agent = agents(x509_svid(issuer, shop("orders")))
    bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB], trust=trust))
    served(bulkhead, other).close()
    assert refused(bulkhead, web)["reason"] == "svid_revoked"
    # The same bundle from both sides is no conflict; another one leaves what both have: nothing.
    agent.say(x509_svid(issuer, shop("orders")), federated(partner))
    bulkhead.wait_log("workload_update", domains=2)
    served(bulkhead, other).close()
    stranger = Issuer(tmp_path / "stranger", domain="partner.example")
    with served(bulkhead, other) as stream:
        agent.say(x509_svid(issuer, shop("orders")), federated(stranger))
        line = bulkhead.wait_log("source_failed")
        assert "trust.partner.example.bundle: the Workload API has another bundle" in line["error"]
        assert stream.read_to_end()[1] == RESET
    for client in (other, stranger.issue("web")):
        assert refused(bulkhead, client)["decision"] == "deny"


def test_crl_check_demands_what_the_agent_does_not_give(start, backends, issuer, shop, agents):
    agent = agents(x509_svid(issuer, shop("orders")))
    bulkhead = start(with_agent(agent, terminate(backends.plain().url), rules=[WEB],
                                trust={"prod.example": {"crl_check": "leaf"}}))
    assert refused(bulkhead, shop("web"))["reason"] == "svid_crl_missing"


def rewrite(bulkhead, config):
    replace(bulkhead.config_file, yaml.safe_dump(config, sort_keys=False))
    before = len(bulkhead.log.find(event="reload", trigger="SIGHUP"))
    bulkhead.signal(1)
    return until(lambda: bulkhead.log.find(event="reload", trigger="SIGHUP")[before:],
                 "the reload")[0]


def test_a_reload_keeps_the_stream_or_moves_it(start, backends, issuer, shop, agents):
    one = agents(x509_svid(issuer, shop("orders")))
    two = agents()
    config = with_agent(one, terminate(backends.plain().url), rules=[WEB])
    bulkhead = start(config)
    rewrite(bulkhead, {**config, "rules": [WEB, rule("more", issuer.id("other"), "all")]})
    assert one.streams == 1
    with served(bulkhead, shop("web")) as stream:
        config["identity"] = {"workload_api": two.address}
        rewrite(bulkhead, config)
        two.wait(lambda: two.streams == 1, "no stream to the new agent")
        one.wait(lambda: one.open == 0, "the former stream is still open")
        ping(stream)
        served(bulkhead, shop("web")).close()
        renewed = issuer.issue("orders")
        two.say(x509_svid(issuer, renewed))
        until(lambda: shown(bulkhead, verifying_context(issuer, shop("web"))) == der(renewed),
              "the new agent's SVID")
        ping(stream)


def test_from_files_to_the_agent_and_back(start, backends, issuer, shop, agents):
    agent = agents()
    config = with_agent(agent, terminate(backends.plain().url), rules=[WEB])
    files = {"files": {"certificate": str(shop("orders").chain),
                       "private_key": str(shop("orders").key)}}
    trust = {"prod.example": {"bundle": str(issuer.bundle)}}
    bulkhead = start({**config, "identity": files, "trust": trust})
    with served(bulkhead, shop("web")) as stream:
        rewrite(bulkhead, config)
        agent.wait(lambda: agent.streams == 1, "no stream")
        ping(stream)
        served(bulkhead, shop("web")).close()
        agent.say(x509_svid(issuer, issuer.issue("orders")))
        in_force(bulkhead, 1)
        ping(stream)
        rewrite(bulkhead, {**config, "identity": files, "trust": trust})
        agent.wait(lambda: agent.open == 0, "the stream is still open")
        ping(stream)
        served(bulkhead, shop("web")).close()


def test_from_files_to_an_agent_that_denies(start, backends, issuer, shop, agents):
    """Whose SVID comes from the API has none when the API denies it, whatever files gave before."""
    agent = agents()
    agent.fail(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
    config = with_agent(agent, terminate(backends.plain().url), rules=[WEB])
    files = {"files": {"certificate": str(shop("orders").chain),
                       "private_key": str(shop("orders").key)}}
    bulkhead = start({**config, "identity": files,
                      "trust": {"prod.example": {"bundle": str(issuer.bundle)}}})
    with served(bulkhead, shop("web")) as stream:
        rewrite(bulkhead, config)
        assert stream.read_to_end()[1] == RESET
        ended = bulkhead.wait_access(downstream=stream.local_address())
        assert ended["reason"] == "own_identity_withdrawn"
    agent.say(x509_svid(issuer, shop("orders")))
    bulkhead.signal(1)
    until(lambda: bulkhead.log.find(event="reload", identity_added=1, result="in_force"),
          "the identity is back")
    served(bulkhead, shop("web")).close()


def test_a_new_pin_asks_anew(start, backends, issuer, shop, agents):
    agent = agents(x509_svid(issuer, shop("orders")), x509_svid(issuer, shop("payments")))
    config = with_agent(agent, terminate(backends.plain().url), rules=[WEB])
    bulkhead = start(config)
    config["identity"]["spiffe_id"] = issuer.id("payments")
    rewrite(bulkhead, config)
    until(lambda: bulkhead.log.find(event="reload", identity_added=1)[1:], "the other SVID")
    assert shown(bulkhead, verifying_context(issuer, shop("web"))) == der(shop("payments"))
    assert agent.streams == 2


def test_check_does_not_ask(agents, tmp_path):
    agent = agents()
    path = tmp_path / "bulkhead.yaml"
    path.write_text(yaml.safe_dump(with_agent(agent, terminate("tcp://127.0.0.1:1"), rules=[WEB])))
    result = run_command("check", "-c", str(path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert agent.streams == 0
    assert os.environ.get("SPIFFE_ENDPOINT_SOCKET") is None
