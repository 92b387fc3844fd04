"""One scanner on one subject: from its row to its findings, or to the reason why it does not count."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from stepdown.errors import UsageError
from stepdown.scan.advisories import NO_SERVICE, WAY_OUT, WHAT_IS_MISSING, read_known
from stepdown.scan.execute import NO_WAY_OUT, Ended, Limits, execute
from stepdown.scan.findings import Finding, Outcome, ScannerOutcome
from stepdown.scan.formats import read_report
from stepdown.scan.history import History, blobs, write_settings
from stepdown.scan.java_names import write_index
from stepdown.scan.normalise import LineOf, findings_of
from stepdown.scan.osv import served
from stepdown.scan.pins import Pins
from stepdown.scan.programs import command, scanners_folder
from stepdown.scan.reports import InvalidReportError, Report, Result, told_aside
from stepdown.scan.scanners import RULES, Profile, Scanner
from stepdown.scan.starts import Start, Subject, starts_of

UNTRUSTED = "left out: it runs code of the tree that it judges; --trust where you would run that code yourself"
UNREACHED = ("ConnectionError", "Max retries exceeded", "Timeout", "timed out", "HTTPError", "ServiceError")

T = TypeVar("T")


@dataclass(frozen=True)
class Judged:
    """What one scanner came to; `seen` are the files that it looked at, `report` says which it could not read.

    `parses` is false for what reads any text as lines: that a file is what its name says, it cannot tell.
    """

    outcome: ScannerOutcome
    report: Report
    findings: tuple[Finding, ...]
    expected: frozenset[str]
    seen: frozenset[str]
    parses: bool


class _FailedError(Exception):
    """The scanner does not count; the message says why."""


async def judge(gate: asyncio.Semaphore, scanner: Scanner, profile: Profile, subject: Subject) -> Judged:
    """One scanner, when `gate` has a place for it. Raises nothing for what the scanner does."""
    expected = frozenset(path for path in subject.snapshot.files if scanner.judges(path))
    if scanner.subject in ("history", "image"):
        expected = frozenset()
    reason = _reason_to_skip(scanner, profile, subject, expected)
    if reason:
        return _ended(scanner, "skipped", reason, 0.0, expected)
    started = asyncio.get_running_loop().time()
    try:
        reason = subject.advisories.missing(scanner.needs)
        if reason:
            raise _FailedError(reason)
        if scanner.subject == "history" and isinstance(subject.history, str):
            raise _FailedError(subject.history)
        async with gate:
            started = asyncio.get_running_loop().time()
            report = await _run(scanner, subject, expected)
            lines = await _lines(scanner, report, subject)
    except _FailedError as failed:
        return _ended(scanner, "failed", str(failed), asyncio.get_running_loop().time() - started, expected)
    seconds = asyncio.get_running_loop().time() - started
    return _ended(scanner, "ok", None, seconds, expected, findings_of(scanner, report.results, lines), report)


async def _run(scanner: Scanner, subject: Subject, expected: frozenset[str]) -> Report:
    """All starts of the program that the subject takes, as one report without the canaries."""
    allowed = min(float(scanner.time_limit_seconds), subject.seconds_left())
    if allowed <= 0:
        raise _FailedError(f"did not start: the limit of {subject.limit_seconds:g} s for the whole scan was used up")
    ends = asyncio.get_running_loop().time() + allowed
    home = subject.scratch / scanner.name
    home.mkdir()
    write_settings(home)
    (home / "cache").mkdir()
    if scanner.report == "trivy":
        await in_thread(lambda: write_index(home / "cache"))
    if scanner.needs == "vulnerability-database" and subject.advisories.database:
        (home / "cache" / "db").symlink_to(subject.advisories.database.resolve(), target_is_directory=True)
    starts, unread = await in_thread(lambda: starts_of(scanner, subject, expected, home))
    reports = []
    with ExitStack() as service:
        url = await _service(scanner, subject, service)
        for number, start in enumerate(starts):
            written = home / f"report-{number}"
            single = {"report": str(written), "cache": str(home / "cache"), "rules": str(RULES), "service": url}
            try:
                argv = command(scanner, {**single, **start.single}, start.lists)
            except UsageError as error:
                raise _FailedError(str(error)) from error
            seconds = max(0.1, ends - asyncio.get_running_loop().time())
            limits = Limits(seconds, scanner.memory_mib, scanner.file_mib)
            ended = await execute(argv, cwd=start.cwd, scratch=home, limits=limits, more=_more(scanner, subject))
            if ended.problem and ended.problem.startswith("outlived"):
                raise _FailedError(f"outlived its limit of {allowed:g} s")
            reports.append(await in_thread(lambda: _believed(scanner, subject, start, ended, written)))  # noqa: B023
    results = tuple(result for report in reports for result in report.results)
    told = dict(place for report in reports for place in report.unread)
    partly = tuple(sorted({place for report in reports for place in report.partly}))
    return Report(results, tuple(sorted({**told, **unread}.items())), partly)


async def _service(scanner: Scanner, subject: Subject, stack: ExitStack) -> str:
    """The URL of the advisory service for this scanner; a local set is served until `stack` closes."""
    folder = subject.advisories.known
    if scanner.needs != "advisory-service" or folder is None:
        return subject.advisories.service or ""
    known = await in_thread(lambda: read_known(folder, scanner))
    if isinstance(known, str):
        raise _FailedError(known)
    return stack.enter_context(served(known))


def _more(scanner: Scanner, subject: Subject) -> dict[str, str]:
    """Variables beyond the scrubbed ones: the scanners' programs first, and a way out only for those that need one."""
    path = [str(scanners_folder() / "bin"), *os.environ.get("PATH", os.defpath).split(os.pathsep)]
    own = {"PATH": os.pathsep.join(part for part in path if part.startswith("/"))}
    if scanner.needs == "advisory-service":
        passed = WAY_OUT if subject.advisories.known is None else ()
        return own | {name: os.environ[name] for name in passed if name in os.environ}
    engine = os.environ.get("DOCKER_HOST") if scanner.subject == "image" else None
    if engine is None:
        return own | NO_WAY_OUT
    return own | NO_WAY_OUT | {"DOCKER_HOST": engine, "NO_PROXY": urlsplit(engine).hostname or ""}


