"""A server that is Python in this process, behind the same guard, readiness and errors as the others."""

from __future__ import annotations

import importlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.session import ServerSession
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.dispatcher import ProgressFnT
from mcp_types.version import LATEST_HANDSHAKE_VERSION
from prometheus_client.registry import Collector
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

from mcp_host.answer import progress_of
from mcp_host.config import NativeServerConfig
from mcp_host.errors import ConfigError, StartError, sentence, server_starting
from mcp_host.hosted import Hosted, remark
from mcp_host.log import describe
from mcp_host.metrics import Metrics, Operation
from mcp_host.supervisor import Timing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NativeServer:
    """What a factory returns. The host calls the factory again for every start, so it must return fresh objects."""

    server: Server | MCPServer
    routes: tuple[BaseRoute, ...] = ()  # mounted at the root, behind the same tokens
    lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None  # entered before the first request
    metrics: Collector | None = None  # shown with the host's own while the server lives


def load_factory(name: str, config: NativeServerConfig) -> Callable[[], NativeServer]:
    """Import `module:callable`. Raises ConfigError."""
    module, _, attribute = config.factory.partition(":")
    where = f"MCP_HOST_CONFIG/servers/{name}/factory"
    try:
        factory = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        raise ConfigError(f"{where}: {error}") from error
    if not callable(factory):
        raise ConfigError(f"{where}: {module} has no callable {attribute!r}")
    return factory  # type: ignore[no-any-return]


@dataclass(frozen=True)
class NativeLife:
    """One built and warm native server."""

    manager: StreamableHTTPSessionManager
    routes: tuple[BaseRoute, ...]
    tools: Mapping[str, Mapping[str, Any]]
    latency_seconds: float
    remark: str | None

    @property
    def closed(self) -> bool:
        return False  # it ends with the process

    async def ping(self) -> None:
        await exchange(self.manager, "ping", {})

    def kill(self) -> None:
        """Nothing to kill: leaving the life closes it."""

    async def epitaph(self) -> str:
        return "closed"


class Native(Hosted[NativeLife]):
    """One native server, hosted."""

    def __init__(self, name: str, config: NativeServerConfig, metrics: Metrics, timing: Timing) -> None:
        super().__init__(name, config.bounds, metrics, timing)
        self._config = config
        self._registry = metrics.registry
        self._factory = load_factory(name, config)
        self._life: NativeLife | None = None

    @property
    def routes(self) -> Sequence[BaseRoute]:
        return self._life.routes if self._life else ()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one Streamable HTTP request. Raises server_starting while the server is not up."""
        life = await self.supervisor.life()
        if life is None:
            raise server_starting(self.name, self.supervisor.retry_after)
        await life.manager.handle_request(scope, receive, send)

    @asynccontextmanager
    async def live(self) -> AsyncIterator[NativeLife]:
        failure: StartError | None = None
        async with AsyncExitStack() as stack:
            # A failure leaves the stack before it is raised: the SDK's task group would wrap it in a group.
            try:
                self._life = await self._start(stack)
            except StartError as error:
                failure = error
            except ConfigError as error:
                failure = StartError(f"{self.name}: {error}")
            except Exception as error:
                failure = StartError(f"{self.name}: {describe(error)}")
                failure.__cause__ = error
            else:
                try:
                    yield self._life
                finally:
                    self._life = None
        if failure is not None:
            raise failure

    async def _start(self, stack: AsyncExitStack) -> NativeLife:
        native = self._factory()
        if not isinstance(native, NativeServer):
            raise StartError(f"{self._config.factory}: returned {type(native).__name__}, not a NativeServer")
        # MCPServer keeps the server that it decorates in a private attribute, and offers no other way to it.
        server = native.server._lowlevel_server if isinstance(native.server, MCPServer) else native.server
        server.middleware[:0] = [self.guard, with_progress]
        if native.metrics is not None:
            self._registry.register(native.metrics)
            stack.callback(self._registry.unregister, native.metrics)
        if native.lifespan is not None:
            await stack.enter_async_context(native.lifespan())
        manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)
        await stack.enter_async_context(manager.run())
        seconds = self._config.bounds.start_timeout_seconds
        try:
            with anyio.fail_after(seconds):
                return await self._warm(manager, native.routes)
        except TimeoutError:
            raise StartError(f"{self.name}: not ready within {seconds:g} s") from None

    async def _warm(self, manager: StreamableHTTPSessionManager, routes: tuple[BaseRoute, ...]) -> NativeLife:
        hello = {
            "protocolVersion": LATEST_HANDSHAKE_VERSION,
            "capabilities": {},
            "clientInfo": {"name": "stepdown-mcp-host", "version": "1"},
        }
        await post(manager, "initialize", hello)
        tools: dict[str, Mapping[str, Any]] = {}
        cursor: dict[str, str] | None = {}
        while cursor is not None:
            page = await post(manager, "tools/list", cursor)
            tools |= {tool["name"]: tool for tool in page["tools"]}
            cursor = {"cursor": page["nextCursor"]} if page.get("nextCursor") else None
        probe = self._config.probe
        if probe.tool not in tools:
            raise StartError(sentence(f"probe/{probe.tool}", "no such tool", sorted(tools)))
        began = time.perf_counter()
        result = await post(manager, "tools/call", {"name": probe.tool, "arguments": dict(probe.arguments)})
        return NativeLife(manager, routes, tools, time.perf_counter() - began, remark(probe.tool, result))


class _Reporting(ServerSession):
    """The session of one call, whose progress goes onto the event stream of its answer."""

    def __init__(self, session: ServerSession, report: ProgressFnT) -> None:
        vars(self).update(vars(session))
        self._report = report

    async def report_progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        await self._report(progress, total, message)


async def with_progress(ctx: ServerRequestContext, call_next: CallNext) -> HandlerResult:
    """Middleware: what the server reports by the SDK's `report_progress` reaches the client that asked for it."""
    report = progress_of(ctx)
    return await call_next(ctx if report is None else replace(ctx, session=_Reporting(ctx.session, report)))


async def post(manager: StreamableHTTPSessionManager, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The result of one exchange. Raises StartError when the answer is an error."""
    message = await exchange(manager, method, params)
    if "error" in message:
        raise StartError(f"{method}: {message['error'].get('message')}")
    result: dict[str, Any] = message["result"]
    return result


async def exchange(manager: StreamableHTTPSessionManager, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """One request through the SDK's HTTP stack without a socket; returns the JSON-RPC answer."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [
            (b"content-type", b"application/json"),
            (b"accept", b"application/json, text/event-stream"),
            (b"mcp-protocol-version", LATEST_HANDSHAKE_VERSION.encode()),
        ],
        "state": {"operation": Operation()},
    }
    answer = bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        answer.extend(message.get("body", b""))

    await manager.handle_request(scope, receive, send)
    message: dict[str, Any] = json.loads(answer)
    return message
