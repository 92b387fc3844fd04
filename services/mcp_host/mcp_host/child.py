"""One child process in a process group of its own, with lines in and lines out.

The group dies with the child: whatever it started is killed as soon as the child itself has exited.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from typing import cast

import anyio

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_STDERR_BYTES = 64 * 1024
STDIN, STDOUT, STDERR = 0, 1, 2
# A process that left the group can hold the pipe open after the child is dead; then the end is declared.
_EOF_AFTER_EXIT_SECONDS = 1.0


class Lines:
    """Cuts a byte stream into lines. A longer line than `limit` is given up to the limit, or ends it all (`strict`)."""

    def __init__(self, limit: int, on_line: Callable[[bytes], None], on_overflow: Callable[[], None] | None = None):
        self._limit = limit
        self._on_line = on_line
        self._on_overflow = on_overflow
        self._pending = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> None:
        first, *rest = data.split(b"\n")
        self._extend(first)
        for part in rest:
            self.flush()
            self._extend(part)

    def flush(self) -> None:
        """Deliver what is pending as a line."""
        line, self._pending, self._skipping = bytes(self._pending), bytearray(), False
        if line.strip():
            self._on_line(line)

    def _extend(self, part: bytes) -> None:
        if self._skipping:
            return
        self._pending += part[: self._limit - len(self._pending)]
        if len(self._pending) >= self._limit:
            self._skipping = True
            if self._on_overflow is not None:
                self._on_overflow()


class Child(asyncio.SubprocessProtocol):
    """A running child. `messages` yields the lines of its stdout and ends when no more can come."""

    def __init__(self, on_stderr: Callable[[str], None]) -> None:
        self.exited = asyncio.Event()
        self.returncode: int | None = None
        self.overflowed = False
        self._send, self.messages = anyio.create_memory_object_stream[bytes](inf)
        self._writable = asyncio.Event()
        self._writable.set()
        self.stdin_open = True
        self._stdout = Lines(MAX_MESSAGE_BYTES, self._deliver, self._overflow)
        self._stderr = Lines(MAX_STDERR_BYTES, lambda line: on_stderr(line.decode(errors="replace")))

    @classmethod
    async def spawn(
        cls, command: tuple[str, ...], env: Mapping[str, str], cwd: str, on_stderr: Callable[[str], None]
    ) -> Child:
        """Start the command with exactly this environment. Raises OSError."""
        _, protocol = await asyncio.get_running_loop().subprocess_exec(
            lambda: cls(on_stderr), *command, env=dict(env), cwd=cwd, start_new_session=True
        )
        return protocol

    async def write_line(self, line: bytes) -> None:
        """Hand one line to the child whole, or not at all; waits while its pipe is full. Raises BrokenResourceError."""
        await self._writable.wait()
        if not self.stdin_open:
            raise anyio.BrokenResourceError
        cast(asyncio.WriteTransport, self._transport.get_pipe_transport(STDIN)).write(line + b"\n")

    def kill(self) -> None:
        """End the whole group now."""
        self._signal(signal.SIGKILL)

    async def stop(self, grace_seconds: float) -> None:
        """End the group: stdin closed, then TERM, then KILL, each after the grace; returns when the child is dead."""
        self._close_stdin()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with anyio.move_on_after(grace_seconds):
                await self.exited.wait()
            if not self.exited.is_set():
                self._signal(number)
        await self.exited.wait()
        self._signal(signal.SIGKILL)
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self.pid = self._transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        (self._stdout if fd == STDOUT else self._stderr).feed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == STDIN:
            self.stdin_open = False
            self._writable.set()
        elif fd == STDOUT:
            self._send.close()
        else:
            self._stderr.flush()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def process_exited(self) -> None:
        self.returncode = self._transport.get_returncode()
        self.exited.set()
        self._signal(signal.SIGKILL)  # what the child left behind in its group
        asyncio.get_running_loop().call_later(_EOF_AFTER_EXIT_SECONDS, self._send.close)

    def _deliver(self, line: bytes) -> None:
        if not self.overflowed:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # nobody listens any more
                self._send.send_nowait(line)

    def _overflow(self) -> None:
        self.overflowed = True
        self.kill()

    def _close_stdin(self) -> None:
        pipe = self._transport.get_pipe_transport(STDIN)
        if pipe is not None:
            pipe.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # the group is gone already
            os.killpg(self.pid, number)
