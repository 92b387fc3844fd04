"""Findings that were accepted, each by itself: what, why, by whom, until when. Pure but for reading the file.

An entry names one finding by its fingerprint, which changes with the line: it never covers a new defect, and there is
no way to accept a folder, a rule or a scanner. Rule and path stand there for the reader and must agree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from stepdown.errors import UsageError, sentence
from stepdown.scan.findings import Finding, ScanResult
from stepdown.strict_yaml import Node, load

LONGEST_DAYS = 366
REQUIRED = ("fingerprint", "scanner", "rule", "path", "expires")
EXPLAINS = ("reason", "who")  # optional to the reader of the file, so that a scan still runs; the verdict wants them
FINGERPRINT = r"[0-9a-f]{32}"
ONE_PATH = r"[^*?\x00-\x1f]*[^*?/\x00-\x1f]"
DATE = r"\d{4}-\d{2}-\d{2}"


@dataclass(frozen=True)
class Entry:
    """One accepted finding; `place` is where it stands, `expires` the last day on which it counts (UTC)."""

    place: str
    fingerprint: str
    scanner: str
    rule: str
    path: str
    reason: str
    who: str
    expires: date

    def named(self) -> str:
        """What the entry is about, for a person."""
        return f"{self.rule} in {self.path}"


@dataclass(frozen=True)
class Applied:
    """A baseline held against findings: accepted ones by fingerprint, what fails the verdict, what is out of date."""

    accepted: Mapping[str, Entry] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


def load_baseline(path: Path, shown_as: str, scanners: Collection[str], today: date) -> tuple[Entry, ...]:
    """The entries of a file. Raises UsageError that names the place of whatever is not allowed there."""
    rows = load(path, shown_as).mapping(("accepted",))["accepted"]
    entries = tuple(_entry(row, sorted(scanners), today) for row in rows.items())
    seen: dict[str, Entry] = {}
    for entry in entries:
        first = seen.setdefault(entry.fingerprint, entry)
        if first is not entry:
            raise UsageError(sentence(entry.place, f"has the fingerprint of {first.place}; keep one"))
    return entries


def apply(entries: Iterable[Entry], result: ScanResult, today: date) -> Applied:
    """Hold `entries` against all findings of a scan.

    An entry that is expired, gives no reason or nobody, or disagrees with its finding accepts nothing and is a problem.
    One without a finding is stale when its scanner ran, and was not kept from reading its file.
    """
    by_fingerprint = {finding.fingerprint: finding for finding in result.findings}
    ran = {one.name for one in result.scanners if one.outcome == "ok"}
    unread = {(place.path, place.scanner) for place in result.not_judged}
    accepted: dict[str, Entry] = {}
    problems: list[str] = []
    stale: list[str] = []
    for entry in entries:
        finding = by_fingerprint.get(entry.fingerprint)
        problem = _problem(entry, finding, today)
        if problem:
            problems.append(sentence(entry.place, f"{problem} ({entry.named()})"))
        elif finding:
            accepted[entry.fingerprint] = entry
        if finding is None and entry.scanner in ran and not unread & {(entry.path, entry.scanner), (entry.path, None)}:
            stale.append(sentence(entry.place, f"matches nothing any more ({entry.named()}); remove it"))
    return Applied(accepted, tuple(problems), tuple(stale))


def _problem(entry: Entry, finding: Finding | None, today: date) -> str | None:
    if entry.expires < today:
        return f"expired on {entry.expires}; fix the finding, or accept it anew with a reason that still holds"
    missing = [word for word in EXPLAINS if not getattr(entry, word)]
    if missing:
        return f"gives no {' and no '.join(missing)}, so it accepts nothing"
    if finding and (finding.rule, finding.path) != (entry.rule, entry.path):
        return f"does not agree with its finding, which is {finding.rule} in {finding.path}"
    if finding and entry.scanner not in finding.scanners:
        return f"names {entry.scanner}, and the finding is one of {', '.join(finding.scanners)}"
    return None


def _entry(row: Node, scanners: list[str], today: date) -> Entry:
    keys = row.mapping(REQUIRED, EXPLAINS)
    return Entry(
        place=row.path,
        fingerprint=keys["fingerprint"].text(FINGERPRINT, "a finding's fingerprint, 32 hex digits in quotes"),
        scanner=keys["scanner"].choice(scanners),
        rule=keys["rule"].text(),
        path=keys["path"].text(ONE_PATH, "the path of one file; folders and patterns cannot be accepted"),
        reason=_explains(keys.get("reason")),
        who=_explains(keys.get("who")),
        expires=_expires(keys["expires"], today),
    )


def _explains(node: Node | None) -> str:
    return node.text(r"(?s).*", "text").strip() if node and node.value is not None else ""


def _expires(node: Node, today: date) -> date:
    text = node.text(DATE, "a date such as 2030-01-31")
    try:
        expires = date.fromisoformat(text)
    except ValueError:
        raise node.wrong(f"{text} is no date of the calendar") from None
    if expires > today + timedelta(days=LONGEST_DAYS):
        raise node.wrong(f"{text} is more than {LONGEST_DAYS} days ahead; accept a finding for a year at most")
    return expires
