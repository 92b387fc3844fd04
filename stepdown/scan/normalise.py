"""Results to findings: one fingerprint for one problem, whoever found it, and no secret in what is told on.

Two tools found the same when they name a secret in the same line, an advisory by any of its ids for the same package in
the same file, or rules that catalog/scanners.yml calls equal on the same text.

fingerprint = SHA-256 over (rule class, path, text of the line with its blanks squeezed, occurrence), 32 hex digits.
For a dependency the class is its advisory, the text package==version. It survives lines moving up and down; it changes
when the line does, so an accepted line never covers a new secret.
Tools' own fingerprints are not used: one gives the same constant for every result, another puts mail addresses in.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from stepdown.scan.findings import SEVERITIES, Finding, worst_first
from stepdown.scan.reports import Result, advisory_id
from stepdown.scan.scanners import Scanner

MESSAGE_CHARACTERS = 500
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|:\s.*", re.DOTALL)

LineOf = Callable[[Result], str]


def findings_of(scanner: Scanner, results: Iterable[Result], line_of: LineOf) -> tuple[Finding, ...]:
    """Findings of one scanner; `line_of` gives the source line of a result, or an empty text."""
    seen: Counter[tuple[str, str, str, str | None]] = Counter()
    findings: list[Finding] = []
    ordered = sorted(results, key=lambda r: (r.path, r.start_line, r.commit or "", r.rule))
    for result in _one_secret_a_line(ordered, scanner):
        if result.package:
            findings.append(_finding(scanner, result, _of_dependency(result)))
            continue
        kind = "secret" if _is_secret(result, scanner) else scanner.rule_class(result.rule)
        text = " ".join(line_of(result).split())
        # Counted within one commit: a line that was removed and came back is one problem.
        key = (kind, result.path, text, result.commit)
        fingerprint = fingerprint_of(kind, result.path, text, seen[key])
        seen[key] += 1
        findings.append(_finding(scanner, result, fingerprint))
    return tuple(findings)


def _is_secret(result: Result, scanner: Scanner) -> bool:
    return (result.category or scanner.category) == "secret"


def _one_secret_a_line(ordered: Iterable[Result], scanner: Scanner) -> list[Result]:
    """Several rules of one tool may know one secret; the first by name is kept."""
    kept: list[Result] = []
    lines: set[tuple[str, int, str | None]] = set()
    for result in ordered:
        line = (result.path, result.start_line, result.commit)
        if _is_secret(result, scanner):
            if line in lines:
                continue
            lines.add(line)
        kept.append(result)
    return kept


def _of_dependency(it: Result | Finding) -> str:
    return fingerprint_of(f"dependency/{it.rule}", it.path, f"{it.package}=={it.package_version}", 0)


def fingerprint_of(kind: str, path: str, line: str, occurrence: int) -> str:
    """32 hex digits; the parts are kept apart by a byte that none of them holds."""
    parts = "\0".join((kind, path, line, str(occurrence)))
    return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def merge(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each fingerprint, worst first: a place in the tree before one in history, all finders named."""
    merged: dict[str, Finding] = {}
    told = _one_name_an_advisory(findings)
    for finding in sorted(told, key=lambda f: (f.commit is not None, f.scanners)):
        first = merged.get(finding.fingerprint)
        merged[finding.fingerprint] = _both(first, finding) if first else finding
    return worst_first(merged.values())


def _one_name_an_advisory(findings: Iterable[Finding]) -> list[Finding]:
    """Findings of one package in one file that share any id of their advisories get the same name and fingerprint."""
    kept: list[Finding] = []
    groups: dict[tuple[str, str, str], list[tuple[set[str], list[Finding]]]] = {}
    for finding in findings:
        if not finding.package:
            kept.append(finding)
            continue
        sets = groups.setdefault((finding.path, finding.package, finding.package_version or ""), [])
        ids, members = {finding.rule, *finding.aliases}, [finding]
        for known in [known for known in sets if known[0] & ids]:
            sets.remove(known)
            ids, members = ids | known[0], [*known[1], *members]
        sets.append((ids, members))
    for ids, members in (one for sets in groups.values() for one in sets):
        rule = advisory_id(ids)
        named = [replace(f, rule=rule, aliases=tuple(sorted(ids - {rule}))) for f in members]
        kept.extend(replace(f, fingerprint=_of_dependency(f)) for f in named)
    return kept


def _both(first: Finding, second: Finding) -> Finding:
    return replace(
        first,
        severity=min(first.severity, second.severity, key=SEVERITIES.index),
        commit=first.commit or second.commit,
        scanners=tuple(sorted({*first.scanners, *second.scanners})),
        score=max((s for s in (first.score, second.score) if s is not None), default=None),
        help_uri=first.help_uri or second.help_uri,
        fixed_version=first.fixed_version or second.fixed_version,
    )


def _finding(scanner: Scanner, result: Result, fingerprint: str) -> Finding:
    message = " ".join(result.message.split())
    if result.rule in scanner.redact_rules:
        message = QUOTED.sub(" REDACTED", message)
    return Finding(
        fingerprint=fingerprint,
        severity=result.severity,
        category=result.category or scanner.category,
        rule=result.rule,
        message=message[:MESSAGE_CHARACTERS],
        path=result.path,
        start_line=result.start_line,
        end_line=result.end_line,
        commit=result.commit,
        scanners=(scanner.name,),
        score=result.score,
        help_uri=result.help_uri,
        aliases=result.aliases,
        package=result.package,
        package_version=result.package_version,
        fixed_version=result.fixed_version,
    )
