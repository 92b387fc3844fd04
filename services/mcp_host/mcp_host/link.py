"""The MCP conversation with a child: JSON-RPC over its pipes, results passed on as they came.

The child is spoken to in the handshake revision (2025-11-25 or what it offers). The host announces no client
capabilities, so a child's requests for sampling, elicitation or roots are refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any

import mcp_types as types
from mcp.shared.dispatcher import CallOptions, DispatchContext, ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.message import SessionMessage
from mcp.shared.transport_context import TransportContext
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION

from mcp_host.child import Child
from mcp_host.errors import StartError
from mcp_host.log import describe

log = logging.getLogger(__name__)
_PAGES = 100  # a paginator that never ends must not hang the start


class _Inbox:
    """The child's stdout as the stream of messages that the dispatcher reads."""

    def __init__(self, child: Child, on_noise: Callable[[str], None]) -> None:
        self.ended = False
        self._child = child
        self._messages = self._parsed(on_noise)

    async def _parsed(self, on_noise: Callable[[str], None]) -> AsyncIterator[SessionMessage | Exception]:
        async for line in self._child.messages:
            try:
                message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
            except ValueError:
                on_noise(line.decode(errors="replace"))
                continue
            yield SessionMessage(message)
        self.ended = True  # before any waiter learns of it, so that they can ask why

    async def receive(self) -> SessionMessage | Exception:
        return await anext(self._messages)

    async def aclose(self) -> None:
        self._child.messages.close()

    def __aiter__(self) -> _Inbox:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        return await anext(self._messages)

    async def __aenter__(self) -> _Inbox:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.aclose()


class _Outbox:
    """The child's stdin as the stream that the dispatcher writes; the pipe itself is closed by `Child.stop`."""

    def __init__(self, child: Child) -> None:
        self._child = child

    async def send(self, item: SessionMessage, /) -> None:
        await self._child.write_line(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode())

    async def aclose(self) -> None:
        return

    async def __aenter__(self) -> _Outbox:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        return


class Link:
    """One conversation, from `start` until the child is gone (`closed`)."""

    def __init__(
        self,
        child: Child,
        on_closed: Callable[[], None],
        on_noise: Callable[[str], None],
    ) -> None:
        self.tools: dict[str, dict[str, Any]] = {}
        self._child = child
        self._ended = False
        self._inbox = _Inbox(child, on_noise)
        self._dispatcher: JSONRPCDispatcher[TransportContext] = JSONRPCDispatcher(self._inbox, _Outbox(child))
        self._on_closed = on_closed
        self._task: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """True as soon as no answer can come any more."""
        return self._ended or self._inbox.ended or not self._child.stdin_open

    async def start(self) -> types.InitializeResult:
        """Begin to read, and shake hands. Raises StartError, MCPError."""
        running = asyncio.Event()
        self._task = asyncio.create_task(self._run(running))
        await running.wait()
        raw = await self.request(
            "initialize",
            {
                "protocolVersion": LATEST_HANDSHAKE_VERSION,
                "capabilities": {},
                "clientInfo": {"name": "stepdown-mcp-host", "version": "1"},
            },
        )
        result = types.InitializeResult.model_validate(raw)
        if result.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
            raise StartError(f"initialize: the server wants the unknown protocol {result.protocol_version!r}")
        await self._dispatcher.notify("notifications/initialized", None)
        return result

    async def stop(self) -> None:
        """Stop reading; whoever still waits for an answer gets a closed connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def request(
        self, method: str, params: Mapping[str, Any] | None = None, on_progress: ProgressFnT | None = None
    ) -> dict[str, Any]:
        """Send one request once and return the raw result. A cancelled wait is passed on. Raises MCPError.

        With `on_progress` the child is asked for progress under a token of the conversation's own, its request id, and
        whatever it reports under it until the request has ended goes there.
        """
        options: CallOptions = {} if on_progress is None else {"on_progress": on_progress}
        return await self._dispatcher.send_raw_request(method, params, options)

    async def ping(self) -> None:
        await self.request("ping")

    async def list_tools(self) -> None:
        """Fill `tools` with every tool of every page, by name. Raises MCPError, StartError when the pages never end."""
        tools: dict[str, dict[str, Any]] = {}
        cursor: str | None = None
        for _ in range(_PAGES):
            page = await self.request("tools/list", None if cursor is None else {"cursor": cursor})
            tools |= {tool["name"]: tool for tool in page.get("tools", ())}
            cursor = page.get("nextCursor")
            if cursor is None:
                self.tools = tools
                return
        raise StartError(f"tools/list: more than {_PAGES} pages")

    async def _run(self, running: asyncio.Event) -> None:
        class Started:
            def started(self, value: None = None) -> None:
                running.set()

        try:
            await self._dispatcher.run(self._on_request, self._on_notify, task_status=Started())
        except Exception as error:
            log.error("conversation with a child broke", extra={"fields": {"exception": describe(error)}})
        finally:
            self._ended = True
            running.set()
            self._on_closed()

    async def _on_request(
        self, _ctx: DispatchContext[TransportContext], method: str, _params: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        if method == "ping":
            return {}
        raise MCPError(types.METHOD_NOT_FOUND, "Method not found", method)

    async def _on_notify(
        self, _ctx: DispatchContext[TransportContext], method: str, _params: Mapping[str, Any] | None
    ) -> None:
        # Progress found its request before it came here. Log messages belong to no request, so to no client.
        if method == "notifications/tools/list_changed":
            await self.list_tools()
