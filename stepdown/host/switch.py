"""The switch: from whatever runs to one whole plan of one release, the old serving until the new is proved."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stepdown import commands
from stepdown.errors import ChangedError, StepdownError, sentence
from stepdown.host import allowance, edge, egress, engine, gateway, journal, preflight, tokens
from stepdown.host.handshake import Handshake
from stepdown.host.home import Home, read_json
from stepdown.host.instance import load_instance
from stepdown.host.proof import prove_all, unproved
from stepdown.host.release import load, point_current, prune, refresh_env, staged
from stepdown.host.target import Target, target
from stepdown.run import run
from stepdown.shared import EDGE_FOLDERS, GRACE_SECONDS

POLL_SECONDS = 0.05
KEPT_RELEASES = 3


@dataclass(frozen=True)
class Outcome:
    """What a switch did. `seconds` run from intent to the moment when Envoy confirmed the new routes."""

    changed: bool
    plan: str
    release: str
    seconds: float
    started: tuple[str, ...]
    stopped: tuple[str, ...]
    kept: tuple[str, ...]


def read_state(home: Home) -> dict[str, Any] | None:
    """`state.json`, or None before the first switch."""
    return dict(read_json(home.state)) if home.state.is_file() else None


def pending(goal: Target) -> dict[str, list[str]]:
    """What a switch to `goal` would start, stop and keep, by name; changes nothing."""
    running = engine.containers(goal.instance.name)
    wanted = set(goal.facts["containers"])
    there = {c.name for c in running if c.release == goal.release.id and c.running}
    others = {c.name for c in running if c.release and not (c.release == goal.release.id and c.name in wanted)}
    return {"start": sorted(wanted - there), "stop": sorted(others), "keep": sorted(wanted & there)}


def switch(goal: Target, *, why: str, kind: str = "switch") -> Outcome:
    """Bring the host to `goal`. Raises StepdownError with the old plan serving, or ChangedError once traffic moved."""
    running = engine.containers(goal.instance.name)
    _prepare(goal)
    if settled(goal, running):
        return Outcome(False, goal.plan, goal.release.id, 0.0, (), (), tuple(goal.facts["containers"]))
    found = preflight.problems(goal.home, preflight.of_staged(goal.instance, goal.release, goal.plan))
    if found:
        raise StepdownError(f"plan {goal.plan}: {preflight.listed(found)}")
    old = read_state(goal.home) or {}
    started = time.monotonic()
    words = {"to": goal.plan, "release": goal.release.id, "from": old.get("plan"), "from_release": old.get("release")}
    journal.append(goal.home.journal, "intent", kind=kind, by=journal.caller(), why=why, **words)
    begun, stale = _missing(goal, running), edge.differing(goal, running)
    try:
        with _uninterrupted():
            if "egress" in stale:
                edge.renew(goal, "egress")
            _permit(goal, running, _wanted(goal))  # before they start: a server may call out at once
        _start(goal, running, begun)
        proofs = _prove(goal, begun, current=(old.get("plan"), old.get("release")) == (goal.plan, goal.release.id))
    except BaseException as error:
        _give_up(goal, old, begun, error, kind, words)
        raise
    with _uninterrupted():  # from here on a signal waits: the gateway is changed as a whole, or not at all
        try:
            if "gateway" in stale:
                edge.renew(goal, "gateway")
            move(goal, goal.configuration(), goal.version)
        except BaseException as error:
            _give_up(goal, old, begun, error, kind, words)
            raise
        seconds = round(time.monotonic() - started, 3)
        try:
            return _finish(goal, old, running, begun, proofs, seconds, why, kind, words)
        except (StepdownError, OSError) as error:
            wrong = f"has the traffic, but what follows failed: {error}"
            raise ChangedError(sentence(f"plan {goal.plan}", wrong, run="stepdown.pyz converge")) from error


def _give_up(
    goal: Target, old: dict[str, Any], begun: list[str], error: BaseException, kind: str, words: dict[str, Any]
) -> None:
    """Put the edge back, then take away what this switch started; the old plan still has the traffic."""
    with _uninterrupted():
        edge.restore(goal.home, old)
        ids = [c.id for c in engine.containers(goal.instance.name) if c.release == goal.release.id and c.name in begun]
        engine.stop_and_remove(ids, GRACE_SECONDS)
        with contextlib.suppress(StepdownError):  # what is too much lets nobody out: those containers are gone
            _permit(goal, engine.containers(goal.instance.name), set())
    journal.append(goal.home.journal, "outcome", kind=kind, ok=False, error=_one_line(error), **words)


def _prove(goal: Target, begun: list[str], *, current: bool) -> dict[str, Handshake]:
    """Every server's proof. On the plan that the host is on, a container that runs and does not answer is made anew."""
    try:
        return prove_all(goal)
    except StepdownError:
        hung = [name for name in unproved(goal) if name not in begun] if current else []
        if not hung:
            raise
        begun += hung
        _start(goal, engine.containers(goal.instance.name), hung)
        return prove_all(goal)


