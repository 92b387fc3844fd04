"""Who asked for it is told that a scan has ended: once where possible, again where not, and nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from heimdall.allowed import hosts_of
from heimdall.refused import RefusedError
from heimdall.service import ScanService
from heimdall.settings import Settings
from heimdall.store import Request, Store

from stepdown.errors import StepdownError
from stepdown.scan.scanners import Scanner
from tests.doubles.receiver import Receiver

pytestmark = pytest.mark.anyio
MakeScanner = Callable[..., Scanner]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that takes everything."""
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def telling(settings: Settings, receiver: Receiver) -> Settings:
    """Settings of an instance that may tell the receiver."""
    return _allow(settings, receiver)


def _allow(settings: Settings, receiver: Receiver) -> Settings:
    return replace(settings, callbacks=hosts_of({"V": receiver.url}, "V", "setting", ("https", "http")))


async def _told(service: ScanService, scan_id: str, state: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while (found := await service.get(scan_id))["callback"] != state:
            await asyncio.sleep(0.02)
    return found


async def test_a_callback_gets_the_summary(telling: Settings, receiver: Receiver, scanner: MakeScanner) -> None:
    """The document of the list, without findings, as JSON, at the very URL."""
    service = ScanService(telling, [scanner()])
    async with service.running():
        queued = await service.submit(Request("full", path="app", callback=f"{receiver.url}/hook?key=1"))
        assert "waiting" == queued["callback"]
        done = await _told(service, queued["scan_id"], "delivered")
        expected = (await service.recent(1))["scans"][0]
    assert ["/hook?key=1"] == receiver.paths
    assert [{**expected, "callback": "waiting"}] == receiver.bodies
    assert "application/json" == receiver.headers[0]["content-type"]
    assert "key=1" not in str(done)


async def test_a_restart_loses_no_callback(telling: Settings, receiver: Receiver, scanner: MakeScanner) -> None:
    """One that was not told when heimdall died is told by the next."""
    dead = Store(telling.data / "heimdall.sqlite", time.time)
    scan_id = dead.submit(Request("full", path="app", callback=receiver.url), 9).scan_id
    dead.claim("dead")
    dead.finish("dead", scan_id, None, "it was so")
    dead.close()
    service = ScanService(telling, [scanner()])
    async with service.running():
        await _told(service, scan_id, "delivered")
    assert [("failed", "it was so")] == [(body["status"], body["error"]) for body in receiver.bodies]


@pytest.mark.parametrize("status", [302, 307, 404, 500])
async def test_what_is_no_success_is_tried_again(
    settings: Settings, scanner: MakeScanner, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A redirect too: it is not followed."""
    monkeypatch.setattr("heimdall.store.TELL_SECONDS", 0.05)
    receiver = Receiver((status, status))
    service = ScanService(_allow(settings, receiver), [scanner()])
    try:
        async with service.running():
            queued = await service.submit(Request("full", path="app", callback=f"{receiver.url}/hook"))
            await _told(service, queued["scan_id"], "delivered")
    finally:
        receiver.close()
    assert ["/hook"] * 3 == receiver.paths


async def test_it_is_given_up_in_the_end(
    settings: Settings, scanner: MakeScanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the scan's document says so."""
    monkeypatch.setattr("heimdall.store.TELL_SECONDS", 0.001)
    monkeypatch.setattr("heimdall.store.TELL_ATTEMPTS", 3)
    receiver = Receiver((500,) * 9)
    receiver.close()
    service = ScanService(_allow(settings, receiver), [scanner()])
    async with service.running():
        queued = await service.submit(Request("full", path="app", callback=receiver.url))
        assert "completed" == (await _told(service, queued["scan_id"], "given_up"))["status"]


async def test_a_host_that_is_not_allowed_is_refused(
    telling: Settings, receiver: Receiver, scanner: MakeScanner
) -> None:
    """Nothing is queued for it."""
    service = ScanService(telling, [scanner()])
    async with service.running():
        with pytest.raises(
            RefusedError, match=r"^callback_url: http://169\.254\.169\.254:80 is not allowed by setting"
        ):
            await service.submit(Request("full", path="app", callback="http://169.254.169.254/latest"))
        assert {"scans": []} == await service.recent(1)


async def test_a_host_that_is_not_allowed_any_more_is_not_told(
    telling: Settings, receiver: Receiver, scanner: MakeScanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting of today counts."""
    monkeypatch.setattr("heimdall.store.TELL_ATTEMPTS", 1)
    other = Receiver()
    store = Store(telling.data / "heimdall.sqlite", time.time)
    scan_id = store.submit(Request("full", path="app", callback=other.url), 9).scan_id
    store.close()
    service = ScanService(telling, [scanner()])
    try:
        async with service.running():
            await _told(service, scan_id, "given_up")
    finally:
        other.close()
    assert [] == other.bodies


async def test_an_authority_that_is_none_stops_the_start(telling: Settings, scanner: MakeScanner) -> None:
    """By the name of its file, with what to set."""
    telling.ca.write_text("nothing")
    with pytest.raises(StepdownError, match="heimdall/ca: is no CA in PEM; set mcp_stack_heimdall_ca anew"):
        async with ScanService(telling, [scanner()]).running():
            pass
