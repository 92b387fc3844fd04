"""Scans run, wait, stop and survive, with real programs in the place of scanners."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import anyio
import pytest
from heimdall.refused import RefusedError
from heimdall.service import ScanService
from heimdall.settings import Settings, from_environment
from heimdall.store import LEASE_SECONDS, Request, Store

from stepdown.errors import StepdownError, UsageError
from stepdown.scan.scanners import Scanner

pytestmark = pytest.mark.anyio
MakeScanner = Callable[..., Scanner]
APP = Request("full", path="app")


async def _started(pipe: IO[str]) -> int:
    """The process id of the next scanner that has started."""
    return int(await asyncio.to_thread(pipe.readline))


async def test_a_folder_is_scanned(settings: Settings, scanner: MakeScanner) -> None:
    """From queued to completed, with times and findings."""
    service = ScanService(settings, [scanner()])
    async with service.running():
        queued = await service.submit(APP)
        done = await service.wait(queued["scan_id"], 20)
    assert ("queued", [], None) == (queued["status"], queued["findings"], queued["coverage"])
    assert ("completed", 1, "R1", 1) == (
        done["status"],
        done["findings_total"],
        done["findings"][0]["rule"],
        done["coverage"]["files"],
    )
    assert done["submitted_at"] <= done["started_at"] <= done["finished_at"]


async def test_code_is_scanned_as_the_file_it_is_named(settings: Settings, scanner: MakeScanner) -> None:
    """And leaves nothing in the scratch folder."""
    service = ScanService(settings, [scanner()])
    async with service.running():
        queued = await service.submit(Request("quick", filename="a.py", code="x = 1\n"))
        done = await service.wait(queued["scan_id"], 20)
    assert ("completed", "a.py", None, 1) == (done["status"], done["filename"], done["path"], done["findings_total"])
    assert [] == list(settings.scratch.iterdir())


async def test_a_failing_scanner_is_a_failed_scan(settings: Settings, scanner: MakeScanner) -> None:
    """Its name is in the error; what others found is kept."""
    broken = replace(scanner("import os; os.abort()"), name="broken")
    service = ScanService(settings, [broken, scanner()])
    async with service.running():
        queued = await service.submit(APP)
        done = await service.wait(queued["scan_id"], 20)
    assert ("failed", "broken: was ended by SIGABRT", 1) == (done["status"], done["error"], done["findings_total"])


async def test_a_folder_that_went_away_is_a_failed_scan(settings: Settings, scanner: MakeScanner) -> None:
    """Between request and turn the workspace may change, also into a link that leads out."""
    service = ScanService(settings, [scanner()])
    (settings.data / "x").mkdir()
    store = Store(settings.data / "heimdall.sqlite", time.time)
    queued = store.submit(APP, 9)
    store.close()
    (settings.workspace / "app").rename(settings.workspace / "moved")
    (settings.workspace / "app").symlink_to(settings.data)
    async with service.running():
        done = await service.wait(queued.scan_id, 20)
    assert ("failed", True) == (done["status"], "leads out of the workspace" in done["error"])


async def test_who_waits_is_told_how_far_the_scan_is(
    settings: Settings, scanner: MakeScanner, blocked: tuple[Scanner, IO[str]]
) -> None:
    """Each step once, in order: of two scanners one is through and one is not."""
    seen: list[Any] = []

    async def note(progress: float, total: float | None = None, message: str | None = None) -> None:
        seen.append((progress, total, message))

    service = ScanService(settings, [scanner(), replace(blocked[0], name="blocked")])
    async with service.running():
        queued = await service.submit(APP)
        waiting = asyncio.create_task(service.wait(queued["scan_id"], 30, note))
        async with asyncio.timeout(20):
            while not seen or seen[-1][0] < 2:
                await asyncio.sleep(0.01)
        await service.cancel(queued["scan_id"])
        await waiting
    steps = [(0, 3, "queued"), (1, 3, "running, 0 of 2 scanners through"), (2, 3, "running, 1 of 2 scanners through")]
    assert seen == [step for step in steps if step in seen]
    assert steps[-1] == seen[-1]


async def test_no_more_than_the_set_number_run_at_once(settings: Settings, blocked: tuple[Scanner, IO[str]]) -> None:
    """The others wait; a full queue refuses."""
    scanner, pipe = blocked
    service = ScanService(settings, [scanner])
    async with service.running():
        first = [await service.submit(APP) for _ in range(2)]
        pids = {await _started(pipe) for _ in first}
        waiting = [await service.submit(APP) for _ in range(settings.queue_size)]
        with pytest.raises(RefusedError, match="is full"):
            await service.submit(APP)
        states = [(await service.get(one["scan_id"]))["status"] for one in [*first, *waiting]]
    assert ["running"] * 2 + ["queued"] * 3 == states
    assert 2 == len(pids)


async def test_a_running_scan_is_cancelled_at_once(settings: Settings, blocked: tuple[Scanner, IO[str]]) -> None:
    """Its scanner ends, its result says so, who waits is told."""
    scanner, pipe = blocked
    service = ScanService(settings, [scanner])
    async with service.running():
        queued = await service.submit(APP)
        pid = await _started(pipe)
        waiting = asyncio.create_task(service.wait(queued["scan_id"], 30))
        await asyncio.sleep(0)
        await service.cancel(queued["scan_id"])
        done = await asyncio.wait_for(waiting, 20)
    assert ("failed", "was cancelled") == (done["status"], done["error"])
    assert not Path(f"/proc/{pid}").exists()


async def test_a_restart_loses_nothing(
    settings: Settings, scanner: MakeScanner, blocked: tuple[Scanner, IO[str]]
) -> None:
    """What ran goes back to the queue when heimdall stops, and the next one does it without waiting for a lease."""
    stays, pipe = blocked
    before = ScanService(settings, [stays])
    async with before.running():
        ids = [(await before.submit(APP))["scan_id"] for _ in range(3)]
        pids = [await _started(pipe) for _ in range(2)]
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    after = ScanService(settings, [scanner()])
    async with after.running():
        states = [(await after.wait(scan_id, 20))["status"] for scan_id in ids]
    assert ["completed"] * 3 == states


async def test_stopping_while_work_comes_in_ends(settings: Settings, scanner: MakeScanner) -> None:
    """At whatever moment: a stop is not lost when it meets a request."""
    for turns in range(30):
        service = ScanService(replace(settings, queue_size=1000), [scanner("import signal; signal.pause()")])
        async with asyncio.timeout(5), service.running():
            await service.submit(APP)
            for _ in range(turns % 10):
                await asyncio.sleep(0)


async def test_a_cancelled_host_still_gives_scans_back(settings: Settings, blocked: tuple[Scanner, IO[str]]) -> None:
    """The MCP host stops a server by cancelling the scope that it lives in."""
    stays, pipe = blocked
    service = ScanService(settings, [stays])
    pids: list[int] = []
    async with anyio.create_task_group() as group:

        async def live() -> None:
            async with service.running():
                await service.submit(APP)
                pids.append(await _started(pipe))
                group.cancel_scope.cancel()
                await anyio.sleep_forever()

        group.start_soon(live)
    store = Store(settings.data / "heimdall.sqlite", time.time)
    assert ["queued"] == [row.status for row in store.recent(9)]
    store.close()
    assert not Path(f"/proc/{pids[0]}").exists()
    assert [] == list(settings.scratch.iterdir())


async def test_what_a_killed_heimdall_ran_is_run_again(settings: Settings, scanner: MakeScanner) -> None:
    """Its lease lapses."""
    then = time.time() - LEASE_SECONDS - 1
    dead = Store(settings.data / "heimdall.sqlite", lambda: then)
    scan_id = dead.submit(APP, 9).scan_id
    assert dead.claim("dead") is not None
    dead.close()
    service = ScanService(settings, [scanner()])
    async with service.running():
        assert "completed" == (await service.wait(scan_id, 20))["status"]


async def test_two_heimdalls_share_one_store(settings: Settings, scanner: MakeScanner) -> None:
    """As while a plan changes: each sees the scans of the other, and each scan runs once."""
    old, new = ScanService(settings, [scanner()]), ScanService(settings, [scanner()])
    async with old.running(), new.running():
        ids = [(await old.submit(APP))["scan_id"] for _ in range(3)]
        done = [await new.wait(scan_id, 20) for scan_id in ids]
    assert ["completed"] * 3 == [one["status"] for one in done]


async def test_a_scan_is_cancelled_from_the_other_heimdall(
    settings: Settings, blocked: tuple[Scanner, IO[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner learns it when it renews."""
    monkeypatch.setattr("heimdall.service.RENEW_SECONDS", 0.05)
    scanner, pipe = blocked
    old, new = ScanService(replace(settings, concurrent_scans=1), [scanner]), ScanService(settings, [])
    async with old.running():
        queued = await old.submit(APP)
        pid = await _started(pipe)
        async with new.running():
            await new.cancel(queued["scan_id"])
            async with asyncio.timeout(5):
                while Path(f"/proc/{pid}").exists():
                    await asyncio.sleep(0.02)
        assert "was cancelled" == (await old.get(queued["scan_id"]))["error"]


