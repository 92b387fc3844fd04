"""The scan service: takes requests, runs what the queue holds, answers. MCP and REST are two spellings of it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import anyio
from mcp.shared.dispatcher import ProgressFnT

from heimdall import fetch
from heimdall.allowed import checked
from heimdall.callbacks import tell_all, trust
from heimdall.documents import FINISHED
from heimdall.refused import RefusedError
from heimdall.settings import Settings
from heimdall.shown import document, name_of, result_of, summary
from heimdall.store import LEASE_SECONDS, Request, Row, Store
from heimdall.work import Workshop, check_filename, scan
from heimdall.workspace import folder_in
from stepdown.errors import StepdownError, sentence
from stepdown.scan.metrics import Metrics
from stepdown.scan.scanners import Advice, Scanner
from stepdown.scan.verdict import unjudged
from stepdown.scan.write_sarif import sarif

POLL_SECONDS = 1.0  # how soon work is seen that another heimdall queued, finished or dropped
RENEW_SECONDS = LEASE_SECONDS / 3
FILE = "heimdall.sqlite"
REMEMBERED = 50  # repositories whose last scan is in the metrics after a start

log = logging.getLogger("heimdall")
T = TypeVar("T")


class ScanService:
    """Scans on request. Only usable inside `running()`; many may share one data folder."""

    def __init__(
        self,
        settings: Settings,
        scanners: Sequence[Scanner],
        advice: Advice | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._scanners = tuple(scanner for scanner in scanners if scanner.command_line_only is None)
        left_out = tuple(scanner for scanner in scanners if scanner.command_line_only is not None)
        self._clock = clock
        self._owner = uuid.uuid4().hex
        self._running: dict[str, asyncio.Task[None]] = {}
        self._through: Counter[str] = Counter()  # scanners that are through, of the scans that run here
        self._shop = Workshop(self._scanners, left_out, settings, advice)
        self.metrics = Metrics()
        self._woken = asyncio.Event()
        self._changed = asyncio.Condition()
        self._store: Store | None = None
        # One thread of its own: a transaction never waits behind the copying of a tree, and never in the event loop.
        self._thread = ThreadPoolExecutor(1, "heimdall-store")

    async def submit(self, request: Request, key: str | None = None) -> dict[str, Any]:
        """Queue a scan and answer its document.

        Raises RefusedError for a bad path, file name or URL (400, 403, 404), 409, 429.
        """
        if request.path is not None:
            named = request.path
            await asyncio.to_thread(lambda: folder_in(self.settings.workspace, named))
        if request.filename is not None:
            check_filename(request.filename, self._scanners)
        if request.url is not None:
            checked("url", request.url, self.settings.git)
        if request.callback is not None:
            checked("callback_url", request.callback, self.settings.callbacks, query=True)
        row = await self._stored(lambda store: store.submit(request, self.settings.queue_size, key))
        self._woken.set()
        return document(row)

    async def get(self, scan_id: str) -> dict[str, Any]:
        """The document of one scan. Raises RefusedError 404."""
        return document(await self._stored(lambda store: store.get(scan_id)))

    async def recent(self, limit: int) -> dict[str, Any]:
        """The newest scans without their findings."""
        return {"scans": [summary(row) for row in await self._stored(lambda store: store.recent(limit))]}

    async def sarif(self, scan_id: str) -> bytes:
        """The findings of a scan that has ended, as SARIF. Raises RefusedError 404, and 409 while there are none."""
        row = await self._stored(lambda store: store.get(scan_id))
        if row.result is None:
            why = row.error if row.status in FINISHED else f"it is {row.status}"
            raise RefusedError(sentence("scan", f"{scan_id} has no findings to show: {why}"), 409)
        return sarif(result_of(row.result), {})[0]

    async def cancel(self, scan_id: str) -> dict[str, Any]:
        """Stop a scan that has not ended, wherever it runs. Raises RefusedError 404 and 409."""
        row = await self._stored(lambda store: store.cancel(scan_id))
        if scan_id in self._running:
            self._running[scan_id].cancel()
        await self._tell_waiters()
        return document(row)

    async def wait(self, scan_id: str, seconds: float, report: ProgressFnT | None = None) -> dict[str, Any]:
        """The document once the scan has ended, or as it stands after `seconds`.

        `report`, which must not block, is told of each step: queued, running, and how many scanners are through.
        """
        ends = asyncio.get_running_loop().time() + seconds
        told = -1
        while True:
            async with self._changed:
                row = await self._stored(lambda store: store.get(scan_id))
                left = ends - asyncio.get_running_loop().time()
                if row.status in FINISHED or left <= 0:
                    return document(row)
                step = 0 if row.status == "queued" else 1 + self._through[scan_id]
                if report is not None and step > told:
                    told, total = step, len(self._scanners)
                    await report(
                        step, 1 + total, f"running, {step - 1} of {total} scanners through" if step else "queued"
                    )
                try:
                    # Another heimdall may be the one that ends it: look again now and then.
                    async with asyncio.timeout(min(left, POLL_SECONDS)):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the store and work until the block ends; scans that run then go back to the queue."""
        trust(self.settings)
        file = self.settings.data / FILE
        loop = asyncio.get_running_loop()
        try:
            self._store = await loop.run_in_executor(self._thread, lambda: Store(file, self._clock))
        except (OSError, sqlite3.Error) as error:
            raise StepdownError(sentence(str(file), f"cannot be opened: {error}")) from error
        await asyncio.to_thread(fetch.sweep, self.settings.data)
        for row in await self._stored(lambda store: store.latest(REMEMBERED)):
            self._measure(row.request, row.result, row.finished_at, row.started_at)
        workers = {
            asyncio.create_task(self._work()),
            asyncio.create_task(tell_all(self._stored, self._changed, self.settings)),
        }
        try:
            yield
        finally:
            # The host ends us by cancelling a scope, in which every await would be cancelled anew.
            with anyio.CancelScope(shield=True):
                await self._stop(workers)

    async def _stop(self, workers: set[asyncio.Task[None]]) -> None:
        """End what runs, and give it back to the queue."""
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        try:
            # After all else that the store's thread still had to do, so a claim cut short is given back as well.
            await self._stored(lambda store: store.release(self._owner))
        finally:
            await self._stored(lambda store: store.close())
            self._thread.shutdown()

    async def _work(self) -> None:
        """Claim while there is room; a store that cannot be reached is logged and tried again."""
        while True:
            self._woken.clear()
            try:
                await self._claim_all()
            except sqlite3.Error:
                log.exception("the store cannot be reached; no scan starts until it can")
            try:
                # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
                async with asyncio.timeout(POLL_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _claim_all(self) -> None:
        while len(self._running) < self.settings.concurrent_scans:
            row = await self._stored(lambda store: store.claim(self._owner))
            if row is None:
                return
            task = asyncio.create_task(self._run(row))
            self._running[row.scan_id] = task
            task.add_done_callback(partial(self._ended, row.scan_id))

    def _ended(self, scan_id: str, _: asyncio.Task[None]) -> None:
        self._running.pop(scan_id, None)
        self._through.pop(scan_id, None)
        self._woken.set()

    async def _run(self, row: Row) -> None:
        """One leased scan to its end. Without a lease nothing is written: who holds it writes."""

        def on_outcome() -> None:
            self._through[row.scan_id] += 1

        work = asyncio.create_task(scan(row.request, self._shop, on_outcome))
        try:
            while not (await asyncio.wait({work}, timeout=RENEW_SECONDS))[0]:
                if not await self._stored(lambda store: store.renew(self._owner, row.scan_id)):
                    log.warning("scan %s lost its lease and was stopped", row.scan_id)
                    return
            result, error = work.result()
            if await self._stored(lambda store: store.finish(self._owner, row.scan_id, result, error)):
                self._measure(row.request, result, self._clock(), row.started_at)
        except sqlite3.Error:
            log.exception("scan %s could not be written; it runs again when its lease lapses", row.scan_id)
        finally:
            work.cancel()
            await asyncio.wait({work})
            await self._tell_waiters()

    def _measure(
        self, request: Request, stored: dict[str, Any] | None, ended: float | None, started: float | None
    ) -> None:
        if ended is not None and started is not None:
            result = result_of(stored) if stored else None
            judged = (
                result is not None
                and result.status == "completed"
                and not unjudged(result, whole_history=request.profile == "full")
            )
            self.metrics.record(name_of(request), result, ended - started, judged=judged, ended=ended)

    async def _tell_waiters(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _stored(self, work: Callable[[Store], T]) -> T:
        store = self._store
        if store is None:
            raise StepdownError(sentence("heimdall", "is not running"))
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, store)
