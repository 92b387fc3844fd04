"""scan, and scan.secrets, scan.sast, … for one kind of scanners alone."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from invoke import collection
from invoke.context import Context

from stepdown import scan_reports, scan_request, scanners_environment
from stepdown.cli import door
from stepdown.errors import StepdownError, UsageError, sentence
from stepdown.scan import metrics, write_text
from stepdown.scan.assess import LIMIT_SECONDS, Assessment, assess, choose_scanners
from stepdown.scan.core import selftest as run_selftest
from stepdown.scan.difference import check_base
from stepdown.scan.progress import Progress
from stepdown.scan.sbom import image_sbom, tree_sbom
from stepdown.scan.scanners import load_catalogue
from stepdown.scan.verdict import NOT_JUDGED, last_line
from stepdown.scan_request import Options

HELP = {
    "path": "folder to judge: any tree or repository; this one by default",
    "output": "folder of the reports",
    "fail_on": "exit 1 for findings from this severity on: critical, high, medium, low, info",
    "offline": "leave out what needs advisory data, and say so",
    "advisories": "folder with a dated set of advisories",
    "only": "these scanners alone, separated by commas",
    "diff": "a revision: only what the change since then adds, uncommitted work too",
    "profile": "full, or quick: the files as they stand, without the history",
    "baseline": f"file of accepted findings; {scan_request.BASELINE} when this repository is judged, else none",
    "trust": "let scanners run code of the tree, which can do all that you can; this repository's own always may",
}
EXITS = "Exit 0 clean, 1 findings at or above the gate, 2 wrong use, 3 could not judge."
KINDS: Mapping[str, tuple[str, str]] = {
    "secrets": ("secret", "Scan for credentials alone, in files and history."),
    "sast": ("sast", "Scan source code alone for dangerous calls."),
    "dependencies": ("dependency", "Scan locked dependencies alone for known defects."),
    "workflows": ("workflow", "Scan workflows alone."),
    "configuration": ("misconfiguration", "Scan Dockerfiles, compose files and roles alone."),
}

T = TypeVar("T")


def namespace() -> collection.Collection:
    """`scan`, and its kinds below it."""
    tasks = collection.Collection("scan")
    tasks.add_task(_task("scan", "", "Run every scanner on a tree at once, and give one verdict."), default=True)
    for name, (category, summary) in KINDS.items():
        tasks.add_task(_task(name, category, summary))
    tasks.add_task(image)
    tasks.add_task(sbom)
    tasks.add_task(selftest)
    return tasks


def _task(name: str, category: str, summary: str) -> Any:
    def body(
        _context: Context,
        path: str = ".",
        output: str = "reports",
        fail_on: str = "high",
        offline: bool = False,
        advisories: str = "",
        only: str = "",
        diff: str = "",
        profile: str = "full",
        baseline: str = "",
        trust: bool = False,
    ) -> None:
        options = Options(path, output, fail_on, offline, advisories, only, diff, profile, baseline, trust)
        _judged(lambda: _scan(category, options))

    body.__name__ = name
    body.__doc__ = f"{summary}\n\n{EXITS}"
    return door.command(help=HELP)(body)


@door.command(help={name: HELP[name] for name in ("output", "fail_on", "offline", "advisories")})
def image(
    _context: Context, output: str = "reports", fail_on: str = "high", offline: bool = False, advisories: str = ""
) -> None:
    """Scan the images of the active plan, by their ids.

    Exit 0 clean, 1 findings at or above the gate, 2 wrong use, 3 could not judge.
    """
    options = Options(output=output, fail_on=fail_on, offline=offline, advisories=advisories)
    _judged(lambda: _scan("", options, images=True))


@door.command(
    help={"path": HELP["path"], "output": "folder of the bills", "images": "those of the active plan's images, too"}
)
def sbom(_context: Context, path: str = ".", output: str = "reports", images: bool = False) -> None:
    """Write what a tree, and the images of the active plan, are made of (CycloneDX).

    Exit 0 done, 2 wrong use, 3 when there is no bill that can be believed.
    """
    _judged(lambda: _sbom(Options(path=path, output=output), images=images))


@door.command(help={name: HELP[name] for name in ("only", "offline", "advisories")})
def selftest(_context: Context, only: str = "", offline: bool = False, advisories: str = "") -> None:
    """Prove that every scanner finds the defect that is planted for it.

    Exit 0 when each does, 2 wrong use, 3 when one is broken.
    """
    _judged(lambda: _selftest(Options(only=only, offline=offline, advisories=advisories)))


def _judged(body: Callable[[], int]) -> None:
    """Scan, print, write, leave. What is neither wrong use nor a verdict means that nothing could be judged."""
    try:
        code = body()
    except UsageError:
        raise
    except Exception as error:  # whatever it is: exit 1 would read as findings
        _explain(error)
        print("verdict: could not judge: see above; the reports are as they were")
        code = NOT_JUDGED
    except KeyboardInterrupt:
        print("verdict: could not judge: interrupted; the reports are as they were")
        code = NOT_JUDGED
    door.leave(code)


def _explain(error: Exception) -> None:
    """A sentence for each thing that went wrong; the traceback too of what nobody expected. UsageError stays one."""
    causes = list(_leaves(error))
    for cause in causes:
        if isinstance(cause, UsageError):
            raise cause from error
    if not all(isinstance(cause, StepdownError | OSError) for cause in causes):
        traceback.print_exception(error, file=sys.stderr)
    for said in dict.fromkeys(_said(cause) for cause in causes):
        door.say(said)


def _leaves(error: Exception) -> Iterator[Exception]:
    """What is wrong, out of the groups in which tasks that ran at once put it."""
    if isinstance(error, ExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def _said(cause: Exception) -> str:
    if isinstance(cause, StepdownError):
        return str(cause)
    if isinstance(cause, OSError):
        return sentence("scan", str(cause))
    return sentence("scan", f"this is a defect of Stepdown: {type(cause).__name__}: {cause}")


def _scan(category: str, options: Options, *, images: bool = False) -> int:
    catalogue = load_catalogue()
    request = scan_request.request_of(door.ROOT, catalogue, category, options, os.environ, door.say)
    output = scan_request.output_of(door.ROOT, options.output, request.source)
    if images:
        named = scan_request.images_of(door.home())
        of_images = tuple(row for row in request.scanners if row.subject == "image")
        request = replace(request, scanners=of_images, images=named)
    elif not category:
        request = scan_request.with_images(door.ROOT, door.home(), request)
    with _scratch() as scratch:
        if request.base:  # a slip in its name must not cost a download
            _run(lambda: check_base(request.source, request.base, scratch), Progress([], sys.stderr))
        scanners_environment.ensure(door.ROOT, door.say)
        rows = request.scanners
        data = scan_request.with_database(door.ROOT, catalogue, rows, options, os.environ, door.say)
        request = replace(request, advisories=data)
        started = time.monotonic()
        today = datetime.now(UTC).date()
        progress = Progress([row.name for row in rows], sys.stderr)
        done = _run(lambda: assess(request, scratch, progress.done, today), progress)
    said = scan_reports.write(
        done,
        request,
        output,
        scanners=[row.name for row in catalogue.scanners],
        seconds=time.monotonic() - started,
        whole=not (category or options.only or options.diff or images),
        environment=os.environ,
    )
    print(write_text.told(done.result, done.verdict, done.applied.accepted))
    for line in said:
        print(write_text.printable(line))
    print(write_text.printable(last_line(done.verdict, _remedies(done, output))))
    return done.verdict.exit_code


def _selftest(options: Options) -> int:
    catalogue = load_catalogue()
    rows = choose_scanners(catalogue.scanners, options.only)
    scanners_environment.ensure(door.ROOT, door.say)
    advisories = scan_request.with_database(door.ROOT, catalogue, rows, options, os.environ, door.say)
    progress = Progress([row.name for row in rows], sys.stderr)
    with _scratch() as scratch:
        result = _run(
            lambda: run_selftest(
                rows,
                scratch=scratch,
                limit_seconds=LIMIT_SECONDS,
                on_outcome=progress.done,
                advisories=advisories,
                offline=options.offline,
            ),
            progress,
        )
    print(write_text.proofs(result))
    broken = [one.name for one in result.scanners if one.outcome == "failed"]
    words = f"could not judge: {', '.join(broken)} did not find what was planted" if broken else "clean"
    print(f"verdict: {words}")
    return NOT_JUDGED if broken else 0


def _sbom(options: Options, *, images: bool) -> int:
    catalogue = load_catalogue()
    source = scan_request.source_of(door.ROOT, options.path)
    output = scan_request.output_of(door.ROOT, options.output, source)
    named = scan_request.images_of(door.home()) if images else {}
    scanners_environment.ensure(door.ROOT, door.say)

    output.mkdir(parents=True, exist_ok=True)
    tree = output / f"{scan_reports.repository_name(source)}.cdx.json"
    of_images = {id_: output / f"{metrics.repository_label(name)}.cdx.json" for name, id_ in named.items()}

    async def bills(scratch: Path) -> list[str]:
        limits: Any = {"scratch": scratch, "limit_seconds": LIMIT_SECONDS}
        written = [f"{tree}: {await tree_sbom(catalogue, source, tree, **limits)} components"]
        for id_, target in of_images.items():
            written.append(f"{target}: {await image_sbom(catalogue, id_, target, **limits)} components")
        return written

    with _scratch() as scratch:
        written = _run(lambda: bills(scratch), Progress([], sys.stderr))
    print("\n".join(written))
    return 0


def _run(work: Callable[[], Coroutine[Any, Any, T]], progress: Progress) -> T:
    """`work` to its end, with its progress. SIGTERM ends it as Ctrl-C does: scanners first, then their files."""

    async def watched() -> T:
        task = asyncio.current_task()
        if task:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with progress.living():
            return await work()

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder of this scan alone, gone at the end whatever happens, also at a second Ctrl-C."""
    folder = Path(tempfile.mkdtemp(prefix="stepdown-scan-"))
    try:
        yield folder
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except KeyboardInterrupt:
            shutil.rmtree(folder, ignore_errors=True)


def _remedies(done: Assessment, output: Path) -> list[str]:
    page = output / scan_reports.PAGE
    shown = page.relative_to(door.ROOT) if page.is_relative_to(door.ROOT) else page
    remedies = []
    if any("no advisory data" in reason or "no database" in reason for reason in done.verdict.not_judged):
        remedies.append("Give --advisories=DIR, or --offline to leave out what needs them.")
    elif done.verdict.not_judged:
        remedies.append("What failed has to run before this counts: docs/scanning.md.")
    if done.verdict.bad:
        remedies.append(f"Fix, or accept in {scan_request.BASELINE} with a reason: docs/scanning.md.")
    return [*remedies, f"Report: {shown}"]
