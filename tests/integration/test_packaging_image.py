"""The container image: what the Dockerfile says, and its root, laid out and run as a container would.

No container engine is needed: the root is made by the script that the Dockerfile calls, and the
program runs in it by chroot, on a read-only mount, as the user that the Dockerfile names."""

import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest
import yaml

from harness.bulkhead import ROOT, Bulkhead, configuration, program, terminate
from harness.streams import client_context, tls_connect

DOCKERFILE = ROOT / "config" / "Dockerfile"
SHELLS = {"sh", "bash", "dash", "busybox", "ash", "zsh", "perl", "python3"}


# ---- the Dockerfile ----------------------------------------------------------------------------


def instructions(text):
    """[("FROM", "scratch"), ...], lines put together, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.M)
    text = re.sub(r"\\\n\s*", " ", text)
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def stages(text):
    """The instructions before the first FROM, then those of each stage."""
    parts = [[]]
    for name, value in instructions(text):
        if name == "FROM":
            parts.append([])
        parts[-1].append((name, value))
    return parts


def values(stage, name):
    return [value for key, value in stage if key == name]


def problems_of(text):
    """What a careful reader would complain about."""
    before, *all_stages = stages(text)
    build, final = all_stages[0], all_stages[-1]
    bases = [value.split()[0] for stage in all_stages for value in values(stage, "FROM")]
    arguments = dict(value.split("=", 1) for value in values(before, "ARG"))
    bases = [re.sub(r"\$\{(\w+)\}", lambda name: arguments[name[1]], base) for base in bases]
    everything = [pair for stage in all_stages for pair in stage]
    shells = [value for name, value in everything if name in ("ENTRYPOINT", "CMD", "HEALTHCHECK")]
    rules = {
        "two stages": len(all_stages) == 2,
        "every base is scratch or has a tag": all(
            base == "scratch" or re.search(r":[\w.-]+$", base) for base in bases),
        "no base is the latest": not any(base.endswith(":latest") for base in bases),
        "the last base is scratch": bases[-1] == "scratch",
        "no ADD": not values(everything, "ADD"),
        "nothing from the net but Debian's packages": not re.search(r"https?:|curl|wget|git clone", text),
        "nothing runs in the last stage": not values(final, "RUN") and not values(final, "SHELL"),
        "the last stage copies from the first alone": values(final, "COPY") == ["--from=build /image /"],
        "one numeric user, not root": len(values(final, "USER")) == 1
        and all(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) for user in values(final, "USER")),
        "commands without a shell": shells and all(value.startswith("[") for value in shells),
        "no secret": not re.search(r"(?i)password|secret|token", text),
        "package lists are removed in the step that fetched them": all(
            "rm -rf /var/lib/apt/lists" in value for value in values(build, "RUN") if "apt-get" in value),
    }
    return [rule for rule, holds in rules.items() if not holds]


def test_the_dockerfile_is_sound():
    assert problems_of(DOCKERFILE.read_text()) == []


@pytest.mark.parametrize(("old", "new", "problem"), [
    ("FROM scratch", "FROM ${DEBIAN}", "the last base is scratch"),
    ("=debian:bookworm-slim\n", "=debian\n", "every base is scratch or has a tag"),
    ("=debian:bookworm-slim\n", "=debian:latest\n", "no base is the latest"),
    ("USER 65532:65532\n", "", "one numeric user, not root"),
    ("USER 65532:65532", "USER 0:0", "one numeric user, not root"),
    ("USER 65532:65532", "USER bulkhead", "one numeric user, not root"),
    ("COPY src src", "ADD src src", "no ADD"),
    ("COPY src src", "COPY src src\nRUN curl -O https://x.example/y",
     "nothing from the net but Debian's packages"),
    ("COPY --from=build /image /", "COPY --from=build / /", "the last stage copies from the first alone"),
    ("USER 65532:65532", "RUN true\nUSER 65532:65532", "nothing runs in the last stage"),
    ('ENTRYPOINT ["/bulkhead"]', "ENTRYPOINT /bulkhead", "commands without a shell"),
    (" && rm -rf /var/lib/apt/lists/*", "", "package lists are removed in the step that fetched them"),
])
def test_the_reader_of_the_dockerfile_sees(old, new, problem):
    text = DOCKERFILE.read_text()
    assert old in text
    assert problem in problems_of(text.replace(old, new))


def test_the_dockerfile_starts_what_the_image_has():
    _, _, final = stages(DOCKERFILE.read_text())
    command = json.loads(values(final, "ENTRYPOINT")[0]) + json.loads(values(final, "CMD")[0])
    assert command == ["/bulkhead", "run", "-c", "/etc/bulkhead/bulkhead.yaml"]


def test_the_dockerfile_copies_what_is_there_and_may_be_seen():
    _, build, _ = stages(DOCKERFILE.read_text())
    lines = pathlib.Path(f"{DOCKERFILE}.dockerignore").read_text().splitlines()
    assert "*" in lines
    seen = [line[1:] for line in lines if line.startswith("!")]
    for value in values(build, "COPY"):
        source = value.split()[0]
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in seen), source
    copied = {value.split()[0] for value in values(build, "COPY")}
    assert copied == set(seen), "and nothing else is sent"


def test_the_dockerfile_builds_as_here(tmp_path):
    """Its last step, but for the path of the result and with the program that is built already."""
    _, build, _ = stages(DOCKERFILE.read_text())
    *_, last = values(build, "RUN")
    make, _, layout = last.partition(" && ")
    assert make == 'make -j"$(nproc)" NEEDS_DEPS= build'
    assert layout == "config/image.sh build/bulkhead /image"
    parts = {value.split()[0] for value in values(build, "COPY")}
    for part in sorted(parts):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).symlink_to(ROOT / part)
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    dry = subprocess.run(["make", "-n", "NEEDS_DEPS=", "build"], cwd=tmp_path, env=env,
                         capture_output=True, text=True, timeout=60)
    assert dry.returncode == 0, f"the parts that are copied are not enough: {dry.stderr}"


# ---- the root that it makes --------------------------------------------------------------------


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    with tempfile.TemporaryDirectory(prefix="bulkhead-image-") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        subprocess.run([ROOT / "config" / "image.sh", program(), directory / "image"], check=True,
                       timeout=60)
        yield directory / "image"


def linked_with(file):
    found = subprocess.run(["ldd", file], capture_output=True, text=True, check=True, timeout=60).stdout
    return {path.lstrip("/") for path in re.findall(r"(/\S+) \(0x", found)}


def test_the_image_has_the_program_and_its_libraries_alone(image):
    files = {str(path.relative_to(image)): path for path in image.rglob("*") if not path.is_dir()}
    assert not any(path.is_symlink() for path in files.values())
    run = {name for name, path in files.items() if path.stat().st_mode & 0o111}
    assert run == {"bulkhead"} | linked_with(program())
    others = {name for name in files.keys() - run
              if not re.fullmatch(r"usr/share/doc/[\w.+-]+/copyright|var/lib/dpkg/status\.d/[\w.+-]+", name)}
    assert others == {"etc/passwd", "etc/group"}
    assert not {path.name for path in files.values()} & SHELLS
    assert sum(path.stat().st_size for path in files.values()) < 16 << 20
    for path in image.rglob("*"):
        assert path.stat().st_mode & 0o7022 == 0, f"{path}: set-user-ID, or others may write"


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="where a library is from, dpkg knows")
def test_the_image_says_where_its_libraries_are_from(image):
    packages = {path.name for path in (image / "var/lib/dpkg/status.d").iterdir()}
    # From Debian 13 on libssl3's name says that its time has 64 bits.
    assert {"libc6", "libssl3"} <= {name.removesuffix("t64") for name in packages}
    for name in packages:
        fields = (image / "var/lib/dpkg/status.d" / name).read_text()
        assert f"Package: {name}\n" in fields and re.search(r"^Version: \S", fields, re.M)
        licence = pathlib.Path("usr/share/doc") / name / "copyright"
        assert (image / licence).exists() or not ("/" / licence).exists(), "where this system keeps them"


def test_the_image_is_not_made_over_another(image):
    again = subprocess.run([ROOT / "config" / "image.sh", program(), image], capture_output=True,
                           text=True, timeout=60)
    assert again.returncode == 1 and "is there already" in again.stderr


def test_the_image_knows_its_user(image):
    _, _, final = stages(DOCKERFILE.read_text())
    user, group = values(final, "USER")[0].split(":")
    assert (image / "etc/passwd").read_text().split(":")[2:4] == [user, group]
    assert (image / "etc/group").read_text().split(":")[2] == group


# ---- running from it ---------------------------------------------------------------------------

# What an engine does, as far as it matters here: a mount namespace, the root read-only, the
# configuration mounted, another user, no capability. exec all the way: the process keeps its number.
CONTAINER = r"""
set -e
image=$1 mounted=$2 user=$3 command=$5 # $4 is the program's path outside
mount --bind "$image" "$image"
mount --bind "$mounted" "$image/etc/bulkhead"
mount -o remount,bind,ro "$image/etc/bulkhead"
mount -o remount,bind,ro "$image"
exec setpriv --no-new-privs chroot --userspec="$user:$user" --groups= "$image" \
    /bulkhead "$command" -c /etc/bulkhead/bulkhead.yaml
