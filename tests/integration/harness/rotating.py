"""Rotations of a certificate and its key in every order of writing, and good clients meanwhile."""

import os
import ssl
import threading

from .reloading import overwrite, ping, replace
from .streams import tls_dial

ORDERS = ("key renamed first", "certificate renamed first", "key written first",
          "certificate written first", "link swapped")


def der(svid):
    return ssl.PEM_cert_to_DER_cert(svid.chain.read_text())


def verifying_context(issuer, svid, version=None):
    """A good client: it takes only what the anchors vouch for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(issuer.bundle)
    context.load_cert_chain(*svid.pair)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


class Rotator:
    """Exchanges the files of a Reloadable. Between the two halves of a pair `between` is called."""

    def __init__(self, place):
        self.place = place
        self.count = 0
        # So that a swapped link can lead to the pair: svid.pem and svid.key are links from now on.
        self.linked = False

    def rotate(self, svid, order, between=lambda: None):
        place = self.place
        key, chain = svid.key.read_bytes(), svid.chain.read_bytes()
        if order == "link swapped":
            self._swap(key, chain, between)
            return
        self._unlink()
        write = replace if "renamed" in order else overwrite
        steps = [(place.key, key), (place.certificate, chain)]
        if order.startswith("certificate"):
            steps.reverse()
        write(*steps[0])
        between()
        write(*steps[1])

    def _unlink(self):
        if self.linked:
            for path in (self.place.key, self.place.certificate):
                replace(path, path.read_bytes())
            self.linked = False

    def _swap(self, key, chain, between):
        self.count += 1
        directory = self.place.directory / f"..v{self.count}"
        directory.mkdir()
        (directory / "svid.key").write_bytes(key)
        (directory / "svid.key").chmod(0o600)
        (directory / "svid.pem").write_bytes(chain)
        data = self.place.directory / "..data"
        if not self.linked:
            # The links first lead to what the files hold now.
            now = self.place.directory / f"..now{self.count}"
            now.mkdir()
            for path in (self.place.key, self.place.certificate):
                path.replace(now / path.name)
                path.symlink_to(f"{now.name}/{path.name}")
            self._point(data, now)
            for path in (self.place.key, self.place.certificate):
                self._point(path, data / path.name, f"..data/{path.name}")
            self.linked = True
        between()
        self._point(data, directory)

    def _point(self, link, target, text=None):
        new = link.with_name(f".{link.name}.link")
        new.symlink_to(text or target.name)
        os.replace(new, link)


class Crowd:
    """Good clients, one after another in each of some threads, until stop()."""

    def __init__(self, jobs):
        """jobs: (address, context) each."""
        self.served, self.failures, self.shown = 0, [], set()
        self.going = True
        self._lock = threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=job, daemon=True) for job in jobs]
        for thread in self.threads:
            thread.start()

    def _run(self, address, context):
        while self.going:
            try:
                stream, failure = tls_dial(address, context)
                with stream:
                    if failure is None:
                        ping(stream)
                        shown = stream.tls.getpeercert(binary_form=True)
                    else:
                        raise AssertionError(failure)
            except (AssertionError, OSError) as error:
                with self._lock:
                    self.failures.append(repr(error))
                continue
            with self._lock:
                self.served += 1
                self.shown.add(shown)

    def stop(self):
        self.going = False
        for thread in self.threads:
            thread.join()
