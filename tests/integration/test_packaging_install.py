"""`make install` and `make uninstall`: what is put where, and that nothing stays."""

import re
import subprocess

import pytest

from harness.bulkhead import ROOT, program
from harness.making import make

EVERYTHING = {
    "bin/bulkhead": 0o755,
    "share/man/man1/bulkhead.1": 0o644,
    "share/man/man5/bulkhead.yaml.5": 0o644,
    "share/bash-completion/completions/bulkhead": 0o644,
    "share/zsh/site-functions/_bulkhead": 0o644,
    "share/fish/vendor_completions.d/bulkhead.fish": 0o644,
    "lib/systemd/system/bulkhead.service": 0o644,
    "lib/sysusers.d/bulkhead.conf": 0o644,
    "share/bulkhead/bulkhead.schema.json": 0o644,
    "share/doc/bulkhead/README.md": 0o644,
    "share/doc/bulkhead/REFERENCE.md": 0o644,
    "share/doc/bulkhead/LOGS.md": 0o644,
    "share/doc/bulkhead/REASONS.md": 0o644,
    "share/bulkhead/bulkhead-rules.schema.json": 0o644,
    "share/doc/bulkhead/METRICS.md": 0o644,
    "share/doc/bulkhead/PROXY.md": 0o644,
    "share/doc/bulkhead/examples/rules.d/partner.yaml": 0o644,
    "share/doc/bulkhead/examples/bulkhead.socket": 0o644,
    "share/doc/bulkhead/examples/sidecar.yaml": 0o644,
    "share/doc/bulkhead/examples/originate.yaml": 0o644,
    "share/doc/bulkhead/examples/gateway.yaml": 0o644,
    "share/doc/bulkhead/examples/spire.yaml": 0o644,
}


def files(directory):
    return {str(file.relative_to(directory)): file.stat().st_mode & 0o7777
            for file in directory.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The tree of `make install PREFIX=/opt/b`, and its uninstallation."""
    root = tmp_path_factory.mktemp("install")
    make("install", f"DESTDIR={root}", "PREFIX=/opt/b")
    return root


def test_everything_is_installed(installed):
    assert files(installed / "opt" / "b") == EVERYTHING
    assert [path.name for path in installed.iterdir()] == ["opt"], "nothing outside of PREFIX"


def test_the_program_runs_from_there(installed):
    ran = subprocess.run([installed / "opt/b/bin/bulkhead", "--version"], capture_output=True, text=True,
                         timeout=60)
    version = (ROOT / "src" / "version.txt").read_text().strip()
    assert ran.returncode == 0 and ran.stdout.splitlines()[0] == f"bulkhead {version}"


def test_the_unit_starts_what_was_installed(installed):
    unit = (installed / "opt/b/lib/systemd/system/bulkhead.service").read_text()
    assert re.findall(r"^ExecStart=(\S+)", unit, re.M) == ["/opt/b/bin/bulkhead"]
    assert "/usr/local/bin" not in unit and "ExecPaths=/opt/b/bin/bulkhead " in unit


def test_the_user_of_the_unit_is_made(installed, tmp_path):
    (tmp_path / "etc").mkdir()
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}",
                    installed / "opt/b/lib/sysusers.d/bulkhead.conf"], check=True, timeout=60)
    unit = (installed / "opt/b/lib/systemd/system/bulkhead.service").read_text()
    user = re.search(r"^User=(.*)$", unit, re.M).group(1)
    entry = (tmp_path / "etc" / "passwd").read_text().strip().split(":")
    assert entry[0] == user and 0 < int(entry[2]) < 1000 and entry[6].endswith("/nologin")


def test_nothing_stays_after_uninstall(installed, tmp_path):
    other = tmp_path / "usr" / "local" / "bin" / "other"
    other.parent.mkdir(parents=True)
    other.touch()
    make("install", f"DESTDIR={tmp_path}")
    assert len(files(tmp_path)) == len(EVERYTHING) + 1
    make("uninstall", f"DESTDIR={tmp_path}")
    assert list(files(tmp_path)) == ["usr/local/bin/other"], "and only what was installed goes"
    assert not (tmp_path / "usr/local/share/doc/bulkhead").exists()
    make("uninstall", f"DESTDIR={tmp_path}")


def test_the_programs_of_tests_and_of_install_are_the_same(installed):
    with open(program(), "rb") as ours, open(installed / "opt/b/bin/bulkhead", "rb") as theirs:
        assert ours.read() == theirs.read()


def test_the_index_of_config_is_complete():
    index = (ROOT / "config" / "README.md").read_text()
    named = {name.rstrip("/") for row in re.findall(r"^\| (`.*?) \|", index, re.M)
             for name in re.findall(r"`([^`]+)`", row)}
    assert named == {path.name for path in (ROOT / "config").iterdir()} - {"README.md"}


def test_the_makefile_says_what_its_targets_are():
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True,
                            timeout=60).stdout
    assert {"install", "uninstall", "deb"} <= {line.split()[0] for line in listed.splitlines()}
