"""The configuration that shows the whole language, as it stands: only the paths of its files and the
fingerprint of the taken certificate are put in. It runs in a network of its own, because it names
its ports and a host.

STATEMENTS lists what the language promises, each with the tests that hold it to that.
"""

import base64
import calendar
import contextlib
import hashlib
import json
import pathlib
import re
import ssl
import subprocess

import pytest

from harness.bulkhead import run_command
from harness.clock import Clock
from harness.issuer import Issuer
from harness.network import own_network
from harness.streams import (
    RESET, PlainStream, client_context, dial, server_context, tls_connect, tls_dial,
)
from harness.wait import until
from test_rules_table import ROWS

CONFIGURATION = """\
version: 1

identity:
  spiffe_id: spiffe://prod.example/ns/shop/sa/orders     # optional pin: any other SVID is refused
  files:                                                  # exactly one source
    certificate: /run/bulkhead/svid.pem                   # leaf first, then intermediates
    private_key: /run/bulkhead/svid.key
  # workload_api: unix:///run/spire/agent.sock            # default: $SPIFFE_ENDPOINT_SOCKET

trust:                                                    # one bundle per trust domain, never merged
  prod.example:    {bundle: /run/bulkhead/prod.pem, crl: /run/bulkhead/prod.crl}
  partner.example: {bundle: /etc/bulkhead/partner.jwks}   # SPIFFE bundle JSON or PEM

listeners:
  - name: orders
    accept:  mtls://0.0.0.0:8443
    forward: tcp://127.0.0.1:8080                         # also unix:///path
    alpn:    [h2, http/1.1]
  - name: to-payments
    accept:  tcp://127.0.0.1:9001                         # also unix:///path with mode and owner
    forward: mtls://payments.shop.svc:8443
    expect:  [spiffe://prod.example/ns/shop/sa/payments]  # who the server must be: same terms as `from`

groups:
  storefront: [spiffe://prod.example/ns/shop/sa/web, spiffe://prod.example/ns/shop/sa/mobile]

rules:
  - name: storefront-uses-orders
    from: [group:storefront]
    to:   [orders]
  - name: batch-tries-orders
    from: [spiffe://prod.example/ns/batch/*/*]
    to:   [orders]
    mode: shadow            # enforce (default) | shadow: counted and logged, grants nothing | disabled
    expires: 2027-01-31     # 00:00Z of that day: the rule ends, and with it the connections that no other rule admits
    owner: batch-team
  - name: no-canary
    action: deny            # deny always wins, wherever it stands
    from: [spiffe://prod.example/ns/canary/**]
    to:   [all]

quarantine:                 # refused now and cut now, above every rule, both directions
  - spiffe://prod.example/ns/shop/sa/wiki
  # or one certificate: a single taken pod, not all its replicas
  - sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

tests:                      # run at every load and by `check`
  - {from: spiffe://prod.example/ns/shop/sa/web, to: orders, decision: allow}
  - {from: spiffe://prod.example/ns/evil/sa/x,   to: orders, decision: deny}
"""

ENDS = calendar.timegm((2027, 1, 31, 0, 0, 0))
HOUR = 3600


def fingerprint(chain):
    der = ssl.PEM_cert_to_DER_cert(pathlib.Path(chain).read_text())
    return hashlib.sha256(der).hexdigest()


def make_jwks(pem):
    """A SPIFFE bundle document of the one CA in a PEM file."""
    der = ssl.PEM_cert_to_DER_cert(pathlib.Path(pem).read_text())
    key = {"use": "x509-svid", "kty": "EC", "x5c": [base64.b64encode(der).decode()]}
    return json.dumps({"keys": [key], "spiffe_sequence": 1})


