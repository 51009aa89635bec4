"""`bulkhead check`: a wrong configuration of each kind, with its place and what would be right."""

import json
import pathlib
import shutil
import subprocess

import jsonschema
import pytest
import yaml

from harness.bulkhead import ROOT, program, run_command

GOOD = """version: 1
identity:
  files: {{certificate: {certs}/orders.pem, private_key: {certs}/orders.key}}
trust:
  prod.example: {{bundle: {certs}/prod.example.bundle.pem}}
listeners:
  - name: orders
    accept: mtls://127.0.0.1:8443
    forward: tcp://127.0.0.1:8080
  - name: out
    accept: tcp://127.0.0.1:9001
    forward: mtls://payments.shop.svc:8443
    expect: [spiffe://prod.example/ns/shop/sa/payments]
rules:
  - name: web-uses-orders
    from: [spiffe://prod.example/ns/shop/sa/web]
    to: [orders]
"""

# as long as a DNS name may be
LONG_NAME = ".".join(["a" * 60] * 4 + ["b" * 9])
assert len(LONG_NAME) == 253

# what is replaced, by what, the line of the error, a part of its message
WRONG = [
    ("version: 1", "version: 2", 1, "version"),
    ("version: 1", 'version: "1"', 1, "write it without quotes: version: 1"),
    ("rules:", "ruels:", 14, 'did you mean "rules"'),
    ("    to: [orders]", "    to: [orders]\n    mode: audit", 18,
     "must be enforce, shadow or disabled"),
    ("    to: [orders]", "    to: [orders]\n    to: [orders]", 18, "already"),
    ("    to: [orders]", "    to: {orders: 1}", 17, "list"),
    ("    to: [orders]", "    to: [*]", 17, '"*" must be quoted'),
    ("    to: [orders]", "    to: [&a orders]", 17, "anchor"),
    ("    to: [orders]", "    to: [ordrs]", 17, "orders"),
    ("    to: [orders]", "    to: [out]", 17, "expect"),
    ("    to: [orders]", "    to: [orders]\n---\nversion: 1", 18, "document"),
    ("    to: [orders]", "    to: [orders]\n\tx: 1", 18, "tab"),
    ("/sa/web]", "/sa/web-*]", 16, "whole segment"),
    ("/sa/web]", "/sa/**/x]", 16, "only at the end"),
    ("/sa/web]", "/sa/%77eb]", 16, "%77eb"),
    ("/sa/web]", "/sa/web/]", 16, "/sa/web/"),
    ("[spiffe://prod.example/ns/shop/sa/web]", "[spiffe:/x]", 16, 'must start with "spiffe://"'),
    ("[spiffe://prod.example/ns/shop/sa/web]", "[prod.example/x]", 16, "in full"),
    ("[spiffe://prod.example/ns/shop/sa/web]", '["spiffe://*/x"]', 16, "trust domain"),
    ("[spiffe://prod.example/ns/shop/sa/web]", "[spiffe://PROD.example/x]", 16, "PROD.example"),
    ("[spiffe://prod.example/ns/shop/sa/web]", "['group:storefront']", 16, "group:storefront"),
    ("    to: [orders]", "    to: [orders]\ngroups: {a: [group:b], b: [group:a]}", 18, "goes round"),
    ("    to: [orders]", "    to: [orders]\ngroups: {A: spiffe://prod.example/x}", 18, "a-z"),
    ("rules:", "include: nowhere.yaml\nrules:", 14, "nowhere.yaml"),
    ("rules:", "include: '*/x.yaml'\nrules:", 14, "only the file's name"),
    ("[spiffe://prod.example/ns/shop/sa/web]", '"*"', 16, "spiffe://TRUST-DOMAIN/** is every ID"),
    ("[spiffe://prod.example/ns/shop/sa/web]", "all", 16, "spiffe://TRUST-DOMAIN/** is every ID"),
    ("    to: [orders]", '    to: "*"', 17, "every listener is `all`"),
    ("    to: [orders]", "     to: [orders]", 17, "the keys of the map that begins in line 15 are by 4"),
    ("    forward: tcp:", "     forward: tcp:", 9, "indent it as its neighbours are"),
    ("    to: [orders]", "   to: [orders]", 17, "check the indentation"),
    ("  files: ", "    spiffe_id: x\n  files: ", 4, "the keys of the map that begins in line 1 are by 0"),
    ("mtls://127.0.0.1:8443", "tcp://127.0.0.1:8443", 9, "nothing to enforce"),
    ("mtls://127.0.0.1:8443", "tls://127.0.0.1:8443", 8, "tls://"),
    ("mtls://127.0.0.1:8443", "mtls://localhost:8443", 8, "127.0.0.1"),
    ("mtls://127.0.0.1:8443", "mtls://127.0.0.1:99999", 8, "port"),
    ("tcp://127.0.0.1:8080", "tcp://10.0.0.1:8080", 9, "unsafe_plaintext"),
    ("tcp://127.0.0.1:9001", "tcp://0.0.0.0:9001", 11, "unsafe_plaintext"),
    ("    expect: [spiffe://prod.example/ns/shop/sa/payments]\n", "", 12, "expect"),
    ("payments.shop.svc", LONG_NAME + "b", 12, "at most 253 characters"),
    ("payments.shop.svc", "x" * 64 + ".svc", 12, "at most 63 characters"),
    ("    expect:", f"    sni: {LONG_NAME}b\n    expect:", 13, "at most 253 characters"),
    ("    expect:", f"    sni: {'x' * 64}\n    expect:", 13, "at most 63 characters"),
    ("    expect:", "    sni: 10.0.0.1\n    expect:", 13, "never ends in a number"),
    ("    expect:", "    sni: a b\n    expect:", 13, "must be a DNS name"),
    ("name: out", "name: orders", 10, "orders"),
    ("name: out", "name: all", 10, "reserved"),
    ("name: out", "name: Out", 10, "Out"),
    ("name: web-uses-orders", "action: permit\n    name: web", 15, "allow"),
    ("version: 1", "version: 1\ntimeouts: {idle: 10}", 2, "unit"),
    ("version: 1", "version: 1\ntimeouts: {idle: 010s}", 2, "010s"),
    ("version: 1", "version: 1\nworkers: 0x10", 2, "0x10"),
    ("version: 1", "version: 1\nlog: {level: off}", 2, "off"),
    ("version: 1", "version: 1\nquarantined: []", 2, "unknown key"),
    ("orders.key", "wiki.key", 3, "wiki.key"),
    ("orders.pem", "no-uri-san.pem", 3, "no-uri-san.pem"),
    ("prod.example.bundle.pem", "orders.pem", 5, "never an SVID"),
    ("orders.pem", "orders.key", 3, "are the two files exchanged?"),
    ("orders.key", "orders.pem", 3, "are the two files exchanged?"),
    ("  prod.example: ", "  Prod.example: ", 5, "Prod.example"),
    ("  prod.example: ", "  spiffe://prod.example: ", 5, "without spiffe://"),
    ("    accept: mtls", "    accept mtls", 8, 'a key needs a ":"'),
    ("- name: orders", "- name:orders", 7, 'a space behind the ":"'),
    ("- name: orders", "-name: orders", 7, 'a space behind the "-"'),
    ("identity:\n", "identity:\n  spiffe_id: spiffe://prod.example/ns/shop/sa/web\n", 3, "orders"),
]


