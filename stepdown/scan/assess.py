"""A request to its verdict: which scanners, what of their findings counts, and how that is judged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from stepdown.errors import UsageError, sentence
from stepdown.scan.advisories import NONE, Advisories
from stepdown.scan.baseline import Applied, Entry, apply
from stepdown.scan.core import AT_ONCE, scan_tree
from stepdown.scan.difference import Difference, added, difference, narrowed
from stepdown.scan.findings import SEVERITIES, ScannerOutcome, ScanResult, Severity
from stepdown.scan.scanners import PROFILES, Profile, Scanner
from stepdown.scan.verdict import Verdict, judge

LIMIT_SECONDS = 1800.0


@dataclass(frozen=True)
class Request:
    """What is to be judged, and how strictly. `base` restricts it to what the change since then adds."""

    source: Path
    scanners: tuple[Scanner, ...]
    profile: Profile
    gate: Severity
    base: str = ""
    offline: bool = False
    advisories: Advisories = NONE
    baseline: tuple[Entry, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)  # name to id, on the engine
    trust: bool = False  # scanners that run code of the tree may do so


@dataclass(frozen=True)
class Assessment:
    """A scan as it was judged."""

    result: ScanResult
    verdict: Verdict
    applied: Applied


async def assess(
    request: Request, scratch: Path, on_outcome: Callable[[ScannerOutcome], None], today: date
) -> Assessment:
    """Scan and judge. Raises UsageError for wrong use; cancelling ends every scanner and removes what it wrote."""
    if not request.base:
        result = await _scan(request, request.source, scratch, on_outcome)
        applied = apply(request.baseline, result, today)
        verdict = judge(result, applied, request.gate, whole_history=request.profile == "full")
        return Assessment(result, verdict, applied)
    change = await difference(request.source, request.base, scratch)
    head, before = await _both_sides(request, change, scratch, on_outcome)
    # What an entry accepts may be in a file that the change leaves alone, so none is called stale here.
    applied = replace(apply(request.baseline, head, today), stale=())
    result = narrowed(head, added(head, before, change), change)
    reasons = [f"{one.name} before the change: {one.reason}" for one in _failed(before)]
    verdict = judge(result, applied, request.gate, whole_history=False, more=reasons)
    said = [f"only what the change since {change.base[:12]} adds is told; it touches {change.files} file(s)"]
    said += [f"{place.path} {place.reason}" for place in change.not_judged()]
    return Assessment(result, replace(verdict, aloud=(*said, *verdict.aloud)), applied)


async def _both_sides(
    request: Request, change: Difference, scratch: Path, on_outcome: Callable[[ScannerOutcome], None]
) -> tuple[ScanResult, ScanResult | None]:
    """The tree as it is, and as it was where the change left its base; history is read on one side alone."""
    gate = asyncio.Semaphore(AT_ONCE)
    old = replace(request, scanners=tuple(one for one in request.scanners if one.subject not in ("history", "image")))
    if not old.scanners or not any(change.before.iterdir()):
        return await _scan(request, request.source, scratch, on_outcome, gate, change.commits), None
    try:
        async with asyncio.TaskGroup() as group:
            now = group.create_task(_scan(request, request.source, scratch, on_outcome, gate, change.commits))
            then = group.create_task(_scan(old, change.before, scratch, lambda _: None, gate))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None  # the first ends the other; a person wants one sentence
    return now.result(), then.result()


async def _scan(
    request: Request,
    source: Path,
    scratch: Path,
    on_outcome: Callable[[ScannerOutcome], None],
    gate: asyncio.Semaphore | None = None,
    commits: str | None = None,
) -> ScanResult:
    return await scan_tree(
        source,
        request.scanners,
        profile=request.profile,
        scratch=scratch,
        limit_seconds=LIMIT_SECONDS,
        gate=gate,
        on_outcome=on_outcome,
        advisories=request.advisories,
        offline=request.offline,
        commits=commits,
        images=request.images,
        trust=request.trust,
    )


def _failed(result: ScanResult | None) -> list[ScannerOutcome]:
    return [one for one in result.scanners if one.outcome == "failed"] if result else []


def choose_scanners(rows: Sequence[Scanner], only: str) -> tuple[Scanner, ...]:
    """The rows that `only` names, separated by commas; all without it. UsageError for a name that is not there."""
    names = [name.strip() for name in only.split(",")] if only else []
    known = [row.name for row in rows]
    for name in names:
        if name not in known:
            raise UsageError(sentence("--only", f"{name!r} names no scanner of this task", known))
    return tuple(row for row in rows if not names or row.name in names)


def severity(word: str) -> Severity:
    """The gate that `word` names. UsageError for another word."""
    for known in SEVERITIES:
        if word == known:
            return known
    raise UsageError(sentence("--fail-on", f"{word!r} is no severity", SEVERITIES))


def profile(word: str) -> Profile:
    """The profile that `word` names. UsageError for another word."""
    for known in PROFILES:
        if word == known:
            return known
    raise UsageError(sentence("--profile", f"{word!r} is no profile", PROFILES))
