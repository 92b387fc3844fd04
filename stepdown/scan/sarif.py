"""SARIF 2.1.0 (OASIS) to plain results. Tools spell paths, levels and scores differently; here they become one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from stepdown.scan.findings import SEVERITIES, Severity
from stepdown.scan.scanners import Scanner

LEVELS: dict[str, Severity] = {"error": "high", "warning": "medium", "note": "low", "none": "info"}
WORDS: dict[str, Severity] = {**{word: word for word in SEVERITIES}, **LEVELS, "undefined": "info"}
# CVSS v3.1 specification, section 5: qualitative severity rating scale.
SCORES: tuple[tuple[float, Severity], ...] = ((9.0, "critical"), (7.0, "high"), (4.0, "medium"), (0.1, "low"))


class InvalidReportError(Exception):
    """The report is not what the scanner promises; the message says where."""


@dataclass(frozen=True)
class Result:
    """One result, normalised. Lines and columns count from 1; 0 means none was given."""

    rule: str
    severity: Severity
    score: float | None
    message: str
    path: str
    start_line: int
    end_line: int
    commit: str | None
    help_uri: str | None


@dataclass(frozen=True)
class Report:
    """What one scanner wrote: its results, and the files that it says it could not read."""

    results: tuple[Result, ...]
    unread: tuple[tuple[str, str], ...]  # path, reason


def read_report(text: bytes, scanner: Scanner, source: Path) -> Report:
    """Parse a SARIF log. Raises InvalidReportError when it is none, has no run, or says that the run failed."""
    try:
        log = json.loads(text.decode("utf-8", "replace"))
        if log["version"] != "2.1.0" or not log["runs"]:
            raise InvalidReportError("is no SARIF 2.1.0 log with a run")
        results: list[Result] = []
        unread: list[tuple[str, str]] = []
        for run in log["runs"]:
            rules = _rules(run)
            unread.extend(_unread(run, source))
            # `results: null` means that the tool could not say (SARIF 3.14.23).
            results.extend(_result(entry, rules, scanner, source) for entry in run["results"])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise InvalidReportError(f"is no valid SARIF: {type(error).__name__} {error}"[:200]) from error
    return Report(tuple(results), tuple(unread))


def relative_path(uri: str, source: Path) -> str:
    """A path below `source` with forward slashes. Raises InvalidReportError for one outside it."""
    plain = unquote(urlsplit(uri).path) if uri.startswith("file:") else unquote(uri)
    path = PurePosixPath(plain)
    if path.is_absolute():
        if not path.is_relative_to(source):
            raise InvalidReportError(f"names a file outside the tree: {path.name}")
        path = path.relative_to(source)
    if ".." in path.parts:
        raise InvalidReportError(f"names a file outside the tree: {path.name}")
    return _writable(str(path))


def _writable(text: str) -> str:
    """JSON may hold half a surrogate pair, which no UTF-8 file can."""
    return text.encode("utf-8", "replace").decode()


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
        message=_writable(str(entry["message"]["text"])),
        path=relative_path(place["artifactLocation"]["uri"], source),
        start_line=start,
        end_line=int(region.get("endLine", start)),
        commit=entry.get("partialFingerprints", {}).get("commitSha") or None,
        help_uri=rule.get("helpUri"),
    )


def _score(entry: dict[str, Any], rule: dict[str, Any]) -> float | None:
    """`security-severity`, the property in which tools give a CVSS score; nothing is made up where it is missing."""
    for properties in (entry.get("properties", {}), rule.get("properties", {})):
        if "security-severity" in properties:
            score = float(properties["security-severity"])
            if not 0 <= score <= 10:
                raise InvalidReportError(f"gives a CVSS score of {score:g}")
            return score
    return None


def _severity(entry: dict[str, Any], rule: dict[str, Any], scanner: Scanner, score: float | None) -> Severity:
    """The row's word, the tool's own word, its score, its level: the first that is there."""
    if scanner.severity:
        return scanner.severity
    if scanner.severity_property:
        word = str(entry["properties"][scanner.severity_property]).lower()
        if word not in WORDS:
            raise InvalidReportError(f"gives an unknown severity: {word[:40]}")
        return WORDS[word]
    if score is not None:
        return next((word for least, word in SCORES if score >= least), "info")
    level = entry.get("level") or rule.get("defaultConfiguration", {}).get("level", "warning")
    if level not in LEVELS:
        raise InvalidReportError(f"gives an unknown level: {str(level)[:40]}")
    return LEVELS[level]
