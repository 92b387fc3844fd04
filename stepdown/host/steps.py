"""The steps of a switch, in order, as data: what each does, and from which on it only goes forward.

Owns: the order. Reads: an attempt. Never: undoes anything; stepdown/host/switch.py does, when a step fails.
"""

from __future__ import annotations

import http.client
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stepdown.errors import StepdownError, sentence
from stepdown.host import allowance, edge, egress, engine, gateway, in_flight, journal, standby, verdicts
from stepdown.host.attempt import EMERGENCY, ROLLBACK, Attempt
from stepdown.host.deaf import deaf
from stepdown.host.fault import FaultyError
from stepdown.host.home import Home
from stepdown.host.proof import prove_all, prove_door, prove_each, unproved
from stepdown.host.release import Release, load, point_current, prune, staged
from stepdown.host.target import Target
from stepdown.shared import GRACE_SECONDS, SERVING_CPU_SHARES

POLL_SECONDS = 0.05
URGENT_DRAIN_SECONDS = 10.0  # an emergency does not wait for the calls of what is broken


@dataclass(frozen=True)
class Step:
    """One step; from the first `deaf` one on, signals wait until the switch ends."""

    name: str
    act: Callable[[Attempt], None]
    deaf: bool = False


def intend(attempt: Attempt) -> None:
    """Write down what is to happen, before it does."""
    words = {**attempt.words, "by": journal.caller(), "why": attempt.why}
    if attempt.dropped:
        words["will_drop"] = [each["server"] for each in attempt.dropped]
    journal.append(attempt.goal.home.journal, "intent", **words)
    for each in attempt.dropped:
        print(f"plan {attempt.goal.plan}: {each['server']} will lose: {each['detail']}", file=sys.stderr)


def permit(attempt: Attempt) -> None:
    """Let the new containers reach what they may, before they start: a server may call out at once."""
    goal, running = attempt.goal, attempt.running
    with deaf():
        attempt.with_edge("egress", lambda: renew(attempt, "egress"))
        attempt.with_edge("egress", lambda: allow(goal, running, wanted(goal)))


def clear(attempt: Attempt) -> None:
    """Two containers cannot publish one port: an old one ends first, and it is closed until the new is up."""
    goal, port = attempt.goal, attempt.goal.instance.direct_port
    if goal.facts["direct_port"]:
        others = [c for c in attempt.running if c.release not in ("", goal.release.id)]
        attempt.aside += [c.id for c in others if c.holds(port)]
    if attempt.aside:
        print(f"plan {goal.plan}: 127.0.0.1:{port} closes until release {goal.release.id} is up", file=sys.stderr)
        attempt.closed = time.monotonic()
        engine.set_aside(attempt.aside, GRACE_SECONDS)


def start(attempt: Attempt) -> None:
    """Start what is missing, beside the old, which has the better claim to the CPUs; but not in an emergency."""
    make(attempt.goal, attempt.running, attempt.begun)
    if attempt.urgent:
        favour(attempt)


def prove(attempt: Attempt) -> None:
    """Every server's handshake. On the plan that the host is on, a container that does not answer is made anew."""
    goal = attempt.goal
    try:
        if attempt.urgent:  # what answers is better than nothing
            attempt.proofs, attempt.unready = prove_each(goal)
        else:
            attempt.proofs = prove_all(goal)
    except StepdownError:
        hung = [] if attempt.moves else [name for name in unproved(goal) if name not in attempt.begun]
        if not hung:
            raise
        attempt.begun += hung
        make(goal, engine.containers(goal.instance.name), hung)
        attempt.proofs = prove_all(goal)
    prove_door(goal, next(iter(attempt.proofs)))
    if attempt.closed is not None:
        attempt.closed_seconds = round(time.monotonic() - attempt.closed, 3)
    if attempt.urgent:
        attempt.seconds = attempt.elapsed()
        who = f"{', '.join(attempt.proofs)} answer" if attempt.unready else "every server answers"
        where = f"127.0.0.1:{goal.instance.direct_port}"
        print(f"plan {goal.plan}: {who} on {where} after {attempt.seconds:g} s", file=sys.stderr)


