"""What every call passes, whatever kind of server answers it: a slot, a bounded queue, a clock, an outcome.

A guard is middleware of the SDK's server, so both protocol revisions meet the same one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError

from mcp_host.config import Bounds
from mcp_host.errors import call_timeout, outcome_of, server_busy
from mcp_host.metrics import Operation

# Answered by the host itself, or (listen) open for as long as the client wants.
UNBOUNDED = frozenset({"initialize", "ping", "server/discover", "subscriptions/listen"})


class Guard:
    """At most `max_concurrent_calls` run and as many wait; a call's clock runs in the queue too.

    Raises server_busy when the queue is full or the time ran out in it (not executed), call_timeout when it ran out
    later (executed: unknown), after telling `on_timeout`.
    """

    def __init__(self, server: str, bounds: Bounds, on_timeout: Callable[[ServerRequestContext], None]) -> None:
        self._server = server
        self._bounds = bounds
        self._on_timeout = on_timeout
        self._slots = anyio.Semaphore(bounds.max_concurrent_calls)
        self._queued = 0
        self.running = 0

    async def __call__(self, ctx: ServerRequestContext, call_next: CallNext) -> HandlerResult:
        operation = operation_of(ctx)
        if ctx.request_id is None or ctx.method in UNBOUNDED:
            return await call_next(ctx)
        try:
            result = await self._within_bounds(ctx, call_next)
        except MCPError as error:
            operation.outcome = outcome_of(error)
            raise
        except Exception:
            operation.outcome = "error"
            raise
        operation.outcome = "tool_error" if isinstance(result, dict) and result.get("isError") else "ok"
        return result

    async def _within_bounds(self, ctx: ServerRequestContext, call_next: CallNext) -> HandlerResult:
        sent = False
        with anyio.move_on_after(self._bounds.call_timeout_seconds):
            async with self._slot():
                sent = True
                return await call_next(ctx)
        if not sent:
            raise self._busy()
        self._on_timeout(ctx)
        raise call_timeout(self._server, self._bounds.call_timeout_seconds)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        try:
            self._slots.acquire_nowait()
        except anyio.WouldBlock:  # only who has to wait takes a place in the queue
            if self._queued >= self._bounds.max_concurrent_calls:
                raise self._busy() from None
            self._queued += 1
            try:
                await self._slots.acquire()
            finally:
                self._queued -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._slots.release()

    def _busy(self) -> MCPError:
        return server_busy(self._server, f"{self._bounds.max_concurrent_calls} calls run and the queue is full")


def operation_of(ctx: ServerRequestContext) -> Operation:
    """The record that the HTTP side put into the request; the host's own probes have one that nobody reads."""
    assert ctx.request is not None  # every request here came over HTTP
    operation: Operation = ctx.request.state.operation
    return operation
