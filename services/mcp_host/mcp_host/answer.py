"""How a call's answer goes out: as one JSON body, or as an event stream from the server's first progress on.

Format: the streamable HTTP transport of MCP 2025-11-25 and 2026-07-28, whose clients have to take either. A stream has
no event ids: whoever loses it has left the call.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.shared.dispatcher import ProgressFnT
from mcp_types import ProgressToken
from starlette.types import Message, Send

# What a client that reads slowly makes the host keep: progress beyond it is dropped, the oldest first.
MAX_EVENTS = 16
MAX_EVENT_BYTES = 16 * 1024
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class Answer:
    """The answer of one call whose client gave a progress token; `run` sends what `progress` and `send` hand over."""

    def __init__(self, token: ProgressToken, send: Send) -> None:
        self._token = token
        self._send = send
        self._events: deque[bytes] = deque(maxlen=MAX_EVENTS)
        self._body = bytearray()
        self._streams = False
        self._answering = False
        self._whole = False
        self._woken = asyncio.Event()
        self._sent = asyncio.Event()

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Put one notification onto the stream. Never waits: what cannot be sent, or comes too late, is dropped."""
        if self._answering:
            return
        params: dict[str, Any] = {"progressToken": self._token, "progress": progress, "total": total}
        params = {key: value for key, value in {**params, "message": message}.items() if value is not None}
        notification = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        try:
            event = _event(json.dumps(notification, allow_nan=False).encode())
        except ValueError:  # a number that JSON does not have
            return
        if len(event) <= MAX_EVENT_BYTES:
            self._events.append(event)
            self._streams = True
            self._woken.set()

    async def send(self, message: Message) -> None:
        """The ASGI `send` for whoever makes the JSON answer; on a stream it becomes the last event, with status 200."""
        self._answering = True
        if not self._streams:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                self._whole = True
                self._woken.set()
                await self._sent.wait()

    async def run(self) -> None:
        """Send the stream, if it comes to one, until its last byte."""
        await self._woken.wait()
        await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        while self._events or not self._whole:
            if self._events:
                event = self._events.popleft()
                await self._send({"type": "http.response.body", "body": event, "more_body": True})
            else:
                self._woken.clear()
                await self._woken.wait()
        await self._send({"type": "http.response.body", "body": _event(bytes(self._body)), "more_body": False})
        self._sent.set()


def _event(message: bytes) -> bytes:
    return b"event: message\r\ndata: " + message + b"\r\n\r\n"


def progress_of(ctx: ServerRequestContext) -> ProgressFnT | None:
    """Where the progress of this request goes; None where its client did not ask for any, or takes no stream."""
    assert ctx.request is not None  # every request here came over HTTP
    report: ProgressFnT | None = getattr(ctx.request.state, "progress", None)
    return report
