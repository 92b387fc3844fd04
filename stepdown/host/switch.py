"""The switch: from whatever runs to one whole plan of one release, the old serving until the new is proved."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from stepdown import commands
from stepdown.errors import ChangedError, StepdownError, sentence
from stepdown.host import engine, gateway, journal, preflight, tokens
from stepdown.host.handshake import Handshake, HandshakeError, handshake
from stepdown.host.home import Home, read_json
from stepdown.host.release import CONTAINER_PORT, Instance, Release, load_instance, point_current
from stepdown.run import run

DRAIN_SECONDS = 30.0
GRACE_SECONDS = 10
POLL_SECONDS = 0.05
STATE_EVERY_SECONDS = 1.0


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


@dataclass(frozen=True)
class Target:
    """Where a switch goes, and all that follows from it."""

    home: Home
    instance: Instance
    release: Release
    plan: str

    @property
    def version(self) -> str:
        return gateway.version(self.release.id, self.plan)

    @property
    def facts(self) -> dict[str, Any]:
        return self.release.facts(self.plan)

    def configuration(self) -> gateway.Configuration:
        """Envoy's files for this target."""
        addresses = self.release.addresses(self.instance, self.plan)
        return gateway.configuration(self.release.gateway(self.plan), self.release.id, addresses, CONTAINER_PORT)


def read_state(home: Home) -> dict[str, Any] | None:
    """`state.json`, or None before the first switch."""
    return dict(read_json(home.state)) if home.state.is_file() else None


def target(home: Home, release: Release, plan: str) -> Target:
    """A target on this host's instance."""
    return Target(home, load_instance(home), release, plan)


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
    if _settled(goal, running):
        return Outcome(False, goal.plan, goal.release.id, 0.0, (), (), tuple(goal.facts["containers"]))
    found = preflight.problems(goal.home, goal.instance, goal.release, goal.plan, running)
    if found:
        raise StepdownError(
            f"plan {goal.plan}: {len(found)} problem(s) before any change:\n  - " + "\n  - ".join(found)
        )
    old = read_state(goal.home) or {}
    started = time.monotonic()
    words = {"to": goal.plan, "release": goal.release.id, "from": old.get("plan"), "from_release": old.get("release")}
    journal.append(goal.home.journal, "intent", kind=kind, by=journal.caller(), why=why, **words)
    begun: list[str] = []
    try:
        _edge(goal, running)
        begun = _start(goal, running)
        proofs = _prove(goal)
        move(goal, goal.configuration(), goal.version)
    except BaseException as error:
        _undo(goal, begun)
        journal.append(goal.home.journal, "outcome", kind=kind, ok=False, error=_one_line(error), **words)
        raise
    with _uninterrupted():
        seconds = round(time.monotonic() - started, 3)
        return _finish(goal, old, running, begun, proofs, seconds, why, kind, words)


def move(goal: Target, configuration: gateway.Configuration, version: str) -> None:
    """Move the traffic; a refusal is told in Envoy's own words."""
    try:
        gateway.activate(goal.home, configuration, version, gateway.clusters_on_disk(goal.home))
    except gateway.RefusedError as error:
        found = [c for c in engine.containers(goal.instance.name) if c.name == "gateway"]
        lines = engine.last_words(found[0].id).splitlines() if found else []
        said = [line for line in lines if "rejected" in line]
        raise StepdownError(f"{error}. {said[-1] if said else ''}") from error


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
    last = (
        {"from": old.get("plan"), "to": goal.plan, "seconds": seconds, "ok": True} if moved else old.get("last_switch")
    )
    state = {"plan": goal.plan, "release": goal.release.id, "since": since, "by": journal.caller(), "why": why}
    hashes = {name: proof.schema_hash for name, proof in proofs.items()}
    goal.home.write_json(goal.home.state, {**state, "last_switch": last, "schema_hashes": hashes})
    done = {"seconds": seconds, "started": begun, "stopped": stopped}
    journal.append(goal.home.journal, "outcome", kind=kind, ok=True, **words, **done)
    kept = tuple(name for name in goal.facts["containers"] if name not in begun)
    return Outcome(True, goal.plan, goal.release.id, seconds, tuple(begun), tuple(stopped), kept)


def converge(home: Home, load_release: Any, *, why: str) -> tuple[Outcome | None, str]:
    """End in one whole plan after a crash: the new one if its routes were in force, else the old; None when neither.

    Returns the outcome and why that plan was chosen.
    """
    state = read_state(home)
    intent = journal.unfinished(journal.read(home.journal).entries)
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
    return switch(target(home, load_release(home, chosen[0]), chosen[1]), why=why, kind="converge"), reason


def _prepare(goal: Target) -> None:
    home = goal.home
    tokens.ensure(home)
    for container in goal.facts["containers"].values():
        for server in container["secrets"]:
            home.make_directory(home.secrets / "servers" / server, 0o700)
        for server in container["data"]:
            home.make_directory(home.data / server, 0o700)
    if goal.instance.workspace == str(home.data / "workspace"):
        home.make_directory(home.data / "workspace", 0o755)
    gateway.write_idle(home, read_json(goal.release.path / "edge" / "idle.json"))
    if not (home.plan_directory / "plan.json").exists():
        _write_plan(goal, journal.now())


def _settled(goal: Target, running: tuple[engine.Container, ...]) -> bool:
    state = read_state(goal.home)
    if not state or (state["plan"], state["release"]) != (goal.plan, goal.release.id):
        return False
    plan = pending(goal)
    if plan["start"] or plan["stop"] or _edge_differs(goal, running):
        return False
    try:
        if gateway.routes_version(goal.home) != goal.version:
            return False
        _prove(goal, patience_seconds=0)
    except StepdownError:
        return False
    return True