def check(tmp_path, text, *options):
    file = tmp_path / "bulkhead.yaml"
    file.write_text(text)
    return run_command("check", "-c", file, *options)


def test_a_good_configuration_is_valid(tmp_path, credentials):
    result = check(tmp_path, GOOD.format(certs=credentials.directory))
    assert (result.returncode, result.stderr) == (0, "")
    assert "2 listeners, 1 rule" in result.stdout


@pytest.mark.parametrize("old, new, line, part", WRONG, ids=range(len(WRONG)))
def test_a_wrong_configuration_is_refused_at_its_place(tmp_path, credentials, old, new, line, part):
    text = GOOD.format(certs=credentials.directory)
    assert old in text
    result = check(tmp_path, text.replace(old, new, 1))
    assert result.returncode == 2
    first = next(text for text in result.stderr.splitlines() if ": error: " in text)
    assert f"bulkhead.yaml:{line}:" in first, result.stderr
    assert part in first, result.stderr


@pytest.mark.parametrize("old, new", [
    ("payments.shop.svc", LONG_NAME),
    ("    expect:", f"    sni: {LONG_NAME}\n    expect:"),
    ("    expect:", "    sni: _a-b.c_d.svc\n    expect:"),
])
def test_the_longest_server_name_is_valid(tmp_path, credentials, old, new):
    result = check(tmp_path, GOOD.format(certs=credentials.directory).replace(old, new, 1))
    assert result.returncode == 0, result.stderr


