"""Findings, outcomes and results with everything filled in, so that a test names only what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from stepdown.scan.baseline import Entry
from stepdown.scan.findings import Coverage, Finding, NotJudged, ScannerOutcome, ScanResult

TODAY = date(2030, 6, 15)
FINDING = Finding(
    fingerprint="0" * 32, severity="high", category="sast", rule="R1", message="a message", path="src/a.py",
    start_line=3, end_line=4, commit=None, scanners=("one",), score=None, help_uri=None,
)  # fmt: skip
OUTCOME = ScannerOutcome(
    name="one", version="1.0", outcome="ok", reason=None, seconds=1.5, findings=0, files_expected=2, files_judged=2
)
COVERAGE = Coverage(files=2, bytes=20, commits=None, files_not_judged=0, text_files=2, text_files_parsed=2, share=1.0)
ENTRY = Entry(
    place="config/scan-baseline.yaml: accepted/0", fingerprint="0" * 32, scanner="one", rule="R1", path="src/a.py",
    reason="it is a test", who="platform", expires=TODAY,
)  # fmt: skip


def finding(digit: str = "0", /, **columns: Any) -> Finding:
    """A finding whose fingerprint is that hex digit, 32 times."""
    return replace(FINDING, **{"fingerprint": digit * 32, **columns})


def outcome(name: str = "one", /, **columns: Any) -> ScannerOutcome:
    """How a scanner ended: well, unless told."""
    return replace(OUTCOME, **{"name": name, **columns})


def entry(digit: str = "0", /, **columns: Any) -> Entry:
    """An entry of a baseline for the finding of that digit."""
    return replace(ENTRY, **{"fingerprint": digit * 32, **columns})


def result(
    *findings: Finding,
    scanners: Sequence[ScannerOutcome] = (OUTCOME,),
    not_judged: Sequence[NotJudged] = (),
    coverage: Coverage = COVERAGE,
) -> ScanResult:
    """A whole result; failed when one of its scanners is."""
    failed = any(one.outcome == "failed" for one in scanners)
    return ScanResult(
        status="failed" if failed else "completed",
        error="failed" if failed else None,
        findings=findings,
        scanners=tuple(scanners),
        not_judged=tuple(not_judged),
        coverage=coverage,
    )
