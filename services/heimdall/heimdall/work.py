"""One scan of the queue, from its request to what is stored."""

from __future__ import annotations

import asyncio
import errno
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from heimdall.fetch import fetched
from heimdall.refused import RefusedError
from heimdall.settings import Settings
from heimdall.store import Request
from heimdall.workspace import folder_in
from stepdown.errors import UsageError, sentence
from stepdown.scan.advisories import NONE, from_folder
from stepdown.scan.core import scan_tree
from stepdown.scan.findings import ScannerOutcome, ScanResult
from stepdown.scan.scanners import Advice, Scanner

SCANNERS_AT_ONCE = 2
FETCHES_AT_ONCE = 2  # each may take fetch.MEMORY_MIB

ADVISORIES = "advisories"
OF_GIT = frozenset({".git", ".gitattributes", ".gitignore", ".gitmodules"})
NOTHING = "no scanner looked at anything"
BROKE = "scan: broke inside heimdall; its log says how"
NO_ADVISORIES = f"needs advisory data: put a dated set into the folder {ADVISORIES} of heimdall's data"

log = logging.getLogger("heimdall")


@dataclass(frozen=True)
class Workshop:
    """What all scans share: the scanners, how old advisories may be (None: there are none), and places."""

    scanners: Sequence[Scanner]
    left_out: Sequence[Scanner]  # that only the command line runs
    settings: Settings
    advice: Advice | None
    # All scans together: the container has two CPUs, and memory for two scanners, whatever the host has.
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SCANNERS_AT_ONCE))
    fetches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FETCHES_AT_ONCE))


@dataclass(frozen=True)
class _Subject:
    folder: Path
    commit: str | None


async def scan(
    request: Request, shop: Workshop, on_outcome: Callable[[], None]
) -> tuple[dict[str, Any] | None, str | None]:
    """The result and the error of a scan: whatever goes wrong is an error that is stored, never a clean result."""
    try:
        return await _scan(request, shop, on_outcome)
    except UsageError as error:
        return None, str(error)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            log.exception("a scan broke")
            return None, BROKE
        return None, "scan: its copy found no room beside those of the others; scan again, or a folder inside it"
    except Exception:
        # The boundary of one scan: a defect of ours must not take the others down, nor pass for a result.
        log.exception("a scan broke")
        return None, BROKE


async def _scan(
    request: Request, shop: Workshop, on_outcome: Callable[[], None]
) -> tuple[dict[str, Any] | None, str | None]:
    loop = asyncio.get_running_loop()
    ends = loop.time() + shop.settings.scan_seconds
    folder = shop.settings.data / ADVISORIES
    advice = shop.advice if await asyncio.to_thread(folder.exists) else None
    known = await asyncio.to_thread(lambda: from_folder(folder, advice, datetime.now(UTC))) if advice else NONE
    async with _subject(request, shop) as subject:
        result = await scan_tree(
            subject.folder,
            shop.scanners,
            profile=request.profile,
            scratch=shop.settings.scratch,
            limit_seconds=max(1.0, ends - loop.time()),
            tree_limits=shop.settings.tree,
            gate=shop.gate,
            on_outcome=lambda _: on_outcome(),
            advisories=known,
            offline=advice is None,
        )
    result = _told(_believed(result), shop)
    return {**result.document(), "commit": subject.commit}, result.error


def _believed(result: ScanResult) -> ScanResult:
    """The result, failed where nobody looked at anything: no file, and no commit."""
    ok = [one for one in result.scanners if one.outcome == "ok"]
    looked = any(one.files_judged for one in ok) or (bool(ok) and bool(result.coverage.commits))
    if looked or result.status == "failed":
        return result
    left_out = [f"{place.path} {place.reason}" for place in result.not_judged[:3]]
    error = sentence("scan", "; ".join((NOTHING, *left_out)))
    return replace(result, status="failed", error=error)


def check_filename(name: str, scanners: Sequence[Scanner]) -> None:
    """Raises RefusedError for the name of a file that git or a scanner takes for its settings, not for code."""
    if name.lower() in OF_GIT:
        raise RefusedError(sentence("filename", f"{name!r} is a file of git itself; send the text by another name"))
    for scanner in scanners:
        if name in scanner.own_settings:
            wrong = f"{name!r} is a settings file of {scanner.name}, which is not judged; send the text by another name"
            raise RefusedError(sentence("filename", wrong))


def _told(result: ScanResult, shop: Workshop) -> ScanResult:
    """The result with what heimdall leaves out, and why, in its own words."""
    needs = {scanner.name for scanner in shop.scanners if scanner.needs}
    ran = tuple(
        replace(one, reason=NO_ADVISORIES)
        if one.outcome == "skipped" and one.name in needs and "--offline" in (one.reason or "")
        else one
        for one in result.scanners
    )
    others = tuple(
        ScannerOutcome(
            row.name, row.version, "skipped", f"only the command line runs it: {row.command_line_only}", 0.0, 0, 0, 0
        )
        for row in shop.left_out
    )
    return replace(result, scanners=(*ran, *others))


@asynccontextmanager
async def _subject(request: Request, shop: Workshop) -> AsyncIterator[_Subject]:
    """The folder that is to be scanned, for as long as the block runs. Raises UsageError when there is none."""
    settings = shop.settings
    if request.code is not None:
        check_filename(request.filename or "", shop.scanners)  # again: the release before may have queued it
        folder = Path(tempfile.mkdtemp(prefix="code-", dir=settings.scratch))
        try:
            (folder / (request.filename or "")).write_text(request.code, encoding="utf-8")
            yield _Subject(folder, None)
        finally:
            shutil.rmtree(folder)
    elif request.url is not None:
        async with fetched(request.url, request.ref, request.profile == "full", settings, shop.fetches) as repository:
            yield _Subject(repository.folder, repository.commit)
    else:
        # Looked up again: the workspace may have changed while the scan waited.
        yield _Subject(await asyncio.to_thread(folder_in, settings.workspace, request.path or ""), None)