def test_all_errors_come_at_once_and_in_order(tmp_path, credentials):
    text = GOOD.format(certs=credentials.directory)
    text = text.replace("version: 1", "version: 3").replace("rules:", "ruels:")
    text = text.replace("tcp://127.0.0.1:8080", "tcp://10.0.0.1:8080")
    result = check(tmp_path, text, "--json")
    assert result.returncode == 2
    answer = json.loads(result.stdout)
    assert answer["valid"] is False
    lines = [error["line"] for error in answer["errors"]]
    assert lines == [1, 9, 14]


def test_a_wrong_file_is_looked_at_whole(tmp_path, credentials):
    """What config, policy and the credentials have to say comes in one run, by place."""
    text = GOOD.format(certs=credentials.directory)
    for old, new in (
        ("version: 1", "version: 1\nquarantined: []"),
        ("orders.key", "web.key"),
        ("prod.example.bundle.pem", "nowhere.pem"),
        ("mtls://127.0.0.1:8443", "tls://127.0.0.1:8443"),
        ("spiffe://prod.example/ns/shop/sa/payments", "spiffe:/payments"),
        ("/sa/web]", "/sa/web-*]"),
        ("to: [orders]", "to: [ordrs]"),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    result = check(tmp_path, text)
    assert result.returncode == 2 and result.stdout.count("7 errors") == 1, result.stderr
    wanted = [
        (2, 1, 'unknown key "quarantined"'),
        (4, 24, "identity.files: "),
        (6, 26, "trust.prod.example.bundle: "),
        (9, 13, "tls://"),
        (14, 14, "must start with"),
        (17, 12, "exactly one whole segment"),
        (18, 10, 'unknown listener "ordrs"'),
    ]
    lines = [line for line in result.stderr.splitlines() if ": error: " in line]
    assert len(lines) == len(wanted), result.stderr
    for line, (row, column, part) in zip(lines, wanted):
        assert f"bulkhead.yaml:{row}:{column}: error: " in line and part in line, line


def test_run_does_not_start_from_what_check_refuses(tmp_path, credentials):
    """An error of the file alone: policy and credentials are good."""
    file = tmp_path / "bulkhead.yaml"
    text = GOOD.format(certs=credentials.directory)
    file.write_text(text.replace("version: 1", "version: 1\nquarantined: []"))
    result = run_command("run", "-c", file)
    assert result.returncode == 2
    assert "not started: 1 error" in result.stderr and "ready" not in result.stderr


WITHOUT = ["identity:", "trust:", "listeners:", "rules:", "  files:", "  - name: orders",
           "    accept: mtls", "    forward: tcp", "    forward: mtls", "  prod.example:",
           "    from:", "    to:"]


def replace_part(text, start, value):
    """The key that the line starts with gets another value, in place of all that is below it."""
    column = len(start) - len(start.lstrip(" -"))
    lines, inside = [], False
    for line in text.splitlines():
        inside = inside and len(line) - len(line.lstrip(" -")) > column
        if line.startswith(start):
            inside = True
            lines.append(f"{line.split(':')[0]}: {value}")
        elif not inside:
            lines.append(line)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("start", WITHOUT)
@pytest.mark.parametrize("value", ["~", "[[a, {b: c}]]", "{x: [y]}", "text", "[]", "*a", "&a ~"])
def test_any_part_may_be_of_a_wrong_kind(tmp_path, credentials, start, value):
    """Nothing rests on a part that could not be read, and nothing is said twice of it."""
    text = replace_part(GOOD.format(certs=credentials.directory), start, value)
    result = check(tmp_path, text.replace("version: 1", "version: 2"))
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if ": error: " in line]
    assert "bulkhead.yaml:1:10:" in errors[0]
    allowed = value == "[]" and start in ("rules:", "    from:", "    to:") or \
        value == "text" and start == "  - name: orders"
    assert len(errors) > 1 or allowed, result.stderr
    places = [line.split(": error: ")[0] for line in errors
              if "is missing" not in line and "anchors" not in line]
    assert len(places) == len(set(places)), result.stderr


