"""The unit, run by systemd: the README's lines as they stand, what the service is kept from, its end.

systemd is started in namespaces of its own, under an overlay (harness/machine.py); nothing of this system's is touched."""

import pathlib
import re
import tempfile
import types

import pytest
import yaml

from harness.agent import Agent, x509_svid
from harness.bulkhead import ROOT
from harness.machine import Machine, missing
from harness.making import make_once
from harness.wait import until

README = (ROOT / "README.md").read_text()
CONFIGURATION = "/etc/bulkhead/bulkhead.yaml"


def blocks_of(section):
    """The shell blocks below a heading of the README."""
    below = re.split(r"^#{2,3} ", README.partition(f"# {section}\n")[2], flags=re.M)[0]
    return re.findall(r"```sh\n(.*?)```", below, re.S)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Debian's way, as the README has it: the package, credentials, a configuration, the unit."""
    if missing():
        pytest.skip(missing())
    make_once("deb", tmp_path_factory)
    with tempfile.TemporaryDirectory(prefix="bulkhead-machine-") as directory:
        machine = Machine(directory)
        try:
            if not machine.start():
                pytest.skip("systemd can't be started in namespaces here")
            install, *configure = blocks_of("systemd")
            machine.run("bash", "-ec", install.replace("make deb\n", f"cd {ROOT}\n"))
            certificates, services = blocks_of("By hand")
            machine.run("mkdir", "/root/shop")
            for script in (certificates, services.partition("mkdir www")[0], *configure):
                machine.run("bash", "-ec", f"cd /root/shop\n{script}")
            machine.run("systemd-run", "--unit=application", "--working-directory=/root/shop",
                        "python3", "-m", "http.server", "--bind", "127.0.0.1", "8080")
            yield machine
        finally:
            machine.stop()


def pid(machine):
    return machine.show("bulkhead", "MainPID")


def journal(machine):
    return machine.run("journalctl", "--unit=bulkhead", "--output=cat", "--no-pager")


def ask(machine):
    """The application, through bulkhead, as its caller."""
    made = machine.run("curl", "--silent", "--show-error", "--insecure", "--retry", "9", "--retry-all-errors",
                       "--cert", "/root/shop/web.pem", "--key", "/root/shop/web.key",
                       "--head", "https://127.0.0.1:8443/orders.yaml")
    return made.split()[1]


def test_it_runs(machine):
    """Started means that it serves: Type=notify."""
    assert machine.show("bulkhead", "ActiveState", "SubState") == {"ActiveState": "active", "SubState": "running"}
    assert "event=ready" in journal(machine)
    exe = pathlib.Path(f"/proc/{machine.pid}/root/proc/{pid(machine)}/exe")
    assert str(exe.readlink()) == "/usr/bin/bulkhead"
    assert ask(machine) == "200"


