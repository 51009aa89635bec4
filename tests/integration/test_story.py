"""config/story/: from audit without a rule to default deny, with one session that lasts all the
way. The lines that its README shows are those of the logs."""

import json
import re

import pytest

from harness.bulkhead import ROOT, run_command
from harness.streams import RESET, client_context, tls_connect, tls_dial

STORY = ROOT / "config" / "story"
STEPS = ["1-audit", "2-shadow", "3-rules", "4-enforce"]


def shown(step):
    """The JSON lines of a step in the README."""
    text = (STORY / "README.md").read_text().split(f"({STEPS[step]}.yaml)")[1].split("\n## ")[0]
    blocks = re.findall(r"```json\n(.*?)```", text, re.S)
    lines = [json.loads(line) for block in blocks for line in block.splitlines()]
    assert lines
    return lines


class Play:
    def __init__(self, start, backends, credentials, directory):
        self.credentials = credentials
        self.file = directory / "orders.yaml"
        self.paths = {
            "/run/bulkhead/svid.pem": credentials.chain("orders"),
            "/run/bulkhead/svid.key": credentials.key("orders"),
            "/run/bulkhead/prod.pem": credentials.bundle("prod.example"),
            "/run/bulkhead/admin.sock": directory / "admin.sock",
            "mtls://0.0.0.0:8443": "mtls://127.0.0.1:0",
            "tcp://127.0.0.1:8080": backends.plain().url,
        }
        self.step = 0
        self.write()
        self.seen_log = self.seen_access = 0
        self.bulkhead = start(None, config_path=self.file)

    def write(self):
        """The file as it stands, but for its places; the process log as JSON and each refusal with
        a line of its own, to be read here."""
        text = (STORY / f"{STEPS[self.step]}.yaml").read_text()
        for old, new in self.paths.items():
            assert text.count(old) == 1, old
            text = text.replace(old, str(new))
        self.file.write_text(text + "log: {format: json}\nreload: {watch: none}\n"
                             "access_log: {fold: 0s}\n")

    def ctl(self, *arguments):
        result = run_command("ctl", "-c", self.file, *arguments, "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def next(self):
        """To the next step: looked at first, then for good."""
        self.step += 1
        self.seen_log = len(self.bulkhead.log.find())
        self.seen_access = len(self.bulkhead.access.find())
        self.write()
        check = run_command("check", "--strict", "-c", self.file)
        assert self.step == 1 or check.returncode == 0, check.stderr
        preview = self.ctl("reload", "--dry-run")
        assert preview["result"] == "would_be_in_force"
        assert self.ctl("reload")["result"] == "in_force"
        return preview

    def open(self, name):
        stream = tls_connect(self.bulkhead.address(), client_context(self.credentials.pair(name)))
        ping(stream)
        return stream

    def call(self, name):
        """One that is let through and ends."""
        with self.open(name) as stream:
            stream.end()
            assert stream.read_to_end()[0] == b""
            return self.bulkhead.wait_access(downstream=stream.local_address())

    def refused(self, name):
        stream, failure = tls_dial(self.bulkhead.address(),
                                   client_context(self.credentials.pair(name)))
        with stream:
            assert failure is not None or stream.read_to_end() == (b"", RESET)
            return self.bulkhead.wait_access(downstream=stream.local_address())

    def assert_told(self):
        """Each line that the README shows stands in the logs of this step."""
        lines = self.bulkhead.log.find()[self.seen_log:]
        lines += self.bulkhead.access.find()[self.seen_access:]
        for wanted in shown(self.step):
            found = [line for line in lines
                     if all(line.get(key) == value for key, value in wanted.items())]
            assert found, f"{wanted} is none of {json.dumps(lines, indent=1)}"
            assert "would_deny" in wanted or all("would_deny" not in line for line in found)
            assert "shadow_rule" in wanted or all("shadow_rule" not in line for line in found)


def ping(stream):
    stream.send(b"still here")
    assert stream.recv_exactly(10) == b"still here"


@pytest.fixture
def play(start, backends, credentials, tmp_path):
    return Play(start, backends, credentials, tmp_path)


def test_from_audit_to_default_deny_without_an_interruption(play):
    with play.open("web") as lasting:
        # 1: everybody gets through
        for name in ("wiki", "batch", "web"):
            assert play.call(name)["would_deny"] is True
        play.assert_told()

        preview = play.next()
        assert preview["sessions"]["ended"] == 0
        ping(lasting)
        for name in ("web", "wiki", "batch"):
            assert play.call(name)["would_deny"] is True
        play.assert_told()

        preview = play.next()
        assert preview["sessions"]["ended"] == 0
        ping(lasting)
        assert "would_deny" not in play.call("web")
        play.call("batch")
        play.refused("wiki")
        assert play.call("mobile")["would_deny"] is True  # not in any rule, and still let through
        play.assert_told()

        # A stranger who is still there is named before it is cut, and by then has gone by itself.
        with play.open("mobile"):
            play.step += 1
            play.write()
            groups = {group["downstream_id"]: (group["fate"], group.get("reason"))
                      for group in play.ctl("reload", "--dry-run")["groups"]}
            play.step -= 1
        assert groups == {
            "spiffe://prod.example/ns/shop/sa/web": ("kept", None),
            "spiffe://prod.example/ns/shop/sa/mobile": ("ended", "audit_ended")}
        play.bulkhead.wait_access(downstream_id="spiffe://prod.example/ns/shop/sa/mobile",
                                  bytes_up=10)

        preview = play.next()
        assert preview["sessions"]["ended"] == 0
        ping(lasting)
        play.refused("mobile")
        play.refused("wiki")
        assert play.call("batch")["rule"] == "batch-uses-orders"
        play.assert_told()
        assert not play.bulkhead.log.find(event="enforcement_audit")[3:]

        lasting.end()
        lasting.read_to_end()
        line = play.bulkhead.wait_access(downstream=lasting.local_address())
        assert (line["rule"], line["bytes_up"]) == ("storefront-uses-orders", 40)
        assert "would_deny" not in line


def test_every_step_has_its_lines_and_its_file():
    text = (STORY / "README.md").read_text()
    assert re.findall(r"^## \d\. .*\((.*)\.yaml\)$", text, re.M) == STEPS
    assert sorted(path.stem for path in STORY.glob("*.yaml")) == STEPS
    for step in range(len(STEPS)):
        shown(step)
