"""A bulkhead whose files belong to the test: each can be exchanged as a whole, or written in place."""

import os
import pathlib
import shutil
import signal

import yaml

from .bulkhead import configuration
from .streams import client_context, tls_connect
from .wait import DEADLINE_S, until


def replace(path, content):
    """As a whole: written beside it and renamed over it."""
    path = pathlib.Path(path)
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content if isinstance(content, bytes) else content.encode())
    new.chmod(0o600)
    os.replace(new, path)


def overwrite(path, content):
    """In place, as `cp` does it."""
    pathlib.Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())


class Reloadable:
    """Its own SVID is `orders`, its files stand in `directory`: svid.pem, svid.key,
    DOMAIN.pem for each trust domain. By default the configuration is read by signal alone, so that
    a test knows which reload it sees."""

    def __init__(self, start, directory, issuer, *listeners, own=None, clock=None, before_exec=None,
                 crl=False, trust_more=None, **more):
        self.directory, self.issuer = pathlib.Path(directory), issuer
        self.own = own or issuer.issue("orders")
        self.certificate, self.key = self.directory / "svid.pem", self.directory / "svid.key"
        self.bundle = self.directory / f"{issuer.domain}.pem"
        self.crl = self.directory / f"{issuer.domain}.crl"
        shutil.copy(self.own.chain, self.certificate)
        shutil.copy(self.own.key, self.key)
        shutil.copy(issuer.bundle, self.bundle)
        trust = {issuer.domain: {"bundle": str(self.bundle), **(trust_more or {})}}
        if crl:
            issuer.crl(self.crl)
            trust[issuer.domain]["crl"] = str(self.crl)
        self.config = {
            **configuration(_Paths(self), *listeners, trust=()),
            "trust": trust, "reload": {"watch": "none"}, **more,
        }
        self.told = 0  # reload lines that reload() has seen
        self.bulkhead = start(self.config, clock=clock, before_exec=before_exec)

    def __getattr__(self, name):
        return getattr(self.bulkhead, name)

    # ---- changes ------------------------------------------------------------------------------

    def write(self, **changes):
        """The configuration with these top-level keys changed, as a whole."""
        self.config = {**self.config, **changes}
        replace(self.config_file, yaml.safe_dump(self.config, sort_keys=False))

    def listener(self, which=None, /, **changes):
        """The listeners with one of them (the first) changed."""
        which = which or self.config["listeners"][0]["name"]
        return [{**listener, **changes} if listener["name"] == which else listener
                for listener in self.config["listeners"]]

    def rotate(self, svid):
        replace(self.key, svid.key.read_bytes())
        replace(self.certificate, svid.chain.read_bytes())
        self.own = svid

    def reload(self, number=signal.SIGHUP):
        """Signals, and returns the line that says what came of it: that of the watching, where it
        has been faster."""
        trigger = signal.Signals(number).name
        before = len(self.bulkhead.log.find(event="reload", trigger=trigger))
        self.bulkhead.signal(number)
        line = self.wait_reload(before, trigger=trigger)
        lines = self.bulkhead.log.find(event="reload")
        new, self.told = lines[self.told:], len(lines)
        faster = [x for x in new if x["trigger"] == "watch" and x["result"] == "in_force"]
        return faster[-1] if faster and line["result"] != "in_force" else line

    def failures(self):
        """What source_failed lines say: each once for each reload that met it."""
        lines = self.bulkhead.log.find(event="source_failed")
        texts = {line["error"] for line in lines}
        assert len(lines) <= len(texts) * len(self.bulkhead.log.find(event="reload"))
        return sorted(texts)

    def wait_reload(self, before=0, **wanted):
        """The line of the reload after the first `before` ones with these fields."""
        def line():
            assert self.bulkhead.alive(), self.bulkhead.log.text()
            lines = self.bulkhead.log.find(event="reload", **wanted)
            return lines[before] if len(lines) > before else None

        return until(line, f"reload {wanted}, number {before + 1}", DEADLINE_S)

    def apply(self, **changes):
        """Writes the changes, and reloads: they must come into force."""
        self.write(**changes)
        line = self.reload()
        assert line["result"] == "in_force", line
        return line

    # ---- peers --------------------------------------------------------------------------------

    def connect(self, svid, listener=None, **more):
        """A client with this SVID that has had an answer."""
        stream = tls_connect(self.bulkhead.address(listener), client_context(svid.pair, **more))
        ping(stream)
        return stream

    def ended(self, stream):
        """The access line of that stream's session."""
        return self.bulkhead.wait_access(downstream=stream.local_address())


class _Paths:
    """What configuration() asks of credentials."""

    def __init__(self, place):
        self.place = place

    def chain(self, _):
        return str(self.place.certificate)

    def key(self, _):
        return str(self.place.key)


def ping(stream, text=b"ping"):
    stream.send(text)
    assert stream.recv_exactly(len(text)) == text
