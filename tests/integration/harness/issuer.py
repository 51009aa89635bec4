"""A certificate authority for one test run: SVIDs of any ID and time, and CRLs, with the openssl
program. certs/make.sh makes the kinds; this makes as many of the plain kind as a test wants."""

import dataclasses
import pathlib
import subprocess
import time

CONF = """
[req]
distinguished_name = dn
[dn]
[ca]
default_ca = test
[test]
database = {directory}/index.txt
new_certs_dir = {directory}
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
crlnumber = {directory}/crlnumber.txt
crl_extensions = crl
[any]
organizationName = optional
commonName = optional
[crl]
authorityKeyIdentifier = keyid
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
{root_name}
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth,clientAuth
authorityKeyIdentifier = keyid
subjectKeyIdentifier = hash
"""
DAY_S = 24 * 3600


def utc(wall_s):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(wall_s))


@dataclasses.dataclass(frozen=True)
class Svid:
    name: str
    chain: pathlib.Path
    key: pathlib.Path

    @property
    def pair(self):
        return str(self.chain), str(self.key)


class Issuer:
    def __init__(self, directory, domain="prod.example", anonymous=False):
        """anonymous: the root has no SPIFFE ID, as Istio's and Vault's have none."""
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.domain = domain
        self.count = 0
        self.conf = self._write("ca.conf", CONF.format(
            directory=self.directory,
            root_name="" if anonymous else f"subjectAltName = URI:spiffe://{domain}"))
        self.bundle, self.root_key = self.directory / "root.pem", self.directory / "root.key"
        csr = self.directory / "root.csr"
        self._openssl("req", "-new", *self._new_key(self.root_key), "-subj",
                      f"/O={domain}/CN=root", "-config", self.conf, "-out", csr)
        self._write("index.txt", "")
        self._openssl("ca", "-batch", "-notext", "-selfsign", "-config", self.conf, "-extensions",
                      "root", "-keyfile", self.root_key, "-in", csr, "-out", self.bundle,
                      "-startdate", "20000101000000Z", "-enddate", "99991231235959Z")

    def _write(self, name, text):
        path = self.directory / name
        path.write_text(text)
        return path

    def _openssl(self, *arguments):
        result = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True,
                                stdin=subprocess.DEVNULL, timeout=60,
                                env={"OPENSSL_CONF": "/dev/null", "PATH": "/usr/bin:/bin"})
        assert result.returncode == 0, result.stderr
        return result.stdout

    def _new_key(self, path):
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path)

    def id(self, name):
        return f"spiffe://{self.domain}/ns/shop/sa/{name}"

    def issue(self, name, start=None, end=None, path=None):
        """The SVID of a service of the shop (or of another path), with a new key; for a day unless
        times are given (seconds since 1970)."""
        self.count += 1
        now = time.time()
        identity = self.id(name) if path is None else f"spiffe://{self.domain}{path}"
        base = self.directory / f"{name}-{self.count}"
        chain, key, csr = (base.with_suffix(s) for s in (".pem", ".key", ".csr"))
        leaf = self._write(f"{base.name}.conf",
                           self.conf.read_text() + f"subjectAltName = URI:{identity}\n")
        self._openssl("req", "-new", *self._new_key(key), "-subj", f"/O=tests/CN={name}",
                      "-config", leaf, "-out", csr)
        self._write("index.txt", "")
        self._openssl("ca", "-batch", "-notext", "-config", leaf, "-extensions", "leaf",
                      "-cert", self.bundle, "-keyfile", self.root_key, "-in", csr, "-out", chain,
                      "-startdate", utc(now - 3600 if start is None else start),
                      "-enddate", utc(now + DAY_S if end is None else end))
        return Svid(name, chain, key)

    def crl(self, path, *revoked, start=None, end=None):
        """A CRL at path that revokes these SVIDs."""
        now = time.time()
        rows = []
        for svid in revoked:
            serial = self._openssl("x509", "-in", svid.chain, "-noout", "-serial").strip()
            rows.append(f"R\t991231235959Z\t260101000000Z\t{serial.removeprefix('serial=')}\t"
                        f"unknown\t/CN={svid.name}\n")
        self._write("index.txt", "".join(rows))
        self._write("crlnumber.txt", "01\n")
        self._openssl("ca", "-gencrl", "-config", self.conf, "-cert", self.bundle,
                      "-keyfile", self.root_key,
                      "-crl_lastupdate", utc(now - 3600 if start is None else start),
                      "-crl_nextupdate", utc(now + DAY_S if end is None else end), "-out", path)
