"""The tools' own JSON, for those whose SARIF leaves out what counts: scores, packages, files that were not parsed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stepdown.scan.findings import Severity
from stepdown.scan.pins import Pins, normal
from stepdown.scan.reports import (
    InvalidReportError,
    Read,
    Report,
    Result,
    advisory_id,
    parse,
    plain_path,
    score_of,
    severity_word,
    writable,
)
from stepdown.scan.sarif import read_sarif
from stepdown.scan.scanners import Scanner

GHSA = re.compile(r"GHSA(-[a-z0-9]{4}){3}")
NO_YAML = "could not parse as YAML"


def read_report(text: bytes, scanner: Scanner, source: Path, pins: Pins | None = None) -> Report:
    """The report of `scanner`, by its row's format. Raises InvalidReportError."""
    if scanner.report == "pip-audit":
        return parse(text, scanner, source, lambda log, row, _: _pip_audit(log, row, pins or Pins()), "pip-audit JSON")
    kind, read = READERS[scanner.report]
    return parse(text, scanner, source, read, kind)


def _semgrep(log: Any, scanner: Scanner, source: Path) -> Report:
    """semgrep's `--json`. An error with a path is a hole in coverage, one without ends all trust."""
    unread = []
    for error in log["errors"]:
        reason = " ".join(str(error["message"]).split())[:200]
        if not error.get("path"):
            raise InvalidReportError(f"reports an error: {reason}")
        unread.append((plain_path(error["path"], source), reason))
    return Report(tuple(_semgrep_result(entry, source) for entry in log["results"]), tuple(unread))


def _semgrep_result(entry: dict[str, Any], source: Path) -> Result:
    extra = entry["extra"]
    words: dict[str, Severity] = {"error": "high", "warning": "medium", "info": "low"}
    word = str(extra["severity"]).lower()
    return Result(
        rule=str(entry["check_id"]),
        severity=words[word] if word in words else severity_word(word),
        score=None,
        message=writable(str(extra["message"])),
        path=plain_path(entry["path"], source),
        start_line=int(entry["start"]["line"]),
        end_line=int(entry["end"]["line"]),
        commit=None,
        help_uri=extra.get("metadata", {}).get("source"),
    )


def _trivy(log: Any, scanner: Scanner, source: Path) -> Report:
    """trivy's `--format json`. Sources are not repeated in what is kept of it."""
    if log["SchemaVersion"] != 2:
        raise InvalidReportError(f"has schema version {log['SchemaVersion']}, not 2")
    results: list[Result] = []
    for part in log.get("Results") or ():
        path = plain_path(part["Target"].lstrip("/"), source)
        results.extend(_secret(entry, path) for entry in part.get("Secrets") or ())
        results.extend(
            _misconfiguration(entry, path) for entry in part.get("Misconfigurations") or () if entry["Status"] == "FAIL"
        )
        lines = {(p["Name"], p.get("Version")): p.get("Locations") for p in part.get("Packages") or ()}
        for entry in part.get("Vulnerabilities") or ():
            place = lines.get((entry["PkgName"], entry["InstalledVersion"])) or [{"StartLine": 0}]
            file = plain_path(entry["PkgPath"].lstrip("/"), source) if entry.get("PkgPath") else path
            results.append(_vulnerability(entry, file, int(place[0]["StartLine"])))
    return Report(tuple(results), ())


def _secret(entry: dict[str, Any], path: str) -> Result:
    start = int(entry["StartLine"])
    severity = severity_word(entry["Severity"])
    end = int(entry["EndLine"])
    title = writable(entry["Title"])
    layer = entry.get("Layer") or {}
    # The tool has struck the secret out of the match.
    place = f"{layer.get('DiffID') or layer.get('Digest') or ''} {start} {entry.get('Match') or ''}"
    return Result(entry["RuleID"], severity, None, title, path, start, end, None, None, category="secret", place=place)


