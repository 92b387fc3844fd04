"""Proof that a plan's servers work: a real handshake of each, waited for as long as the server may take to start."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

from stepdown.errors import sentence
from stepdown.host import engine, tokens
from stepdown.host.fault import FaultyError
from stepdown.host.handshake import Handshake, HandshakeError, handshake
from stepdown.host.target import Target
from stepdown.shared import CONTAINER_PORT

POLL_SECONDS = 0.05
STATE_EVERY_SECONDS = 1.0


def prove_all(goal: Target, patience_seconds: float | None = None) -> dict[str, Handshake]:
    """A handshake of every server of the plan, side by side; waits up to each one's own start time."""
    return prove(goal, tuple(goal.facts["servers"]), patience_seconds)


def prove_each(goal: Target) -> tuple[dict[str, Handshake], dict[str, str]]:
    """The handshakes of the servers that answer in time, and why the others do not; FaultyError where none does."""
    ended = _ask(goal, tuple(goal.facts["servers"]), None, ALL_COMPLETED)
    errors = {name: error for name, future in ended.items() if (error := future.exception())}
    unexpected = [error for error in errors.values() if not isinstance(error, FaultyError)]
    if unexpected or len(errors) == len(ended):
        raise next(iter([*unexpected, *errors.values()]))
    proofs = {name: future.result() for name, future in ended.items() if name not in errors}
    return proofs, {name: str(error).splitlines()[0] for name, error in errors.items()}


def prove(goal: Target, names: Sequence[str], patience_seconds: float | None = None) -> dict[str, Handshake]:
    """`prove_all` of these servers of the plan alone."""
    ended = _ask(goal, names, patience_seconds, FIRST_EXCEPTION)
    errors = [error for future in ended.values() if (error := future.exception())]
    if errors:  # the one that made the others give up comes first
        raise next((error for error in errors if isinstance(error, FaultyError)), errors[0])
    return {name: future.result() for name, future in ended.items()}


def _ask(
    goal: Target, names: Sequence[str], patience_seconds: float | None, until: str
) -> dict[str, Future[Handshake]]:
    """Ask servers side by side, until all or the first that fails has ended; every future is done at the return."""
    token = tokens.read(goal.home.agent_token)
    addresses = goal.release.addresses(goal.instance, goal.plan)
    servers = goal.facts["servers"]
    given_up, down = threading.Event(), set[str]()

    def wait_for(name: str) -> Handshake:
        facts = servers[name]
        patience = facts["start_seconds"] if patience_seconds is None else patience_seconds
        deadline = time.monotonic() + patience
        while True:
            try:
                return handshake(addresses[facts["container"]], CONTAINER_PORT, name, token, facts["probe"])
            except HandshakeError as error:
                if time.monotonic() > deadline:
                    raise _not_proved(goal, facts["container"], f"{error}; waited {patience:g} s") from error
            if facts["container"] in down:
                raise _not_proved(goal, facts["container"], f"container {facts['container']} does not stay up")
            # a server that starts cannot announce itself to the host, so it is asked again and again
            if given_up.wait(POLL_SECONDS):
                raise HandshakeError(f"server {name}: given up")

    wanted = {servers[name]["container"] for name in names}
    with ThreadPoolExecutor(max_workers=len(names)) as pool:
        asked = {name: pool.submit(wait_for, name) for name in names}
        try:
            while True:
                done, waiting = wait(asked.values(), STATE_EVERY_SECONDS, until)
                if not waiting or (until == FIRST_EXCEPTION and any(future.exception() for future in done)):
                    return asked
                down |= wanted - _running(goal)  # one look for all, since each costs the CPUs that they start on
        finally:
            given_up.set()


def _running(goal: Target) -> set[str]:
    there = engine.containers(goal.instance.name)
    return {c.name for c in there if c.release == goal.release.id and c.running}


def _not_proved(goal: Target, name: str, what: str) -> FaultyError:
    mine = [c for c in engine.containers(goal.instance.name) if c.release == goal.release.id and c.name == name]
    words = engine.last_words(mine[0].id) if mine else "gone"
    return FaultyError(sentence(f"plan {goal.plan}", f"{what}. {name} is {words}"))


def prove_door(goal: Target, name: str) -> None:
    """A handshake of one server on the direct port of a plan that has one, where clients without a gateway knock."""
    if goal.facts["direct_port"]:
        facts = goal.facts["servers"][name]
        try:
            handshake("127.0.0.1", goal.instance.direct_port, name, tokens.read(goal.home.agent_token), facts["probe"])
        except HandshakeError as error:
            raise _not_proved(goal, facts["container"], f"127.0.0.1:{goal.instance.direct_port}: {error}") from error


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