def move(goal: Target, configuration: gateway.Configuration, version: str) -> None:
    """Move the traffic; a refusal is told in Envoy's own words."""
    with edge.in_its_own_words(goal, "gateway"):
        gateway.activate(goal.home, configuration, version, gateway.clusters_on_disk(goal.home))


def _permit(goal: Target, there: tuple[engine.Container, ...], more: set[tuple[str, str]]) -> None:
    """Let those that are `there`, and `more` by release and name, reach what they may; nobody else anything."""
    containers = {(c.release, c.name) for c in there if c.release} | more
    with edge.in_its_own_words(goal, "egress"):
        egress.enforce(goal.home, egress.rules(allowance.of_containers(goal.home, goal.instance, containers)))


def _wanted(goal: Target) -> set[tuple[str, str]]:
    return {(goal.release.id, name) for name in goal.facts["containers"]}


def _finish(
    goal: Target,
    old: dict[str, Any],
    running: tuple[engine.Container, ...],
    begun: list[str],
    proofs: dict[str, Handshake],
    seconds: float,
    why: str,
    kind: str,
    words: dict[str, Any],
) -> Outcome:
    moved = (old.get("plan"), old.get("release")) != (goal.plan, goal.release.id)
    since = journal.now() if moved else old["since"]
    _write_plan(goal, since)
    point_current(goal.home, goal.release)
    stopped = _retire(goal, running)
    _permit(goal, (), _wanted(goal))
    last = (
        {"from": old.get("plan"), "to": goal.plan, "seconds": seconds, "ok": True} if moved else old.get("last_switch")
    )
    state = {"plan": goal.plan, "release": goal.release.id, "since": since, "by": journal.caller(), "why": why}
    hashes = {name: proof.schema_hash for name, proof in proofs.items()}
    goal.home.write_json(goal.home.state, {**state, "last_switch": last, "schema_hashes": hashes})
    done = {"seconds": seconds, "started": begun, "stopped": stopped}
    journal.append(goal.home.journal, "outcome", kind=kind, ok=True, **words, **done)
    prune(goal.home, _kept_releases(goal.home), engine.remove_images)
    kept = tuple(name for name in goal.facts["containers"] if name not in begun)
    return Outcome(True, goal.plan, goal.release.id, seconds, tuple(begun), tuple(stopped), kept)


def _kept_releases(home: Home) -> list[str]:
    """The releases that last served, newest first; older ones need not stay on the host."""
    outcomes = [entry for entry in journal.read(home.journal).entries if entry["event"] == "outcome"]
    served = [entry["release"] for entry in reversed(outcomes) if entry["ok"] and entry.get("to")]
    return list(dict.fromkeys(served))[:KEPT_RELEASES]


def converge(home: Home, *, why: str) -> tuple[Outcome | None, str]:
    """End in one whole plan after a crash: the new one if its routes were in force, else the old; None when neither.

    An interrupted `down` is finished. Returns the outcome and why that plan was chosen.
    """
    state = read_state(home)
    intent = journal.unfinished(journal.read(home.journal).entries)
    if intent and intent["kind"] == "down":
        take_down(home, load_instance(home).name)
        return None, "an unfinished down was finished: nothing runs"
    if intent and gateway.serving(home) == gateway.version(intent["release"], intent["to"]):
        chosen, reason = (
            (intent["release"], intent["to"]),
            "an unfinished switch had its routes in force: going forward",
        )
    elif state:
        chosen = (state["release"], state["plan"])
        reason = (
            "an unfinished switch had not moved the traffic: going back" if intent else "as the last switch left it"
        )
    else:
        instance = load_instance(home)
        ids = [container.id for container in engine.containers(instance.name) if container.release]
        engine.stop_and_remove(ids, GRACE_SECONDS)
        return None, "no switch was ever completed here: nothing runs"
    outcome = switch(target(home, load(home, chosen[0]), chosen[1]), why=why, kind="converge")
    if intent and not outcome.changed:  # all was done but the record of it
        words = {"to": chosen[1], "release": chosen[0]}
        journal.append(home.journal, "outcome", kind="converge", ok=True, **words)
    return outcome, reason