def test_a_second_document_does_not_hide_the_errors_of_the_first(tmp_path, credentials):
    text = GOOD.format(certs=credentials.directory)
    text = text.replace("version: 1", "version: 2").replace("/sa/web]", "/sa/web-*]")
    result = check(tmp_path, text + "---\nversion: 1\n", "--json")
    errors = json.loads(result.stdout)["errors"]
    assert [error["line"] for error in errors] == [1, 16, 18]


def test_only_a_syntax_error_stops_the_rest(tmp_path, credentials):
    text = GOOD.format(certs=credentials.directory).replace("version: 1", "version: 3")
    result = check(tmp_path, text + "}\n", "--json")
    assert [error["line"] for error in json.loads(result.stdout)["errors"]] == [18]


def test_certificate_and_key_are_both_looked_at(tmp_path, credentials):
    text = GOOD.format(certs=credentials.directory)
    text = text.replace("orders.pem", "no-cert.pem").replace("orders.key", "no-key.key")
    errors = json.loads(check(tmp_path, text, "--json").stdout)["errors"]
    assert [error["line"] for error in errors] == [3]
    assert "no-cert.pem" in errors[0]["message"] and "no-key.key" in errors[0]["message"]


def test_a_bundle_is_read_whatever_its_domain_is_called(tmp_path, credentials):
    """But what is wrong with the file only under another name is not said."""
    text = GOOD.format(certs=credentials.directory)
    text = text.replace("  prod.example:", "  spiffe://prod.example:")
    errors = json.loads(check(tmp_path, text, "--json").stdout)["errors"]
    assert [(error["line"], error["column"]) for error in errors] == [(5, 3)]
    text = text.replace("prod.example.bundle.pem", "nowhere.pem")
    errors = json.loads(check(tmp_path, text, "--json").stdout)["errors"]
    assert [(error["line"], error["column"]) for error in errors] == [(5, 3), (5, 35)]
    assert "without spiffe://" in errors[0]["message"] and "nowhere.pem" in errors[1]["message"]


def test_json_of_a_good_configuration(tmp_path, credentials):
    result = check(tmp_path, GOOD.format(certs=credentials.directory), "--json")
    answer = json.loads(result.stdout)
    assert answer["valid"] is True and answer["errors"] == []
    assert [listener["kind"] for listener in answer["listeners"]] == ["terminate", "originate"]


