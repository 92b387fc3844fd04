"""SARIF 2.1.0 (OASIS) to plain results. Tools spell paths, levels and scores differently; here they become one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepdown.scan.findings import Severity
from stepdown.scan.reports import (
    LEVELS,
    InvalidReportError,
    Report,
    Result,
    plain_path,
    relative_path,
    score_of,
    severity_word,
    writable,
)
from stepdown.scan.scanners import Scanner

# CVSS v3.1 specification, section 5: qualitative severity rating scale.
SCORES: tuple[tuple[float, Severity], ...] = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))


def read_sarif(log: Any, scanner: Scanner, source: Path) -> Report:
    """A SARIF log. Raises InvalidReportError when it is none, has no run, or says that the run failed."""
    if log["version"] != "2.1.0" or not log["runs"]:
        raise InvalidReportError("is no SARIF 2.1.0 log with a run")
    results: list[Result] = []
    unread: list[tuple[str, str]] = []
    for run in log["runs"]:
        rules = _rules(run)
        unread.extend(_unread(run, source))
        # `results: null` means that the tool could not say (SARIF 3.14.23).
        results.extend(_result(entry, rules, scanner, source) for entry in run["results"])
    return Report(tuple(results), tuple(unread))


def _rules(run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    driver = run["tool"]["driver"]
    extensions = run["tool"].get("extensions", [])
    return {rule["id"]: rule for part in (driver, *extensions) for rule in part.get("rules", [])}


def _unread(run: dict[str, Any], source: Path) -> list[tuple[str, str]]:
    """Files that the tool reports an error for; an error without a file means that the run cannot be trusted."""
    unread: list[tuple[str, str]] = []
    for invocation in run.get("invocations", []):
        if invocation["executionSuccessful"] is not True:
            raise InvalidReportError("says that the run failed")
        notes = [
            *invocation.get("toolExecutionNotifications", []),
            *invocation.get("toolConfigurationNotifications", []),
        ]
        for note in notes:
            if note.get("level", "warning") != "error":
                continue
            reason = str(note["message"]["text"])[:200]
            if not note.get("locations"):
                raise InvalidReportError(f"reports an error: {reason}")
            uris = [place["physicalLocation"]["artifactLocation"]["uri"] for place in note["locations"]]
            unread.extend((relative_path(uri, source), reason) for uri in uris)
    return unread


def _result(entry: dict[str, Any], rules: dict[str, dict[str, Any]], scanner: Scanner, source: Path) -> Result:
    rule_id = entry.get("ruleId") or entry["rule"]["id"]
    rule = rules.get(rule_id, {})
    place = entry["locations"][0]["physicalLocation"]
    region = place.get("region", {})
    start = int(region.get("startLine", 0))
    score = _score(entry, rule)
    return Result(
        rule=rule_id,
        severity=_severity(entry, rule, scanner, score),
        score=score,
        message=writable(_message(entry, rule, scanner)),
        path=_path(place["artifactLocation"]["uri"], scanner, source),
        start_line=start,
        end_line=int(region.get("endLine", start)),
        commit=entry.get("partialFingerprints", {}).get("commitSha") or None,
        help_uri=rule.get("helpUri"),
    )


def _path(uri: str, scanner: Scanner, source: Path) -> str:
    # what reads history writes paths as they are, and there is no file to tell that by
    return plain_path(uri, source) if scanner.subject == "history" else relative_path(uri, source)


def _message(entry: dict[str, Any], rule: dict[str, Any], scanner: Scanner) -> str:
    text = str(entry["message"]["text"])
    return f"{rule['shortDescription']['text']} {text}" if scanner.rule_explains and rule else text


def _score(entry: dict[str, Any], rule: dict[str, Any]) -> float | None:
    """`security-severity`, the property in which tools give a CVSS score; nothing is made up where it is missing."""
    for properties in (entry.get("properties", {}), rule.get("properties", {})):
        if "security-severity" in properties:
            return score_of(properties["security-severity"])
    return None


def _severity(entry: dict[str, Any], rule: dict[str, Any], scanner: Scanner, score: float | None) -> Severity:
    """The row's word, the tool's own word, its score, its level: the first that is there."""
    if scanner.severity:
        return scanner.severity
    if scanner.severity_property:
        return severity_word(str(entry["properties"][scanner.severity_property]))
    if score is not None:
        return next((word for least, word in SCORES if score >= least), "info")
    level = entry.get("level") or rule.get("defaultConfiguration", {}).get("level", "warning")
    if level not in LEVELS:
        raise InvalidReportError(f"gives an unknown level: {str(level)[:40]}")
    return LEVELS[level]
