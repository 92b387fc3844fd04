"""What a scan says: frozen data, and its one JSON form that every surface shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["critical", "high", "medium", "low", "info"]
SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low", "info")  # worst first
Outcome = Literal["ok", "failed", "skipped"]

FINDINGS_SHOWN = 5000  # as many results as GitHub keeps of one SARIF run
NOT_JUDGED_SHOWN = 200  # places listed; the number is always the whole


@dataclass(frozen=True)
class Finding:
    """One place that needs attention; lines count from 1, 0 means the whole file. Holds no source text."""

    fingerprint: str  # survives moved lines; see stepdown.scan.normalise
    severity: Severity
    category: str  # the class of the scanner's row: secret, sast, …
    rule: str
    message: str
    path: str  # relative to what was scanned, with forward slashes
    start_line: int
    end_line: int
    commit: str | None  # the commit that brought it in, where history was read; else it stands in the tree
    scanners: tuple[str, ...]
    score: float | None  # CVSS, only when a scanner gave one
    help_uri: str | None
    aliases: tuple[str, ...] = ()  # other ids of the advisory, where `rule` is one
    package: str | None = None  # the vulnerable dependency
    package_version: str | None = None
    fixed_version: str | None = None  # the first one that is not vulnerable, where a scanner named one


@dataclass(frozen=True)
class NotJudged:
    """A place that was not looked at, and why; `scanner` is None when none of them could see it."""

    path: str
    reason: str
    scanner: str | None


@dataclass(frozen=True)
class ScannerOutcome:
    """How one scanner ended. `skipped` is by choice (profile, nothing of its kind), `failed` never passes for clean."""

    name: str
    version: str
    outcome: Outcome
    reason: str | None
    seconds: float
    findings: int
    files_expected: int  # files of its kind in the tree
    files_judged: int


@dataclass(frozen=True)
class Coverage:
    """How much there was to judge. `files_not_judged`: files and folders that none saw or one could not read.

    What text and parsed mean: stepdown.scan.coverage.
    """

    files: int
    bytes: int
    commits: int | None  # None: history was not read
    files_not_judged: int
    text_files: int = 0  # tracked ones
    text_files_parsed: int = 0
    binary_files: int = 0  # in the tree; no part of the share
    share: float | None = None  # parsed over tracked text files, 0 to 1; None: there was none


def share_of(parsed: int, of: int) -> float | None:
    """0 to 1, rounded down, so that what is not whole never reads as 1."""
    return int(10_000 * parsed / of) / 10_000 if of else None


@dataclass(frozen=True)
class ScanResult:
    """The whole answer. `status` is failed when any scanner failed; findings of the others are kept."""

    status: Literal["completed", "failed"]
    error: str | None
    findings: tuple[Finding, ...]  # worst first
    scanners: tuple[ScannerOutcome, ...]
    not_judged: tuple[NotJudged, ...]
    coverage: Coverage

    def max_score(self) -> float | None:
        """The highest CVSS score that a scanner gave; None when none gave any."""
        return max((f.score for f in self.findings if f.score is not None), default=None)

    def document(self) -> dict[str, Any]:
        """JSON form; long lists are cut (`findings_total` and `coverage` hold the true numbers)."""
        return {
            "status": self.status,
            "error": self.error,
            "findings": [_plain(f) for f in self.findings[:FINDINGS_SHOWN]],
            "findings_total": len(self.findings),
            "severities": {word: sum(f.severity == word for f in self.findings) for word in SEVERITIES},
            "cvss_summary": {"max_score": self.max_score()},
            "scanners": [_plain(s) for s in self.scanners],
            "not_judged": [_plain(n) for n in self.not_judged[:NOT_JUDGED_SHOWN]],
            "coverage": _plain(self.coverage),
        }


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """A fixed order, so that two scans of one tree read the same."""
    key = {word: rank for rank, word in enumerate(SEVERITIES)}
    return tuple(sorted(findings, key=lambda f: (key[f.severity], f.path, f.start_line, f.rule, f.fingerprint)))


def _plain(value: Any) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(value).items()}