@pytest.mark.parametrize("file, fault", [
    ("no-key.key", "identity.files.private_key: "),  # missing
    ("orders.pem", "identity.files.private_key: "),  # holds no key
    ("web.key", "identity.files: "),  # of another certificate: either may be meant
])
def test_what_is_wrong_with_the_key_is_said_at_the_key(tmp_path, credentials, file, fault):
    text = GOOD.format(certs=credentials.directory).replace("orders.key", file)
    error, = json.loads(check(tmp_path, text, "--json").stdout)["errors"]
    key = "private_key" in fault
    column = text.splitlines()[2].index("private_key: " if key else "certificate: ")
    assert error["column"] == column + len("private_key: " if key else "certificate: ") + 1
    assert error["message"].startswith(fault) and file in error["message"]


@pytest.mark.parametrize("key", ["from", "expect"])
@pytest.mark.parametrize("domain, hint", [
    ("prod.exmaple", '; did you mean "prod.example"?'), ("elsewhere.org", "")])
def test_a_trust_domain_without_a_bundle_is_a_warning_with_a_hint(
        tmp_path, credentials, key, domain, hint):
    text = GOOD.format(certs=credentials.directory)
    old = "sa/web]" if key == "from" else "sa/payments]"
    assert old in text
    text = text.replace(old, f"{old[:-1]}, 'spiffe://{domain}/x']")
    result = check(tmp_path, text)
    assert result.returncode == 0
    warning, = result.stderr.splitlines()
    assert warning.endswith(f'never matches: `trust` has no bundle for "{domain}"{hint}')
    strict = check(tmp_path, text, "--strict")
    assert strict.returncode == 2 and strict.stderr == result.stderr
    assert "refused by --strict: 1 warning" in strict.stdout
    assert json.loads(check(tmp_path, text, "--strict", "--json").stdout)["valid"] is False


def test_strict_lets_pass_what_has_no_warning(tmp_path, credentials):
    result = check(tmp_path, GOOD.format(certs=credentials.directory), "--strict")
    assert (result.returncode, result.stderr) == (0, "")


def test_an_anchor_of_two_domains_is_an_error(tmp_path, credentials):
    text = GOOD.format(certs=credentials.directory).replace(
        "listeners:", "  partner.example: {bundle: %s}\nlisteners:"
        % credentials.bundle("prod.example"), 1)
    result = check(tmp_path, text)
    assert result.returncode == 2 and "partner.example" in result.stderr
    assert "bundle file of its own" in result.stderr


EXAMPLES = ["sidecar", "gateway", "originate", "spire"]


def text_of_example(name, tmp_path, credentials):
    """As it stands, but for the paths of the credentials and of the access log."""
    text = (ROOT / "config" / f"{name}.yaml").read_text()
    for path, here in (
        ("/run/bulkhead/svid.pem", credentials.chain("orders")),
        ("/run/bulkhead/svid.key", credentials.key("orders")),
        ("/run/bulkhead/prod.pem", credentials.bundle("prod.example")),
        ("/etc/bulkhead/partner.pem", credentials.bundle("partner.example")),
        ("/var/log/bulkhead/access.log", tmp_path / "access.log"),
    ):
        text = text.replace(path, str(here))
    shutil.copytree(ROOT / "config" / "rules.d", tmp_path / "rules.d")
    return text


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_load(tmp_path, credentials, name):
    text = text_of_example(name, tmp_path, credentials)
    result = check(tmp_path, text, "--strict")
    assert result.returncode == 0, result.stderr
    warned = [line for line in result.stderr.splitlines() if ": note: " not in line]
    assert warned == []


def test_the_gateway_takes_its_trust_domains_from_the_command_line(tmp_path, credentials):
    """Both swapped, so that the bundles fit the other names: the rules say the same of them."""
    text = text_of_example("gateway", tmp_path, credentials)
    for old, new in ((credentials.bundle("prod.example"), "A"),
                     (credentials.bundle("partner.example"), "B")):
        text = text.replace(str(old), new)
    text = text.replace("bundle: A}", f"bundle: {credentials.bundle('partner.example')}}}")
    text = text.replace("bundle: B}", f"bundle: {credentials.bundle('prod.example')}}}")
    swapped = ("--var", "inside=partner.example", "--var", "partner=prod.example")
    result = check(tmp_path, text, "--strict", *swapped)
    assert result.returncode == 0, result.stderr
    assert check(tmp_path, text).returncode == 2  # without, each bundle is another domain's