def _prepare(goal: Target) -> None:
    home = goal.home
    tokens.ensure(home)
    refresh_env(home, goal.instance, goal.release)
    for container in goal.facts["containers"].values():
        for server in container["secrets"]:
            home.make_directory(home.secrets / "servers" / server, 0o700)
        for server in container["data"]:
            home.make_directory(home.data / server, 0o700)
    if goal.instance.workspace == str(home.data / "workspace"):
        home.make_directory(home.data / "workspace", 0o755)
    gateway.write_idle(home, read_json(goal.release.path / "edge" / "idle.json"))
    egress.write_idle(home)
    if not (home.plan_directory / "plan.json").exists():
        _write_plan(goal, journal.now())


def settled(goal: Target, running: tuple[engine.Container, ...]) -> bool:
    """Whether the host is on `goal` already, every server of it answering; changes nothing."""
    state = read_state(goal.home)
    if not state or (state["plan"], state["release"]) != (goal.plan, goal.release.id):
        return False
    plan = pending(goal)
    if plan["start"] or plan["stop"] or edge.differing(goal, running):
        return False
    try:
        if gateway.routes_version(goal.home) != goal.version:
            return False
        allowed = allowance.of_containers(goal.home, goal.instance, _wanted(goal))
        if not egress.in_force(goal.home, egress.rules(allowed)):
            return False
        prove_all(goal, patience_seconds=0)
    except StepdownError:
        return False
    return True


def _missing(goal: Target, running: tuple[engine.Container, ...]) -> list[str]:
    there = {c.name for c in running if c.release == goal.release.id and c.running}
    return [name for name in goal.facts["containers"] if name not in there]


def _start(goal: Target, running: tuple[engine.Container, ...], missing: list[str]) -> None:
    if missing:
        # a stopped remnant would be started with its old addresses and files: make it anew
        remnants = [c.id for c in running if c.release == goal.release.id and c.name in missing]
        engine.stop_and_remove(remnants, 0)
        engine.up(goal.home, goal.release.env_file, goal.release.compose_file(goal.plan), missing)


def _retire(goal: Target, running: tuple[engine.Container, ...]) -> list[str]:
    """Drain and stop what the plan does not want, then let Envoy forget it."""
    wanted = goal.configuration()
    old = [c for c in running if c.release and f"{c.release}.{c.name}" not in wanted.endpoints]
    clusters = {f"{c.release}.{c.name}" for c in old}
    deadline = time.monotonic() + max((_patience(goal.home, c) for c in old), default=0)
    while clusters and gateway.active_requests(goal.home, clusters) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)  # Envoy tells its active requests only when asked
    engine.stop_and_remove([container.id for container in old], GRACE_SECONDS)
    gateway.forget_others(goal.home, wanted, goal.version)
    return sorted({container.name for container in old})


def _patience(home: Home, container: engine.Container) -> float:
    """Seconds that the longest call of a container may take; 0 when its release is gone."""
    if container.release not in staged(home):
        return 0
    release = load(home, container.release)
    servers = (facts for plan in release.plans for facts in release.facts(plan)["servers"].values())
    return max((facts["call_seconds"] for facts in servers if facts["container"] == container.name), default=0)


def _write_plan(goal: Target, since: str) -> None:
    """What containers tell about servers that the plan has lost."""
    facts = {"plan": goal.plan, "since": since, "lost": goal.facts["lost"]}
    goal.home.write_json(goal.home.plan_directory / "plan.json", facts)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """INT, TERM and HUP wait, and are dropped at the end: what was begun is finished and told by its own outcome."""
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        while signal.sigtimedwait(signals - previous, 0):
            pass  # one by one, until none is pending
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _one_line(error: BaseException) -> str:
    text = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
    return text.splitlines()[0][:300]


def take_down(home: Home, instance: str) -> list[str]:
    """Stop and remove every container and network of the instance named; returns the containers' names."""
    journaled = home.journal.is_file()  # not where <home> was lost, or nothing was ever deployed
    if journaled:
        journal.append(home.journal, "intent", kind="down", by=journal.caller(), why="down", release="", to="")
    found = engine.containers(instance)
    engine.stop_and_remove([container.id for container in found], GRACE_SECONDS)
    networks = run(commands.networks_of(engine.CLIENT, instance)).stdout.split()
    try:
        if networks:
            run((engine.CLIENT, "network", "rm", *networks))
    except StepdownError as error:
        wrong = f"containers are gone, a network is not: {error}"
        raise ChangedError(sentence("down", wrong, run="stepdown.pyz down")) from error
    home.state.unlink(missing_ok=True)
    for name in EDGE_FOLDERS:
        if home.envoy_config(name).is_dir():
            shutil.rmtree(home.envoy_config(name))
    if journaled:
        journal.append(home.journal, "outcome", kind="down", ok=True)
    return sorted(container.name for container in found)
