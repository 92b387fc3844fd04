"""Proof that a plan's servers work: a real handshake of each, waited for as long as the server may take to start."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from stepdown.errors import StepdownError, sentence
from stepdown.host import engine, tokens
from stepdown.host.handshake import Handshake, HandshakeError, handshake
from stepdown.host.target import Target
from stepdown.shared import CONTAINER_PORT

POLL_SECONDS = 0.05
STATE_EVERY_SECONDS = 1.0


def prove_all(goal: Target, patience_seconds: float | None = None) -> dict[str, Handshake]:
    """A handshake of every server of the plan, side by side; waits up to each one's own start time."""
    return prove(goal, tuple(goal.facts["servers"]), patience_seconds)


def prove(goal: Target, names: Sequence[str], patience_seconds: float | None = None) -> dict[str, Handshake]:
    """`prove_all` of these servers of the plan alone."""
    token = tokens.read(goal.home.agent_token)
    addresses = goal.release.addresses(goal.instance, goal.plan)
    servers = goal.facts["servers"]
    given_up = threading.Event()

    def wait_for(name: str) -> Handshake:
        facts = servers[name]
        patience = facts["start_seconds"] if patience_seconds is None else patience_seconds
        deadline = time.monotonic() + patience
        look_at = time.monotonic() + STATE_EVERY_SECONDS
        while True:
            try:
                return handshake(addresses[facts["container"]], CONTAINER_PORT, name, token, facts["probe"])
            except HandshakeError as error:
                if time.monotonic() > deadline:
                    raise _not_proved(goal, facts["container"], f"{error}; waited {patience:g} s") from error
            if time.monotonic() > look_at:
                look_at = time.monotonic() + STATE_EVERY_SECONDS
                _require_running(goal, facts["container"])
            # a server that starts cannot announce itself to the host, so it is asked again and again
            if given_up.wait(POLL_SECONDS):
                raise HandshakeError(f"server {name}: given up")

    with ThreadPoolExecutor(max_workers=len(names)) as pool:
        try:
            return dict(zip(names, pool.map(wait_for, names), strict=True))
        finally:
            given_up.set()


def _require_running(goal: Target, name: str) -> None:
    mine = [c for c in engine.containers(goal.instance.name) if c.release == goal.release.id and c.name == name]
    if not mine or not mine[0].running:
        raise _not_proved(goal, name, f"container {name} does not stay up")


def _not_proved(goal: Target, name: str, what: str) -> StepdownError:
    mine = [c for c in engine.containers(goal.instance.name) if c.release == goal.release.id and c.name == name]
    words = engine.last_words(mine[0].id) if mine else "the container is gone"
    return StepdownError(sentence(f"plan {goal.plan}", f"{what}. {name} is {words}"))


def unproved(goal: Target) -> list[str]:
    """Containers of the plan with a server that gives no handshake now."""
    token = tokens.read(goal.home.agent_token)
    addresses = goal.release.addresses(goal.instance, goal.plan)
    found = []
    for name, facts in goal.facts["servers"].items():
        try:
            handshake(addresses[facts["container"]], CONTAINER_PORT, name, token, facts["probe"])
        except HandshakeError:
            found.append(facts["container"])
    return list(dict.fromkeys(found))