async def test_waiting_ends_with_the_scan_as_it_stands(settings: Settings, blocked: tuple[Scanner, IO[str]]) -> None:
    """A caller's patience is the caller's."""
    service = ScanService(settings, [blocked[0]])
    async with service.running():
        queued = await service.submit(APP)
        assert (await service.wait(queued["scan_id"], 0.05))["status"] in ("queued", "running")


async def test_a_bad_path_is_refused_before_it_is_queued(settings: Settings, scanner: MakeScanner) -> None:
    """Nothing is stored for it."""
    service = ScanService(settings, [scanner()])
    async with service.running():
        with pytest.raises(RefusedError, match="goes up"):
            await service.submit(Request("full", path="../x"))
        assert {"scans": []} == await service.recent(10)


async def test_a_data_folder_that_cannot_be_used_is_said(settings: Settings, scanner: MakeScanner) -> None:
    """Heimdall does not start, and says why."""
    (settings.data / "heimdall.sqlite").mkdir()
    with pytest.raises(StepdownError, match="cannot be opened"):
        async with ScanService(settings, [scanner()]).running():
            pass


async def test_the_event_loop_stays_free(settings: Settings, scanner: MakeScanner) -> None:
    """No transaction, copy or report is handled where requests are answered."""
    for number in range(400):
        (settings.workspace / "app" / f"{number}.py").write_text("x = 1\n" * 200)
    service = ScanService(settings, [scanner()])
    worst = 0.0
    async with service.running():
        queued = await service.submit(APP)
        waiting = asyncio.create_task(service.wait(queued["scan_id"], 20))
        while not waiting.done():
            before = time.monotonic()
            await asyncio.sleep(0.001)
            worst = max(worst, time.monotonic() - before)
    assert "completed" == waiting.result()["status"]
    assert worst < 0.25, f"the loop stood still for {worst:.3f} s"


@pytest.mark.parametrize("value", ["0", "-1", "many", "99999999", ""])
def test_a_wrong_variable_is_refused_by_name(value: str) -> None:
    """At the start, not at the first scan."""
    with pytest.raises(UsageError, match="HEIMDALL_QUEUE_SIZE: should be a whole number from 1 to 10000"):
        from_environment({"HEIMDALL_QUEUE_SIZE": value})


def test_the_defaults_are_those_of_the_design() -> None:
    """A queue of 100, 5 at once, 300 s each."""
    defaults = from_environment({})
    assert (100, 5, 300) == (defaults.queue_size, defaults.concurrent_scans, defaults.scan_seconds)
    assert ("/data", "/workspace", "/tmp") == (str(defaults.data), str(defaults.workspace), str(defaults.scratch))
