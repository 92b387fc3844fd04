"""The calls that a mock got, in the order of their arrival."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

KEPT = 1000
UNSEEN = frozenset({"authorization", "cookie"})  # headers that are not shown


@dataclass
class Call:
    """One request, noted before it is answered; `method`, `tool`, `arguments` are those of JSON-RPC, where it is one.

    `status` is null until the answer begins. `outcome`: open, answered, or left when the client did not wait for it.
    `rule`: whether the script said what to do.
    """

    number: int
    received_at: str
    token: str
    http_method: str
    path: str
    query: str
    headers: dict[str, str]
    method: str
    tool: str
    arguments: dict[str, Any] | None
    body: Any
    rule: bool = False
    status: int | None = None
    outcome: Literal["open", "answered", "left"] = "open"


class Calls:
    """The last KEPT calls; `number` counts on, so that a gap shows what was dropped."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=KEPT)
        self._next = 1

    def add(self, **seen: Any) -> Call:
        """Note a call that has just come."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        call = Call(number=self._next, received_at=moment, **seen)
        self._next += 1
        self._calls.append(call)
        return call

    def reset(self) -> None:
        """Forget them, and count from 1 again."""
        self._calls.clear()
        self._next = 1

    def document(self) -> list[dict[str, Any]]:
        """All that are kept, oldest first."""
        return [asdict(call) for call in self._calls]
