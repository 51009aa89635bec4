"""The bench's own credentials: one CA, three P-256 SVIDs under it, made anew for each run."""

import pathlib
import subprocess

DOMAIN = "bench.example"
SERVER_NAME = f"server.{DOMAIN}"  # for peers that know a server by its name, not by its SPIFFE ID

CA = f"""basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
subjectAltName = URI:spiffe://{DOMAIN}
"""
LEAF = """basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth,clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""
NAMES = {"client": "", "proxy": "", "server": f",DNS:{SERVER_NAME}"}


def spiffe_id(name):
    return f"spiffe://{DOMAIN}/{name}"


class Svids:
    """Paths: bundle, and certificate(name) and key(name) of client, proxy and server."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory).resolve()
        self.bundle = self.directory / "bundle.pem"

    def certificate(self, name):
        return self.directory / f"{name}.pem"

    def key(self, name):
        return self.directory / f"{name}.key"

    def both(self, name, key_first=False):
        """Certificate and key in one text, as some peers want them."""
        parts = [self.certificate(name).read_text(), self.key(name).read_text()]
        return "".join(reversed(parts) if key_first else parts)

    def make(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        self._write("ca.ext", CA)
        self._request("ca")
        self._openssl("x509", "-req", "-in", "ca.csr", "-signkey", "ca.key", "-extfile", "ca.ext",
                      "-days", "30", "-out", "bundle.pem")
        for name, more in NAMES.items():
            self._write(f"{name}.ext", LEAF.format(names=f"URI:{spiffe_id(name)}{more}"))
            self._request(name)
            self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "bundle.pem", "-CAkey",
                          "ca.key", "-CAcreateserial", "-extfile", f"{name}.ext", "-days", "30",
                          "-out", f"{name}.pem")
        return self

    def _write(self, name, text):
        (self.directory / name).write_text(text)

    def _request(self, name):
        self._openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                      "-nodes", "-keyout", f"{name}.key", "-subj", f"/O=bulkhead bench/CN={name}",
                      "-out", f"{name}.csr")

    def _openssl(self, *arguments):
        # The host's OpenSSL configuration shall change nothing here.
        config = self.directory / "openssl.cnf"
        config.write_text("[req]\ndistinguished_name = dn\n[dn]\n")
        result = subprocess.run(
            ["openssl", *arguments], cwd=self.directory, capture_output=True, text=True,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "OPENSSL_CONF": str(config)})
        if result.returncode != 0:
            raise SystemExit(f"openssl {arguments[0]} failed:\n{result.stderr}")
