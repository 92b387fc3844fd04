"""/mcp/<server>: reads the request once, answers for servers that are not here, watches for the client to leave."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import mcp_types as types
from mcp.server.streamable_http import check_accept_headers
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from mcp_host.answer import Answer
from mcp_host.auth import refuse_server
from mcp_host.errors import outcome_of, server_lost, server_unknown
from mcp_host.hosted import Hosted
from mcp_host.metrics import Metrics, Operation
from mcp_host.watched import Plan

MAX_BODY_BYTES = 4 * 1024 * 1024
_NAME_CHARACTERS = 100


@dataclass(frozen=True)
class Envelope:
    """What the host itself needs to know of a body: never the arguments."""

    id: str | int | None = None
    method: str = ""
    tool: str = ""
    progress_token: types.ProgressToken | None = None  # of a tools/call
    awaits_answer: bool = True  # all but notifications and answers; a batch, which nobody reads here, does too
    parsed: bool = True


def peek(body: bytes) -> Envelope:
    """Read method, id and tool of a JSON-RPC body."""
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        return Envelope(parsed=False)
    if not isinstance(raw, dict) or not isinstance(raw.get("method"), str):
        return Envelope(awaits_answer=not (isinstance(raw, dict) and raw.keys() & {"result", "error"}))
    method, request_id, params = raw["method"], raw.get("id"), raw.get("params")
    called = params if method == "tools/call" and isinstance(params, dict) else {}
    tool = called.get("name")
    return Envelope(
        id=request_id if isinstance(request_id, str | int) and not isinstance(request_id, bool) else None,
        method=method[:_NAME_CHARACTERS],
        tool=tool[:_NAME_CHARACTERS] if isinstance(tool, str) else "",
        progress_token=progress_token_from_params(called),
        awaits_answer="id" in raw,
    )


def rpc_error(request_id: str | int | None, error: MCPError, status: int = 200) -> Response:
    """A JSON-RPC error as an HTTP answer; `id` is null when the request's could not be read."""
    data = {} if error.data is None else {"data": error.data}
    body = {"jsonrpc": "2.0", "id": request_id, "error": {"code": error.code, "message": error.message, **data}}
    return JSONResponse(body, status)


class Endpoint:
    """The ASGI application of `/mcp/{server}`."""

    def __init__(self, servers: Mapping[str, Hosted[Any]], plan: Callable[[], Plan], metrics: Metrics) -> None:
        self._servers = servers
        self._plan = plan
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name: str = scope["path_params"]["server"]
        operation: Operation = scope["state"]["operation"]
        refusal = refuse_server(scope, name)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        server = self._servers.get(name)
        operation.server = name if server or name in self._plan().lost else "other"
        if scope["method"] != "POST":
            await _METHOD_NOT_ALLOWED(scope, receive, send)
            return
        body = await read_body(receive)
        if body is None:
            await _TOO_LARGE(scope, receive, send)
            return
        began = time.perf_counter()
        envelope = peek(body)
        operation.method, operation.tool = envelope.method, envelope.tool
        try:
            if server is None:
                await self._answer_for_absent(name, envelope, operation)(scope, receive, send)
            else:
                with self._metrics.in_flight.labels(name).track_inprogress():
                    await self._serve(server, envelope, body, scope, receive, send)
        finally:
            known = server.tool_names if server else frozenset[str]()
            operation.outcome = operation.outcome or "ok"
            self._metrics.observe(operation, known, time.perf_counter() - began)

    def _answer_for_absent(self, name: str, envelope: Envelope, operation: Operation) -> Response:
        plan = self._plan()
        if name in plan.lost:
            error, status = server_lost(name, plan.plan, plan.since, plan.lost[name]), 200
        else:
            error, status = server_unknown(name[:_NAME_CHARACTERS], {*self._servers, *plan.lost}), 404
        operation.outcome = outcome_of(error)
        if not envelope.parsed:
            operation.outcome = "error"
            return rpc_error(None, MCPError(types.PARSE_ERROR, "Parse error"), 400)
        if not envelope.awaits_answer and status == 200:
            return Response(status_code=202)
        return rpc_error(envelope.id, error, status)

    async def _serve(
        self, server: Hosted[Any], envelope: Envelope, body: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Run the server's own handling, and cancel it when the client closes the connection."""
        operation: Operation = scope["state"]["operation"]
        stream = None
        if envelope.progress_token is not None and check_accept_headers(Request(scope))[1]:
            stream = Answer(envelope.progress_token, send)
            scope["state"]["progress"], send = stream.progress, stream.send
        left = anyio.Event()
        unread = True
        answered = False

        async def replay() -> Message:
            nonlocal unread
            if unread:
                unread = False
                return {"type": "http.request", "body": body, "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        async def watch_client(handling: anyio.CancelScope) -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            if answered:  # servers report a disconnect after every complete answer
                return
            left.set()
            operation.outcome = "cancelled"
            handling.cancel()

        async def note_answer(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start" and message["status"] >= 400:
                operation.outcome = operation.outcome or "error"
            answered = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_client, tasks.cancel_scope)
            if stream is not None:
                tasks.start_soon(stream.run)
            try:
                await server.handle(scope, replay, note_answer)
            except MCPError as error:
                operation.outcome = outcome_of(error)
                await rpc_error(envelope.id, error)(scope, replay, note_answer)
            tasks.cancel_scope.cancel()


async def read_body(receive: Receive) -> bytes | None:
    """The whole body, or None when it is over the limit or the client left half-way."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


_METHOD_NOT_ALLOWED = JSONResponse(
    {"error": "method not allowed", "message": "POST only: this host keeps no sessions and no streams to listen on"},
    405,
    {"Allow": "POST"},
)
_TOO_LARGE = JSONResponse({"error": "too large", "message": f"the limit is {MAX_BODY_BYTES} bytes"}, 413)
