"""One MCP call over HTTP/1.1 on asyncio, written once, and what its answer amounts to in a word.

Formats: RFC 9112 (message framing), JSON-RPC 2.0, and MCP 2025-11-25, streamable HTTP.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stepdown.host.handshake import PROTOCOL

OK = "ok"
WORDS = 120  # characters of somebody else's words that an outcome repeats
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """A whole HTTP response."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    size: int  # bytes on the wire

    @property
    def last(self) -> bool:
        """Whether the server closes the connection after it."""
        return self.headers.get("connection", "").lower() == "close"


class Connection(asyncio.Protocol):
    """A keep-alive connection for one call at a time. Bytes that nobody asked for close it, and make it `stray`."""

    def __init__(self) -> None:
        self.stray = False
        self._received = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._waiting is None or self._waiting.done():
            self.stray = True
            self.close()
            return
        self._received += data
        self._settle(ended=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._waiting and not self._waiting.done():
            self._settle(ended=exc is None)
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionError("closed without a whole answer"))

    def usable(self) -> bool:
        """Whether a request can be written: open, and with nothing to read, be it an end or a stray answer.

        The kernel is asked, since the event loop may not have come to it yet.
        """
        if self.stray or self._transport is None or self._transport.is_closing():
            return False
        try:
            with self._transport.get_extra_info("socket").dup() as held:
                self.stray = bool(held.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    async def ask(self, request: bytes) -> Answer:
        """Write `request`, once; OSError or ValueError where no whole answer comes back."""
        assert self._transport is not None
        self._received.clear()
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        """Drop it, with whatever is under way on it."""
        if self._transport:
            self._transport.abort()

    def _settle(self, *, ended: bool) -> None:
        assert self._waiting is not None
        try:
            answer = parse(self._received, ended=ended)
        except ValueError as error:
            self._waiting.set_exception(error)
            self.close()
            return
        if answer:
            self.stray = len(self._received) > answer.size
            self._waiting.set_result(answer)


def parse(received: bytes | bytearray, *, ended: bool = False) -> Answer | None:
    """The response at the beginning of `received`; None where it is not whole yet, ValueError where it is none.

    A body without a length is whole when the connection has `ended`.
    """
    end = received.find(HEAD_END)
    if end < 0:
        return None
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"no HTTP response: {first[:WORDS]}")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    start = end + len(HEAD_END)
    whole: tuple[bytes, int] | None
    if headers.get("transfer-encoding", "").lower() == "chunked":
        whole = _chunks(received, start)
    elif "content-length" in headers:
        size = start + int(headers["content-length"])
        whole = (bytes(received[start:size]), size) if len(received) >= size else None
    else:
        whole = (bytes(received[start:]), len(received)) if ended else None
    return Answer(int(rest[:3]), headers, *whole) if whole else None


def _chunks(received: bytes | bytearray, at: int) -> tuple[bytes, int] | None:
    body = bytearray()
    while (line_end := received.find(b"\r\n", at)) >= 0:
        size = int(received[at:line_end].split(b";")[0], 16)
        at = line_end + 2 + size + 2
        if len(received) < at:
            return None
        if not size:
            return bytes(body), at
        body += received[line_end + 2 : at - 2]
    return None


def request(authority: str, server: str, token: str, number: int, method: str, params: Mapping[str, Any]) -> bytes:
    """The bytes of one JSON-RPC request to a server, `number` its id."""
    body = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()
    head = (
        f"POST /mcp/{server} HTTP/1.1",
        f"Host: {authority}",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"MCP-Protocol-Version: {PROTOCOL}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(head).encode() + HEAD_END + body


def judge(answer: Answer, number: int) -> str:
    """`ok` where the response holds exactly one answer, a result, to the request `number`; else what is wrong."""
    try:
        messages = _messages(answer)
    except ValueError:
        messages = []
    answers = [said for said in messages if isinstance(said, dict) and ("result" in said or "error" in said)]
    if answer.status != 200:
        error = answers[0].get("error") if answers else None
        words = _error(error) if error else answer.body.decode(errors="replace")
        return f"http {answer.status}: {_short(words)}"
    if not answers:
        return f"no answer: {_short(answer.body.decode(errors='replace'))}"
    if len(answers) > 1:
        return f"several answers: {len(answers)}"
    (only,) = answers
    if only.get("id") != number:
        return f"wrong id: {only.get('id')!r} for {number}"
    if "error" in only:
        return f"rpc {_short(_error(only['error']))}"
    if isinstance(only["result"], dict) and only["result"].get("isError"):
        return f"tool: {_short(json.dumps(only['result'].get('content')))}"
    return OK


def _messages(answer: Answer) -> list[Any]:
    """The JSON-RPC messages of a body: one, a list of them, or those of an event stream."""
    text = answer.body.decode()
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        events = (event for event in text.replace("\r\n", "\n").split("\n\n"))
        data = ("\n".join(line[5:] for line in event.split("\n") if line.startswith("data:")) for event in events)
        return [json.loads(said) for said in data if said.strip()]
    said = json.loads(text)
    return said if isinstance(said, list) else [said]


def _error(error: Any) -> str:
    """The type of an error where it has one (`stepdown.…`), else its code, and its message."""
    if not isinstance(error, dict):
        return str(error)
    data = error.get("data")
    kind = data.get("type") if isinstance(data, dict) else None
    return f"{kind or error.get('code')}: {error.get('message', '')}"


def _short(words: str) -> str:
    return " ".join(words.split())[:WORDS]
