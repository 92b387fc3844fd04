"""What every hosted server has, however it lives: a guard, a supervisor, readiness, an ASGI entrance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic

from mcp.server.context import ServerRequestContext
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from mcp_host.config import Bounds
from mcp_host.guard import Guard
from mcp_host.metrics import Metrics
from mcp_host.supervisor import L, Readiness, Supervisor, Timing


class Hosted(ABC, Generic[L]):
    """One server of this container."""

    def __init__(self, name: str, bounds: Bounds, metrics: Metrics, timing: Timing) -> None:
        self.name = name
        self.timing = timing
        self.guard = Guard(name, bounds, self._call_timed_out)
        metrics.in_flight.labels(name)  # shown as 0 from the start
        self.supervisor: Supervisor[L] = Supervisor(name, self.live, lambda: self.guard.running, metrics, timing)

    @property
    def readiness(self) -> Readiness:
        return self.supervisor.readiness

    @property
    def tool_names(self) -> frozenset[str]:
        return frozenset(self.supervisor.tools)

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """Routes at the root of the host that this server answers beside /mcp/<server>."""
        return ()

    async def check(self) -> None:
        """Bring the readiness up to date, unless it is fresh or the server is busy."""
        await self.supervisor.check()

    async def run(self) -> None:
        """Keep the server alive until cancelled."""
        await self.supervisor.run()

    @abstractmethod
    def live(self) -> AbstractAsyncContextManager[L]:
        """One life of the server: warm when entered, ended when left. Raises StartError."""

    @abstractmethod
    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one Streamable HTTP request. Raises server_starting while nobody can."""

    def _call_timed_out(self, _ctx: ServerRequestContext) -> None:
        self.supervisor.suspect()


def remark(tool: str, result: Mapping[str, Any]) -> str | None:
    """What a probe's result complained about, in at most 200 characters; an error as a result is still an answer."""
    if not result.get("isError"):
        return None
    texts = [item.get("text", "") for item in result.get("content", ()) if item.get("type") == "text"]
    return f"{tool} answered with an error: {' '.join(texts)}"[:200]
