"""The switch: from whatever runs to one whole plan of one release, the old serving until the new is proved."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from stepdown import commands
from stepdown.errors import ChangedError, StepdownError, sentence
from stepdown.host import allowance, edge, egress, engine, gateway, journal, preflight, standby, tokens
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


@dataclass
class Attempt:
    """One switch under way: where it goes, what was there before it, and what it did so far."""

    goal: Target
    kind: str
    why: str
    old: dict[str, Any]  # the state before, empty at first
    running: tuple[engine.Container, ...]
    begun: list[str]  # names of the containers that it starts
    aside: list[str] = field(default_factory=list)  # ids of the containers that it stopped and may need again
    renewed: list[str] = field(default_factory=list)  # what of the edge it made anew
    began: float = field(default_factory=time.monotonic)
    closed: float = 0.0  # when the port of what is set aside closed

    @property
    def moves(self) -> bool:
        """Whether it leads to another plan or release than before."""
        return (self.old.get("plan"), self.old.get("release")) != (self.goal.plan, self.goal.release.id)

    @property
    def words(self) -> dict[str, Any]:
        """What the journal says of it, in intent and outcome."""
        before = {"from": self.old.get("plan"), "from_release": self.old.get("release")}
        return {"to": self.goal.plan, "release": self.goal.release.id, **before}

    def seconds(self) -> float:
        """Since it began."""
        return round(time.monotonic() - self.began, 3)

    def renew(self, name: str, stale: tuple[str, ...]) -> None:
        """Make a container of the edge as the release has it, where it is not."""
        if name in stale:
            self.renewed.append(name)
            edge.renew(self.goal, name)

    def clear_the_port(self) -> None:
        """Two containers cannot publish one port: an old one ends first, and it is closed until the new is up."""
        goal, port = self.goal, self.goal.instance.direct_port
        if goal.facts["direct_port"]:
            others = [c for c in self.running if c.release not in ("", goal.release.id)]
            self.aside += [c.id for c in others if c.holds(port)]
        if self.aside:
            print(f"plan {goal.plan}: 127.0.0.1:{port} closes until release {goal.release.id} is up", file=sys.stderr)
            self.closed = time.monotonic()
            engine.set_aside(self.aside, GRACE_SECONDS)


def read_state(home: Home) -> dict[str, Any] | None:
    """`state.json`, or None before the first switch."""
    return dict(read_json(home.state)) if home.state.is_file() else None


def pending(goal: Target) -> dict[str, list[str]]:
    """What a switch to `goal` would start, stop and keep, by name; changes nothing."""
    running = engine.containers(goal.instance.name)
    wanted = set(goal.facts["containers"])
    there = {c.name for c in running if c.release == goal.release.id and c.running}
    others = {c.name for c in _unwanted(goal, running)}
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
    attempt = Attempt(goal, kind, why, read_state(goal.home) or {}, running, _missing(goal, running))
    stale = edge.differing(goal, running)
    journal.append(goal.home.journal, "intent", kind=kind, by=journal.caller(), why=why, **attempt.words)
    try:
        with _uninterrupted():
            attempt.renew("egress", stale)
            _permit(goal, running, _wanted(goal))  # before they start: a server may call out at once
        attempt.clear_the_port()
        _start(goal, running, attempt.begun)
        proofs = _prove(attempt)
    except BaseException as error:
        _give_up(attempt, error)
        raise
    with _uninterrupted():  # from here on a signal waits: the gateway is changed as a whole, or not at all
        try:
            attempt.renew("gateway", stale)
            move(goal, goal.configuration(), goal.version)
        except BaseException as error:
            _give_up(attempt, error)
            raise
        try:
            return _finish(attempt, proofs)
        except (StepdownError, OSError) as error:
            wrong = f"has the traffic, but what follows failed: {error}"
            raise ChangedError(sentence(f"plan {goal.plan}", wrong, run="stepdown.pyz converge")) from error


def _give_up(attempt: Attempt, error: BaseException) -> None:
    """Take away what was started, and put what was set aside and the edge back; the old plan has the traffic.

    Each step is tried whatever becomes of the others. ChangedError where one failed.
    """
    goal = attempt.goal
    steps: tuple[Callable[[], None], ...] = (
        lambda: _end_begun(attempt),
        lambda: engine.bring_back(attempt.aside),
        lambda: edge.restore(goal.home, attempt.old, attempt.renewed),
        lambda: _permit(goal, engine.containers(goal.instance.name), set()),
    )
    failed = []
    with _uninterrupted():
        for step in steps:
            try:
                step()
            except StepdownError as stuck:
                failed.append(_one_line(stuck))
    words = {**attempt.words, "error": _one_line(error), **({"not_put_back": failed} if failed else {})}
    journal.append(goal.home.journal, "outcome", kind=attempt.kind, ok=False, **words)
    if failed:
        wrong = f"{_one_line(error)}; and not all could be put back: {'; '.join(failed)}"
        raise ChangedError(sentence(f"plan {goal.plan}", wrong, run="stepdown.pyz converge")) from error


def _end_begun(attempt: Attempt) -> None:
    """Remove what was made, and only end what was there before it was started: the standby stays one."""
    goal, before = attempt.goal, {c.id for c in attempt.running}
    mine = [
        c for c in engine.containers(goal.instance.name) if c.release == goal.release.id and c.name in attempt.begun
    ]
    engine.stop_and_remove([c.id for c in mine if c.id not in before], GRACE_SECONDS)
    engine.set_aside([c.id for c in mine if c.id in before], GRACE_SECONDS)


def _prove(attempt: Attempt) -> dict[str, Handshake]:
    """Every server's proof. On the plan that the host is on, a container that runs and does not answer is made anew."""
    goal = attempt.goal
    try:
        return prove_all(goal)
    except StepdownError:
        hung = [] if attempt.moves else [name for name in unproved(goal) if name not in attempt.begun]
        if not hung:
            raise
        attempt.begun += hung
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
    """The plan's containers and its standby's, which may be started at any time, by release and name."""
    return {(goal.release.id, name) for name in (*goal.facts["containers"], *standby.names(goal))}