def _edge_differs(goal: Target, running: tuple[engine.Container, ...]) -> bool:
    found = [c for c in running if c.name == "gateway" and c.running]
    if not found or found[0].image != goal.release.images["gateway"]["reference"]:
        return True
    if f"127.0.0.1:{goal.instance.port}->" not in found[0].ports:
        return True
    source, target_folder = goal.release.path / "edge", goal.home.edge
    names = ("compose.yml", "gateway/bootstrap.json")
    return any(
        not (target_folder / n).is_file() or (target_folder / n).read_bytes() != (source / n).read_bytes()
        for n in names
    )


def _edge(goal: Target, running: tuple[engine.Container, ...]) -> None:
    """The gateway as this release has it; Envoy checks a new start-up configuration before it replaces anything."""
    if not _edge_differs(goal, running):
        return
    source, home = goal.release.path / "edge", goal.home
    uid, gid = home.owner()
    mounts = (
        "--volume",
        f"{source / 'gateway'}:/etc/envoy:ro",
        "--volume",
        f"{home.gateway_config}:{gateway.CONFIG_DIRECTORY}:ro",
    )
    check = ("/usr/local/bin/envoy", "--mode", "validate", "--config-path", "/etc/envoy/bootstrap.json")
    image = goal.release.images["gateway"]["reference"]
    run((engine.CLIENT, "run", "--rm", "--network", "none", "--user", f"{uid}:{gid}", *mounts, image, *check))
    for name in ("compose.yml", "gateway/bootstrap.json"):
        home.write(home.edge / name, (source / name).read_text(encoding="utf-8"))
    home.admin_socket.unlink(missing_ok=True)
    engine.up_edge(home, goal.release.env_file)
    deadline = time.monotonic() + gateway.CONFIRM_SECONDS
    while True:
        try:
            gateway.routes_version(home)
            return
        except StepdownError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)  # Envoy makes its admin socket when it is up, and tells nobody


def _start(goal: Target, running: tuple[engine.Container, ...]) -> list[str]:
    there = {c.name for c in running if c.release == goal.release.id and c.running}
    missing = [name for name in goal.facts["containers"] if name not in there]
    if missing:
        # a stopped remnant would be started with its old addresses and files: make it anew
        remnants = [c.id for c in running if c.release == goal.release.id and c.name in missing]
        engine.stop_and_remove(remnants, 0)
        engine.up(goal.home, goal.release.env_file, goal.release.compose_file(goal.plan), missing)
    return missing


def _prove(goal: Target, patience_seconds: float | None = None) -> dict[str, Handshake]:
    """A handshake of every server of the plan, side by side; waits up to each one's own start time."""
    token = tokens.read(goal.home.agent_token)
    addresses = goal.release.addresses(goal.instance, goal.plan)
    servers = goal.facts["servers"]
    given_up = threading.Event()

    def prove(name: str) -> Handshake:
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

    with ThreadPoolExecutor(max_workers=len(servers)) as pool:
        try:
            return dict(zip(servers, pool.map(prove, servers), strict=True))
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


def _undo(goal: Target, begun: list[str]) -> None:
    """Take away what this switch started; the old plan still has the traffic."""
    with _uninterrupted():
        ids = [c.id for c in engine.containers(goal.instance.name) if c.release == goal.release.id and c.name in begun]
        engine.stop_and_remove(ids, 0)


def _retire(goal: Target, running: tuple[engine.Container, ...]) -> list[str]:
    """Drain and stop what the plan does not want, then let Envoy forget it."""
    wanted = goal.configuration()
    old = [c for c in running if c.release and f"{c.release}.{c.name}" not in wanted.endpoints]
    clusters = {f"{c.release}.{c.name}" for c in old}
    deadline = time.monotonic() + DRAIN_SECONDS
    while clusters and gateway.active_requests(goal.home, clusters) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)  # Envoy tells its active requests only when asked
    try:
        engine.stop_and_remove([container.id for container in old], GRACE_SECONDS)
    except StepdownError as error:
        undo = "stepdown.pyz converge"
        raise ChangedError(
            sentence(f"plan {goal.plan}", f"serves, but the old did not stop: {error}", run=undo)
        ) from error
    gateway.forget_others(goal.home, wanted, goal.version)
    return sorted({container.name for container in old})


def _write_plan(goal: Target, since: str) -> None:
    """What containers tell about servers that the plan has lost."""
    facts = {"plan": goal.plan, "since": since, "lost": goal.facts["lost"]}
    goal.home.write_json(goal.home.plan_directory / "plan.json", facts)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Between the moved traffic and the record of it, INT and TERM wait."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _one_line(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text.splitlines()[0][:300]


def take_down(home: Home, instance: Instance) -> list[str]:
    """Stop and remove every container and network of the instance; returns the containers' names."""
    journal.append(home.journal, "intent", kind="down", by=journal.caller(), why="down", release="", to="")
    found = engine.containers(instance.name)
    engine.stop_and_remove([container.id for container in found], GRACE_SECONDS)
    networks = run(commands.networks_of(engine.CLIENT, instance.name)).stdout.split()
    if networks:
        run((engine.CLIENT, "network", "rm", *networks))
    home.state.unlink(missing_ok=True)
    shutil.rmtree(home.gateway_config, ignore_errors=True)
    journal.append(home.journal, "outcome", kind="down", ok=True)
    return sorted(container.name for container in found)
