"""Keeps one server alive: start, warm, watch, end, wait, start again.

Knows nothing of how a server lives; a `Life` is one life of it, from warm to dead. Times are in seconds.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Literal, Protocol, TypeVar

import anyio
from mcp.shared.exceptions import MCPError

from mcp_host.errors import StartError
from mcp_host.metrics import Metrics

log = logging.getLogger(__name__)
State = Literal["starting", "ready", "degraded"]


@dataclass(frozen=True)
class Timing:
    """The supervisor's clocks, in seconds; tests turn them, operators do not."""

    ready_wait: float = 2.0  # how long a call waits for a server that is not up
    ping_timeout: float = 5.0  # a server silent for this long is mute, and is killed
    slow_ping: float = 1.0  # a server silent for this long is degraded
    check_interval: float = 15.0  # between checks of an idle server
    client_interval: float = 1.0  # between looks for children of single clients that should end
    fresh: float = 1.0  # a check younger than this is not repeated for /readyz
    stable: float = 60.0  # ready for this long, and the backoff starts anew
    first_delay: float = 0.2
    longest_delay: float = 30.0
    stop_grace: float = 2.0


def backoff_seconds(failures: int, timing: Timing, jitter: float) -> float:
    """The delay after the nth failure in a row: doubling from first_delay to longest_delay, times 0.5 to 1.

    `jitter` is in [0, 1). It keeps servers that died together from starting together.
    """
    full = min(timing.longest_delay, timing.first_delay * 2.0 ** min(failures - 1, 30))
    return full * (0.5 + jitter / 2)


class Life(Protocol):
    """One life of a server that is warm: it shook hands, listed its tools and answered its probe, if it has one."""

    @property
    def tools(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def latency_seconds(self) -> float:
        """Of the last answer that made it warm."""

    @property
    def remark(self) -> str | None:
        """What the probe call complained about, if it did."""

    @property
    def closed(self) -> bool: ...
    async def ping(self) -> None: ...
    def kill(self) -> None: ...
    async def epitaph(self) -> str: ...


L = TypeVar("L", bound=Life)


@dataclass(frozen=True)
class Readiness:
    """What /readyz says of one server."""

    state: State
    since: str
    latency_ms: float | None
    tools: int
    error: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "latency_ms": self.latency_ms,
            "tools": self.tools,
            "since": self.since,
            "error": self.error,
        }