def _finish(attempt: Attempt, proofs: dict[str, Handshake]) -> Outcome:
    goal, old, begun = attempt.goal, attempt.old, attempt.begun
    seconds, closed = attempt.seconds(), round(time.monotonic() - attempt.closed, 3)
    since = journal.now() if attempt.moves else old["since"]
    _write_plan(goal, since)
    point_current(goal.home, goal.release)
    stopped = _retire(goal, attempt.running)
    _permit(goal, (), _wanted(goal))
    last = {"from": old.get("plan"), "to": goal.plan, "seconds": seconds, "ok": True}
    by = {"by": journal.caller(), "why": attempt.why, "last_switch": last if attempt.moves else old.get("last_switch")}
    hashes = {name: proof.schema_hash for name, proof in proofs.items()}
    state = {"plan": goal.plan, "release": goal.release.id, "since": since, **by, "schema_hashes": hashes}
    goal.home.write_json(goal.home.state, state)
    done = {"seconds": seconds, "started": begun, "stopped": stopped}
    if attempt.aside:
        done["closed_seconds"] = closed
    journal.append(goal.home.journal, "outcome", kind=attempt.kind, ok=True, **attempt.words, **done)
    if how := standby.keep(goal):
        journal.append(goal.home.journal, "standby", release=goal.release.id, how=how)
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
    for plan in goal.release.plans:  # of all plans: the engine would make what is missing, as root, when one starts
        for container in goal.release.facts(plan)["containers"].values():
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


def _unwanted(goal: Target, running: tuple[engine.Container, ...]) -> list[engine.Container]:
    """Containers that are neither of the plan nor its standby as it is kept; the edge is none of a release."""
    ready = standby.names(goal)
    cold = standby.mode(goal, running) == standby.COLD
    wanted = {c.id for c in running if c.release == goal.release.id and c.name in goal.facts["containers"]}
    wanted |= {c.id for c in running if c.release == goal.release.id and c.name in ready and not (cold and c.running)}
    return [c for c in running if c.release and c.id not in wanted]


def settled(goal: Target, running: tuple[engine.Container, ...]) -> bool:
    """Whether the host is on `goal` already, every server of it answering; changes nothing."""
    state = read_state(goal.home)
    if not state or (state["plan"], state["release"]) != (goal.plan, goal.release.id):
        return False
    plan = pending(goal)
    if plan["start"] or plan["stop"] or edge.differing(goal, running) or not standby.kept(goal, running):
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
        # a stopped remnant may hold what it was stopped for: make it anew; a standby was never started
        mine = [c for c in running if c.release == goal.release.id and c.name in missing]
        remnants = [c.id for c in mine if not c.created]
        engine.stop_and_remove(remnants, 0)
        engine.up(goal.home, goal.release.env_file, goal.release.compose_file(goal.plan), missing)


def _retire(goal: Target, running: tuple[engine.Container, ...]) -> list[str]:
    """Drain and stop what the plan does not want, then let Envoy forget it."""
    wanted = goal.configuration()
    old = _unwanted(goal, running)
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
