"""A native server as a factory makes it: decorated tools, one route at the root, a lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_host.native import NativeServer
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

entered: list[str] = []


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    entered.append("in")
    yield
    entered.append("out")


async def scans(request: Request) -> Response:
    return JSONResponse({"token": request.state.token_name, "lifespan": entered})


def create() -> NativeServer:
    server = MCPServer("native", version="0.1")

    @server.tool()
    async def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    async def sleep(seconds: float) -> str:
        """Sleep."""
        await anyio.sleep(seconds)
        return "slept"

    @server.tool()
    async def steps(count: int, ctx: Context, seconds: float = 0) -> str:
        """Report progress."""
        for step in range(count):
            await ctx.report_progress(step + 1, count, "step")
        await anyio.sleep(seconds)
        return "done"

    return NativeServer(server, routes=(Route("/scans", scans),), lifespan=lifespan)
