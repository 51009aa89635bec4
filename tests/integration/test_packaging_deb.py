"""`make deb`: what is in the package, what its installation does and leaves, and that the program runs from it."""

import os
import re
import shutil
import subprocess

import pytest

from harness.bulkhead import ROOT
from harness.making import make_once
from test_packaging_install import EVERYTHING

VERSION = (ROOT / "src" / "version.txt").read_text().strip()
LIBRARIES = ["libssl3", "libc6", "libevent-core-2.1-7", "libc-ares2", "libnghttp2-14", "libyaml-0-2", "libjansson4"]


def run(*command, **more):
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, **more)
    assert made.returncode == 0, f"{made.stdout}{made.stderr}"
    return made.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    make_once("deb", tmp_path_factory)
    found = list((ROOT / "build").glob("bulkhead_*.deb"))
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def control(package):
    """The fields of the package, as a dict."""
    text = re.sub(r"\n +", " ", run("dpkg-deb", "-f", package))
    return dict(line.split(": ", 1) for line in text.splitlines())


def test_its_fields(package, control):
    architecture = run("dpkg", "--print-architecture").strip()
    assert package.name == f"bulkhead_{VERSION}_{architecture}.deb"
    assert (control["Package"], control["Version"]) == ("bulkhead", VERSION), "src/version.txt"
    needs = re.findall(r"[^,|]+", control["Depends"])
    # Debian 13 has some by new names: time of 64 bits, and policy's rule on digits.
    names = {name.split()[0].removesuffix("t64") for name in needs}
    assert {"libc-ares2" if name == "libcares2" else name for name in names} == {
        *LIBRARIES, "systemd", "systemd-standalone-sysusers", "systemd-sysusers"}, "and no more"


def test_its_files(package):
    rows = [line.split(None, 5) for line in run("dpkg-deb", "-c", package).splitlines()]
    assert {row[1] for row in rows} == {"root/root"}
    files = {row[5].removeprefix("./"): row[0] for row in rows if row[0][0] == "-"}
    assert all(row[0][0] in "d-" for row in rows), "no links, no devices"
    assert set(files.values()) <= {"-rw-r--r--", "-rwxr-xr-x"}, "nothing set-user-ID, nothing that others write"
    assert [name for name, mode in files.items() if "x" in mode] == ["usr/bin/bulkhead"]
    plain = {name.removesuffix(".gz") for name in files}
    moved = {"share/zsh/site-functions/": "share/zsh/vendor-completions/"}
    wanted = {"usr/" + re.sub("|".join(moved), lambda old: moved[old[0]], name) for name in EVERYTHING}
    wanted = {name.replace("usr/lib/systemd/", "lib/systemd/") for name in wanted}
    assert plain == wanted | {"etc/bulkhead/bulkhead.yaml.example", "usr/share/doc/bulkhead/changelog",
                              "usr/share/doc/bulkhead/copyright"}


def test_its_configuration_files_are_kept_at_upgrades(package):
    assert run("dpkg-deb", "-I", package, "conffiles").split() == ["/etc/bulkhead/bulkhead.yaml.example"]


def test_its_program_is_hardened(package, tmp_path):
    run("dpkg-deb", "-x", package, tmp_path)
    program = tmp_path / "usr" / "bin" / "bulkhead"
    read = run("readelf", "-W", "-h", "-l", "-d", "-s", program)
    assert re.search(r"Type: +DYN .*Position-Independent Executable", read)
    assert re.search(r"FLAGS_1.* NOW\b", read) and "GNU_RELRO" in read
    assert re.search(r"GNU_STACK +\S+ \S+ \S+ \S+ \S+ RW ", read), "no stack that can be executed"
    assert "__stack_chk_fail" in read and re.search(r"__\w+_chk@", read)
    assert "RPATH" not in read and "RUNPATH" not in read
    assert ".debug_info" not in run("readelf", "-W", "-S", program), "stripped"
    assert str(ROOT).encode() not in program.read_bytes()


