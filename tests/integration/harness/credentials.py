"""The test credentials that certs/make.sh makes, once for each run of the tests."""

import dataclasses
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[3]


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the manifest."""

    name: str
    reason: str  # "ok", or the label of the refusal
    sentence: str


class Credentials:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    @staticmethod
    def make(directory):
        subprocess.run([ROOT / "certs" / "make.sh", directory], check=True)
        return Credentials(directory)

    def chain(self, name):
        return str(self.directory / f"{name}.pem")

    def key(self, name):
        return str(self.directory / f"{name}.key")

    def bundle(self, domain):
        return str(self.directory / f"{domain}.bundle.pem")

    def pair(self, name):
        return self.chain(name), self.key(name)

    def table(self, file):
        """The rows of manifest.tsv, crls.tsv or bundles.tsv."""
        text = (self.directory / file).read_text()
        return [Row(*line.split("\t")) for line in text.splitlines()]

    def manifest(self):
        return self.table("manifest.tsv")

    def rows(self, good):
        return [row for row in self.manifest() if (row.reason == "ok") == good]


def spiffe(name):
    """The ID of a service of the shop."""
    return f"spiffe://prod.example/ns/shop/sa/{name}"
