"""A scan and its verdict as a terminal shows them. Pure; names of files and messages are hostile, so nothing of theirs
reaches the terminal but characters that can be printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from stepdown.scan.findings import SEVERITIES, Finding, ScannerOutcome, ScanResult
from stepdown.scan.verdict import Verdict, percent

WORST_SHOWN = 20
OF_ONE_RULE = 3  # so that one rule which a tree breaks everywhere hides no other
PLACES_SHOWN = 10
HEAD = ("scanner", *SEVERITIES, "judged", "seconds", "")


def printable(text: str) -> str:
    """`text` on one line, without what moves a cursor, turns the direction of writing or ends a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def told(result: ScanResult, verdict: Verdict, accepted: Collection[str]) -> str:
    """Everything but the last line: table, worst findings, what could not be judged, what to know besides, coverage."""
    left = [finding for finding in result.findings if finding.fingerprint not in accepted]
    parts = [
        table(result, left),
        _worst(left, verdict),
        _section("could not judge", verdict.not_judged),
        _section("does not pass", verdict.bad),
        _section("left out, and to be known", verdict.aloud),
        _places(result),
        coverage(result),
    ]
    return "\n\n".join(part for part in parts if part)


def proofs(result: ScanResult) -> str:
    """How each scanner stood its proof."""
    rows = [(one.name, one.version, one.outcome, f"{one.seconds:.1f} s", one.reason or "") for one in result.scanners]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    lines = ("  ".join((*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[4])).rstrip() for row in rows)
    return "\n".join(printable(line) for line in lines)


def table(result: ScanResult, left: Sequence[Finding]) -> str:
    """Findings that were not accepted, by scanner and severity. A finding of two scanners counts once in the sum."""
    rows = [HEAD, *(_row(one, left) for one in result.scanners)]
    sums = [str(sum(f.severity == word for f in left)) for word in SEVERITIES]
    rows.append(("all", *sums, "", "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:], strict=False)),
        ]
        lines.append("  ".join((*cells, row[-1])).rstrip())
    return "\n".join(lines)


def coverage(result: ScanResult) -> str:
    """How much was judged, in one line."""
    of = result.coverage
    share = "there was no text file" if of.share is None else percent(of.share)
    commits = "" if of.commits is None else f"; {of.commits} commits"
    text = f"{of.text_files_parsed} of {of.text_files} text files parsed"
    return f"coverage: {share}: {text}, {of.binary_files} binary{commits}; {of.files_not_judged} places not judged"


def line_of(finding: Finding) -> str:
    """One finding: severity, place, rule, scanners, message."""
    place = f"{finding.path}:{finding.start_line}" if finding.start_line else finding.path
    commit = f" (commit {finding.commit[:12]})" if finding.commit else ""
    score = "" if finding.score is None else f", CVSS {finding.score:g}"
    found = f"{finding.rule} [{', '.join(finding.scanners)}{score}]"
    words = [f"{finding.severity:<8}", f"{place}{commit}", found, package_of(finding), finding.message]
    return printable("  ".join(word for word in words if word))


def package_of(finding: Finding) -> str:
    """The vulnerable package, and what to take instead; empty for other findings."""
    if not finding.package:
        return ""
    instead = f", fixed in {finding.fixed_version}" if finding.fixed_version else ", no fixed version is known"
    return f"{finding.package} {finding.package_version or ''}{instead}"


def _row(one: ScannerOutcome, left: Sequence[Finding]) -> tuple[str, ...]:
    mine = [finding for finding in left if one.name in finding.scanners]
    counts = [str(sum(f.severity == word for f in mine)) if one.outcome == "ok" else "-" for word in SEVERITIES]
    judged = f"{one.files_judged}/{one.files_expected}" if one.files_expected else "-"
    return (one.name, *counts, judged, f"{one.seconds:.1f}", "" if one.outcome == "ok" else one.outcome)


def _worst(left: Sequence[Finding], verdict: Verdict) -> str:
    if not left:
        return ""
    above = {finding.fingerprint for finding in verdict.above}
    seen: Counter[tuple[str, str]] = Counter()
    shown: list[Finding] = []
    for finding in sorted(left, key=lambda finding: finding.fingerprint not in above):
        seen[finding.severity, finding.rule] += 1
        if seen[finding.severity, finding.rule] <= OF_ONE_RULE and len(shown) < WORST_SHOWN:
            shown.append(finding)
    more = [f"  … and {len(left) - len(shown)} more in the reports"] if len(left) > len(shown) else []
    return "\n".join(["worst findings", *(f"  {line_of(finding)}" for finding in shown), *more])


def _places(result: ScanResult) -> str:
    by_reason: dict[str, list[str]] = {}
    for place in result.not_judged:
        by = f" by {place.scanner}" if place.scanner else ""
        by_reason.setdefault(f"{place.reason}{by}", []).append(place.path)
    lines = []
    for reason, paths in sorted(by_reason.items()):
        more = f", … {len(paths) - PLACES_SHOWN} more" if len(paths) > PLACES_SHOWN else ""
        lines.append(f"{reason}: {', '.join(sorted(paths)[:PLACES_SHOWN])}{more}")
    return _section("places not judged", lines)


def _section(title: str, lines: Iterable[str]) -> str:
    listed = [f"  {printable(line)}" for line in lines]
    return "\n".join([title, *listed]) if listed else ""
