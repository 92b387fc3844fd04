"""A real MCP handshake, on the standard library: initialize, tools/list, one cheap named call.

Format: MCP 2025-11-25, streamable HTTP, as the specification's "Transports" and "Lifecycle" pages give it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stepdown.errors import StepdownError

PROTOCOL = "2025-11-25"
CALL_SECONDS = 10.0
MOST_PAGES = 100


class HandshakeError(StepdownError):
    """The server did not prove that it works; the message says how far it came."""


@dataclass(frozen=True)
class Handshake:
    """A proof: how long it took, which tools, and the hash of their names and input schemas."""

    milliseconds: float
    tools: tuple[str, ...]
    schema_hash: str


def handshake(host: str, port: int, server: str, token: str, probe: Mapping[str, Any]) -> Handshake:
    """Prove `server` at host:port; HandshakeError when any step fails."""
    started = time.monotonic()
    connection = http.client.HTTPConnection(host, port, timeout=CALL_SECONDS)
    try:
        info = {"name": "stepdown", "version": "1"}
        call(
            connection,
            server,
            token,
            1,
            "initialize",
            {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": info},
        )
        tools = _tools(connection, server, token)
        result = call(
            connection, server, token, 99, "tools/call", {"name": probe["tool"], "arguments": probe["arguments"]}
        )
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError) as error:
        raise HandshakeError(f"server {server}: no handshake: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    if result.get("isError"):
        raise HandshakeError(f"server {server}: its probe {probe['tool']} answered an error")
    return Handshake(
        milliseconds=round((time.monotonic() - started) * 1000, 1),
        tools=tuple(sorted(tool["name"] for tool in tools)),
        schema_hash=schema_hash(tools),
    )


def schema_hash(tools: list[dict[str, Any]]) -> str:
    """sha256 over the names and input schemas of tools, in canonical JSON, sorted by name."""
    facts = sorted((tool["name"], json.dumps(tool.get("inputSchema"), sort_keys=True)) for tool in tools)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def get_json(host: str, port: int, path: str, timeout_seconds: float = 3.0) -> tuple[int, Any]:
    """Status and JSON body of a GET; OSError, HTTPException or ValueError when there is none."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    finally:
        connection.close()


def _tools(connection: http.client.HTTPConnection, server: str, token: str) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = []
    cursor: str | None = None
    for page in range(MOST_PAGES):
        result = call(connection, server, token, 2 + page, "tools/list", {"cursor": cursor} if cursor else {})
        tools += result.get("tools", [])
        cursor = result.get("nextCursor")
        if not cursor:
            break
    else:
        raise HandshakeError(f"server {server}: its list of tools has no end within {MOST_PAGES} pages")
    if not tools:
        raise HandshakeError(f"server {server}: lists no tools")
    return [{**tool, "name": str(tool["name"])} for tool in tools]


def call(
    connection: http.client.HTTPConnection, server: str, token: str, number: int, method: str, params: dict[str, Any]
) -> dict[str, Any]:
    """The result of one JSON-RPC request; HandshakeError for any other answer, OSError and its kin for none."""
    body = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": PROTOCOL,
    }
    connection.request("POST", f"/mcp/{server}", body, headers)
    response = connection.getresponse()
    answer = json.loads(response.read() or b"null")
    if response.status != 200 or not isinstance(answer, dict) or "result" not in answer:
        detail = answer.get("error") if isinstance(answer, dict) else answer
        raise HandshakeError(f"server {server}: {method} answered HTTP {response.status}: {detail}")
    return dict(answer["result"])
