"""Telling a callback that a scan has ended: to allowed hosts only, never redirected, in bounds."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import httpx2

from heimdall.allowed import checked
from heimdall.refused import RefusedError
from heimdall.settings import Settings
from heimdall.shown import summary
from heimdall.store import Row, Store
from stepdown.errors import StepdownError, sentence

SECONDS = 10.0  # of one attempt; less than the store waits for the second
AT_ONCE = 5
POLL_SECONDS = 1.0  # how soon a scan is seen that another heimdall ended

T = TypeVar("T")

log = logging.getLogger("heimdall")


class Stored(Protocol):
    """How the store is asked: in its own thread."""

    async def __call__(self, work: Callable[[Store], T]) -> T: ...


def trust(settings: Settings) -> ssl.SSLContext:
    """The public authorities, and the one that was put there. Raises StepdownError when that one cannot be read."""
    context = ssl.create_default_context()
    if settings.ca.is_file():
        try:
            context.load_verify_locations(cadata=settings.ca.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise StepdownError(sentence("heimdall/ca", "is no CA in PEM; set mcp_stack_heimdall_ca anew")) from error
    return context


async def tell_all(stored: Stored, changed: asyncio.Condition, settings: Settings) -> None:
    """Tell of every scan that ended, here or in another heimdall, a few at a time, until cancelled."""
    if not settings.callbacks.places:
        return
    places = asyncio.Semaphore(AT_ONCE)

    async def tell_one(http: httpx2.AsyncClient, row: Row, url: str) -> None:
        try:
            delivered = await tell(http, url, summary(row), settings)
            await stored(lambda store: store.told(row.scan_id, delivered))
        except sqlite3.Error:
            log.exception("the callback of scan %s could not be noted; it is told again", row.scan_id)
        finally:
            places.release()

    async with (
        httpx2.AsyncClient(
            verify=trust(settings), proxy=settings.proxy, trust_env=False, follow_redirects=False, timeout=SECONDS
        ) as http,
        asyncio.TaskGroup() as group,
    ):
        while True:
            await places.acquire()
            due = None
            try:
                due = await stored(lambda store: store.due())
            except sqlite3.Error:
                log.exception("the store cannot be reached; no callback is told until it can")
            if due is not None:
                group.create_task(tell_one(http, *due))
                continue
            places.release()
            async with changed:
                with suppress(TimeoutError):  # time to look again, for another heimdall's
                    async with asyncio.timeout(POLL_SECONDS):
                        await changed.wait()


async def tell(http: httpx2.AsyncClient, url: str, summary: dict[str, Any], settings: Settings) -> bool:
    """POST the summary to `url`; whether it was answered with 2xx. Its answer is not read any further."""
    scan_id = summary["scan_id"]
    try:
        checked("callback_url", url, settings.callbacks, query=True)  # what is allowed may have changed since
        async with asyncio.timeout(SECONDS), http.stream("POST", url, json=summary) as answer:
            if answer.is_success:
                return True
            problem = f"status {answer.status_code}"
    except RefusedError as error:
        problem = str(error)
    except (httpx2.HTTPError, OSError) as error:  # a timeout is an OSError
        problem = type(error).__name__
    log.warning("the callback of scan %s was not told: %s", scan_id, problem)
    return False