"""


@pytest.fixture
def container(image, credentials):
    """A directory to mount, with credentials, and the command that puts the program into its container."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a container")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, timeout=60).returncode != 0:
        pytest.skip("no mount namespaces here")
    user = re.search(r"^USER (\d+):", DOCKERFILE.read_text(), re.M).group(1)
    with tempfile.TemporaryDirectory(prefix="bulkhead-mounted-") as name:
        mounted = pathlib.Path(name)
        mounted.chmod(0o755)
        for source, target in ((credentials.chain("orders"), "svid.pem"),
                               (credentials.key("orders"), "svid.key"),
                               (credentials.bundle("prod.example"), "prod.pem")):
            shutil.copy(source, mounted / target)
            (mounted / target).chmod(0o644)
        os.chown(mounted / "svid.key", int(user), int(user))
        (mounted / "svid.key").chmod(0o400)
        yield mounted, ["unshare", "--mount", "sh", "-c", CONTAINER, "sh", image, mounted, user]


def mounted_configuration(credentials, backends):
    config = configuration(credentials, terminate(backends.plain().url), trust=["prod.example"])
    config["identity"]["files"] = {"certificate": "svid.pem", "private_key": "svid.key"}
    config["trust"]["prod.example"]["bundle"] = "prod.pem"
    return config


def test_check_runs_in_the_container(container, credentials, backends):
    mounted, through = container
    (mounted / "bulkhead.yaml").write_text(yaml.safe_dump(mounted_configuration(credentials, backends)))
    ran = subprocess.run([*through, program(), "check"], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    (mounted / "svid.key").chmod(0)
    ran = subprocess.run([*through, program(), "check"], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2 and "Permission denied" in ran.stderr, "it is not root in there"


def test_it_serves_in_the_container(container, credentials, backends):
    mounted, through = container
    bulkhead = Bulkhead(mounted_configuration(credentials, backends), mounted, through=through)
    try:
        bulkhead.start()
        status = pathlib.Path(f"/proc/{bulkhead.pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines())
        assert fields["Uid"].split() == [through[-1]] * 4 and fields["Groups"].strip() == ""
        assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0 and fields["NoNewPrivs"] == "1"
        with tls_connect(bulkhead.address(), client_context(credentials.pair("web"))) as stream:
            stream.send(b"ping")
            assert stream.recv_exactly(4) == b"ping"
    finally:
        bulkhead.stop()
