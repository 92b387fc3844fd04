"""After a crash, a boot or a hand: one whole plan, and why that one. Also the end of an instance, `take_down`."""

from __future__ import annotations

import shutil
from typing import Any

from stepdown import commands
from stepdown.errors import ChangedError, StepdownError, sentence
from stepdown.host import engine, gateway, journal, standby, verdicts
from stepdown.host.attempt import EMERGENCY, ROLLBACK, Outcome
from stepdown.host.home import Home
from stepdown.host.instance import load_instance
from stepdown.host.release import load, staged
from stepdown.host.state import read_state
from stepdown.host.switch import switch
from stepdown.host.target import Target, target
from stepdown.run import run
from stepdown.shared import EDGE_FOLDERS, GRACE_SECONDS

FORWARD = "an unfinished {kind} had its routes in force: going forward"
ON = "an unfinished emergency: going on to its plan"
BACK = "an unfinished {kind} had not moved the traffic: going back"
BY_HAND = "by hand"
AS_LEFT = "as the last switch left it"
Choice = tuple[str, str, str]  # release, plan, why that one


def converge(home: Home, *, adopt: bool = False) -> tuple[Outcome | None, str]:
    """End in one whole plan after a crash: the new one if its routes were in force, else the old; None when neither.

    Where the first choice does not work, the other one of the two is tried. With `adopt`, a plan that somebody started
    by hand, and that is whole, comes first. An interrupted `down` is finished. Returns the outcome and why that plan
    was chosen; StepdownError where no plan could be had.
    """
    state, intent = read_state(home), journal.unfinished(journal.read(home.journal).entries)
    if intent and intent["kind"] == "down":
        take_down(home, load_instance(home).name)
        return None, "an unfinished down was finished: nothing runs"
    choices = [c for c in _choices(home, state, intent, adopt=adopt) if c[0] in staged(home)]
    if not choices:
        instance = load_instance(home)
        ids = [container.id for container in engine.containers(instance.name) if container.release]
        engine.stop_and_remove(ids, GRACE_SECONDS)
        return None, "no switch was ever completed here: nothing runs"
    failed = []
    for release, plan, reason in choices:
        kind = _kind(intent, reason)
        try:
            told = f"{intent['why']}; {reason}" if intent and kind == intent["kind"] else reason
            outcome = switch(target(home, load(home, release), plan), why=told, kind=kind)
        except StepdownError as error:
            if isinstance(error, ChangedError) and gateway.serving(home) == gateway.version(release, plan):
                raise  # it has the traffic: from there it only goes forward
            failed.append(f"plan {plan} of release {release} ({reason}): {error}")
            continue
        if intent and intent["kind"] == ROLLBACK and release == intent["release"] != intent["from_release"]:
            verdicts.mark_bad(home, intent["from_release"], verdicts.left_for(release, intent["why"]))
        if not outcome.changed and intent:  # all was done but the record of it
            words = {"kind": kind, "to": plan, "release": release, "from": plan, "from_release": release}
            journal.append(home.journal, "outcome", ok=True, why=reason, **words)
        return outcome, "; ".join([reason, *(f"but not {text.splitlines()[0]}" for text in failed)])
    raise ChangedError(sentence("converge", "; ".join(failed), run="stepdown.pyz emergency"))


def _choices(home: Home, state: dict[str, Any] | None, intent: dict[str, Any] | None, *, adopt: bool) -> list[Choice]:
    """What the host may end in, the likeliest first."""
    choices: list[Choice] = []
    if adopt and state and (plan := _by_hand(target(home, load(home, state["release"]), state["plan"]))):
        choices.append((state["release"], plan, f"{BY_HAND} plan {plan} was started, and is whole"))
    if not intent:
        return [*choices, *([(state["release"], state["plan"], AS_LEFT)] if state else [])]
    kind, new = intent["kind"], (intent["release"], intent["to"])
    old = [(state["release"], state["plan"], BACK.format(kind=kind))] if state else []
    if gateway.serving(home) == gateway.version(*new):
        return [*choices, (*new, FORWARD.format(kind=kind)), *old]
    if kind == EMERGENCY:
        return [*choices, (*new, ON), *old]
    return [*choices, *old, *([(*new, f"an unfinished {kind}, and the plan before it cannot be had")] if old else [])]


def _kind(intent: dict[str, Any] | None, reason: str) -> str:
    """What goes forward is still the move that it was, so that what follows from it does not depend on a crash."""
    if reason.startswith(BY_HAND):
        return "adopt"
    return str(intent["kind"]) if intent and reason in (ON, FORWARD.format(kind=intent["kind"])) else "converge"


def _by_hand(goal: Target) -> str:
    """A plan of the release that runs in full, and is not the one on record; empty where there is none."""
    up = {c.name for c in engine.containers(goal.instance.name) if c.release == goal.release.id and c.running}
    warm = standby.standby_of(goal) if standby.policy_mode(goal) == standby.WARM else None
    skipped = {goal.plan, warm.plan if warm and set(goal.facts["containers"]) <= up else goal.plan}
    whole = [plan for plan in goal.release.plans if set(goal.release.facts(plan)["containers"]) <= up]
    return next((plan for plan in reversed(whole) if plan not in skipped), "")


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
    home.break_glass.unlink(missing_ok=True)
    for name in EDGE_FOLDERS:
        if home.envoy_config(name).is_dir():
            shutil.rmtree(home.envoy_config(name))
    if journaled:
        journal.append(home.journal, "outcome", kind="down", ok=True)
    return sorted(container.name for container in found)