def test_it_has_no_privilege_and_can_run_nothing(machine):
    process = pathlib.Path(f"/proc/{machine.pid}/root/proc/{pid(machine)}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert machine.run("id", "--user", "bulkhead").strip() == status["Uid"].split()[0]
    mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    flags = {mount[4]: mount[5].split(",") for mount in mounts}
    assert "ro" in flags["/"]
    # What it can write can't be run, but for what its user has no right to write.
    writes = {place for place, its in flags.items() if "ro" not in its}
    assert {"/run/bulkhead", "/var/lib/bulkhead", "/var/log/bulkhead", "/tmp"} <= writes
    # The kernel runs nothing from cgroup2, whatever its flags say; systemd 254 mounts memory.pressure.
    kinds = {mount[4]: mount[mount.index("-") + 1] for mount in mounts}
    runs = {place for place in writes if "noexec" not in flags[place] and kinds[place] != "cgroup2"} - {"/dev/pts"}
    assert runs and all(re.match(r"(/usr)?/(bin|local/lib|lib|lib64)\b", place) for place in runs), runs
    for file in (file for place in runs for file in pathlib.Path(f"{process}/root{place}").glob("*")):
        owner = file.lstat()
        assert owner.st_uid == 0 and (file.is_symlink() or not owner.st_mode & 0o002), file
    shell = machine.ask("nsenter", "--target", pid(machine), "--mount", "/bin/sh", "-c", "true")
    assert shell.returncode != 0 and "Permission denied" in shell.stderr, "no program to run in there"


def test_a_reload_is_in_force(machine):
    before = pid(machine)
    machine.run("sh", "-c", f"cp {CONFIGURATION} /root/new && sed -i s/web-uses-orders/web-may/ /root/new &&"
                            f" cat /root/new > {CONFIGURATION}")  # in place: no reload by itself
    machine.run("systemctl", "reload", "bulkhead")
    until(lambda: "generation 2" in machine.show("bulkhead", "StatusText"), "the reload")
    assert pid(machine) == before


def change_unit(machine, text):
    machine.run("sh", "-c", "mkdir -p /etc/systemd/system/bulkhead.service.d && cat > /etc/systemd/system/"
                            "bulkhead.service.d/test.conf && systemctl daemon-reload", input=text)


def test_the_watchdog_ends_one_that_hangs(machine):
    change_unit(machine, "[Service]\nWatchdogSec=1\n")
    machine.run("systemctl", "restart", "bulkhead")
    before = pid(machine)
    machine.run("kill", "-STOP", before)
    until(lambda: machine.show("bulkhead", "NRestarts") == "1", "a restart")
    until(lambda: machine.show("bulkhead", "SubState") == "running", "the next one to serve")
    assert pid(machine) != before and ask(machine) == "200"
    change_unit(machine, "")


def test_systemd_holds_the_port(machine):
    """The example of socket activation: callers wait for the service, and over its restart."""
    machine.run("systemctl", "stop", "bulkhead")
    machine.run("sh", "-c", f"cp {CONFIGURATION} /root/with-port && sed -i"
                            f" s,mtls://127.0.0.1:8443,mtls://systemd:orders, {CONFIGURATION}")
    machine.run("cp", "/usr/share/doc/bulkhead/examples/bulkhead.socket", "/etc/systemd/system/")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "bulkhead.socket")
    assert machine.show("bulkhead", "ActiveState") == "inactive"
    assert ask(machine) == "200"
    until(lambda: machine.show("bulkhead", "ActiveState") == "active", "systemd to have heard it")
    before = pid(machine)
    machine.run("systemctl", "restart", "--no-block", "bulkhead")
    for _ in range(20):
        machine.run("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8443")
    until(lambda: pid(machine) not in (before, "0"), "the next process")
    assert ask(machine) == "200"
    machine.run("systemctl", "stop", "bulkhead.socket", "bulkhead.service")
    machine.run("sh", "-c", f"cp /root/with-port {CONFIGURATION} && systemctl start bulkhead")


def test_a_spire_agents_socket_is_within_reach(machine):
    """The unit's own example line, and a configuration that names no source: the identity comes by it."""
    (line,) = re.findall(r"^#(Environment=SPIFFE_ENDPOINT_SOCKET=.*)$",
                         (ROOT / "config/bulkhead.service").read_text(), re.M)
    root = pathlib.Path(f"/proc/{machine.pid}/root")
    shop = root / "root/shop"
    socket = root / line.partition("unix:///")[2]
    socket.parent.mkdir(parents=True)
    svid = x509_svid(types.SimpleNamespace(bundle=shop / "prod.pem"),
                     types.SimpleNamespace(chain=shop / "orders.pem", key=shop / "orders.key"),
                     identity="spiffe://prod.example/ns/shop/sa/orders")
    agent = Agent(svid, path=socket)
    try:
        socket.chmod(0o777)  # as SPIRE does; whom it answers, the selectors say
        place = root / CONFIGURATION[1:]
        before = place.read_text()
        config = yaml.safe_load(before)
        config["identity"].pop("files")
        config.pop("trust")
        place.write_text(yaml.safe_dump(config))
        change_unit(machine, f"[Service]\n{line}\n")
        machine.run("systemctl", "restart", "bulkhead")
        assert agent.streams > 0 and ask(machine) == "200"
        place.write_text(before)
        change_unit(machine, "")
        machine.run("systemctl", "restart", "bulkhead")
    finally:
        agent.close()


def test_a_wrong_configuration_does_not_start_again_and_again(machine):
    machine.run("sh", "-c", f"cp {CONFIGURATION} /root/good && echo nonsense >> {CONFIGURATION}")
    assert machine.ask("systemctl", "restart", "bulkhead").returncode == 1
    assert machine.show("bulkhead", "ActiveState") == "failed"
    found = machine.show("bulkhead", "ExecMainStatus", "NRestarts", "Result")
    assert found == {"ExecMainStatus": "2", "NRestarts": "0", "Result": "exit-code"}
    machine.run("sh", "-c", f"cp /root/good {CONFIGURATION} && systemctl reset-failed bulkhead")


def test_its_end_is_clean(machine):
    machine.run("systemctl", "restart", "bulkhead")
    machine.run("systemctl", "stop", "bulkhead")
    found = machine.show("bulkhead", "ActiveState", "ExecMainStatus", "Result")
    assert found == {"ActiveState": "inactive", "ExecMainStatus": "0", "Result": "success"}
    assert "event=stopped" in journal(machine)
