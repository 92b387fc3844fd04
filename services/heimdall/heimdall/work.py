"""One scan of the queue, from its request to what is stored."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from heimdall.settings import Settings
from heimdall.store import Request
from heimdall.workspace import folder_in
from stepdown.errors import UsageError
from stepdown.scan.core import scan_tree
from stepdown.scan.findings import ScanResult
from stepdown.scan.scanners import Scanner

log = logging.getLogger("heimdall")


async def scan(
    request: Request,
    scanners: Sequence[Scanner],
    settings: Settings,
    gate: asyncio.Semaphore,
    on_outcome: Callable[[], None],
) -> tuple[dict[str, Any] | None, str | None]:
    """The result and the error of a scan: whatever goes wrong is an error that is stored, never a clean result."""
    try:
        result = await (_scan_code if request.code is not None else _scan_path)(
            request, scanners, settings, gate, on_outcome
        )
    except UsageError as error:
        return None, str(error)
    except Exception:
        # The boundary of one scan: a defect of ours must not take the others down, nor pass for a result.
        log.exception("a scan broke")
        return None, "scan: broke inside heimdall; its log says how"
    return result.document(), result.error


async def _scan_path(
    request: Request,
    scanners: Sequence[Scanner],
    settings: Settings,
    gate: asyncio.Semaphore,
    on_outcome: Callable[[], None],
) -> ScanResult:
    # Looked up again: the workspace may have changed while the scan waited.
    folder = await asyncio.to_thread(folder_in, settings.workspace, request.path or "")
    return await _scan(folder, request, scanners, settings, gate, on_outcome)


async def _scan_code(
    request: Request,
    scanners: Sequence[Scanner],
    settings: Settings,
    gate: asyncio.Semaphore,
    on_outcome: Callable[[], None],
) -> ScanResult:
    folder = Path(tempfile.mkdtemp(prefix="code-", dir=settings.scratch))
    try:
        (folder / (request.filename or "")).write_text(request.code or "", encoding="utf-8")
        return await _scan(folder, request, scanners, settings, gate, on_outcome)
    finally:
        shutil.rmtree(folder)


async def _scan(
    folder: Path,
    request: Request,
    scanners: Sequence[Scanner],
    settings: Settings,
    gate: asyncio.Semaphore,
    on_outcome: Callable[[], None],
) -> ScanResult:
    return await scan_tree(
        folder,
        scanners,
        profile=request.profile,
        scratch=settings.scratch,
        limit_seconds=settings.scan_seconds,
        tree_limits=settings.tree,
        gate=gate,
        on_outcome=on_outcome,
    )
