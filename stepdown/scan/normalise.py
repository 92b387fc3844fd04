"""Results to findings: one fingerprint for one problem, whoever found it, and no secret in what is told on.

fingerprint = SHA-256 over (rule class, path, text of the line with its blanks squeezed, occurrence), 32 hex digits.
It survives lines moving up and down; it changes when the line does, so an accepted line never covers a new secret.
Tools' own fingerprints are not used: one gives the same constant for every result, another puts mail addresses in.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from stepdown.scan.findings import SEVERITIES, Finding, worst_first
from stepdown.scan.sarif import Result
from stepdown.scan.scanners import Scanner

MESSAGE_CHARACTERS = 500
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|:\s.*", re.DOTALL)

LineOf = Callable[[Result], str]


def findings_of(scanner: Scanner, results: Iterable[Result], line_of: LineOf) -> tuple[Finding, ...]:
    """Findings of one scanner; `line_of` gives the source line of a result, or an empty text."""
    seen: Counter[tuple[str, str, str, str | None]] = Counter()
    findings: list[Finding] = []
    for result in sorted(results, key=lambda r: (r.path, r.start_line, r.commit or "", r.rule)):
        kind = scanner.rule_class(result.rule)
        text = " ".join(line_of(result).split())
        # Counted within one commit: a line that was removed and came back is one problem.
        key = (kind, result.path, text, result.commit)
        fingerprint = fingerprint_of(kind, result.path, text, seen[key])
        seen[key] += 1
        findings.append(_finding(scanner, result, fingerprint))
    return tuple(findings)


def fingerprint_of(kind: str, path: str, line: str, occurrence: int) -> str:
    """32 hex digits; the parts are kept apart by a byte that none of them holds."""
    parts = "\0".join((kind, path, line, str(occurrence)))
    return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def merge(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each fingerprint, worst first: a place in the tree before one in history, all finders named."""
    merged: dict[str, Finding] = {}
    for finding in sorted(findings, key=lambda f: (f.commit is not None, f.scanners)):
        first = merged.get(finding.fingerprint)
        merged[finding.fingerprint] = _both(first, finding) if first else finding
    return worst_first(merged.values())


def _both(first: Finding, second: Finding) -> Finding:
    return replace(
        first,
        severity=min(first.severity, second.severity, key=SEVERITIES.index),
        commit=first.commit or second.commit,
        scanners=tuple(sorted({*first.scanners, *second.scanners})),
        score=max((s for s in (first.score, second.score) if s is not None), default=None),
    )


def _finding(scanner: Scanner, result: Result, fingerprint: str) -> Finding:
    message = " ".join(result.message.split())
    if result.rule in scanner.redact_rules:
        message = QUOTED.sub(" REDACTED", message)
    return Finding(
        fingerprint=fingerprint,
        severity=result.severity,
        category=scanner.category,
        rule=result.rule,
        message=message[:MESSAGE_CHARACTERS],
        path=result.path,
        start_line=result.start_line,
        end_line=result.end_line,
        commit=result.commit,
        scanners=(scanner.name,),
        score=result.score,
        help_uri=result.help_uri,
    )