def _believed(scanner: Scanner, subject: Subject, start: Start, ended: Ended, written: Path) -> Report:
    """The report of one start without its canary. Raises _FailedError when it does not count."""
    report = judge_report(scanner, ended, written, start.cwd, start.pins)
    missing = WHAT_IS_MISSING.get(scanner.needs or "")
    if isinstance(report, str):
        unreached = missing == NO_SERVICE and any(word in report for word in UNREACHED)
        raise _FailedError(f"{NO_SERVICE}: the service did not answer; {report}" if unreached else report)
    report = start.in_tree(report)
    found = subject.canaries.judge(scanner, report) if start.has_canary else report
    if isinstance(found, str):
        raise _FailedError(f"{missing}: {found}" if missing else found)
    if start.image is None:
        return found
    return found.of_paths(start.named)


def judge_report(scanner: Scanner, ended: Ended, written: Path, source: Path, pins: Pins | None = None) -> Report | str:
    """The report of a program that ended, or in words why it does not count. Exit code and report must agree."""
    if ended.problem:
        return ended.problem
    verdict = scanner.exit_codes.get(ended.exit_code if ended.exit_code is not None else -1)
    words = ended.last_words or "it said nothing"
    if verdict is None:
        return f"ended with exit code {ended.exit_code}: {words}"
    nothing = f"wrote no report (exit code {ended.exit_code}: {words})"
    try:
        text = written.read_bytes() if scanner.writes_a_file() else ended.stdout
        if not text.strip():
            return nothing
        aside = told_aside(ended.complaints, scanner, source)
        report = read_report(text, scanner, source, pins)
        report = replace(report, unread=(*report.unread, *aside.unread), partly=aside.partly)
    except FileNotFoundError:
        return nothing
    except InvalidReportError as error:
        return f"its report {error}"
    if verdict == "findings" and not (report.results or report.unread):
        return f"exit code {ended.exit_code} means findings, and its report has none"
    if verdict == "clean" and report.results:
        return f"exit code {ended.exit_code} means none, and its report has {len(report.results)} findings"
    return report


def _reason_to_skip(scanner: Scanner, profile: Profile, subject: Subject, expected: frozenset[str]) -> str | None:
    if profile not in scanner.profiles:
        return f"is not in profile {profile}"
    if scanner.needs and subject.offline:
        return "left out by --offline: needs advisory data"
    if subject.alone:
        return None
    if scanner.subject == "history":
        if subject.history is None:
            above = subject.repository_above
            return f"its history is that of {above}; give --path={above}" if above else "there is no git history"
        empty = isinstance(subject.history, History) and subject.history.commits == 0
        return "the history has no commit" if empty else None
    if scanner.subject == "image":
        return None if subject.images else "no image was named"
    if not expected:
        return "there is no file of its kind"
    return UNTRUSTED if scanner.runs_the_tree and not subject.trust else None


async def _lines(scanner: Scanner, report: Report, subject: Subject) -> LineOf:
    """How to find the source line of a result of this report."""
    if scanner.subject == "image":
        # Its files cannot be read again. A secret in its configuration has no layer: there the image itself stands.
        return lambda result: f"{subject.images.get(result.path, '')} {result.place}" if result.place else ""
    if scanner.subject == "history" and isinstance(subject.history, History):
        places = {(result.commit, result.path) for result in report.results if result.commit}
        found = await blobs(subject.history, places, subject.scratch, max(0.1, subject.seconds_left()))
        if isinstance(found, str):
            raise _FailedError(found)
        return lambda result: _line(found.get((result.commit or "", result.path)), result)
    root = subject.snapshot.root
    paths = {result.path for result in report.results}
    texts = await in_thread(
        lambda: {p: (root / p).read_bytes() for p in paths if (root / p).is_file()}  # a finding may be of a folder
    )
    return lambda result: _line(texts.get(result.path), result)


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
    report: Report = Report((), ()),  # noqa: B008 - frozen
) -> Judged:
    seen = expected - {path for path, _ in report.unread} if outcome == "ok" else frozenset()
    told = ScannerOutcome(
        scanner.name, scanner.version, outcome, reason, round(seconds, 3), len(findings), len(expected), len(seen)
    )
    return Judged(told, report, findings, expected, seen, scanner.category != "secret")


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking `work` to its end even when cancelled: nobody may remove files under a thread that writes them."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def remove(folder: Path) -> None:
    """Remove a folder of ours, whatever is left in it."""
    shutil.rmtree(folder, ignore_errors=True)  # temporary: no result depends on it
