"""A server that is a program: its child behind a front that speaks every protocol revision.

The front is the SDK's server with the child's own name, version and instructions. It is made when the child is warm for
the first time and outlives the child, so clients can connect while the child is restarted.

Where clients have to be kept apart, this child answers what is the same for all of them and shows that the server
works; it never sees a client's call. Those go to a child of the client's own (`Clients`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
from mcp.server.caching import CACHEABLE_METHODS, CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.types import Receive, Scope, Send

from mcp_host.answer import progress_of
from mcp_host.child_life import ChildLife, child_life
from mcp_host.clients import Clients
from mcp_host.config import StdioServer, Surroundings
from mcp_host.errors import server_restarted, server_starting
from mcp_host.guard import operation_of
from mcp_host.hosted import Hosted
from mcp_host.metrics import Metrics
from mcp_host.supervisor import Supervisor, Timing
from mcp_host.watched import Token

# Methods that go to the child, by the capability that announces them.
PASSED_ON: dict[str, dict[str, type[types.RequestParams]]] = {
    "tools": {"tools/list": types.PaginatedRequestParams, "tools/call": types.CallToolRequestParams},
    "prompts": {"prompts/list": types.PaginatedRequestParams, "prompts/get": types.GetPromptRequestParams},
    "resources": {
        "resources/list": types.PaginatedRequestParams,
        "resources/templates/list": types.PaginatedRequestParams,
        "resources/read": types.ReadResourceRequestParams,
    },
    "completions": {"completion/complete": types.CompleteRequestParams},
}
# Answered alike whoever asks: never worth a child of the client's own.
ALIKE = frozenset({"tools/list", "prompts/list", "resources/templates/list"})
# What belongs to the conversation with the client and not to the one with the child: a child that also speaks
# 2026-07-28 refuses its envelope after a handshake, and two clients' progress tokens may be the same (`Link.request`).
NOT_PASSED_ON = frozenset(
    {
        "progressToken",
        types.PROTOCOL_VERSION_META_KEY,
        types.CLIENT_INFO_META_KEY,
        types.CLIENT_CAPABILITIES_META_KEY,
        types.LOG_LEVEL_META_KEY,
    }
)


class Adapted(Hosted[ChildLife]):
    """One stdio server, hosted."""

    def __init__(
        self,
        name: str,
        config: StdioServer,
        surroundings: Surroundings,
        tokens: Callable[[], Sequence[Token]],
        metrics: Metrics,
        timing: Timing,
    ) -> None:
        super().__init__(name, config.bounds, metrics, timing)
        self._config = config
        self._surroundings = surroundings
        self._tokens = tokens
        self._metrics = metrics
        self._clients: Clients | None = None
        if config.clients is not None:
            gauge = metrics.client_children
            self._clients = Clients(name, config.clients, self._supervise, self._opens, gauge, timing)
        self._identity: types.InitializeResult | None = None
        self._identified = anyio.Event()
        self._front: StreamableHTTPSessionManager | None = None
        self._front_up = anyio.Event()

    async def run(self) -> None:
        """Keep the children alive, and the front open once it is known, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.supervisor.run)
            if self._clients is not None:
                tasks.start_soon(self._clients.run)
            await self._identified.wait()
            assert self._identity is not None
            manager = StreamableHTTPSessionManager(self._make_front(self._identity), json_response=True, stateless=True)
            async with manager.run():
                self._front = manager
                self._front_up.set()
                await anyio.sleep_forever()

    @asynccontextmanager
    async def live(self) -> AsyncIterator[ChildLife]:
        grace = self.timing.stop_grace
        async with child_life(self.name, self._config, self._surroundings, self.supervisor.wake, grace) as life:
            if self._identity is None:
                self._identity = life.identity
                self._identified.set()
            yield life

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one Streamable HTTP request. Raises server_starting while the child was never up."""
        if self._front is None:
            with anyio.move_on_after(self.timing.ready_wait):
                await self._front_up.wait()
        if self._front is None:
            raise server_starting(self.name, self.supervisor.retry_after)
        await self._front.handle_request(scope, receive, send)

    def _supervise(self, client: str, busy: Callable[[], int]) -> Supervisor[ChildLife]:
        """A supervisor of the client's own child."""

        def live() -> AbstractAsyncContextManager[ChildLife]:
            grace = self.timing.stop_grace
            return child_life(self.name, self._config, self._surroundings, supervisor.wake, grace, client)

        supervisor: Supervisor[ChildLife] = Supervisor(self.name, live, busy, self._metrics, self.timing, client)
        return supervisor

    def _opens(self, token_name: str) -> bool:
        return any(token.name == token_name and token.allows(self.name) for token in self._tokens())

    @asynccontextmanager
    async def _supervisor_for(self, ctx: ServerRequestContext) -> AsyncIterator[Supervisor[ChildLife]]:
        """Whose child serves this request. Raises server_busy when its client has none and no other can give way."""
        if self._clients is None or ctx.method in ALIKE:
            yield self.supervisor
        else:
            async with self._clients.child_of(operation_of(ctx).token) as supervisor:
                yield supervisor

    def _call_timed_out(self, ctx: ServerRequestContext) -> None:
        if self._clients is None or ctx.method in ALIKE:
            self.supervisor.suspect()
        else:
            self._clients.suspect(operation_of(ctx).token)

    def _make_front(self, identity: types.InitializeResult) -> Server:
        info = identity.server_info
        front: Server = Server(
            info.name,
            version=info.version,
            title=info.title,
            description=info.description,
            instructions=identity.instructions,
            website_url=info.website_url,
            icons=info.icons,
            get_tool_input_schema=lambda tool: self.supervisor.tools.get(tool, {}).get("inputSchema"),
        )
        front.cache_hints = dict.fromkeys(CACHEABLE_METHODS, CacheHint())  # stale at once: a child's lists may change
        announced = identity.capabilities.model_dump(exclude_none=True)
        for capability, methods in PASSED_ON.items():
            if capability in announced:
                for method, params_type in methods.items():
                    front.add_request_handler(method, params_type, self._pass_on)
        front.middleware.insert(0, self.guard)
        return front

    async def _pass_on(self, ctx: ServerRequestContext, _params: types.RequestParams) -> dict[str, Any]:
        """Hand one request to the child that it belongs to."""
        async with self._supervisor_for(ctx) as supervisor:
            return await self._ask(supervisor, ctx)

    async def _ask(self, supervisor: Supervisor[ChildLife], ctx: ServerRequestContext) -> dict[str, Any]:
        """Hand one request to the child, once, and its result back as it came; its first start is waited for."""
        left = anyio.current_effective_deadline() - anyio.current_time()
        life = await supervisor.life(first_wait=left - 2 * self.timing.ready_wait)
        if life is None or life.closed:
            raise server_starting(self.name, supervisor.retry_after)
        try:
            result = await life.link.request(ctx.method, params_for_child(ctx.params), progress_of(ctx))
        except MCPError as error:
            if life.closed and error.code == types.CONNECTION_CLOSED:
                raise server_restarted(self.name) from None
            raise
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            # What 2026-07-28 demands of every result and a handshake child does not know.
            result = {"resultType": "complete", **result}
        if result.get("isError") and life.environment.lacks:
            texts = [{"type": "text", "text": text} for text in life.environment.lacks]
            result["content"] = [*result.get("content", ()), *texts]
        return result


def params_for_child(params: Mapping[str, Any] | None) -> dict[str, Any]:
    """The client's params without what NOT_PASSED_ON names."""
    passed = dict(params or {})
    meta = passed.pop("_meta", None) or {}
    kept = {key: value for key, value in meta.items() if key not in NOT_PASSED_ON}
    return {**passed, "_meta": kept} if kept else passed
