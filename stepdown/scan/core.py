"""One tree, several scanners, one result. Fails closed: what could not be judged is said, never left out."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from os.path import lexists
from pathlib import Path

from stepdown.scan.advisories import NONE, Advisories
from stepdown.scan.canary import Canaries, commit_canaries
from stepdown.scan.coverage import Tracked, parsed_files, text_files, tracked_files
from stepdown.scan.findings import Coverage, NotJudged, ScannerOutcome, ScanResult, share_of
from stepdown.scan.history import History, empty_history, mirror_history, write_settings
from stepdown.scan.judge import Judged, in_thread, judge, remove
from stepdown.scan.normalise import merge
from stepdown.scan.scanners import Profile, Scanner
from stepdown.scan.snapshot import REPOSITORY, TreeLimits, take_snapshot
from stepdown.scan.starts import Subject

AT_ONCE = max(1, os.cpu_count() or 1)  # more gain nothing, for some scanners use threads themselves
COPY = Path("copy", "tree")  # below what a scan writes; nothing else is in `copy`
OF_TREE = ("tree", "files", "pins")  # subjects that are files of the snapshot


async def scan_tree(
    source: Path,
    scanners: Sequence[Scanner],
    *,
    profile: Profile,
    scratch: Path,
    limit_seconds: float,
    tree_limits: TreeLimits = TreeLimits(),  # noqa: B008 - frozen
    gate: asyncio.Semaphore | None = None,
    on_outcome: Callable[[ScannerOutcome], None] = lambda _: None,
    advisories: Advisories = NONE,
    offline: bool = False,
    commits: str | None = None,
    images: Mapping[str, str] | None = None,
    trust: bool = False,
) -> ScanResult:
    """Scan the folder `source`, which is only read, with temporary files below `scratch`.

    Raises UsageError when `source` is no folder or larger than `tree_limits`. A scanner's failure raises nothing: it is
    in the result. Scans that share a `gate` share its places for scanners. `on_outcome` is called whenever a scanner is
    through, skipped and failed ones too. Cancelling ends every scanner and removes the temporary files first.

    `advisories` is the data for scanners that need some; without it they fail, with `offline` they are skipped.
    `commits` ("BASE..HEAD") narrows what is judged of the history. `images` are names and ids of images on the engine.
    Without `trust`, scanners that run code of the tree are skipped; with it they start when all others are through.
    """
    ends = asyncio.get_running_loop().time() + limit_seconds
    source = source.absolute()  # programs run in folders of their own
    work = Path(tempfile.mkdtemp(prefix="scan-", dir=scratch))
    try:
        write_settings(work)
        taken = [scanner for scanner in scanners if profile in scanner.profiles]
        own_settings = {name for scanner in scanners for name in scanner.own_settings}
        is_repository = (source / REPOSITORY).exists()
        tracked = await tracked_files(source, work, limit_seconds) if is_repository else None
        known = tracked if isinstance(tracked, Tracked) else None
        ignored = known.ignored if known else frozenset[str]()
        snapshot = await in_thread(lambda: take_snapshot(source, work / COPY, own_settings, tree_limits, ignored))
        text = await in_thread(lambda: text_files(source, snapshot, known))
        of_tree = [scanner for scanner in taken if scanner.subject in OF_TREE]
        text = frozenset(path for path in text if any(scanner.judges(path) for scanner in of_tree))
        binary = snapshot.binary & known.files if known else snapshot.binary
        canaries = Canaries()
        await in_thread(lambda: canaries.plant(snapshot.root, taken))
        of_history = [scanner for scanner in taken if scanner.subject == "history"]
        history: History | str | None = None
        if of_history and is_repository:
            left = max(0.1, ends - asyncio.get_running_loop().time())
            history = await mirror_history(source, work, left, commits)
            if isinstance(history, History) and history.commits:
                history = await commit_canaries(history, canaries, of_history, work, left) or history
        subject = Subject(
            work, snapshot, canaries, history, ends, limit_seconds, images or {}, advisories, offline, trust=trust,
            repository_above=next((folder for folder in source.parents if lexists(folder / REPOSITORY)), None),
        )  # fmt: skip
        judged = await _all(scanners, profile, subject, gate, on_outcome)
        untold = [NotJudged(REPOSITORY, tracked, None)] if isinstance(tracked, str) else []
        text |= binary & {path for one in judged for path, _ in one.report.unread}
        return _result(judged, subject, text, [*untold, *(known.not_judged() if known else ())])
    finally:
        await in_thread(lambda: remove(work))


async def selftest(
    scanners: Sequence[Scanner],
    *,
    scratch: Path,
    limit_seconds: float,
    gate: asyncio.Semaphore | None = None,
    on_outcome: Callable[[ScannerOutcome], None] = lambda _: None,
    advisories: Advisories = NONE,
    offline: bool = False,
) -> ScanResult:
    """Every scanner on its canary alone: `ok` for one that finds it, `failed` for one that is broken. See scan_tree."""
    ends = asyncio.get_running_loop().time() + limit_seconds
    work = Path(tempfile.mkdtemp(prefix="scan-", dir=scratch))
    try:
        write_settings(work)
        (work / "empty").mkdir()
        snapshot = await in_thread(lambda: take_snapshot(work / "empty", work / COPY, (), TreeLimits()))
        canaries = Canaries()
        await in_thread(lambda: canaries.plant(snapshot.root, scanners))
        of_history = [scanner for scanner in scanners if scanner.subject == "history"]
        history: History | str | None = None
        if of_history:
            history = await empty_history(work, limit_seconds)
            if isinstance(history, History):
                history = await commit_canaries(history, canaries, of_history, work, limit_seconds) or history
        subject = Subject(work, snapshot, canaries, history, ends, limit_seconds, {}, advisories, offline, alone=True)
        judged = await _all(scanners, "full", subject, gate, on_outcome)
        return _result(judged, subject, frozenset())
    finally:
        await in_thread(lambda: remove(work))


async def _all(
    scanners: Sequence[Scanner],
    profile: Profile,
    subject: Subject,
    gate: asyncio.Semaphore | None,
    on_outcome: Callable[[ScannerOutcome], None],
) -> list[Judged]:
    places = gate or asyncio.Semaphore(AT_ONCE)

    async def one(scanner: Scanner) -> Judged:
        judged = await judge(places, scanner, profile, subject)
        on_outcome(judged.outcome)
        return judged

    judged: dict[str, Judged] = {}
    # What runs the tree's code comes when every other report is read: it could change what they judge.
    for part in ([s for s in scanners if not s.runs_the_tree], [s for s in scanners if s.runs_the_tree]):
        async with asyncio.TaskGroup() as group:
            tasks = {scanner.name: group.create_task(one(scanner)) for scanner in part}
        judged |= {name: task.result() for name, task in tasks.items()}
    return [judged[scanner.name] for scanner in scanners]


def _result(
    judged: Sequence[Judged], subject: Subject, text: frozenset[str], untold: Sequence[NotJudged] = ()
) -> ScanResult:
    """`text` are the tracked text files that these scanners are for; `untold` what git could not tell or hold."""
    not_judged = [*subject.snapshot.not_judged, *untold]
    for one in judged:
        not_judged.extend(
            NotJudged(path, reason, one.outcome.name) for path, reason in (*one.report.unread, *one.report.partly)
        )
    history = subject.history if isinstance(subject.history, History) else None
    if history and history.shallow:
        not_judged.append(NotJudged(REPOSITORY, "is a shallow clone: its older commits are not here", None))
    failed = [f"{one.outcome.name}: {one.outcome.reason}" for one in judged if one.outcome.outcome == "failed"]
    parsed = parsed_files(text, judged)
    return ScanResult(
        status="failed" if failed else "completed",
        error="; ".join(failed) or None,
        findings=merge(finding for one in judged for finding in one.findings),
        scanners=tuple(one.outcome for one in judged),
        not_judged=tuple(not_judged),
        coverage=Coverage(
            files=len(subject.snapshot.files),
            bytes=subject.snapshot.bytes,
            commits=history.commits if history else None,
            files_not_judged=len({place.path for place in not_judged}),
            text_files=len(text),
            text_files_parsed=parsed,
            binary_files=len(subject.snapshot.binary),
            share=share_of(parsed, len(text)),
        ),
    )