def test_its_unit_is_the_repositorys_with_its_own_path(package, tmp_path):
    run("dpkg-deb", "-x", package, tmp_path)
    unit = (tmp_path / "lib/systemd/system/bulkhead.service").read_text()
    assert unit == (ROOT / "config/bulkhead.service").read_text().replace("/usr/local/bin/", "/usr/bin/")


@pytest.mark.skipif(shutil.which("lintian") is None, reason="a second opinion: needs lintian")
def test_lintian_has_nothing_to_say(package):
    assert run("lintian", "--fail-on", "error,warning", "--allow-root", package) == ""


# ---- installation ------------------------------------------------------------------------------


class Root:
    """A root of its own for dpkg. Maintainer scripts run with DPKG_ROOT; systemctl only writes down."""

    def __init__(self, directory):
        self.root = directory / "root"
        for name in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"):
            (self.root / name).mkdir(parents=True)
        (self.root / "var/lib/dpkg/status").touch()
        self.calls = directory / "calls"
        self.calls.touch()
        tools = directory / "tools"
        tools.mkdir()
        for name in ("systemctl", "deb-systemd-invoke"):
            (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "{self.calls}"\nexit 1\n')
            (tools / name).chmod(0o755)
        self.env = {**os.environ, "LC_ALL": "C", "PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin"}

    def dpkg(self, *arguments):
        return run("dpkg", f"--root={self.root}", "--force-script-chrootless", "--force-depends",
                   *arguments, env=self.env)

    def status(self):
        found = re.search(r"^Status: (.*)$", (self.root / "var/lib/dpkg/status").read_text(), re.M)
        return found and found.group(1)

    def enabled(self):
        return list((self.root / "etc").glob("systemd/**/bulkhead.service"))


@pytest.fixture
def root(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, to install")
    return Root(tmp_path)


def test_installed_it_runs_and_removed_it_is_gone(package, root):
    root.dpkg("-i", package)
    assert root.status() == "install ok installed"
    ran = run(root.root / "usr/bin/bulkhead", "--version")
    assert ran.splitlines()[0] == f"bulkhead {VERSION}"
    checked = subprocess.run([root.root / "usr/bin/bulkhead", "check", "-c",
                              root.root / "etc/bulkhead/bulkhead.yaml.example"],
                             capture_output=True, text=True, timeout=60)
    assert checked.returncode == 2 and "svid.pem" in checked.stderr, "its credentials are not there"
    root.dpkg("-r", "bulkhead")
    left = [file for file in root.root.rglob("*bulkhead*") if file.is_file()]
    left = [file.name for file in left if not re.search(r"/dpkg/|/deb-systemd-helper", str(file))]
    assert left == ["bulkhead.yaml.example"]
    root.dpkg("-P", "bulkhead")
    assert [file for file in root.root.rglob("*bulkhead*") if file.is_file()] == []


def test_the_installation_makes_the_user_and_starts_nothing(package, root):
    root.dpkg("-i", package)
    user = (root.root / "etc/passwd").read_text().strip().split(":")
    assert user[0] == "bulkhead" and user[5:] == ["/nonexistent", "/usr/sbin/nologin"]
    assert root.enabled() == [], "not before there is a configuration"
    # Where systemd runs, deb-systemd-invoke starts no unit that is disabled.
    calls = {line for line in root.calls.read_text().splitlines() if "daemon-reload" not in line}
    assert calls <= {"deb-systemd-invoke start bulkhead.service"}


def test_an_upgrade_keeps_what_the_operator_wrote(package, root):
    root.dpkg("-i", package)
    (root.root / "etc/bulkhead/bulkhead.yaml").write_text("version: 1\n")
    (root.root / "etc/bulkhead/bulkhead.yaml.example").write_text("# mine\n")
    before = (root.root / "etc/passwd").read_text()
    root.dpkg("-i", package)
    assert (root.root / "etc/bulkhead/bulkhead.yaml").read_text() == "version: 1\n"
    assert (root.root / "etc/bulkhead/bulkhead.yaml.example").read_text() == "# mine\n"
    assert (root.root / "etc/passwd").read_text() == before
    root.dpkg("-P", "bulkhead")
    assert (root.root / "etc/bulkhead/bulkhead.yaml").exists(), "not ours to remove"
