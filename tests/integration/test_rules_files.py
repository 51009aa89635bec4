"""`include`: rules in files of their own, which take effect when they are renamed into place."""

import json
import os
import signal

import pytest
import yaml

from harness.bulkhead import configuration, run_command, terminate
from harness.streams import RESET, client_context, tls_connect

WEB = "spiffe://prod.example/ns/shop/sa/web"
ORDERS = "spiffe://prod.example/ns/shop/sa/orders"


def rules_text(*rules):
    return yaml.safe_dump({"rules": list(rules)})


def rule(name, identity, **more):
    return {"name": name, "from": identity, "to": "in", **more}


@pytest.fixture
def site(start, backends, credentials, tmp_path):
    """A bulkhead whose only rule is that web may use it, from rules.d/web.yaml."""
    folder = tmp_path / "rules.d"
    folder.mkdir()
    (folder / "web.yaml").write_text(rules_text(rule("web", WEB)))
    config = configuration(
        credentials, terminate(backends.plain().url, name="in"), rules=[],
        include=[f"{tmp_path}/rules.d/*.yaml"])
    bulkhead = start(config)
    bulkhead.folder = folder
    return bulkhead


def put(bulkhead, name, text):
    """As careful programs do: written elsewhere, then renamed."""
    draft = bulkhead.directory / "draft"
    draft.write_text(text)
    os.replace(draft, bulkhead.folder / name)


def connect(bulkhead, credentials, name="web"):
    stream = tls_connect(bulkhead.address(), client_context(credentials.pair(name)))
    stream.send(b"ping")
    assert stream.recv_exactly(4) == b"ping"
    return stream


def wait_reload(bulkhead, generation, result="in_force"):
    return bulkhead.wait_log("reload", generation=generation, result=result, trigger="watch")


def test_a_file_that_is_renamed_into_place_counts(site, credentials):
    with connect(site, credentials) as web:
        put(site, "deny.yaml", rules_text(rule("no-web", WEB, action="deny")))
        line = wait_reload(site, 2)
        assert line["rule_added"] == 1 and line["ended_rule_denies"] == 1
        assert web.read_to_end() == (b"", RESET)
    put(site, "deny.yaml", rules_text(rule("no-orders", WEB, action="deny", to=[])))
    assert wait_reload(site, 3)["rule_removed"] == 1
    connect(site, credentials).close()


def test_a_group_in_one_file_serves_rules_in_another(site, credentials):
    put(site, "groups.yaml", yaml.safe_dump({"groups": {"shop": [ORDERS]}}))
    wait_reload(site, 2)
    put(site, "shop.yaml", rules_text(rule("shop", "group:shop")))
    wait_reload(site, 3)
    with connect(site, credentials, "orders") as orders:
        put(site, "groups.yaml", yaml.safe_dump({"groups": {"shop": [WEB]}}))
        line = wait_reload(site, 4)
        assert line["group_changed"] == 1 and line["ended_rule_removed"] == 1
        assert orders.read_to_end() == (b"", RESET)
    os.rename(site.folder / "groups.yaml", site.folder / "groups.off")
    site.wait_log("reload", result="refused")
    errors = [e["error"] for e in site.log.find(event="source_failed")]
    assert any('shop.yaml:2:9: error: rules[0].from[0]: unknown group "group:shop"' in e
               for e in errors), errors


def test_a_file_that_goes_takes_its_rules_along(site, credentials):
    with connect(site, credentials) as web:
        os.rename(site.folder / "web.yaml", site.folder / "web.yaml.off")
        line = wait_reload(site, 2)
        assert line["rule_removed"] == 1 and line["ended_rule_removed"] == 1
        assert web.read_to_end() == (b"", RESET)
    os.rename(site.folder / "web.yaml.off", site.folder / "web.yaml")
    wait_reload(site, 3)
    connect(site, credentials).close()


def test_a_folder_behind_a_link_is_swapped_whole(start, backends, credentials, tmp_path):
    for version, name in (("..1", "web"), ("..2", "orders")):
        (tmp_path / version).mkdir()
        text = rules_text(rule(name, f"spiffe://prod.example/ns/shop/sa/{name}"))
        (tmp_path / version / f"{name}.yaml").write_text(text)
    (tmp_path / "rules.d").symlink_to("..1")
    bulkhead = start(configuration(
        credentials, terminate(backends.plain().url, name="in"), rules=[],
        include=[f"{tmp_path}/rules.d/*.yaml"]))
    with connect(bulkhead, credentials) as web:
        (tmp_path / "next").symlink_to("..2")
        os.replace(tmp_path / "next", tmp_path / "rules.d")
        wait_reload(bulkhead, 2)
        assert web.read_to_end() == (b"", RESET)
    connect(bulkhead, credentials, "orders").close()


def test_a_file_that_is_written_in_place_waits_for_a_signal(site, credentials):
    path = site.folder / "deny.yaml"
    with connect(site, credentials) as web:
        path.write_text(rules_text(rule("no-web", WEB, action="deny")))
        assert site.wait_log("configuration_written")["file"] == str(path)
        web.send(b"ping")
        assert web.recv_exactly(4) == b"ping"
        site.signal(signal.SIGHUP)
        site.wait_log("reload", generation=2, result="in_force")
        assert web.read_to_end() == (b"", RESET)
    (site.folder / "web.yaml").write_text(rules_text())
    site.wait_log("configuration_written", file=str(site.folder / "web.yaml"))
    assert not site.log.find(event="reload", generation=3)


def test_a_broken_file_keeps_what_was_and_is_named(site, credentials):
    with connect(site, credentials) as web:
        put(site, "more.yaml", "rules:\n- {name: x, form: y}\n")
        line = site.wait_log("reload", result="refused", trigger="watch")
        errors = [e["error"] for e in site.log.find(event="source_failed")]
        assert any("rules.d/more.yaml:2:" in e and 'did you mean "from"?' in e for e in errors)
        web.send(b"ping")
        assert web.recv_exactly(4) == b"ping"
        put(site, "more.yaml", rules_text(rule("x", WEB)))
        assert wait_reload(site, 2)["rule_added"] == 1
        assert line["generation"] == 1


def test_a_deny_without_effect_is_said_at_every_load_and_an_allow_by_check_alone(site):
    put(site, "others.yaml", rules_text(
        rule("allow-there", WEB, to="billing"), rule("deny-there", WEB, to="inn", action="deny")))
    wait_reload(site, 2)
    warnings = [w["error"] for w in site.log.find(event="source_warning")]
    assert len(warnings) == 1 and 'denies nobody: there is no listener "inn"' in warnings[0]
    result = run_command("check", "-c", site.config_file, "--json")
    answer = json.loads(result.stdout)
    assert answer["valid"] and len(answer["warnings"]) == 1
    assert len(answer["notes"]) == 1
    assert 'there is no listener "billing" here' in answer["notes"][0]["message"]
    assert answer["notes"][0]["file"].endswith("rules.d/others.yaml")
