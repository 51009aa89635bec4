"""`variables` and `--var`: one text for several environments, in a running process."""

import json

import pytest
import yaml

from harness.bulkhead import configuration, run_command, terminate
from harness.streams import RESET, client_context, tls_connect

WEB = "spiffe://prod.example/ns/shop/sa/web"
IN_PROD = ("--var", "inside=prod.example")
RULES = {"groups": {"shop": "spiffe://${inside}/ns/shop/sa/*"},
         "rules": [{"name": "shop", "from": "group:shop", "to": "in"}],
         "tests": [{"from": "spiffe://${inside}/ns/shop/sa/web", "to": "in", "decision": "allow"}]}


@pytest.fixture
def config(backends, credentials, tmp_path):
    """Its rules come from a file that is shared, its trust domain has no name of its own."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    made = configuration(
        credentials, terminate(backends.plain().url, name="in"), rules=[], trust=(),
        admin={"listen": f"unix://{tmp_path}/admin.sock"}, include=str(tmp_path / "rules.yaml"))
    made["trust"] = {"${inside}": {"bundle": credentials.bundle("prod.example")}}
    made["identity"]["spiffe_id"] = "spiffe://${inside}/ns/shop/sa/orders"
    return made


def connect(bulkhead, credentials, name="web"):
    return tls_connect(bulkhead.address(), client_context(credentials.pair(name)))


def ping(stream):
    stream.send(b"ping")
    assert stream.recv_exactly(4) == b"ping"


def ctl(tmp_path, *arguments):
    return run_command("ctl", "--socket", tmp_path / "admin.sock", *arguments)


def write(path, config):
    path.write_text(yaml.safe_dump(config))
    return path


def test_the_command_line_gives_the_trust_domain(start, config, credentials):
    bulkhead = start(config, options=IN_PROD)
    with connect(bulkhead, credentials) as web:
        ping(web)
    assert bulkhead.wait_access(downstream_id=WEB)["rule"] == "shop"
    with connect(bulkhead, credentials, "wiki") as wiki:
        ping(wiki)


def test_an_override_leaves_the_value_of_the_file_out(start, config, credentials):
    bulkhead = start({**config, "variables": {"inside": "stage.example"}}, options=IN_PROD)
    with connect(bulkhead, credentials) as web:
        ping(web)


def test_logs_show_ids_in_full(start, config, credentials):
    config["rules"] = [{"name": "web", "from": "spiffe://${inside}/ns/shop/sa/we", "to": "in"}]
    del config["include"]
    bulkhead = start(config, options=IN_PROD)
    with connect(bulkhead, credentials) as web:
        assert web.read_to_end() == (b"", RESET)
    line = bulkhead.wait_access(event="deny", downstream_id=WEB)
    assert "${" not in json.dumps(line) and '"web", not "we"' in line["detail"]
    assert "${" not in bulkhead.log.text()


def test_every_reload_keeps_what_the_process_was_started_with(start, config, credentials, tmp_path):
    bulkhead = start(config, options=IN_PROD)
    with connect(bulkhead, credentials) as web:
        rules = {**RULES, "rules": [*RULES["rules"], {
            "name": "no-web", "action": "deny", "mode": "shadow",
            "from": "spiffe://${inside}/ns/shop/sa/web", "to": "in"}]}
        write(tmp_path / "rules.yaml", rules)
        assert ctl(tmp_path, "reload").returncode == 0
        ping(web)
        rules["rules"][1]["mode"] = "enforce"
        del rules["tests"]
        write(tmp_path / "rules.yaml", rules)
        assert ctl(tmp_path, "reload").returncode == 0
        assert web.read_to_end() == (b"", RESET)
    assert bulkhead.wait_access(reason="rule_denies")["downstream_id"] == WEB


def test_ctl_check_reads_another_file_with_them(start, config, tmp_path):
    bulkhead = start(config, options=IN_PROD)
    other = write(tmp_path / "other.yaml", {**config, "rules": [
        {"name": "more", "from": "spiffe://${inside}/more", "to": "in"}]})
    assert ctl(tmp_path, "check", other).returncode == 0
    write(other, {**config, "rules": [
        {"name": "more", "from": "spiffe://${insde}/more", "to": "in"}]})
    result = ctl(tmp_path, "check", other)
    assert result.returncode == 2 and 'did you mean "${inside}"?' in result.stdout + result.stderr
    assert bulkhead.alive()


def test_a_reload_that_lacks_a_variable_is_refused(start, config, credentials, tmp_path):
    bulkhead = start(config, options=IN_PROD)
    with connect(bulkhead, credentials) as web:
        rules = {"rules": [{"name": "web", "from": "spiffe://${prod}/ns/shop/sa/web", "to": "in"}]}
        write(tmp_path / "rules.yaml", rules)
        result = ctl(tmp_path, "reload")
        assert result.returncode == 2
        assert "give its trust domain in `variables`" in result.stdout + result.stderr
        ping(web)
        assert not bulkhead.log.find(event="reload", result="in_force")


def test_ctl_finds_the_socket_without_them(start, config, tmp_path):
    """`ctl -c FILE` wants `admin.listen` alone."""
    bulkhead = start(config, options=IN_PROD)
    result = run_command("ctl", "-c", bulkhead.config_file, "sessions")
    assert result.returncode == 0 and "0 sessions" in result.stdout


def test_the_pin_counts_with_its_variable(config, tmp_path):
    file = write(tmp_path / "bulkhead.yaml", config)
    assert run_command("check", "-c", file, *IN_PROD, "--strict").returncode == 0
    config["identity"]["spiffe_id"] = "spiffe://${inside}/ns/shop/sa/other"
    result = run_command("check", "-c", write(file, config), *IN_PROD)
    assert result.returncode == 2
    assert 'not "spiffe://prod.example/ns/shop/sa/other"' in result.stderr


@pytest.mark.parametrize("domain, code", [("prod.example", 0), ("stage.example", 1)])
def test_explain_takes_them(config, tmp_path, domain, code):
    file = write(tmp_path / "bulkhead.yaml", config)
    result = run_command("explain", "-c", file, "--from", WEB, "--to", "in", "--json",
                         "--var", f"inside={domain}")
    assert result.returncode == code and "${" not in result.stdout, result.stderr
    assert "${" not in run_command("explain", "-c", file, "--from", WEB, "--to", "in",
                                   "--var", f"inside={domain}").stdout


@pytest.mark.parametrize("command", ["run", "check", "explain"])
@pytest.mark.parametrize("arguments, part", [
    (["--var", "inside"], '"inside": must be NAME=VALUE'),
    (["--var", "=x"], "the name must be 1 to 63"),
    (["--var", "Inside=x"], '"Inside": the name must be 1 to 63'),
    (["--var", "a=x", "--var", "b=x", "--var", "a=y"], "--var a is given twice"),
    (["--var"], "requires an argument"),
])
def test_wrong_usage(config, tmp_path, command, arguments, part):
    file = write(tmp_path / "bulkhead.yaml", config)
    result = run_command(command, "-c", file, *arguments)
    assert result.returncode == 2 and part in result.stderr
    assert f"bulkhead {command} --help" in result.stderr


def test_run_does_not_start_without_a_value(config, tmp_path):
    result = run_command("run", "-c", write(tmp_path / "bulkhead.yaml", config))
    assert result.returncode == 2 and 'unknown variable "inside"' in result.stderr
    assert "--var inside=..." in result.stderr and "not started" in result.stderr
