"""A client of the stack that keeps calling on its schedule, whatever becomes of its calls, and accounts for each.

One event loop in a thread of its own does it all, so that it takes little from what it measures.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from stepdown.bench import wire
from stepdown.errors import StepdownError, sentence

PER_SECOND = 50.0
DEADLINE_SECONDS = 10.0
LIST_EVERY = 10  # calls of a server: one of them asks for its list of tools
NAP_SECONDS = 0.05  # the longest sleep, so that an end is seen soon however slow the schedule
TWICE = "several answers: bytes after the answer"
MARK = re.compile(r"stepdown-call-[0-9a-f]{8}-\d+")


@dataclass(frozen=True)
class Call:
    """What is asked; `kind` is the word for it in records."""

    kind: str
    method: str
    params: Mapping[str, Any]


Maker = Callable[[int], Call]  # the n-th call to a server, from 0


@dataclass(frozen=True)
class Record:
    """How a call ended. `scheduled_at` is of time.monotonic(), and the latency counts from it.

    `outcome` is `ok`, or begins with http, rpc, tool, timeout, connection, wrong id, several answers or no answer.
    """

    server: str
    kind: str
    scheduled_at: float
    latency_seconds: float
    outcome: str

    @property
    def ok(self) -> bool:
        return self.outcome == wire.OK


@dataclass
class Load:
    """A load under way, or over. `records` are in the order of their ends; once it is over there are `sent` of them."""

    records: list[Record] = field(default_factory=list)
    sent: int = 0
    late_seconds: float = 0.0  # the most that a call was begun after its time: what the generator itself added
    cpu_seconds: float = 0.0  # its own; known once it is over
    wall_seconds: float = 0.0

    def failed(self) -> list[Record]:
        """Those that did not end well."""
        return [record for record in self.records if not record.ok]

    def between(self, begin: float, end: float) -> list[Record]:
        """Those whose time was from `begin` to before `end`, both of time.monotonic()."""
        return [record for record in self.records if begin <= record.scheduled_at < end]


@contextlib.contextmanager
def running(
    base: str,
    token: str,
    calls: Mapping[str, Maker],
    *,
    per_second: float = PER_SECOND,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Iterator[Load]:
    """Call the servers at `base` (http://HOST:PORT) in turns, `per_second` calls in all, until the end of the block.

    A call is written once at most, on a connection that was kept or a new one, and is given up `deadline_seconds`
    after its time. The end waits for the calls under way. All calls are of one client, which takes one place of a
    server with `isolation: token`. StepdownError where a call was not accounted for.
    """
    made = Load()
    client = _Client(base, token, calls, 1 / per_second, deadline_seconds, made)
    thread = threading.Thread(target=client.thread, name="openloop", daemon=True)
    thread.start()
    try:
        yield made
    finally:
        client.over.set()
        thread.join()
    if client.broke:
        raise client.broke
    if made.sent != len(made.records):
        wrong = f"{made.sent} calls were sent and {len(made.records)} have a record"
        raise StepdownError(sentence("open loop", wrong))


def cheap(probe: Mapping[str, Any], turn: int = 0) -> Maker:
    """A server's probe of the catalogue, and now and then its list of tools, first at the call of this `turn`."""
    listed = Call("list", "tools/list", {})
    probed = Call("probe", "tools/call", {"name": probe["tool"], "arguments": probe.get("arguments", {})})
    return lambda number: probed if (number - turn) % LIST_EVERY else listed


def cheap_calls(servers: Mapping[str, Mapping[str, Any]]) -> dict[str, Maker]:
    """`cheap` for each server of a plan's facts; no two list their tools one after the other."""
    return {name: cheap(facts["probe"], turn) for turn, (name, facts) in enumerate(servers.items())}


def chat(model: str) -> Maker:
    """zen's `chat`, which must not run twice: each call has a mark of its own in its prompt. See `arrivals`."""
    run = secrets.token_hex(4)

    def made(number: int) -> Call:
        prompt = f"Say nothing. stepdown-call-{run}-{number}"
        arguments = {"prompt": prompt, "model": model, "working_directory_absolute_path": "/tmp/zen"}
        return Call("chat", "tools/call", {"name": "chat", "arguments": arguments})

    return made


def arrivals(texts: Iterable[str]) -> Counter[str]:
    """How many of `texts`, requests that a model endpoint got, hold each mark of `chat`."""
    return Counter(mark for text in texts for mark in set(MARK.findall(text)))


class _Client:
    """The event loop's side: the schedule, the calls under way, and the connections that are free."""

    def __init__(
        self, base: str, token: str, calls: Mapping[str, Maker], period: float, deadline: float, load: Load
    ) -> None:
        parts = urlsplit(base)
        self.host, self.port = parts.hostname or "", parts.port or 80
        self.authority, self.token = parts.netloc, token
        self.calls, self.period, self.deadline, self.load = calls, period, deadline, load
        self.over = threading.Event()
        self.broke: BaseException | None = None
        # Free connections, and for each the place in `records` of the last call on it.
        self._free: list[tuple[wire.Connection, int]] = []

    def thread(self) -> None:
        began = time.monotonic()
        try:
            asyncio.run(self._all())
        except BaseException as error:  # told by the thread that waits for this one
            self.broke = error
        self.load.cpu_seconds, self.load.wall_seconds = time.thread_time(), time.monotonic() - began

    async def _all(self) -> None:
        began = time.monotonic()
        under_way: set[asyncio.Task[None]] = set()
        for number, server in enumerate(itertools.cycle(self.calls)):
            at = began + number * self.period
            while (left := at - time.monotonic()) > 0 and not self.over.is_set():
                await asyncio.sleep(min(left, NAP_SECONDS))
            if self.over.is_set():
                break
            self.load.sent += 1
            task = asyncio.create_task(self._one(server, number, at))
            under_way.add(task)
            task.add_done_callback(lambda ended: self._ended(under_way, ended))
            await asyncio.sleep(0)  # calls that are overdue must not hold up the answers
        await asyncio.gather(*under_way)
        for connection, last in self._free:
            connection.usable()  # looks for stray bytes
            self._let_go(connection, last)

    def _ended(self, under_way: set[asyncio.Task[None]], task: asyncio.Task[None]) -> None:
        under_way.discard(task)
        self.broke = self.broke or task.exception()

    async def _one(self, server: str, number: int, at: float) -> None:
        """One call to its end, which is a record in any case."""
        call = self.calls[server](number // len(self.calls))
        self.load.late_seconds = max(self.load.late_seconds, time.monotonic() - at)
        asked = wire.request(self.authority, server, self.token, number + 1, call.method, call.params)
        connection, answer = None, None
        try:
            async with asyncio.timeout_at(at + self.deadline):  # the loop's clock is time.monotonic()
                connection = await self._connection()
                answer = await connection.ask(asked)
            outcome = wire.judge(answer, number + 1)
        except TimeoutError:
            outcome = f"timeout: {self.deadline:g} s"
        except (OSError, ValueError) as error:
            outcome = f"connection: {error or type(error).__name__}"
        self.load.records.append(Record(server, call.kind, at, time.monotonic() - at, outcome))
        if connection and answer and not answer.last:
            self._free.append((connection, len(self.load.records) - 1))
        elif connection:
            self._let_go(connection, len(self.load.records) - 1)

    async def _connection(self) -> wire.Connection:
        """The one used last that can be written to, or a new one."""
        while self._free:
            connection, last = self._free.pop()
            if connection.usable():
                return connection
            self._let_go(connection, last)
        _, made = await asyncio.get_running_loop().create_connection(wire.Connection, self.host, self.port)
        return made

    def _let_go(self, connection: wire.Connection, last: int) -> None:
        """Close it. Where more came over it than was asked for, its last call had more than one answer."""
        connection.close()
        if connection.stray:
            self.load.records[last] = replace(
                self.load.records[last], outcome="several answers: bytes after the answer"
            )
