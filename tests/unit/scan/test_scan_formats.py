"""The tools' own JSON becomes results; what is not as promised is refused, and what was not judged is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepdown.scan.formats import read_report
from stepdown.scan.pins import Pins
from stepdown.scan.reports import InvalidReportError, Report, advisory_id
from stepdown.scan.scanners import Scanner

MakeRow = Callable[..., Scanner]
PINS = Pins({("jinja2", "2.10"): (("a.txt", 3), ("b.txt", 1))}, frozenset({("jinja2", "2.10")}))


@pytest.fixture
def read(row: MakeRow) -> Callable[..., Report]:
    """A document, read as the report of a scanner of this kind."""

    def from_document(kind: str, document: Any, pins: Pins | None = None, **columns: Any) -> Report:
        return read_report(json.dumps(document).encode(), row(report=kind, **columns), Path("/src"), pins)

    return from_document


def test_semgrep_names_what_it_could_not_parse(read: Callable[..., Report]) -> None:
    """Its exit code does not."""
    place = {"start": {"line": 3}, "end": {"line": 4}}
    entry = {"check_id": "r", "path": "./a.yml", **place, "extra": {"message": "m", "severity": "WARNING"}}
    error = {"type": ["PartialParsing", []], "level": "warn", "message": "syntax\nerror", "path": "b.yml"}
    report = read("semgrep", {"results": [entry], "errors": [error]})
    assert (("b.yml", "syntax error"),) == report.unread
    (result,) = report.results
    assert ("r", "medium", "a.yml", 3, 4) == (
        result.rule,
        result.severity,
        result.path,
        result.start_line,
        result.end_line,
    )


def test_an_error_of_semgrep_without_a_file_ends_all_trust(read: Callable[..., Report]) -> None:
    """Such as rules that it cannot load."""
    with pytest.raises(InvalidReportError, match="reports an error: bad rule"):
        read("semgrep", {"results": [], "errors": [{"type": "x", "message": "bad rule"}]})


def _trivy(**part: Any) -> dict[str, Any]:
    return {"SchemaVersion": 2, "Results": [{"Target": "requirements.txt", **part}]}


@pytest.mark.parametrize(
    ("cvss", "score"),
    [
        ({"nvd": {"V2Score": 9.3, "V3Score": 7.5}, "ghsa": {"V3Score": 8.1}}, 8.1),
        ({"nvd": {"V2Score": 5.0}}, 5.0),
        ({"nvd": {}}, None),
        (None, None),
    ],
)
def test_trivy_gives_a_score_only_where_its_data_has_one(
    read: Callable[..., Report], cvss: Any, score: float | None
) -> None:
    """Its SARIF makes one up from the severity."""
    flaw = {"VulnerabilityID": "CVE-1-1", "PkgName": "Jinja2", "InstalledVersion": "2.10", "Severity": "HIGH"}
    more = {"FixedVersion": "2.10.1, 3.0", "References": ["https://x.example/GHSA-462w-v97r-4m45"], "CVSS": cvss}
    packages = [{"Name": "Jinja2", "Version": "2.10", "Locations": [{"StartLine": 7}]}]
    (result,) = read("trivy", _trivy(Packages=packages, Vulnerabilities=[{**flaw, **more}])).results
    assert (score, "high", "dependency") == (result.score, result.severity, result.category or "dependency")
    assert ("jinja2", "2.10", "2.10.1", 7) == (
        result.package,
        result.package_version,
        result.fixed_version,
        result.start_line,
    )
    assert ("CVE-1-1", ("GHSA-462w-v97r-4m45",)) == (result.rule, result.aliases)


def test_trivy_tells_failures_only_and_no_source(read: Callable[..., Report]) -> None:
    """A check that passed is no finding; the secret that it matched is no part of the message."""
    passed = {"ID": "DS-1", "Title": "t", "Message": "m", "Severity": "LOW", "Status": "PASS"}
    failed = {**passed, "ID": "DS-2", "Status": "FAIL", "CauseMetadata": {"StartLine": 2, "EndLine": 3}}
    secret = {
        "RuleID": "key",
        "Severity": "CRITICAL",
        "Title": "A key",
        "StartLine": 9,
        "EndLine": 9,
        "Match": "hidden",
    }
    report = read("trivy", _trivy(Misconfigurations=[passed, failed], Secrets=[secret]))
    told = [(r.rule, r.severity, r.category, r.start_line, r.message) for r in report.results]
    assert [("key", "critical", "secret", 9, "A key"), ("DS-2", "low", "misconfiguration", 2, "t: m")] == told


def test_secrets_in_an_image_are_told_apart(read: Callable[..., Report]) -> None:
    """By layer, line and what is left of the match: one that was accepted covers no other at its path."""
    secret = {"RuleID": "key", "Severity": "HIGH", "Title": "t", "StartLine": 1, "EndLine": 1, "Match": "a=**"}
    others = [
        {**secret, "Layer": {"DiffID": "sha256:1"}}, {**secret, "Layer": {"DiffID": "sha256:2"}},
        {**secret, "StartLine": 2}, {**secret, "Match": "b=**"},
    ]  # fmt: skip
    report = read("trivy", _trivy(Secrets=[secret, *others]))
    assert 5 == len({result.place for result in report.results})


def test_pip_audits_findings_stand_where_the_pins_do(read: Callable[..., Report]) -> None:
    """It is asked about versions, and knows no lines."""
    flaw = {"id": "PYSEC-1", "fix_versions": ["2.10.1"], "aliases": ["GHSA-x", "CVE-1-1"], "description": "bad"}
    report = read("pip-audit", {"dependencies": [{"name": "Jinja2", "version": "2.10", "vulns": [flaw]}]}, PINS)
    told = [(r.path, r.start_line, r.rule, r.aliases, r.message) for r in report.results]
    expected = ("CVE-1-1", ("GHSA-x", "PYSEC-1"), "jinja2 2.10: bad")
    assert [("a.txt", 3, *expected), ("b.txt", 1, *expected)] == told


@pytest.mark.parametrize(
    ("dependencies", "said"),
    [
        ([{"name": "jinja2", "skip_reason": "not found on the index"}], "skipped jinja2: not found"),
        ([], "leaves out 1 packages, the first is jinja2"),
        ([{"name": "jinja2", "version": "3.0", "vulns": []}], "leaves out 1 packages"),
    ],
)
def test_what_pip_audit_did_not_ask_about_fails_it(
    read: Callable[..., Report], dependencies: list[dict[str, Any]], said: str
) -> None:
    """It ends with 0 all the same."""
    with pytest.raises(InvalidReportError, match=said):
        read("pip-audit", {"dependencies": dependencies}, PINS)


def test_actionlint_tells_broken_files_from_broken_workflows(read: Callable[..., Report]) -> None:
    """What is no YAML was not judged."""
    entry = {"message": "undefined", "filepath": "./w.yml", "line": 4, "column": 1, "kind": "expression"}
    broken = {**entry, "message": "could not parse as YAML: no", "filepath": "x.yml", "kind": "syntax-check"}
    report = read("actionlint", [entry, broken], severity="medium")
    assert [("w.yml", 4, "expression", "medium")] == [
        (r.path, r.start_line, r.rule, r.severity) for r in report.results
    ]
    assert (("x.yml", "could not parse as YAML: no"),) == report.unread


def test_a_rule_that_means_unparsable_is_no_finding(read: Callable[..., Report]) -> None:
    """hadolint tells a Dockerfile that is none as a result like any other."""
    entry = {"message": "m", "filepath": "Dockerfile", "line": 1, "column": 1, "kind": "DL1000"}
    report = read("actionlint", [entry], unread_rules=("DL1000",))
    assert ((), (("Dockerfile", "m"),)) == (report.results, report.unread)


@pytest.mark.parametrize("kind", ["semgrep", "trivy", "pip-audit", "actionlint"])
@pytest.mark.parametrize("text", [b"", b"{", b"null", b"{}", b'"x"', b"[1]", b"[" * 100_000])
def test_what_is_no_report_is_refused(row: MakeRow, kind: str, text: bytes) -> None:
    """Never an empty result from a broken report."""
    with pytest.raises(InvalidReportError):
        read_report(text, row(report=kind), Path("/src"), PINS)


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        ("trivy", _trivy(Target="../../etc/passwd", Secrets=[])),
        ("actionlint", [{"message": "m", "filepath": "/etc/passwd", "line": 1, "kind": "x"}]),
    ],
)
def test_a_path_outside_the_tree_is_refused_in_every_format(
    read: Callable[..., Report], kind: str, document: Any
) -> None:
    """A scanner that leaves the tree is not believed."""
    with pytest.raises(InvalidReportError, match="outside the tree"):
        read(kind, document)


@pytest.mark.parametrize(
    ("ids", "name"),
    [
        (("PYSEC-1", "GHSA-b", "CVE-2", "CVE-1"), "CVE-1"),
        (("PYSEC-1", "GHSA-b"), "GHSA-b"),
        (("Z-1", "PYSEC-1"), "PYSEC-1"),
    ],
)
def test_an_advisory_has_one_name(ids: tuple[str, ...], name: str) -> None:
    """Whichever of its ids a tool gives first."""
    assert name == advisory_id(ids)