def _misconfiguration(entry: dict[str, Any], path: str) -> Result:
    cause = entry.get("CauseMetadata", {})
    start = int(cause.get("StartLine", 0))
    text = writable(f"{entry['Title']}: {entry['Message']}")
    severity = severity_word(entry["Severity"])
    end = int(cause.get("EndLine", start))
    help_uri = entry.get("PrimaryURL")
    kind = "misconfiguration"
    return Result(entry["ID"], severity, None, text, path, start, end, None, help_uri, category=kind)


def _vulnerability(entry: dict[str, Any], path: str, line: int) -> Result:
    """CVSS as the tool's data has it: of several sources the highest version 3 score, else the highest version 2."""
    sources = list((entry.get("CVSS") or {}).values())
    scores = [score_of(s["V3Score"]) for s in sources if s.get("V3Score")]
    scores = scores or [score_of(s["V2Score"]) for s in sources if s.get("V2Score")]
    ids = (entry["VulnerabilityID"], *(entry.get("VendorIDs") or ()), *_named(entry.get("References") or ()))
    rule = advisory_id(ids)
    package, version = entry["PkgName"], entry["InstalledVersion"]
    return Result(
        rule=rule,
        severity=severity_word(entry["Severity"]),
        score=max(scores, default=None),
        message=writable(f"{package} {version}: {entry.get('Title') or rule}"),
        path=path,
        start_line=line,
        end_line=line,
        commit=None,
        help_uri=entry.get("PrimaryURL"),
        aliases=tuple(sorted({*ids} - {rule})),
        package=normal(package),
        package_version=version,
        fixed_version=(entry.get("FixedVersion") or "").split(",")[0].strip() or None,
    )


def _named(references: Iterable[str]) -> list[str]:
    """GHSA ids that a database gives only as the address of their page."""
    names = (reference.rsplit("/", 1)[-1] for reference in references)
    return sorted({name for name in names if GHSA.fullmatch(name)})


def _pip_audit(log: Any, scanner: Scanner, pins: Pins) -> Report:
    """pip-audit's `--format json`. What it skipped was not judged, whatever its exit code says."""
    results: list[Result] = []
    for entry in log["dependencies"]:
        name = normal(entry["name"])
        if "skip_reason" in entry:
            raise InvalidReportError(f"skipped {name}: {str(entry['skip_reason'])[:100]}")
        for flaw in entry["vulns"]:
            ids = (flaw["id"], *flaw["aliases"])
            rule = advisory_id(ids)
            for path, line in pins.places(name, entry["version"]):
                results.append(
                    Result(
                        rule=rule,
                        severity=scanner.severity or "high",
                        score=None,
                        message=writable(f"{name} {entry['version']}: {flaw.get('description') or rule}"),
                        path=path,
                        start_line=line,
                        end_line=line,
                        commit=None,
                        help_uri=None,
                        aliases=tuple(sorted({*ids} - {rule})),
                        package=name,
                        package_version=entry["version"],
                        fixed_version=next(iter(flaw["fix_versions"]), None),
                    )
                )
    audited = {(normal(entry["name"]), entry["version"]) for entry in log["dependencies"]}
    missing = sorted({*pins.wanted} - audited)
    if missing:
        raise InvalidReportError(f"leaves out {len(missing)} packages, the first is {missing[0][0]}")
    return Report(tuple(results), ())


def _actionlint(log: Any, scanner: Scanner, source: Path) -> Report:
    """actionlint's `-format '{{json .}}'`."""
    results: list[Result] = []
    unread: list[tuple[str, str]] = []
    if not isinstance(log, list):
        raise InvalidReportError("is no list")
    for entry in log:
        path = plain_path(entry["filepath"], source)
        message = writable(str(entry["message"]))
        if message.startswith(NO_YAML):
            unread.append((path, message[:200]))
            continue
        line = int(entry["line"])
        severity = scanner.severity or "medium"
        results.append(Result(entry["kind"], severity, None, message, path, line, line, None, None))
    return Report(tuple(results), tuple(unread))


READERS: dict[str, tuple[str, Read]] = {
    "sarif": ("SARIF", read_sarif),
    "semgrep": ("semgrep JSON", _semgrep),
    "trivy": ("trivy JSON", _trivy),
    "actionlint": ("actionlint JSON", _actionlint),
}