@pytest.mark.parametrize("kind, name", [
    ("markdown", "REFERENCE.md"), ("schema", "bulkhead.schema.json"),
    ("rules-schema", "bulkhead-rules.schema.json"),
])
def test_the_reference_is_what_the_key_tables_say(kind, name):
    tool = pathlib.Path(program()).parent / "tests" / "tools" / "config_reference"
    if not tool.exists():
        tool = ROOT / "build" / "release" / "tests" / "tools" / "config_reference"
    made = subprocess.run([tool, kind], capture_output=True, text=True, check=True).stdout
    assert made == (ROOT / "config" / name).read_text(), "run `make reference`"


class TextLoader(yaml.SafeLoader):
    """Dates stay text, as for an editor and for bulkhead."""


TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}


def read_example(name):
    return yaml.load((ROOT / "config" / name).read_text(), TextLoader)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_match_the_schema(name):
    schema = json.loads((ROOT / "config" / "bulkhead.schema.json").read_text())
    config = read_example(f"{name}.yaml")
    jsonschema.validate(config, schema)
    config["listeners"][0]["no-such-key"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, schema)


def test_the_included_example_matches_its_schema():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "config" / "bulkhead-rules.schema.json").read_text())
    rules = read_example("rules.d/partner.yaml")
    jsonschema.validate(rules, schema)
    for key, value in (("listeners", []), ("variables", {}), ("include", "x"), ("rule", [])):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**rules, key: value}, schema)


# Texts of which bulkhead and the schema must think the same.
TIMES = [("2027-01-31", True), ("2027-01-31T18:00Z", True), ("2027-01-31t18:00:00.5+02:00", True),
         ("2027-01-31 18:00:00.000000000 Z", True), ("2027-01-31T18:00", False),
         ("31.1.2027", False), ("2027-1-31", False), ("never", False)]
DOMAINS = [("prod.example", True), ("${prod}", True), ("x${prod}", False), ("${prod}.x", False),
           ("$prod", False), ("${prod", False), ("Prod.example", False)]


@pytest.mark.parametrize("time, good", TIMES)
def test_schema_and_program_agree_about_times(tmp_path, credentials, time, good):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "config" / "bulkhead-rules.schema.json").read_text())
    rule = {"name": "a", "from": "spiffe://prod.example/a", "to": "orders", "expires": time}
    assert jsonschema.Draft7Validator(schema).is_valid({"rules": [rule]}) is good
    text = GOOD.format(certs=credentials.directory) + f"  - {json.dumps(rule)}\n"
    assert check(tmp_path, text, "--offline").returncode == (0 if good else 2)


@pytest.mark.parametrize("domain, good", DOMAINS)
def test_schema_and_program_agree_about_trust_domains(tmp_path, credentials, domain, good):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "config" / "bulkhead.schema.json").read_text())
    text = GOOD.format(certs=credentials.directory).replace("  prod.example:", f"  '{domain}':")
    config = yaml.load(text, TextLoader)
    assert jsonschema.Draft7Validator(schema).is_valid(config) is good
    result = check(tmp_path, text, "--offline", "--var", "prod=prod.example")
    assert result.returncode == (0 if good else 2), result.stderr


@pytest.mark.parametrize("row", ["good_row", "bad_row"])
def test_svid_says_what_is_wrong(credentials, row):
    for entry in credentials.rows(row == "good_row"):
        result = run_command("svid", "--json", credentials.chain(entry.name))
        assert result.returncode in (0, 1), (entry.name, result.stderr)
        facts = json.loads(result.stdout.splitlines()[0])
        if row == "good_row":
            assert result.returncode == 0, (entry.name, facts)
        assert "SPIFFE" in json.dumps(facts) or "spiffe" in json.dumps(facts)
