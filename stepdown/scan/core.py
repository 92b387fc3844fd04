"""One tree, several scanners, one result. Fails closed: what could not be judged is said, never left out."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stepdown.errors import UsageError
from stepdown.scan.execute import Ended, Limits, execute
from stepdown.scan.findings import Coverage, Finding, NotJudged, Outcome, ScannerOutcome, ScanResult
from stepdown.scan.history import History, blobs, mirror_history, write_settings
from stepdown.scan.normalise import LineOf, findings_of, merge
from stepdown.scan.sarif import InvalidReportError, Report, Result, read_report
from stepdown.scan.scanners import Profile, Scanner, command
from stepdown.scan.snapshot import REPOSITORY, Snapshot, TreeLimits, take_snapshot

AT_ONCE = 2  # two at a time take 0.6 of the serial time; more gain nothing, for the scanners use threads themselves

T = TypeVar("T")


@dataclass(frozen=True)
class _Subject:
    """What the scanners of one scan share. `history` is None without a repository, a text when it cannot be read."""

    scratch: Path
    snapshot: Snapshot
    history: History | str | None
    ends: float  # on the event loop's clock
    limit_seconds: float

    def seconds_left(self) -> float:
        return self.ends - asyncio.get_running_loop().time()


@dataclass(frozen=True)
class _Judged:
    outcome: ScannerOutcome
    findings: tuple[Finding, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()


async def scan_tree(
    source: Path,
    scanners: Sequence[Scanner],
    *,
    profile: Profile,
    scratch: Path,
    limit_seconds: float,
    tree_limits: TreeLimits = TreeLimits(),  # noqa: B008 - frozen
    gate: asyncio.Semaphore | None = None,
    on_outcome: Callable[[], None] = lambda: None,
) -> ScanResult:
    """Scan the folder `source`, which is only read, with temporary files below `scratch`.

    Raises UsageError when `source` is no folder or larger than `tree_limits`. A scanner's failure raises nothing: it is
    in the result. Scans that share a `gate` share its places for scanners. `on_outcome` is called whenever a scanner is
    through, skipped and failed ones too. Cancelling ends every scanner and removes the temporary files first.
    """
    ends = asyncio.get_running_loop().time() + limit_seconds
    work = Path(tempfile.mkdtemp(prefix="scan-", dir=scratch))
    try:
        write_settings(work)
        own_settings = {name for scanner in scanners for name in scanner.own_settings}
        snapshot = await _in_thread(lambda: take_snapshot(source, work / "tree", own_settings, tree_limits))
        wants_history = any(s.subject == "history" and profile in s.profiles for s in scanners)
        history: History | str | None = None
        if wants_history and (source / REPOSITORY).exists():
            history = await mirror_history(source, work, max(0.1, ends - asyncio.get_running_loop().time()))
        subject = _Subject(work, snapshot, history, ends, limit_seconds)
        places = gate or asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_judge(places, scanner, profile, subject)) for scanner in scanners]
            for task in tasks:
                task.add_done_callback(lambda _: on_outcome())
        return _result([task.result() for task in tasks], subject)
    finally:
        await _in_thread(lambda: shutil.rmtree(work, ignore_errors=True))


async def _judge(gate: asyncio.Semaphore, scanner: Scanner, profile: Profile, subject: _Subject) -> _Judged:
    """One scanner from its row to its findings."""
    snapshot = subject.snapshot
    expected = frozenset(path for path in snapshot.files if scanner.judges(path))
    reason = _reason_to_skip(scanner, profile, subject, expected)
    if reason:
        return _ended(scanner, "skipped", reason, 0.0, expected)
    if scanner.subject == "history" and isinstance(subject.history, str):
        return _ended(scanner, "failed", subject.history, 0.0, expected)
    history = subject.history if scanner.subject == "history" and isinstance(subject.history, History) else None
    async with gate:
        seconds = min(scanner.time_limit_seconds, subject.seconds_left())
        if seconds <= 0:
            reason = f"did not start: the limit of {subject.limit_seconds:g} s for the whole scan was used up"
            return _ended(scanner, "failed", reason, 0.0, expected)
        home = subject.scratch / scanner.name
        home.mkdir()
        write_settings(home)
        written = home / "report.sarif"
        where = history.mirror if history else snapshot.root
        try:
            argv = command(scanner, ".", written)
        except UsageError as error:
            return _ended(scanner, "failed", str(error), 0.0, expected)
        ended = await execute(argv, cwd=where, scratch=home, limits=Limits(seconds, scanner.memory_mib))
        report = await _in_thread(lambda: judge_report(scanner, ended, written, where))
        if isinstance(report, str):
            return _ended(scanner, "failed", report, ended.seconds, expected)
        lines = await _lines(report, subject, history)
    if isinstance(lines, str):
        return _ended(scanner, "failed", lines, ended.seconds, expected)
    findings = findings_of(scanner, report.results, lines)
    return _ended(scanner, "ok", None, ended.seconds, expected, findings, report.unread)


def judge_report(scanner: Scanner, ended: Ended, written: Path, source: Path) -> Report | str:
    """The report of a scanner that ended, or in words why it does not count. Exit code and report must agree."""
    if ended.problem:
        return ended.problem
    verdict = scanner.exit_codes.get(ended.exit_code if ended.exit_code is not None else -1)
    if verdict is None:
        return f"ended with exit code {ended.exit_code}: {ended.last_words or 'it said nothing'}"
    try:
        report = read_report(written.read_bytes(), scanner, source)
    except FileNotFoundError:
        return f"wrote no report (exit code {ended.exit_code}: {ended.last_words or 'it said nothing'})"
    except InvalidReportError as error:
        return f"its report {error}"
    if verdict == "findings" and not report.results:
        return f"exit code {ended.exit_code} means findings, and its report has none"
    if verdict == "clean" and report.results:
        return f"exit code {ended.exit_code} means none, and its report has {len(report.results)} findings"
    return report


def _reason_to_skip(scanner: Scanner, profile: Profile, subject: _Subject, expected: frozenset[str]) -> str | None:
    if profile not in scanner.profiles:
        return f"is not in profile {profile}"
    if scanner.subject == "history":
        if subject.history is None:
            return "there is no git history"
        empty = isinstance(subject.history, History) and subject.history.commits == 0
        return "the history has no commit" if empty else None
    return None if expected else "there is no file of its kind"


async def _lines(report: Report, subject: _Subject, history: History | None) -> LineOf | str:
    """How to find the source line of a result of this report."""
    if history is None:
        root = subject.snapshot.root
        paths = {result.path for result in report.results}
        texts = await _in_thread(
            lambda: {p: (root / p).read_bytes() for p in paths if (root / p).is_file()}  # a finding may be of a folder
        )
        return lambda result: _line(texts.get(result.path), result)
    places = {(result.commit, result.path) for result in report.results if result.commit}
    found = await blobs(history, places, subject.scratch, max(0.1, subject.seconds_left()))
    if isinstance(found, str):
        return found
    return lambda result: _line(found.get((result.commit or "", result.path)), result)


def _line(content: bytes | None, result: Result) -> str:
    lines = content.split(b"\n") if content and result.start_line else []
    return lines[result.start_line - 1].decode("utf-8", "replace") if 0 < result.start_line <= len(lines) else ""


def _ended(
    scanner: Scanner,
    outcome: Outcome,
    reason: str | None,
    seconds: float,
    expected: frozenset[str],
    findings: tuple[Finding, ...] = (),
    unread: tuple[tuple[str, str], ...] = (),
) -> _Judged:
    judged = len(expected - {path for path, _ in unread}) if outcome == "ok" else 0
    return _Judged(
        ScannerOutcome(
            scanner.name, scanner.version, outcome, reason, round(seconds, 3), len(findings), len(expected), judged
        ),
        findings,
        unread,
    )


def _result(judged: Sequence[_Judged], subject: _Subject) -> ScanResult:
    not_judged = [*subject.snapshot.not_judged]
    for one in judged:
        not_judged.extend(NotJudged(path, reason, one.outcome.name) for path, reason in one.unread)
    history = subject.history if isinstance(subject.history, History) else None
    if history and history.shallow:
        not_judged.append(NotJudged(REPOSITORY, "is a shallow clone: its older commits are not here", None))
    failed = [f"{one.outcome.name}: {one.outcome.reason}" for one in judged if one.outcome.outcome == "failed"]
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
        ),
    )


async def _in_thread(work: Callable[[], T]) -> T:
    """Run blocking `work` to its end even when cancelled: nobody may remove files under a thread that writes them."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
