"""The ASGI application of one container: its servers, health, metrics, and the log line of every request."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_host.adapted import Adapted
from mcp_host.auth import OPEN_PATHS, Doorkeeper, refuse_server
from mcp_host.config import HostConfig, StdioServer, Surroundings
from mcp_host.endpoint import Endpoint
from mcp_host.hosted import Hosted
from mcp_host.metrics import Metrics, Operation
from mcp_host.native import Native
from mcp_host.supervisor import Timing
from mcp_host.watched import Plan, Token, WatchedFile, parse_plan, parse_tokens

log = logging.getLogger(__name__)
access = logging.getLogger("mcp_host.access")


def create_app(
    config: HostConfig, surroundings: Surroundings, timing: Timing, on_failure: Callable[[], None]
) -> Starlette:
    """The application of a container. Its lifespan starts and ends the servers; `on_failure` is called when the host

    itself breaks and should be replaced by a fresh process. Raises ConfigError.
    """
    metrics = Metrics()
    no_tokens: tuple[Token, ...] = ()
    tokens = WatchedFile(surroundings.auth_dir / "tokens.json", parse_tokens, no_tokens, missing_resets=False)
    plan = WatchedFile(surroundings.plan_dir / "plan.json", parse_plan, Plan(), missing_resets=True)
    servers = host_servers(config, surroundings, tokens.value, metrics, timing)

    async def run(server: Hosted[Any]) -> None:
        try:
            await server.run()
        except Exception:
            log.exception("the host broke while it kept a server", extra={"fields": {"server": server.name}})
            on_failure()

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        tokens.value()
        async with anyio.create_task_group() as tasks:
            for server in servers.values():
                tasks.start_soon(run, server)
            yield
            tasks.cancel_scope.cancel()

    async def readyz(_request: Request) -> Response:
        async with anyio.create_task_group() as tasks:
            for server in servers.values():
                tasks.start_soon(server.check)
        states = {name: server.readiness for name, server in servers.items()}
        ready = all(state.state == "ready" for state in states.values())
        body = {"ready": ready, "servers": {name: state.as_json() for name, state in states.items()}}
        return JSONResponse(body, 200 if ready else 503)

    return Starlette(
        routes=[
            Route("/healthz", _healthz),
            Route("/readyz", readyz),
            Route("/metrics", lambda _: Response(metrics.render(), media_type="text/plain; version=0.0.4")),
            Route("/mcp/{server}", Endpoint(servers, plan.value, metrics)),
            Mount("/", NativeRoutes(servers, metrics)),
        ],
        middleware=[
            Middleware(AccessLog),
            Middleware(Doorkeeper, tokens=tokens, allowed_origins=surroundings.allowed_origins, metrics=metrics),
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )


def host_servers(
    config: HostConfig,
    surroundings: Surroundings,
    tokens: Callable[[], Sequence[Token]],
    metrics: Metrics,
    timing: Timing,
) -> dict[str, Hosted[Any]]:
    """Every server of the configuration, not yet started. Raises ConfigError."""
    hosted: dict[str, Hosted[Any]] = {}
    for name, server in config.servers.items():
        if isinstance(server, StdioServer):
            hosted[name] = Adapted(name, server, surroundings, tokens, metrics, timing)
        else:
            hosted[name] = Native(name, server, metrics, timing)
    return hosted


async def _http_error(_request: Request, error: Exception) -> Response:
    """No such path or method, as JSON like every other answer."""
    assert isinstance(error, HTTPException)
    return JSONResponse(
        {"error": error.detail.lower(), "message": "no such path or method"}, error.status_code, error.headers
    )


async def _healthz(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


class NativeRoutes:
    """The routes that native servers add at the root, open to tokens that open the server."""

    def __init__(self, servers: Mapping[str, Hosted[Any]], metrics: Metrics) -> None:
        self._servers = servers
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        partial = None
        for name, server in self._servers.items():
            for route in server.routes:
                match, child_scope = route.matches(scope)
                if match is Match.FULL:
                    await self._answer(name, route.handle, {**scope, **child_scope}, receive, send)
                    return
                if match is Match.PARTIAL and partial is None:
                    partial = (name, route.handle, {**scope, **child_scope})
        if partial is not None:
            await self._answer(*partial, receive, send)
            return
        await JSONResponse({"error": "not found", "message": "no such path on this host"}, 404)(scope, receive, send)

    async def _answer(self, name: str, handle: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["operation"].server = name
        with self._metrics.in_flight.labels(name).track_inprogress():
            await (refuse_server(scope, name) or handle)(scope, receive, send)


class AccessLog:
    """One log line a request; health checks are logged only when they fail."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        operation = Operation()
        scope["state"] = {**scope.get("state", {}), "operation": operation}
        status = 0  # stays 0 when the client left before an answer

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        try:
            await self._app(scope, receive, note_status)
        finally:
            if scope["path"] not in OPEN_PATHS or status >= 400:
                fields = {
                    "token": operation.token,
                    "server": operation.server,
                    "http_method": scope["method"],
                    "path": scope["path"][:200],
                    "method": operation.method,
                    "tool": operation.tool,
                    "outcome": operation.outcome,
                    "status": status,
                    "duration_ms": round((time.perf_counter() - began) * 1000, 3),
                }
                access.info("request", extra={"fields": fields})
