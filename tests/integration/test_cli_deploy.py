"""What the README and the systemd unit promise: as PID 1, as anybody, on a read-only root, rotated."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

import pytest
import yaml

from harness.bulkhead import ROOT, Bulkhead, configuration, program, run_command, terminate
from harness.streams import client_context, tls_connect
from harness.wait import until

UNIT = ROOT / "config" / "bulkhead.service"
README = (ROOT / "README.md").read_text()


def use(bulkhead, credentials):
    with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
        stream.send(b"ping")
        assert stream.recv_exactly(4) == b"ping"
        stream.end()
        stream.read_to_end()


# ---- README -----------------------------------------------------------------------------------


def block(language, holds):
    return next(text for text in re.findall(rf"```{language}\n(.*?)```", README, re.S)
                if holds in text)


def run_script(script, directory):
    """With -m, as in a terminal: without it a shell's jobs ignore some signals. What a failure
    leaves behind ends with the shell."""
    script = re.sub(r"^( *)bulkhead ", rf"\1{program()} ", script, flags=re.M)
    # wait: a second signal, from the trap, would cut what still drains.
    script = f"trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n{script}\nwait\n"
    return subprocess.run(["bash", "-em"], input=script, text=True, capture_output=True,
                          cwd=directory, timeout=60)


def test_readme_by_hand(tmp_path):
    """The lines as they stand but for the ports."""
    made = run_script(block("sh", "openssl req"), tmp_path)
    assert made.returncode == 0, made.stderr
    assert made.stdout.count("valid X509-SVID (leaf), chain verified") == 2
    for name in ("orders", "web"):
        assert f"spiffe://prod.example/ns/shop/sa/{name}" in made.stdout
    script = block("sh", "orders.yaml")
    with contextlib.ExitStack() as held:
        for port in ("8443", "9001", "8080"):
            # Nothing else gets the port: bound, but not listening, with SO_REUSEADDR on both sides.
            sock = held.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
            script = script.replace(port, str(sock.getsockname()[1]))
        ran = run_script(script, tmp_path)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert "hello" in lines
    # Python's server may not have ended its own line yet.
    passed = [json.loads(line[line.index("{"):]) for line in lines if '"decision":"allow"' in line]
    # The answer went through both; the script may end them before they see the end of the stream.
    assert {line["listener"] for line in passed if line.get("bytes_down", 0) > 0} == {
        "orders", "to-orders"}, ran.stdout


def test_readme_configuration_is_valid(tmp_path, credentials):
    config = yaml.safe_load(block("yaml", "version: 1"))
    config["identity"]["files"] = {
        "certificate": credentials.chain("orders"), "private_key": credentials.key("orders")}
    config["trust"]["prod.example"]["bundle"] = credentials.bundle("prod.example")
    file = tmp_path / "bulkhead.yaml"
    file.write_text(yaml.safe_dump(config))
    result = run_command("check", "--strict", "-c", file)
    assert result.returncode == 0, result.stderr


def test_readme_rules_are_valid(tmp_path, credentials):
    """The block about rules in place of the rules of the first one."""
    text = block("yaml", "version: 1").partition("rules:\n")[0] + block("yaml", "variables:")
    for path, here in (("/run/bulkhead/svid.pem", credentials.chain("orders")),
                       ("/run/bulkhead/svid.key", credentials.key("orders")),
                       ("/run/bulkhead/prod.pem", credentials.bundle("prod.example"))):
        text = text.replace(path, here)
    (tmp_path / "rules.d").mkdir()
    (tmp_path / "rules.d" / "more.yaml").write_text("rules: []\n")
    file = tmp_path / "bulkhead.yaml"
    file.write_text(text)
    result = run_command("check", "--strict", "-c", file)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("file", ["README.md", "config/README.md"])
def test_readme_names_what_is_there(file):
    text = (ROOT / file).read_text()
    here = (ROOT / file).parent
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (here / target).exists(), target
    for name in re.findall(r"`(test_\w+\.py)`", text):
        assert (ROOT / "tests" / "integration" / name).exists(), name
    for target in re.findall(r"\]\(#([^)]+)\)", text):
        headings = re.findall(r"^#+ (.*)$", text, re.M)
        assert target in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, target


def test_readme_names_reasons_that_are_there():
    labels = {line.split()[0] for line in run_command("reasons").stdout.splitlines()}
    for title in ("### What ends a live session", "## Troubleshooting"):
        section = README.partition(f"{title}\n")[2].partition("\n\nA ")[0].partition("\n## ")[0]
        rows = [row.split(" | ") for row in re.findall(r"^\| (.*) \|$", section, re.M)]
        named = re.findall(r"`(\w+)`", " ".join(row[1] for row in rows))
        assert len(named) > 10 and set(named) <= labels, set(named) - labels


# ---- systemd ----------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit(tmp_path):
    unit = tmp_path / "bulkhead.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/bulkhead", program()))
    verified = subprocess.run(["systemd-analyze", "--man=no", "verify", unit], capture_output=True, text=True,
                              timeout=60)
    assert verified.returncode == 0 and "bulkhead.service" not in verified.stderr, verified.stderr
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=14", "--no-pager", unit],
        capture_output=True, text=True, timeout=60)
    if "unrecognized option" not in rated.stderr:
        assert rated.returncode == 0, rated.stdout[-300:]


def test_the_unit_waits_as_long_as_a_drain_takes():
    reference = (ROOT / "config" / "REFERENCE.md").read_text()
    drain = reference.partition("## drain")[2]
    seconds = sum(int(re.search(rf"`{key}` \|[^|]*\| `(\d+)s`", drain).group(1))
                  for key in ("delay", "timeout"))
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.M).group(1))
    assert stop >= seconds + 5


# ---- containers -------------------------------------------------------------------------------


def as_nobody():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


@pytest.fixture
def bare(credentials):
    """A directory that any user may read and nobody but root may write."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    with tempfile.TemporaryDirectory(prefix="bulkhead-deploy-") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        for source in (credentials.chain("orders"), credentials.key("orders"),
                       credentials.bundle("prod.example")):
            pathlib.Path(shutil.copy(source, directory)).chmod(0o644)
        key = directory / "orders.key"
        os.chown(key, 65534, 65534)
        key.chmod(0o400)
        yield directory