class Supervisor(Generic[L]):
    """One server's lives, one after the other.

    `live` yields a warm life or raises StartError, and ends the life on exit. It is told `wake`, to be called when a
    life ends by itself. `busy` says how many calls run: a busy server is not pinged, but a suspect one is. Lives that
    are one client's alone have `client`: logs name it, and the server's gauge of readiness is left alone.
    """

    def __init__(
        self,
        name: str,
        live: Callable[[], AbstractAsyncContextManager[L]],
        busy: Callable[[], int],
        metrics: Metrics,
        timing: Timing,
        client: str | None = None,
    ) -> None:
        self._name = name
        self._who = {"server": name} if client is None else {"server": name, "client": client}
        self._live = live
        self._busy = busy
        self._timing = timing
        self._restarts = metrics.restarts.labels(name)
        self._gauge = metrics.ready.labels(name) if client is None else None
        self._life: L | None = None
        self._latest: L | None = None  # stays when its life is over
        self._up = asyncio.Event()
        self._tried = asyncio.Event()  # the first start is over, well or not
        self._wake = asyncio.Event()
        self._checked = asyncio.Event()
        self._asked = self._suspected = False
        self._checked_at = self._retry_at = 0.0
        self._latency: float | None = None
        self._state: State = "starting"
        self._error: str | None = None
        self._since = _now()
        if self._gauge is not None:
            self._gauge.set(0)

    @property
    def readiness(self) -> Readiness:
        tools = len(self._life.tools) if self._life else 0
        latency = None if self._latency is None else round(self._latency * 1000, 3)
        return Readiness(self._state, self._since, latency, tools, self._error)

    @property
    def tools(self) -> Mapping[str, Mapping[str, Any]]:
        """The tools of the present life, or of the one before while there is none."""
        return self._latest.tools if self._latest else {}

    @property
    def retry_after(self) -> float:
        """Seconds until the next start, 0 when one is under way."""
        return max(0.0, self._retry_at - anyio.current_time())

    async def life(self, first_wait: float = 0.0) -> L | None:
        """The present life, waited for up to `ready_wait`, and before that up to `first_wait` for the first start."""
        if self._life is not None and self._life.closed:
            self._leave()  # noticed here before the watch does
        if self._life is None:
            with anyio.move_on_after(first_wait):
                await self._tried.wait()
            with anyio.move_on_after(self._timing.ready_wait):
                await self._up.wait()
        return self._life

    def wake(self) -> None:
        """Look now whether the life has ended."""
        self._wake.set()

    def suspect(self) -> None:
        """Ping now, busy or not: a call ran out of time."""
        self._suspected = True
        self._wake.set()

    async def check(self) -> None:
        """Have an idle server pinged unless that happened just now; waits for the answer as long as a slow ping."""
        stale = anyio.current_time() - self._checked_at >= self._timing.fresh
        if self._life is None or self._busy() or not stale:
            return
        if not self._asked:
            self._asked = True
            self._checked.clear()
            self._wake.set()
        with anyio.move_on_after(self._timing.slow_ping):
            await self._checked.wait()

    async def run(self) -> None:
        """Keep the server alive until cancelled."""
        failures = 0
        while True:
            began = anyio.current_time()
            try:
                async with self._live() as life:
                    began = anyio.current_time()
                    self._rise(life)
                    reason = await self._watch(life)
                    self._fall("starting", reason)
            except StartError as error:
                reason = str(error)
                self._fall("degraded", reason)
            failures = 1 if anyio.current_time() - began >= self._timing.stable else failures + 1
            delay = backoff_seconds(failures, self._timing, random.random())
            self._retry_at = anyio.current_time() + delay
            fields = {**self._who, "reason": reason, "delay_seconds": round(delay, 3)}
            log.warning("server will be restarted", extra={"fields": fields})
            await anyio.sleep(delay)
            self._restarts.inc()

    async def _watch(self, life: L) -> str:
        """Return why the life is over: it ended, or it went mute and was killed."""
        while True:
            if not (self._asked or self._suspected):
                with anyio.move_on_after(self._timing.check_interval):
                    await self._wake.wait()
            self._wake.clear()
            if life.closed:
                self._leave()
                return await life.epitaph()
            wanted = self._suspected or not self._busy()
            self._suspected = False
            if wanted and not await self._ping(life):
                self._leave()
                if life.closed:
                    return await life.epitaph()
                life.kill()
                return f"{self._name}: no answer to a ping within {self._timing.ping_timeout:g} s, killed"
            self._asked = False
            self._checked.set()

    async def _ping(self, life: L) -> bool:
        """Whether the server answers; any answer counts, also a refusal."""
        slow = f"{self._name}: no answer to a ping for {self._timing.slow_ping:g} s"
        timer = asyncio.get_running_loop().call_later(self._timing.slow_ping, self._set, "degraded", slow)
        began = anyio.current_time()
        try:
            with anyio.fail_after(self._timing.ping_timeout):
                await life.ping()
        except TimeoutError:
            return False
        except MCPError:
            if life.closed:
                return False
        finally:
            timer.cancel()
        self._checked_at = anyio.current_time()
        self._latency = self._checked_at - began
        self._set("ready", life.remark)
        return True

    def _rise(self, life: L) -> None:
        self._life = self._latest = life
        self._latency = life.latency_seconds
        self._checked_at = anyio.current_time()
        self._asked = self._suspected = False
        self._set("ready", life.remark)
        self._up.set()
        self._tried.set()

    def _leave(self) -> None:
        """No call goes to the present life any more."""
        self._life = None
        self._latency = None
        self._up.clear()
        if self._state == "ready":
            self._set("starting", f"{self._name}: ended")

    def _fall(self, state: State, reason: str) -> None:
        self._leave()
        self._checked.set()
        self._tried.set()
        self._set(state, reason)

    def _set(self, state: State, error: str | None) -> None:
        if state != self._state:
            self._state, self._since = state, _now()
            fields = {**self._who, "state": state, "error": error}
            log.info("server state changed", extra={"fields": fields})
        self._error = error
        if self._gauge is not None:
            self._gauge.set(state == "ready")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
