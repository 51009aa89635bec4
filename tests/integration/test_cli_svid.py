"""`bulkhead svid`: what a certificate is, and every rule that it breaks."""

import json
import pathlib
import ssl

import pytest

from harness.bulkhead import run_command
from harness.credentials import spiffe

# Of another trust domain than the bundle that the command is given.
OTHER_BUNDLE = {"partner-web": "partner.example", "we-mint-partners": "partner.example"}


def inspect(credentials, *names):
    """The exit code and one object for each name, its chain verified."""
    domain = OTHER_BUNDLE.get(names[0], "prod.example")
    result = run_command(
        "svid", "--json", "--bundle", credentials.bundle(domain), "--trust-domain", domain,
        *[credentials.chain(name) for name in names],
    )
    return result.returncode, [json.loads(line) for line in result.stdout.splitlines()]


def test_good_rows_are_valid(credentials, good_row):
    code, (facts,) = inspect(credentials, good_row.name)
    assert (code, facts["valid"], facts["broken"]) == (0, True, [])
    assert facts["kind"] == "leaf"
    assert facts["spiffe_id"].startswith("spiffe://")


def test_bad_rows_name_the_broken_rule(credentials, bad_row):
    """The same reason with which a peer that shows it is refused."""
    code, (facts,) = inspect(credentials, bad_row.name)
    assert (code, facts["valid"]) == (1, False)
    assert bad_row.reason in [rule["reason"] for rule in facts["broken"]]


def test_without_a_bundle_only_the_certificate_is_judged(credentials):
    for name in ("self-signed", "evil-mints-ours", "missing-intermediate"):
        assert run_command("svid", credentials.chain(name)).returncode == 0
    for name in ("kuma", "linkerd", "ca-true"):
        assert run_command("svid", credentials.chain(name)).returncode == 1


@pytest.mark.parametrize("name, advice", [
    ("linkerd", "no URI SAN; issue it with exactly one"),
    ("kuma", "more than one URI SAN; issue it with exactly one"),
])
def test_shapes_of_other_meshes_are_told_what_to_change(credentials, name, advice):
    result = run_command("svid", credentials.chain(name))
    assert advice in result.stdout


def test_the_text_is_for_people(credentials):
    result = run_command("svid", credentials.chain("web"))
    assert result.returncode == 0
    for part in (spiffe("web"), "CN=web", "P-256", "expires in", "1 certificate"):
        assert part in result.stdout


def test_several_files_and_the_worst_of_them(credentials):
    code, facts = inspect(credentials, "web", "kuma", "orders")
    assert code == 1
    assert [entry["valid"] for entry in facts] == [True, False, True]


def test_an_expired_one_says_so(credentials):
    result = run_command("svid", credentials.chain("expired"))
    assert "expired" in result.stdout


@pytest.mark.parametrize("name", ["newline", "nul-in-uri", "non-ascii", "forged-subject"])
def test_bytes_of_a_certificate_do_not_reach_the_terminal(credentials, name):
    result = run_command("svid", credentials.chain(name))
    assert result.returncode == 1
    lines = result.stdout.split("\n")
    assert all(char == "\t" or " " <= char for line in lines for char in line)
    assert not any(line.startswith("{") for line in lines), "a forged line stands by itself"


def test_der_is_read_too(credentials, tmp_path):
    pem = pathlib.Path(credentials.chain("web")).read_text()
    der = tmp_path / "web.der"
    der.write_bytes(ssl.PEM_cert_to_DER_cert(pem))
    assert spiffe("web") in run_command("svid", der).stdout


@pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nMIIB",
                                     bytes(10_000), b"0\x82\xff\xff"])
def test_what_is_no_certificate_exits_with_2(tmp_path, content):
    file = tmp_path / "x.pem"
    file.write_bytes(content)
    result = run_command("svid", file)
    assert result.returncode == 2
    assert result.stdout == "" and "x.pem" in result.stderr


def test_a_missing_file_and_wrong_usage_exit_with_2(credentials, tmp_path):
    assert run_command("svid", tmp_path / "none.pem").returncode == 2
    assert run_command("svid").returncode == 2
    assert run_command("svid", "--bundle", "x", credentials.chain("web")).returncode == 2


def test_a_private_key_is_never_printed(credentials, tmp_path):
    key = pathlib.Path(credentials.key("web")).read_text()
    both = tmp_path / "both.pem"
    both.write_text(pathlib.Path(credentials.chain("web")).read_text() + key)
    result = run_command("svid", both)
    assert result.returncode == 0
    body = key.splitlines()[1]
    assert body not in result.stdout + result.stderr
    assert run_command("svid", credentials.key("web")).returncode == 2
