"""The children that clients have to themselves, where a server keeps in memory what others must not see.

A client is known by the name of its token: whoever shares a token shares a child, and a token that was rotated under
its name keeps its child. Times are in seconds.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup
from prometheus_client import Gauge

from mcp_host.child_life import ChildLife
from mcp_host.config import ClientBounds
from mcp_host.errors import server_busy
from mcp_host.supervisor import Supervisor, Timing

log = logging.getLogger(__name__)


@dataclass
class Client:
    """One client's child; `calls` are those in flight, `used_at` is when the last of them ended."""

    token: str
    supervisor: Supervisor[ChildLife] = field(init=False)
    calls: int = 0
    used_at: float = 0.0
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


class Clients:
    """At most `most` children of one server, each for one token.

    A child starts with its token's first call. It ends when no call came for `idle_seconds`, when the token no longer
    opens the server, or when another token needs its place and it is the one that was idle longest; never while it
    holds a call.
    """

    def __init__(
        self,
        server: str,
        bounds: ClientBounds,
        supervise: Callable[[str, Callable[[], int]], Supervisor[ChildLife]],
        opens: Callable[[str], bool],
        gauge: Gauge,
        timing: Timing,
    ) -> None:
        self._server = server
        self._bounds = bounds
        self._supervise = supervise
        self._opens = opens
        self._gauge = gauge.labels(server)
        self._gauge.set(0)
        self._interval = timing.client_interval
        self._clients: dict[str, Client] = {}
        self._places = anyio.Semaphore(bounds.most)
        self._tasks: TaskGroup | None = None

    async def run(self) -> None:
        """Keep the children until cancelled; all of them end with it."""
        async with anyio.create_task_group() as self._tasks:
            while True:
                await anyio.sleep(self._interval)
                for client in [client for client in self._clients.values() if not client.calls]:
                    if not self._opens(client.token):
                        self._end(client, "its token no longer opens the server")
                    elif anyio.current_time() - client.used_at >= self._bounds.idle_seconds:
                        self._end(client, f"no call for {self._bounds.idle_seconds:g} s")

    @asynccontextmanager
    async def child_of(self, token: str) -> AsyncIterator[Supervisor[ChildLife]]:
        """The token's child, which stays as long as this is entered. Raises server_busy when no other can give way."""
        client = self._clients.get(token) or self._admit(token)
        client.calls += 1
        try:
            yield client.supervisor
        finally:
            client.calls -= 1
            client.used_at = anyio.current_time()

    def suspect(self, token: str) -> None:
        """Ping the token's child now: a call of its ran out of time."""
        if token in self._clients:
            self._clients[token].supervisor.suspect()

    def _admit(self, token: str) -> Client:
        if len(self._clients) == self._bounds.most:
            idle = [client for client in self._clients.values() if not client.calls]
            if not idle:
                raise server_busy(self._server, f"all {self._bounds.most} children for single clients hold calls")
            self._end(min(idle, key=lambda client: client.used_at), "another client needs its place")
        client = Client(token)
        client.supervisor = self._supervise(token, lambda: client.calls)
        self._clients[token] = client
        assert self._tasks is not None  # calls come only after the start
        self._tasks.start_soon(self._keep, client)
        return client

    async def _keep(self, client: Client) -> None:
        with client.scope:
            async with self._places:  # taken until a child that was told to end is gone
                self._say("client's child starts", client)
                self._gauge.inc()
                try:
                    await client.supervisor.run()
                finally:
                    self._gauge.dec()

    def _end(self, client: Client, reason: str) -> None:
        del self._clients[client.token]
        client.scope.cancel()
        self._say("client's child ends, and what it kept in memory with it", client, reason=reason)

    def _say(self, event: str, client: Client, **more: str) -> None:
        log.info(event, extra={"fields": {"server": self._server, "client": client.token, **more}})