def put_in(directory, own, prod, crl, partner, taken):
    """The configuration with these files."""
    jwks = directory / "partner.jwks"
    jwks.write_text(make_jwks(partner))
    text = CONFIGURATION
    for old, new in (
        ("/run/bulkhead/svid.pem", own[0]), ("/run/bulkhead/svid.key", own[1]),
        ("/run/bulkhead/prod.pem", prod), ("/run/bulkhead/prod.crl", crl),
        ("/etc/bulkhead/partner.jwks", jwks),
        ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", fingerprint(taken)),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, str(new))
    return text


class Site:
    """bulkhead with that configuration; the application behind it and the payments server."""

    def __init__(self, bulkhead, application, payments):
        self.bulkhead, self.application, self.payments = bulkhead, application, payments

    def connect(self, pair, **more):
        stream = tls_connect(("127.0.0.1", 8443), client_context(pair, **more))
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        return stream

    def let_in(self, pair, **more):
        """The access line of a session that was let through."""
        with self.connect(pair, **more) as stream:
            stream.end()
            assert stream.read_to_end()[0] == b""
            return self.bulkhead.wait_access(downstream=stream.local_address())

    def refused(self, pair):
        """The access line of one that was not."""
        before = self.application.connections
        stream, failure = tls_dial(("127.0.0.1", 8443), client_context(pair))
        with stream:
            assert failure is not None or stream.read_to_end()[0] == b""
            line = self.bulkhead.wait_access(downstream=stream.local_address())
        assert line["event"] == "deny" and self.application.connections == before
        return line


@contextlib.contextmanager
def running(start, backends, directory, text, payments_context, clock=None):
    """The name of the payments server stands in a hosts file that this process alone sees."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        pytest.skip("mounts of its own need root, and a root directory that is a mount (a chroot's "
                    "is one after `mount --bind ROOT ROOT`)")
    hosts = directory / "hosts"
    hosts.write_text("127.0.0.1 localhost\n::1 localhost payments.shop.svc\n")
    through = ("unshare", "--mount", "sh", "-c",
               f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh")
    with own_network():
        application = backends.plain(port=8080)
        payments = backends.tls(payments_context, host="::1", port=8443)
        bulkhead = start(text, wait=False, through=through, clock=clock)
        until(lambda: "event=ready" in bulkhead.log.text() or not bulkhead.alive(), "readiness")
        assert bulkhead.alive(), bulkhead.log.text()
        yield Site(bulkhead, application, payments)
        bulkhead.stop()


@pytest.fixture
def text(credentials, issuer, tmp_path):
    return put_in(tmp_path, credentials.pair("orders"), credentials.bundle("prod.example"),
                  credentials.directory / "revoking.crl", credentials.bundle("partner.example"),
                  credentials.chain("rsa-2048"))


@pytest.fixture
def site(start, backends, credentials, tmp_path, text):
    context = server_context(credentials.pair("payments"), credentials.bundle("prod.example"))
    with running(start, backends, tmp_path, text, context) as made:
        yield made


# ---- as it stands -----------------------------------------------------------------------------


def test_it_is_valid(tmp_path, text):
    """Time alone makes no difference to that: after its `expires` a rule is a warning."""
    file = tmp_path / "bulkhead.yaml"
    file.write_text(text)
    result = run_command("check", "-c", file)
    assert result.returncode == 0 and ": error: " not in result.stderr, result.stderr
    told = [line.split(": ", 2)[1:] for line in result.stderr.splitlines()]
    assert len(told) == 1 and "batch-tries-orders" in told[0][1] and "2027-01-31" in told[0][1]
    assert run_command("check", "--offline", "-c", file).returncode == 0


def test_the_storefront_uses_orders(site, credentials):
    for name in ("web", "mobile"):
        line = site.let_in(credentials.pair(name))
        assert (line["rule"], line["listener"]) == ("storefront-uses-orders", "orders")


def test_alpn_is_what_the_caller_and_the_list_have_in_common(site, credentials):
    for offered, chosen in ((["h2"], "h2"), (["http/1.1", "h2"], "h2"), (["http/1.1"], "http/1.1")):
        with site.connect(credentials.pair("web"), alpn=offered) as stream:
            assert stream.tls.selected_alpn_protocol() == chosen
    stream, failure = tls_dial(("127.0.0.1", 8443), client_context(credentials.pair("web"), alpn=["x"]))
    with stream:
        assert failure is not None


def test_everybody_else_is_refused(site, credentials):
    line = site.refused(credentials.pair("payments"))
    assert line["reason"] == "policy_no_rule"
    assert 'nearest: rule "storefront-uses-orders"' in line["detail"]
    line = site.refused(credentials.pair("partner-web"))  # verified by its own bundle, the JSON one
    assert (line["reason"], line["downstream_id"]) == (
        "policy_no_rule", "spiffe://partner.example/ns/shop/sa/web")
    assert site.refused(credentials.pair("other-domain"))["reason"] == "svid_unknown_trust_domain"
    assert site.refused(credentials.pair("evil-mints-ours"))["reason"] == "svid_untrusted"
    assert site.refused(credentials.pair("revoked"))["reason"] == "svid_revoked"


def test_the_quarantine_is_above_every_rule(site, credentials):
    line = site.refused(credentials.pair("wiki"))
    assert line["reason"] == "policy_quarantine" and "/sa/wiki" in line["detail"]
    # The taken certificate has the ID of `web`, which goes on with its others.
    line = site.refused(credentials.pair("rsa-2048"))
    assert (line["reason"], line["downstream_id"]) == (
        "policy_quarantine", "spiffe://prod.example/ns/shop/sa/web")
    assert "sha256:" in line["detail"]
    assert site.let_in(credentials.pair("web"))["rule"] == "storefront-uses-orders"


def call_payments(site):
    stream = PlainStream(dial(("127.0.0.1", 9001)))
    stream.offer(b"pay")
    return stream


def test_payments_is_reached_and_nobody_else(site, credentials):
    with call_payments(site) as stream:
        assert stream.recv_exactly(3) == b"pay"
        stream.end()
        stream.read_to_end()
    line = site.bulkhead.wait_access(listener="to-payments")
    assert line["upstream_id"] == "spiffe://prod.example/ns/shop/sa/payments"
    for name, reason in (("web", "policy_not_expected"), ("wiki", "policy_quarantine"),
                         ("rsa-2048", "policy_quarantine"), ("partner-web", "policy_not_expected")):
        before = site.payments.plain_bytes
        site.payments.context = server_context(
            credentials.pair(name), credentials.bundle("prod.example"))
        with call_payments(site) as stream:
            assert stream.read_to_end() == (b"", RESET)
            line = site.bulkhead.wait_access(downstream=stream.local_address())
        assert line["reason"] == reason and site.payments.plain_bytes == before


def test_any_other_svid_is_refused(tmp_path, text, credentials):
    """The pin."""
    file = tmp_path / "bulkhead.yaml"
    file.write_text(text.replace("orders.pem", "web.pem").replace("orders.key", "web.key"))
    result = run_command("run", "-c", file)
    assert result.returncode == 2
    assert f"{file}:4:14: error: identity.spiffe_id: " in result.stderr


@pytest.mark.parametrize("old, new, line, part", [
    ("sa/web, to: orders, decision: allow", "sa/web, to: orders, decision: deny", 48,
     "must be denied, but is allowed"),
    ("sa/x,   to: orders, decision: deny", "sa/x,   to: orders, decision: allow", 49,
     "must be allowed, but is denied"),
    ("ns/evil/sa/x,   to: orders, decision: deny", "ns/batch/a/b, to: orders, decision: allow", 49,
     "must be allowed, but is denied"),  # a shadow rule grants nothing
    # The quarantine does not count in them.
    ("  - spiffe://prod.example/ns/shop/sa/wiki", "  - spiffe://prod.example/ns/shop/sa/web", None,
     ""),
])
def test_its_tests_are_run(tmp_path, text, old, new, line, part):
    file = tmp_path / "bulkhead.yaml"
    assert old in text
    file.write_text(text.replace(old, new))
    result = run_command("check", "-c", file)
    assert result.returncode == (0 if line is None else 2), result.stderr
    if line is not None:
        assert f"{file}:{line}:5: error: tests[" in result.stderr and part in result.stderr


# ---- with its time, and SVIDs of every name in it ---------------------------------------------


class Cast:
    """Who plays: SVIDs that are good in January 2027, and after."""

    def __init__(self, directory, issuer):
        self.issuer = issuer
        self.partner = Issuer(directory / "partner", "partner.example")
        self.crl = directory / "prod.crl"
        issuer.crl(self.crl, start=ENDS - 24 * HOUR, end=ENDS + 24 * HOUR)

    def svid(self, name, path=None):
        return self.issuer.issue(name, ENDS - 24 * HOUR, ENDS + 24 * HOUR, path)


@pytest.fixture
def cast(tmp_path, issuer):
    return Cast(tmp_path, issuer)


@pytest.fixture
def clock():
    made = Clock()
    made.set_to(ENDS - HOUR)
    yield made
    made.close()


@pytest.fixture
def january(start, backends, tmp_path, cast, clock):
    """january(edit): the site an hour before the end of the batch rule; edit changes its text."""
    with contextlib.ExitStack() as stack:
        def make(edit=lambda text: text):
            own = cast.svid("orders")
            text = put_in(tmp_path, own.pair, cast.issuer.bundle, cast.crl, cast.partner.bundle,
                          cast.svid("web").chain)
            context = server_context(cast.svid("payments").pair, cast.issuer.bundle)
            return stack.enter_context(
                running(start, backends, tmp_path, edit(text), context, clock))

        yield make


def test_a_shadow_rule_grants_nothing_and_is_logged(january, cast, clock):
    site = january()
    batch = cast.svid("jobs", "/ns/batch/sa/jobs")
    line = site.refused(batch.pair)
    assert line["reason"] == "policy_no_rule"
    assert (line["shadow_decision"], line["shadow_rule"]) == ("allow", "batch-tries-orders")
    # `*` is one whole segment: neither one fewer nor one more.
    for path in ("/ns/batch/sa", "/ns/batch/sa/jobs/night"):
        assert "shadow_rule" not in site.refused(cast.svid("odd", path).pair)
    clock.set_to(ENDS)
    assert "shadow_rule" not in site.refused(batch.pair)


def test_an_enforced_rule_ends_with_its_connections(january, cast, clock):
    site = january(lambda text: text.replace("mode: shadow", "mode: enforce"))
    batch, web = cast.svid("jobs", "/ns/batch/sa/jobs"), cast.svid("web")
    with site.connect(batch.pair) as ending, site.connect(web.pair) as lasting:
        clock.set_to(ENDS - 1)
        assert site.let_in(batch.pair)["rule"] == "batch-tries-orders"
        clock.set_to(ENDS + 1)
        assert ending.read_to_end() == (b"", RESET)
        line = site.bulkhead.wait_access(downstream=ending.local_address())
        assert line["reason"] == "rule_expired"
        line = site.refused(batch.pair)
        assert line["reason"] == "policy_no_rule" and "2027-01-31T00:00:00Z" in line["detail"]
        lasting.send(b"more")
        assert lasting.recv_exactly(4) == b"more"


def test_a_deny_wins_wherever_it_stands(january, cast):
    canary = "/ns/canary/a/b/c"

    def add(text):
        return text.replace("    from: [group:storefront]", "    from: [group:storefront, "
                            f"spiffe://prod.example{canary}]")

    site = january(add)
    line = site.refused(cast.svid("canary", canary).pair)
    assert (line["reason"], line["rule"]) == ("policy_deny_rule", "no-canary")


def test_one_string_where_a_list_belongs(january, cast):
    def spare(text):
        return re.sub(r"(from|to|alpn|expect): +\[([^],]+)\]", r"\1: \2", text)

    assert spare(CONFIGURATION).count("[") == CONFIGURATION.count("[") - 7
    site = january(spare)
    assert site.let_in(cast.svid("web").pair)["rule"] == "storefront-uses-orders"


# ---- what the language promises, and where it is held to it -----------------------------------

# "test_x.py::name" is an integration test, "area/test_x.c::name" a unit test; a name may end in
# "*", for all that begin so. "row NAME" is a row of test_rules_table.py.
STATEMENTS = [
    ("mtls to tcp terminates", "test_directions.py::test_terminate_hands_plaintext_to_the_backend"),
    ("tcp to mtls originates", "test_directions.py::test_originate_speaks_mtls_to_the_server"),
    ("mtls to mtls bridges", "test_directions.py::test_bridge_speaks_mtls_on_both_sides"),
    ("tcp to tcp is refused", "config/test_validate.c::test_validate_pairs_of_addresses"),
    ("any other SVID than the pinned one is refused", "test_any_other_svid_is_refused"),
    ("one bundle for each trust domain, never merged", "test_everybody_else_is_refused",
     "test_bundle_forms.py::test_merged_bundles_are_told_what_to_do"),
    ("a bundle is SPIFFE's JSON or PEM", "test_bundle_forms.py::test_each_form_means_what_its_row_says"),
    ("Unix sockets on either side, with mode and owner",
     "test_directions.py::test_unix_socket_behind_terminate",
     "test_directions.py::test_unix_socket_in_front_of_originate",
     "test_directions.py::test_a_unix_socket_is_for_its_owner_alone_by_default"),
    ("the server is who `expect` says, in the terms of `from`",
     "test_payments_is_reached_and_nobody_else",
     "test_policy.py::test_a_server_that_is_not_expected_gets_nothing",
     "policy/test_policy.c::test_policy_expects_servers"),
    ("groups in `from`", "test_the_storefront_uses_orders"),
    ("groups in groups and in `expect`", "policy/test_policy_groups.c::test_*",
     "row group-of-itself", "row groups-nested-too-deep"),
    ("a shadow rule is counted and logged, and grants nothing",
     "test_a_shadow_rule_grants_nothing_and_is_logged",
     "test_enforcement.py::test_a_shadow_rule_is_told_and_does_nothing"),
    ("a disabled rule is not there", "test_enforcement.py::test_what_no_shadow_rule_matched_*"),
    ("a rule ends at its moment, and with it what no other rule admits",
     "test_an_enforced_rule_ends_with_its_connections"),
    ("a deny wins wherever it stands", "test_a_deny_wins_wherever_it_stands",
     "policy/test_policy.c::test_policy_decides"),
    ("the quarantine refuses now and cuts now, above every rule",
     "test_the_quarantine_is_above_every_rule",
     "test_quarantine.py::test_a_quarantine_cuts_and_refuses_its_peer_and_nobody_else",
     "test_quarantine.py::test_no_rule_and_no_audit_lets_it_through"),
    ("in both directions", "test_payments_is_reached_and_nobody_else",
     "test_quarantine.py::test_a_server_in_quarantine_gets_neither_certificate_nor_byte"),
    ("one certificate, and not all its replicas",
     "test_quarantine.py::test_one_certificate_and_not_its_replicas"),
    ("tests are run by `check`", "test_its_tests_are_run"),
    ("rules, groups, quarantine and tests come from included files too",
     "config/test_include.c::test_include_takes_quarantine_and_tests",
     "test_rules_files.py::test_a_group_in_one_file_serves_rules_in_another",
     "row include-with-listeners"),
    ("a pattern is of validated segments: `*` is one, `**` last, one or more",
     "policy/test_id_pattern.c::test_id_pattern_matches",
     "test_a_shadow_rule_grants_nothing_and_is_logged", "row pattern-double-star-inside"),
    ("no pattern in a trust domain, no regex, no prefix inside a segment, no normalisation",
     "row pattern-star-in-the-domain", "row pattern-regex", "row pattern-part-of-a-segment",
     "row pattern-dots", "row pattern-percent"),
    ("IDs are written in full", "row pattern-without-the-scheme"),
    ("`$` is reserved for variables of whole trust domains",
     "config/test_variables.c::test_variables_elsewhere_are_refused"),
    ("one string where a list belongs is a list of one", "test_one_string_where_a_list_belongs"),
    ("audit admits what no rule matched, logs it and softens nothing else",
     "test_enforcement.py::test_audit_lets_through_what_no_rule_matched_and_says_so",
     "test_enforcement.py::test_audit_softens_nothing_else",
     "test_enforcement.py::test_audit_does_not_soften_expect"),
    ("for the whole file or one listener", "test_enforcement.py::test_a_listeners_own_enforcement_wins"),
    ("audit is loud", "test_enforcement.py::test_audit_is_loud_at_the_start_and_at_each_reload"),
    ("an unknown or duplicate key is an error, with the nearest known one", "row mode-misspelt",
     "config/test_yaml_doc.c::test_yaml_doc_refuses_what_yaml_allows"),
    ("so is a wrong type", "config/test_decode.c::test_decode_refuses_wrong_shapes"),
    ("so are anchors and aliases", "config/test_yaml_doc.c::test_yaml_doc_refuses_what_yaml_allows"),
    ("so is an unknown group", "row group-unknown"),
    ("so is an unknown listener in the main file", "row rule-to-a-misspelt-listener"),
    ("so is a bad ID or pattern", "row pattern-a-name"),
    ("so is an originating listener in `to`", "row rule-to-plaintext"),
    ("so is an mtls upstream without `expect`", "config/test_validate.c::test_validate_expect"),
    ("so is plaintext off the loopback, unless allowed by name",
     "config/test_validate.c::test_validate_pairs_of_addresses",
     "config/test_validate.c::test_validate_takes_a_file_that_fits"),
    ("so is an anchor that two trust domains share",
     "test_check.py::test_an_anchor_of_two_domains_is_an_error"),
    ("so is a leaf inside a bundle", "test_bundle_forms.py::test_each_form_means_what_its_row_says"),
    ("so is a failing test at a reload; a start goes on and says so", "row test-that-fails",
     "test_policy_tests.py::test_a_reload_is_refused_by_a_failing_test",
     "test_policy_tests.py::test_a_start_goes_on_with_a_failing_test_and_says_so"),
    ("all else is a warning: time alone makes no valid file invalid", "row expired",
     "test_it_is_valid"),
    ("nothing that only narrows access refuses a load", "row rule-from-nobody",
     "row rule-that-a-deny-stands-over", "row rule-of-a-domain-without-a-bundle", "row group-empty"),
    ("a quarantine always takes effect",
     "test_quarantine.py::test_a_refused_configuration_adds_its_quarantine",
     "test_quarantine.py::test_broken_credentials_hold_back_no_quarantine",
     "config/test_include.c::test_include_keeps_the_quarantine_after_errors"),
]

HERE = pathlib.Path(__file__).parent


def is_there(test):
    if test.startswith("row "):
        return test[4:] in {row.name for row in ROWS}
    file, _, name = test.rpartition("::")
    if not file:
        path, start = pathlib.Path(__file__), "def "
    elif file.endswith(".c"):
        path, start = HERE.parent / "unit" / file, "static void "
    else:
        path, start = HERE / file, "def "
    end = "" if name.endswith("*") else "("
    return path.exists() and f"\n{start}{name.rstrip('*')}{end}" in path.read_text()


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement[0])
def test_each_statement_has_tests(statement):
    assert len(statement) > 1
    for test in statement[1:]:
        assert is_there(test), test
