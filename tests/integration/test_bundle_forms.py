"""What may be given as a trust bundle: SPIFFE bundle documents and PEM, good and bad."""

import json

from harness.bulkhead import run_command

UNUSABLE = 2  # exit code: the question could not be asked


def judge_web(credentials, bundle):
    return run_command("svid", "--json", "--bundle", str(credentials.directory / f"{bundle}.bundle"),
                       "--trust-domain", "prod.example", credentials.chain("web"))


def test_each_form_means_what_its_row_says(credentials):
    rows = credentials.table("bundles.tsv")
    assert len(rows) > 15
    for row in rows:
        result = judge_web(credentials, row.name)
        if row.reason == "unusable":
            assert result.returncode == UNUSABLE, row
            assert f"{row.name}.bundle: " in result.stderr, row
            continue
        facts = json.loads(result.stdout)
        broken = [rule["reason"] for rule in facts["broken"]]
        assert broken == ([] if row.reason == "ok" else [row.reason]), row


def test_merged_bundles_are_told_what_to_do(credentials):
    for name in ("merged-pem", "merged-document"):
        result = judge_web(credentials, name)
        for part in ("partner.example", "a bundle file of its own", "include_federated_domains"):
            assert part in result.stderr, name
