"""What the README and the systemd unit promise: as PID 1, as anybody, on a read-only root, rotated."""

import os
import pathlib
import re
import shutil
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


def test_readme_recipe_makes_an_svid(tmp_path):
    script = block("sh", "openssl req").replace("bulkhead svid", f"{program()} svid")
    result = subprocess.run(["bash", "-e"], input=script, text=True, capture_output=True,
                            cwd=tmp_path, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "valid X509-SVID (leaf), chain verified" in result.stdout
    assert "spiffe://prod.example/ns/shop/sa/orders" in result.stdout


def test_readme_configuration_is_valid(tmp_path, credentials):
    config = yaml.safe_load(block("yaml", "version: 1"))
    config["identity"]["files"] = {
        "certificate": credentials.chain("orders"), "private_key": credentials.key("orders")}
    config["trust"]["prod.example"]["bundle"] = credentials.bundle("prod.example")
    file = tmp_path / "bulkhead.yaml"
    file.write_text(yaml.safe_dump(config))
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
    labels = {line.split()[0] for line in run_command("reasons").stdout.splitlines()}
    table = text.partition("### What ends a live session")[2].partition("**Connection")[0]
    rows = re.findall(r"^\| [^|]+ \| (`.*`) \|$", table, re.M)
    for label in re.findall(r"`(\w+)`", " ".join(rows)):
        assert label in labels, label


# ---- systemd ----------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit(tmp_path):
    unit = tmp_path / "bulkhead.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/bulkhead", program()))
    verified = subprocess.run(["systemd-analyze", "--man=no", "verify", unit], capture_output=True, text=True,
                              timeout=60)
    assert verified.returncode == 0 and "bulkhead.service" not in verified.stderr, verified.stderr
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit],
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
    bulkhead = Bulkhead(bare_configuration(credentials, backends), bare, before_exec=as_nobody)
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