def compare(attempt: Attempt) -> None:
    """Refuse a server that offers other tools than the same server, agreed and configured alike, did before."""
    goal, before = attempt.goal, attempt.old.get("schema_hashes", {})
    old_id = attempt.old.get("release")
    if attempt.urgent or old_id not in staged(goal.home):
        return
    old = load(goal.home, old_id)
    changed = [
        name
        for name, proof in attempt.proofs.items()
        if before.get(name, proof.schema_hash) != proof.schema_hash and _configured_alike(old, goal.release, name)
    ]
    if changed:
        tools = "; ".join(f"{name} now has {', '.join(attempt.proofs[name].tools)}" for name in changed)
        wrong = f"{', '.join(changed)} offers other tools or schemas than before, with the same settings: {tools}"
        raise FaultyError(
            sentence(f"plan {goal.plan}", wrong, run="./run build --accept-tools, if clients may see that")
        )


def renew_gateway(attempt: Attempt) -> None:
    """Make the gateway anew where it is missing, hangs, or differs; calls fail while it starts."""
    attempt.with_edge("gateway", lambda: renew(attempt, "gateway"))


def add(attempt: Attempt) -> None:
    """Clusters of the new beside those of the old."""
    goal = attempt.goal
    attempt.routed = gateway.files(goal.home)
    attempt.with_edge("gateway", lambda: gateway.add(goal.home, goal.configuration(), goal.version))


def route(attempt: Attempt) -> None:
    """Move the traffic: one rename, which Envoy confirms. The switch is done; from here it only goes forward."""
    goal = attempt.goal
    attempt.with_edge("gateway", lambda: gateway.route(goal.home, goal.configuration(), goal.version))
    if "gateway" in attempt.lost:
        gateway.leave(goal.home, goal.configuration(), goal.version)
        print(f"plan {goal.plan}: clients of the gateway wait for it: {attempt.lost['gateway']}", file=sys.stderr)
    attempt.moved = True
    attempt.seconds = attempt.seconds or attempt.elapsed()


def tell(attempt: Attempt) -> None:
    """What containers tell of servers that the plan has lost, and what `current` names."""
    write_plan(attempt.goal, since(attempt))
    point_current(attempt.goal.home, attempt.goal.release)


def favour(attempt: Attempt) -> None:
    """Containers start with a small share of busy CPUs; those that serve get their full one."""
    goal, names = attempt.goal, attempt.goal.facts["containers"]
    mine = [c for c in engine.containers(goal.instance.name) if c.release == goal.release.id and c.name in names]
    engine.share_cpus([c.id for c in mine if c.running], SERVING_CPU_SHARES)


def drain(attempt: Attempt) -> None:
    """Wait until nothing is under way to the old containers, at most as long as the policy says."""
    old = unwanted(attempt.goal, attempt.running)
    deadline = time.monotonic() + _drain_seconds(attempt, old)
    while old and time.monotonic() < deadline and _under_way(attempt, old):
        time.sleep(POLL_SECONDS)  # neither Envoy nor mcp_host tells of a call's end unless asked


def retire(attempt: Attempt) -> None:
    """Stop and remove the old containers, and what an interrupted one may have left; Envoy forgets them."""
    goal = attempt.goal
    old = unwanted(goal, engine.containers(goal.instance.name))
    engine.stop_and_remove([container.id for container in old], GRACE_SECONDS)
    gateway.forget_others(goal.home, goal.configuration(), goal.version)
    attempt.stopped = sorted({container.name for container in old})


def forbid(attempt: Attempt) -> None:
    """Nobody but the plan and its standby may reach anything."""
    goal = attempt.goal
    attempt.with_edge("egress", lambda: allow(goal, (), wanted(goal)))


def record(attempt: Attempt) -> None:
    """`state.json`: the host is on this plan."""
    goal, old = attempt.goal, attempt.old
    last = {"from": old.get("plan"), "to": goal.plan, "seconds": attempt.seconds, "ok": True}
    known = old.get("schema_hashes", {}) if old.get("release") == goal.release.id else {}
    state = {
        "plan": goal.plan,
        "release": goal.release.id,
        "since": since(attempt),
        "by": journal.caller() if attempt.moves else old["by"],
        "why": attempt.why if attempt.moves else old["why"],
        "kind": _kind(attempt),
        "last_switch": last if attempt.moves else old.get("last_switch"),
        "schema_hashes": {**known, **{name: proof.schema_hash for name, proof in attempt.proofs.items()}},
    }
    goal.home.write_json(goal.home.state, state)