def bare_configuration(credentials, backends):
    config = configuration(credentials, terminate(backends.plain().url), trust=["prod.example"])
    config["identity"]["files"] = {"certificate": "orders.pem", "private_key": "orders.key"}
    config["trust"]["prod.example"]["bundle"] = "prod.example.bundle.pem"
    return config


def test_anybody_may_run_it_and_it_writes_nothing(bare, backends, credentials):
    # The tree may stand where nobody but its owner gets to, as in /root.
    executable = shutil.copy(program(), bare)
    bulkhead = Bulkhead(bare_configuration(credentials, backends), bare, before_exec=as_nobody,
                        executable=executable)
    before = sorted(bare.iterdir())
    try:
        bulkhead.start()
        assert os.stat(f"/proc/{bulkhead.pid}/mem").st_uid == 0, "dumpable"
        use(bulkhead, credentials)
        assert sorted(bare.iterdir()) == before
        assert "config_warning" not in bulkhead.log.text()
    finally:
        bulkhead.stop()


def test_it_may_be_pid_1(bare, backends, credentials):
    namespace = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*namespace, "true"], capture_output=True, timeout=60).returncode != 0:
        pytest.skip("no PID namespaces here")
    bulkhead = Bulkhead(bare_configuration(credentials, backends), bare, through=namespace)
    try:
        bulkhead.start()
        use(bulkhead, credentials)
        children = f"/proc/{bulkhead.pid}/task/{bulkhead.pid}/children"
        child = int(pathlib.Path(children).read_text())
        assert "\t1\n" in pathlib.Path(f"/proc/{child}/status").read_text(), "PID 1 in there"
        os.kill(child, 15)
        bulkhead.wait_exit(0)
        assert bulkhead.log.find(event="draining", signal="SIGTERM")
    finally:
        bulkhead.kill()


# ---- logs -------------------------------------------------------------------------------------


def test_an_access_log_that_is_truncated_goes_on_from_its_start(start, backends, credentials):
    """logrotate's copytruncate."""
    bulkhead = start(configuration(credentials, terminate(backends.plain().url),
                                   access_log={"to": "access.jsonl"}))
    file = bulkhead.directory / "access.jsonl"
    use(bulkhead, credentials)
    until(lambda: file.read_text().endswith("\n"), "the first line")
    os.truncate(file, 0)
    use(bulkhead, credentials)
    until(lambda: file.read_text().endswith("\n"), "the second line")
    assert file.read_text().startswith('{"time"') and file.read_text().count("\n") == 1
