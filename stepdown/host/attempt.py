"""One switch under way: where it goes, what was there before it, and what it did so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stepdown.errors import CommandError, StepdownError
from stepdown.host import edge, engine, gateway
from stepdown.host.handshake import Handshake
from stepdown.host.target import Target

EMERGENCY = "emergency"
ROLLBACK = "rollback"


@dataclass(frozen=True)
class Outcome:
    """What a switch did. `seconds` run from intent to the moment when Envoy confirmed the new routes.

    In an emergency they end when the plan answers, and `gateway` says why its clients do not reach it; empty: they do.
    """

    changed: bool
    plan: str
    release: str
    seconds: float
    started: tuple[str, ...]
    stopped: tuple[str, ...]
    kept: tuple[str, ...]
    dropped: tuple[Mapping[str, str], ...] = ()  # what servers had in memory and lost: server, detail
    gateway: str = ""
    unready: Mapping[str, str] = field(default_factory=dict)  # servers that an emergency went on without, and why


@dataclass
class Attempt:
    """The facts that the steps of one switch share."""

    goal: Target
    kind: str
    why: str
    old: dict[str, Any]  # the state before, empty at first
    running: tuple[engine.Container, ...]
    begun: list[str]  # names of the containers that it starts
    dropped: tuple[Mapping[str, str], ...] = ()
    aside: list[str] = field(default_factory=list)  # ids of the containers that it stopped and may need again
    renewed: list[str] = field(default_factory=list)  # what of the edge it made anew
    routed: gateway.Files | None = None  # what Envoy had, once it is given more
    proofs: dict[str, Handshake] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    unready: dict[str, str] = field(default_factory=dict)  # servers that an emergency goes on without, and why
    lost: dict[str, str] = field(default_factory=dict)  # parts of the edge that an emergency does without, and why
    began: float = field(default_factory=time.monotonic)
    moved: bool = False  # the traffic: from then on it only goes forward
    closed: float | None = None  # when the port of what is set aside closed
    closed_seconds: float | None = None
    seconds: float | None = None  # as `Outcome` has them

    @property
    def moves(self) -> bool:
        """Whether it leads to another plan or release than before."""
        return (self.old.get("plan"), self.old.get("release")) != (self.goal.plan, self.goal.release.id)

    @property
    def urgent(self) -> bool:
        """Whether it goes on without an edge that does not follow."""
        return self.kind == EMERGENCY

    @property
    def words(self) -> dict[str, Any]:
        """What the journal says of it, in intent and outcome."""
        before = {"from": self.old.get("plan"), "from_release": self.old.get("release")}
        return {"kind": self.kind, "to": self.goal.plan, "release": self.goal.release.id, **before}

    def elapsed(self) -> float:
        """Seconds since it began."""
        return round(time.monotonic() - self.began, 3)

    def with_edge(self, name: str, act: Callable[[], object]) -> None:
        """Do what needs a part of the edge; an emergency notes a failure, and from then on does without that part."""
        if name in self.lost:
            return
        try:
            with edge.in_its_own_words(self.goal, name):
                act()
        except (StepdownError, OSError, ValueError) as error:
            if not self.urgent:
                raise
            self.lost[name] = first_line(error)

    def outcome(self) -> Outcome:
        """What it did, at its end."""
        kept = tuple(name for name in self.goal.facts["containers"] if name not in self.begun)
        return Outcome(
            changed=True,
            plan=self.goal.plan,
            release=self.goal.release.id,
            seconds=self.seconds or 0.0,
            started=tuple(self.begun),
            stopped=tuple(self.stopped),
            kept=kept,
            dropped=self.dropped,
            gateway=self.lost.get("gateway", ""),
            unready=self.unready,
        )


def first_line(error: BaseException) -> str:
    """An error for the journal; of a program that failed, the line in which it says why."""
    if isinstance(error, CommandError) and error.output:
        lines = error.output.splitlines()
        said = next((line for line in lines if "error" in line.lower()), lines[-1])
        return f"{' '.join(error.argv[:3])}: {said}"[:300]
    text = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
    return text.splitlines()[0][:300]