def conclude(attempt: Attempt) -> None:
    """How it ended, in the journal."""
    words: dict[str, Any] = {
        "why": attempt.why,
        "seconds": attempt.seconds,
        "started": attempt.begun,
        "stopped": attempt.stopped,
    }
    words |= {"dropped": list(attempt.dropped)} if attempt.dropped else {}
    words |= {"closed_seconds": attempt.closed_seconds} if attempt.closed_seconds is not None else {}
    words |= {"without": attempt.lost} if attempt.lost else {}
    words |= {"unready": attempt.unready} if attempt.unready else {}
    if (
        attempt.kind == ROLLBACK and attempt.old["release"] != attempt.goal.release.id
    ):  # before the outcome, so that no crash can come between the two
        verdicts.mark_bad(
            attempt.goal.home, attempt.old["release"], verdicts.left_for(attempt.goal.release.id, attempt.why)
        )
    journal.append(attempt.goal.home.journal, "outcome", ok=True, **attempt.words, **words)


def keep_standby(attempt: Attempt) -> None:
    """Make the last resort ready beside the plan."""
    if how := standby.keep(attempt.goal):
        journal.append(attempt.goal.home.journal, "standby", release=attempt.goal.release.id, how=how)


def prune_releases(attempt: Attempt) -> None:
    """Remove the releases that nothing goes back to."""
    home = attempt.goal.home
    entries = journal.read(home.journal).entries
    newest = staged(home)[-1:]  # somebody may be about to switch to it
    coming = [release for release in newest if verdicts.verdict(entries, release) != verdicts.BAD]
    prune(home, [attempt.goal.release.id, *coming, *verdicts.kept(entries)], engine.remove_images)


STEPS = (
    Step("intent", intend),
    Step("permit", permit),
    Step("clear", clear),
    Step("start", start),
    Step("prove", prove),
    Step("compare", compare),
    Step("gateway", renew_gateway, deaf=True),  # changed as a whole, or not at all
    Step("add", add),
    Step("route", route),
    Step("tell", tell),
    Step("favour", favour),
    Step("drain", drain),
    Step("retire", retire),
    Step("forbid", forbid),
    Step("record", record),
    Step("outcome", conclude),
    Step("standby", keep_standby),
    Step("prune", prune_releases),
)


def in_order(steps: tuple[Step, ...], *, urgent: bool) -> tuple[Step, ...]:
    """The steps of a switch; an emergency looks after the way out when the traffic has moved."""
    if not urgent:
        return steps
    late = [step for step in steps if step.name == "permit"]
    rest = [step for step in steps if step.name != "permit"]
    after = next((n for n, step in enumerate(rest, start=1) if step.name == "route"), len(rest))
    return (*rest[:after], *late, *rest[after:])


def since(attempt: Attempt) -> str:
    """When the host came to this plan and release."""
    return journal.now() if attempt.moves else str(attempt.old["since"])


def make(goal: Target, running: tuple[engine.Container, ...], missing: list[str]) -> None:
    """Start containers of the plan; a stopped remnant may hold what it was stopped for, and is made anew."""
    if missing:
        mine = [c for c in running if c.release == goal.release.id and c.name in missing]
        remnants = [c.id for c in mine if not c.created]  # a standby was never started
        engine.stop_and_remove(remnants, 0)
        engine.up(goal.home, goal.release.env_file, goal.release.compose_file(goal.plan), missing)


def renew(attempt: Attempt, name: str) -> None:
    """Make a container of the edge as the release has it, where it is not, and another one where it hangs."""
    hangs = edge.mute(attempt.goal, attempt.running, name)
    if hangs:
        edge.end(attempt.running, name)
    if hangs or name in edge.differing(attempt.goal, attempt.running):
        attempt.renewed.append(name)
        edge.renew(attempt.goal, name)


