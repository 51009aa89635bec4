"""Where the configuration comes from: -c, standard input, the environment; what a reload makes of a
text that can't be read again."""

import os
import signal
import subprocess

import pytest
import yaml

from harness.bulkhead import configuration, program, terminate
from harness.reloading import Reloadable, replace
from harness.streams import CLEAN, client_context, tls_connect

QUESTION = ("--from", "spiffe://prod.example/ns/shop/sa/web", "--to", "in")


@pytest.fixture(scope="module")
def text(credentials):
    return yaml.safe_dump(configuration(credentials, terminate("tcp://127.0.0.1:1")))


@pytest.fixture
def file(text, tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(text)
    return path


def command(*arguments, stdin=None, cwd=None, **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BULKHEAD_CONFIG")}
    result = subprocess.run(
        [program(), *map(str, arguments)], input=stdin, capture_output=True, text=True, cwd=cwd,
        timeout=60, env={**environment, **{k: str(v) for k, v in variables.items()}},
        stdin=None if stdin is not None else subprocess.DEVNULL)
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize("what, good", [
    (("check",), "valid"), (("explain", *QUESTION), "allow"),
])
def test_each_way_to_say_it(what, good, text, file):
    for name, arguments, more in (
            ("<stdin>", ("-c", "-"), {"stdin": text}),
            ("BULKHEAD_CONFIG", (), {"BULKHEAD_CONFIG": text}),
            (str(file), (), {"BULKHEAD_CONFIG_FILE": file}),
            ("<stdin>", (), {"stdin": text, "BULKHEAD_CONFIG_FILE": "-"}),
            (str(file), ("-c", file), {}),
            (str(file), ("-c", file), {"BULKHEAD_CONFIG": "wrong", "BULKHEAD_CONFIG_FILE": "no"}),
            ("<stdin>", ("-c", "-"), {"stdin": text, "BULKHEAD_CONFIG": "wrong"})):
        code, out, err = command(*what, *arguments, **more)
        assert code == 0 and good in out, (name, out, err)
        assert what[0] == "explain" or out.startswith(f"{name}: valid")


@pytest.mark.parametrize("what", [("check",), ("explain", *QUESTION), ("run",)])
@pytest.mark.parametrize("more, why", [
    ({"stdin": "version: 2\n"}, "<stdin>:1:10: error: version"),
    ({"stdin": ""}, "<stdin>: error: the file is empty"),
    ({"stdin": "{"}, "<stdin>:"),
    ({}, "<stdin>: \"/dev/stdin\" is no regular file"),
    ({"BULKHEAD_CONFIG": "version: 1\nlsteners: []"}, "BULKHEAD_CONFIG:2:1: error: unknown key"),
    ({"BULKHEAD_CONFIG": "# nothing"}, "BULKHEAD_CONFIG: error: the file is empty"),
    ({"BULKHEAD_CONFIG": ""}, "BULKHEAD_CONFIG is set in the environment, and empty"),
    ({"BULKHEAD_CONFIG_FILE": ""}, "BULKHEAD_CONFIG_FILE is set in the environment, and empty"),
    ({"BULKHEAD_CONFIG": "a", "BULKHEAD_CONFIG_FILE": "b"}, "are both set in the environment"),
    ({"BULKHEAD_CONFIG_FILE": "/nonexistent/x.yaml"}, "/nonexistent/x.yaml: error:"),
])
def test_what_is_wrong_is_told_with_its_name(what, more, why):
    by_option = not any(key.startswith("BULKHEAD") for key in more)
    code, _, err = command(*what, *(("-c", "-") if by_option else ()), **more)
    assert code == 2 and why in err, err


def test_nothing_at_all_is_wrong_usage():
    for what in (("check",), ("explain", *QUESTION), ("run",), ("ready",)):
        code, out, err = command(*what)
        assert (code, out) == (2, "") and "-c" in err


def test_relative_paths_start_at_the_working_directory(credentials, tmp_path):
    """Of a file, at its directory; a text has none."""
    config = configuration(credentials, terminate("tcp://127.0.0.1:1"))
    here = tmp_path / "here"
    (here / "rules.d").mkdir(parents=True)
    (here / "rules.d" / "a.yaml").write_text("rules: []\n")
    for name in ("certificate", "private_key"):
        path = config["identity"]["files"][name]
        os.symlink(path, here / name)
        config["identity"]["files"][name] = name
    config["include"] = ["rules.d/*.yaml"]
    text = yaml.safe_dump(config)
    assert command("check", "-c", "-", stdin=text, cwd=here)[0] == 0
    assert command("check", cwd=here, BULKHEAD_CONFIG=text)[0] == 0
    assert command("check", "-c", "-", stdin=text, cwd=tmp_path)[0] == 2


@pytest.mark.parametrize("by", ["stdin", "environment"])
def test_a_text_stays_and_the_files_that_it_names_are_followed(start, backends, issuer, shop,
                                                               tmp_path, by):
    name = "<stdin>" if by == "stdin" else "BULKHEAD_CONFIG"
    rules = tmp_path / "more.yaml"
    rules.write_text("rules:\n- {name: web, from: 'spiffe://prod.example/ns/shop/sa/web', to: in}\n")

    def begin(config, **_):
        text = yaml.safe_dump(config, sort_keys=False)
        how = {"stdin": text, "arguments": ("-c", "-")} if by == "stdin" else {
            "env": {"BULKHEAD_CONFIG": text}, "arguments": ()}
        return start(config, **how)

    place = Reloadable(begin, tmp_path, issuer, terminate(backends.plain().url),
                       own=shop("orders"), rules=[], include=[str(rules)])
    with tls_connect(place.address(), client_context(shop("web").pair)) as stream:
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        line = place.reload(signal.SIGHUP)
        assert line["result"] == "unchanged"
        warning = place.wait_log("source_warning")
        assert warning["error"].startswith(f"{name}: ") and "can't be read again" in warning["error"]
        assert warning["error"].endswith("; the files that it names and includes have been read")
        place.rotate(issuer.issue("orders"))
        place.wait_log("reload", trigger="watch", result="in_force")
        stream.end()
        assert stream.read_to_end() == (b"", CLEAN)
    replace(rules, "rules: []\n")
    assert place.reload()["result"] == "in_force"
    stream = tls_connect(place.address(), client_context(shop("web").pair))
    with stream:
        stream.read_to_end()
    place.wait_access(reason="policy_no_rule")
    assert not place.log.find(event="file_gone")


def test_ready_finds_the_place_in_the_environment_too(start, backends, credentials, tmp_path):
    path = tmp_path / "probes.sock"
    config = configuration(credentials, terminate(backends.plain().url),
                           probes={"listen": f"unix://{path}"})
    start(config)
    assert command("ready", BULKHEAD_CONFIG=yaml.safe_dump(config))[:2] == (0, "ok\n")
