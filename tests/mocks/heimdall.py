"""heimdall-mock: the real heimdall, queue and SQLite and all, but answers/heimdall.yml says what scanners find.

The last part of a scan's folder or URL (of code that was sent: the file's name without its ending) names the canned
result, and how long it takes. A folder that is not there is refused as the real one does. Repositories are those of
git.example. The scans that the answers name are there from the start.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from heimdall import service
from heimdall.rest import routes
from heimdall.settings import from_environment
from heimdall.store import Request, Store
from heimdall.tools import mcp_server
from mcp_host.native import NativeServer

from stepdown.scan.findings import (
    Coverage,
    Finding,
    NotJudged,
    ScannerOutcome,
    ScanResult,
    share_of,
    worst_first,
)
from stepdown.strict_yaml import load

ANSWERS = Path(__file__).with_name("answers") / "heimdall.yml"
FOR_OTHERS = "clean"  # the result of what names none
GIT_HOST = "git.example"
COMMIT = "7d3f0a2b9c4e5d6f708192a3b4c5d6e7f8091a2b"  # of every repository there


@dataclass(frozen=True)
class Canned:
    """What a scan gives, and after how long."""

    seconds: float
    result: ScanResult


def create() -> NativeServer:
    """The server over a workspace of its own that has a folder for each canned result."""
    answers = load(ANSWERS, ANSWERS.name).value
    canned = {name: _canned(answer) for name, answer in answers["results"].items()}
    folder = Path(tempfile.mkdtemp(prefix="heimdall-mock-"))
    places = {f"HEIMDALL_{name.upper()}": str(folder / name) for name in ("data", "workspace", "scratch")}
    for name in ("data", "scratch", *(f"workspace/{name}" for name in canned)):
        (folder / name).mkdir(parents=True)

    async def scan(request: Request, *_: Any) -> tuple[dict[str, Any] | None, str | None]:
        found = canned.get(name_of(request), canned[FOR_OTHERS])
        await asyncio.sleep(found.seconds)
        return {**found.result.document(), "commit": COMMIT if request.url else None}, found.result.error

    service.scan = scan  # the one place where this is not the real heimdall
    scans = service.ScanService(from_environment({**places, "HEIMDALL_GIT_HOSTS": GIT_HOST}), ())

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        try:
            seed(folder / "data" / service.FILE, answers["scans"], canned)
            async with scans.running():
                yield
        finally:
            shutil.rmtree(folder)

    return NativeServer(server=mcp_server(scans), routes=routes(scans), lifespan=running, metrics=scans.metrics)


def seed(database: Path, scans: Mapping[str, str], canned: Mapping[str, Canned]) -> None:
    """Make a database with finished scans, while no heimdall has it: id to the name of the result."""
    with closing(Store(database, time.time)) as store:
        for name in scans.values():
            store.submit(Request("full", path=name), len(scans))
            claimed = store.claim("seed")
            assert claimed is not None
            result = canned[name].result
            store.finish("seed", claimed.scan_id, {**result.document(), "commit": None}, result.error)
    with closing(sqlite3.connect(database)) as db, db:  # heimdall itself makes ids up
        for number, scan_id in enumerate(scans, start=1):
            db.execute("UPDATE scans SET scan_id = ? WHERE number = ?", (scan_id, number))


def name_of(request: Request) -> str:
    """The name of the result that a request asks for."""
    named = request.path or (request.url or "").removesuffix(".git")
    return PurePosixPath(named).name if named else PurePosixPath(request.filename or "").stem


def _canned(answer: Mapping[str, Any]) -> Canned:
    findings = [
        Finding(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})
        for row in answer["findings"]
    ]
    seen = answer["coverage"]
    result = ScanResult(
        status=answer["status"],
        error=answer["error"],
        findings=worst_first(findings),
        scanners=tuple(ScannerOutcome(**row) for row in answer["scanners"]),
        not_judged=tuple(NotJudged(**row) for row in answer["not_judged"]),
        coverage=Coverage(**seen, share=share_of(seen["text_files_parsed"], seen["text_files"])),
    )
    return Canned(float(answer["seconds"]), result)