def allow(goal: Target, there: tuple[engine.Container, ...], more: set[tuple[str, str]]) -> None:
    """Let those that are `there`, and `more` by release and name, reach what they may; nobody else anything."""
    containers = {(c.release, c.name) for c in there if c.release} | more
    egress.enforce(goal.home, egress.rules(allowance.of_containers(goal.home, goal.instance, containers)))


def wanted(goal: Target) -> set[tuple[str, str]]:
    """The plan's containers and its standby's, which may be started at any time, by release and name."""
    return {(goal.release.id, name) for name in (*goal.facts["containers"], *standby.names(goal))}


def unwanted(goal: Target, running: tuple[engine.Container, ...]) -> list[engine.Container]:
    """Containers that are neither of the plan nor its standby as it is kept; the edge is none of a release."""
    ready = standby.names(goal)
    cold = standby.mode(goal, running) == standby.COLD
    stay = {c.id for c in running if c.release == goal.release.id and c.name in goal.facts["containers"]}
    stay |= {c.id for c in running if c.release == goal.release.id and c.name in ready and not (cold and c.running)}
    return [c for c in running if c.release and c.id not in stay]


def forgets(goal: Target, old: Mapping[str, Any], running: tuple[engine.Container, ...]) -> tuple[dict[str, str], ...]:
    """What servers of the plan before keep in memory alone, and lose when their containers end: server, detail."""
    if not old or old["release"] not in staged(goal.home):
        return ()
    facts = load(goal.home, old["release"]).facts(old["plan"])
    ending = {c.name for c in unwanted(goal, running) if c.running and c.release == old["release"]}
    return tuple(
        {"server": name, "detail": server["state_detail"]}
        for name, server in facts["servers"].items()
        if server.get("state") == "memory" and server["container"] in ending
    )


def write_plan(goal: Target, when: str) -> None:
    """What containers tell about servers that the plan has lost."""
    facts = {"plan": goal.plan, "since": when, "lost": goal.facts["lost"]}
    goal.home.write_json(goal.home.plan_directory / "plan.json", facts)


def _kind(attempt: Attempt) -> str:
    """How the host came to its plan: a new release there, a convergence or a second call does not change that."""
    stays = attempt.old.get("plan") == attempt.goal.plan and attempt.kind != EMERGENCY
    return str(attempt.old.get("kind", attempt.kind)) if stays else attempt.kind


def _configured_alike(old: Release, new: Release, server: str) -> bool:
    """Whether two releases agreed on the same tools of a server, and give it the same settings."""
    facts = next(facts for plan in new.plans if server in (facts := new.facts(plan))["servers"])
    names = facts["containers"][facts["servers"][server]["container"]]["environment"]
    same = all(old.environment.get(name) == new.environment.get(name) for name in names)
    return same and old.tools.get(server) == new.tools.get(server)


def _drain_seconds(attempt: Attempt, old: list[engine.Container]) -> float:
    """Until calls are cut: the longest that one may take, at most what the policy says."""
    if attempt.urgent:
        return URGENT_DRAIN_SECONDS
    longest = max((_longest_call(attempt.goal.home, container) for container in old), default=0.0)
    return min(longest, float(attempt.goal.release.policy().get("drain_seconds", longest)))


def _longest_call(home: Home, container: engine.Container) -> float:
    """Seconds that a call of a container may take; 0 when its release is gone."""
    if container.release not in staged(home):
        return 0.0
    release = load(home, container.release)
    servers = (facts for plan in release.plans for facts in release.facts(plan)["servers"].values())
    return float(max((facts["call_seconds"] for facts in servers if facts["container"] == container.name), default=0))


def _under_way(attempt: Attempt, old: list[engine.Container]) -> bool:
    """Whether calls are on their way to containers: through the gateway, or straight to plan D's own port."""
    goal = attempt.goal
    clusters = {f"{container.release}.{container.name}" for container in old}
    try:
        if "gateway" not in attempt.lost and gateway.active_requests(goal.home, clusters):
            return True
    except StepdownError:
        if not attempt.urgent:
            raise
    try:
        return any(in_flight.calls(goal, container) for container in old if container.holds(goal.instance.direct_port))
    except (OSError, http.client.HTTPException, ValueError):
        return False  # one that does not say so hangs, or is gone
