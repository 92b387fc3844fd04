"""SARIF 2.1.0 (OASIS) out of a scan, as GitHub takes it: one run a scanner, each with a category of its own.

The same findings give the same bytes: sorted, no times in it. GitHub's limits of an upload (docs.github.com, "SARIF
support for code scanning") are kept: too many runs are refused, results beyond the limits are left out, worst kept.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from stepdown.errors import StepdownError, sentence
from stepdown.scan.baseline import Entry
from stepdown.scan.findings import Finding, ScannerOutcome, ScanResult, Severity

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
ROOT = "%SRCROOT%"
RUNS = 20
RESULTS_KEPT = 5000  # of one run; GitHub refuses more than 25,000 and shows the top 5,000
GZIP_BYTES = 10 * 1000 * 1000
LEVELS: Mapping[Severity, str] = {
    "critical": "error",
    "high": "error",
    "medium": "warning",
    "low": "note",
    "info": "note",
}


def sarif(
    result: ScanResult, accepted: Mapping[str, Entry], only: str = "", *, gzip_bytes: int = GZIP_BYTES
) -> tuple[bytes, tuple[str, ...]]:
    """A log of the scanners that ran or failed, and in words what was left out of it for GitHub's limits.

    With `only`, a log of that scanner with all it found; without, of every one, where a finding of two scanners stands
    once, in the run of the first. Raises StepdownError for more runs than one upload may hold.
    """
    outcomes = [one for one in result.scanners if one.outcome != "skipped" and only in ("", one.name)]
    if len(outcomes) > RUNS:
        raise StepdownError(sentence("security.sarif", f"would hold {len(outcomes)} runs, and GitHub takes {RUNS}"))
    kept = RESULTS_KEPT
    while True:
        log, cut = _log(outcomes, result.findings, accepted, only, kept)
        text = (json.dumps(log, indent=1, sort_keys=True) + "\n").encode()
        if len(gzip.compress(text, mtime=0)) <= gzip_bytes or kept == 1:
            return text, cut
        kept = max(1, kept // 2)


def _log(
    outcomes: Sequence[ScannerOutcome],
    findings: Sequence[Finding],
    accepted: Mapping[str, Entry],
    only: str,
    kept: int,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    runs: list[dict[str, Any]] = []
    cut: list[str] = []
    names = {one.name for one in outcomes}
    for one in sorted(outcomes, key=lambda outcome: outcome.name):
        mine = [f for f in findings if (one.name in f.scanners if only else _home(f, names) == one.name)]
        if len(mine) > kept:
            cut.append(f"{one.name}: the worst {kept} of {len(mine)} findings are in it; GitHub takes no more")
        runs.append(_run(one, mine[:kept], accepted))
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": runs}, tuple(cut)


def _home(finding: Finding, names: Collection[str]) -> str | None:
    """The scanner in whose run a finding stands when it may stand once."""
    return next((name for name in finding.scanners if name in names), None)


def _run(outcome: ScannerOutcome, findings: Sequence[Finding], accepted: Mapping[str, Entry]) -> dict[str, Any]:
    rules = _rules(findings)
    places = {rule["id"]: index for index, rule in enumerate(rules)}
    return {
        "tool": {"driver": {"name": outcome.name, "version": outcome.version, "rules": rules}},
        "automationDetails": {"id": f"{outcome.name}/"},
        "originalUriBaseIds": {ROOT: {"description": {"text": "The folder that was scanned."}}},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(outcome)],
        "results": [_result(finding, places[finding.rule], accepted) for finding in findings],
    }


def _invocation(outcome: ScannerOutcome) -> dict[str, Any]:
    if outcome.outcome == "ok":
        return {"executionSuccessful": True}
    note = {"level": "error", "message": {"text": outcome.reason or "failed"}}
    return {"executionSuccessful": False, "toolExecutionNotifications": [note]}


def _rules(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The rules that found something. GitHub reads a score from the rule: the highest that its findings were given."""
    rules: list[dict[str, Any]] = []
    for name in sorted({finding.rule for finding in findings}):
        mine = [finding for finding in findings if finding.rule == name]
        said = mine[0].message or name
        rule: dict[str, Any] = {
            "id": name,
            "shortDescription": {"text": name},
            "fullDescription": {"text": said},
            "help": {"text": said},
            "properties": {"tags": sorted({"security", *(f.category for f in mine)})},
        }
        scores = [finding.score for finding in mine if finding.score is not None]
        if scores:
            rule["properties"]["security-severity"] = f"{max(scores):.1f}"
        pages = [finding.help_uri for finding in mine if (finding.help_uri or "").startswith(("https://", "http://"))]
        if pages:
            rule["helpUri"] = pages[0]
            rule["help"] = {"text": f"{said} See {pages[0]}"}
        rules.append(rule)
    return rules


def _result(finding: Finding, rule_index: int, accepted: Mapping[str, Entry]) -> dict[str, Any]:
    where: dict[str, Any] = {"artifactLocation": {"uri": quote(finding.path), "uriBaseId": ROOT}}
    if finding.start_line > 0:
        where["region"] = {
            "startLine": finding.start_line,
            "endLine": max(finding.start_line, finding.end_line),
        }
    properties: dict[str, Any] = {"severity": finding.severity, "scanners": list(finding.scanners)}
    if finding.score is not None:
        properties["security-severity"] = f"{finding.score:.1f}"
    more = {
        "commit": finding.commit,
        "package": finding.package,
        "packageVersion": finding.package_version,
        "fixedVersion": finding.fixed_version,
    }
    properties |= {name: value for name, value in more.items() if value}
    entry = accepted.get(finding.fingerprint)
    return {
        "ruleId": finding.rule,
        "ruleIndex": rule_index,
        "level": LEVELS[finding.severity],
        "message": {"text": finding.message + (f" (commit {finding.commit[:12]})" if finding.commit else "")},
        "locations": [{"physicalLocation": where}],
        # GitHub knows an alert again by the first name alone; both hold our own value, never a tool's
        "partialFingerprints": {
            "primaryLocationLineHash": f"{finding.fingerprint}:1",
            "stepdown/v1": finding.fingerprint,
        },
        "properties": properties,
        "suppressions": [_suppression(entry)] if entry else [],
    }


def _suppression(entry: Entry) -> dict[str, Any]:
    why = f"{entry.reason} ({entry.who}, until {entry.expires})"
    return {"kind": "external", "status": "accepted", "justification": why}
