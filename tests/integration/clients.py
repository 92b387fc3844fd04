"""Clients of the stack: the official MCP SDK in both protocol revisions, and plain HTTP."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

REVISIONS = {"handshake": "legacy", "stateless": "2026-07-28"}


def with_client(config: dict[str, Any], server: str, mode: str, use: Callable[[Client], Awaitable[Any]]) -> Any:
    """Connect the SDK's client to a server of `client.config`, run `use`, and return what it returns."""

    async def connected() -> Any:
        entry = config["mcpServers"][server]
        async with (
            httpx2.AsyncClient(headers=entry["headers"], timeout=60) as http,
            Client(streamable_http_client(entry["url"], http_client=http), mode=mode) as client,
        ):
            return await use(client)

    return asyncio.run(connected())


async def consult_two_models(client: Client) -> None:
    """Both steps of zen's consensus's protocol: each consults one model, the second names the thread of the first."""
    models = [{"model": "model-one", "stance": "for"}, {"model": "model-two", "stance": "against"}]
    step = {"step": "Should we ship?", "total_steps": 2, "findings": "it works", "models": models}
    first = await client.call_tool("consensus", {**step, "step_number": 1, "next_step_required": True})
    assert not first.is_error, first.content
    thread = json.loads(first.content[0].text)["continuation_offer"]["continuation_id"]
    last = {**step, "step_number": 2, "next_step_required": False, "continuation_id": thread}
    second = await client.call_tool("consensus", last)
    assert not second.is_error, second.content


def request(
    url: str,
    token: str | None = None,
    body: Any = None,
    method: str | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of one HTTP request; an error status is an answer too."""
    sent = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json", **(headers or {})}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    call = urllib.request.Request(url, data=data, headers=sent, method=method)
    try:
        with urllib.request.urlopen(call, timeout=30) as response:
            return response.status, dict(response.headers), response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read().decode()


def tools_list(number: int = 1) -> dict[str, Any]:
    """A tools/list request."""
    return {"jsonrpc": "2.0", "id": number, "method": "tools/list", "params": {}}
