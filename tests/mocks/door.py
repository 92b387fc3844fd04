"""What stands before a mock's server: it notes every call, and does what the script says instead of answering."""

from __future__ import annotations

import json
from typing import Any

import anyio
from mcp.shared.exceptions import MCPError
from mcp_host.endpoint import peek, read_body, rpc_error
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.mocks.calls import UNSEEN, Call, Calls
from tests.mocks.script import Rule, Script

CONTROL = "/mock"
NOT_NOTED = ("/healthz", "/readyz", "/metrics")


class Door:
    """ASGI middleware, behind authentication: a call without a token is refused as the real one does, and not noted."""

    def __init__(self, app: ASGIApp, script: Script, calls: Calls) -> None:
        self._app = app
        self._script = script
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or path in NOT_NOTED or path == CONTROL or path.startswith(f"{CONTROL}/"):
            await self._app(scope, receive, send)
            return
        body = await read_body(receive)
        if body is None:
            await JSONResponse({"error": "body: is too large"}, 413)(scope, receive, send)
            return
        call = self._note(scope, body)
        rule = self._script.take(call.http_method, call.path, call.method, call.tool)
        call.rule = rule is not None
        unread = True

        async def replay() -> Message:
            nonlocal unread
            if unread:
                unread = False
                return {"type": "http.request", "body": body, "more_body": False}
            message = await receive()
            if message["type"] == "http.disconnect" and call.outcome == "open":
                call.outcome = "left"
            return message

        async def note_answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
            elif not message.get("more_body", False):
                call.outcome = "answered"
            await send(message)

        if rule is not None:
            if not await stays(receive, rule.latency_ms / 1000 + (rule.hang_seconds or 0)):
                call.outcome = "left"
                return
            answer = answer_of(rule, body, Headers(scope=scope))
            if answer is not None:
                await answer(scope, replay, note_answer)
                return
        await self._app(scope, replay, note_answer)

    def _note(self, scope: Scope, body: bytes) -> Call:
        envelope = peek(body) if scope["path"].startswith("/mcp/") else None
        try:
            document = json.loads(body) if body else None
        except ValueError:
            document = body.decode(errors="replace")
        arguments = None
        if envelope is not None and envelope.tool:
            arguments = document["params"].get("arguments")
        headers = Headers(scope=scope)
        return self._calls.add(
            token=scope["state"]["token_name"],
            http_method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers={name: value for name, value in headers.items() if name not in UNSEEN},
            method=envelope.method if envelope else "",
            tool=envelope.tool if envelope else "",
            arguments=arguments,
            body=document,
        )


async def stays(receive: Receive, seconds: float) -> bool:
    """Wait; whether the client is still there after `seconds`. Its body must have been read."""
    with anyio.move_on_after(seconds):
        while (await receive())["type"] != "http.disconnect":
            pass
        return False
    return True


def answer_of(rule: Rule, body: bytes, headers: Headers) -> Response | None:
    """What the script puts in the answer's place; None when the call is to be answered as ever."""
    request_id = peek(body).id
    if rule.hang_seconds is not None:  # nobody waited that long for a reason: end it, as a gateway would
        return JSONResponse({"error": f"mock: hung for {rule.hang_seconds:g} s, as its script says"}, 504)
    if rule.error is not None:
        return rpc_error(request_id, MCPError(rule.error.code, rule.error.message, rule.error.data))
    if rule.http is not None:
        content = b"" if rule.http.body is None else json.dumps(rule.http.body).encode()
        return Response(content, rule.http.status, rule.http.headers, "application/json" if content else None)
    if rule.result is not None:
        result: dict[str, Any] = rule.result.as_json()
        if headers.get("mcp-protocol-version") in MODERN_PROTOCOL_VERSIONS:
            result = {"resultType": "complete", **result}
        return JSONResponse({"jsonrpc": "2.0", "id": request_id, "result": result})
    return None
