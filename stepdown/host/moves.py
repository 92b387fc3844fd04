"""Where the named moves lead: a rung down, back up, an earlier release, the last resort.

Owns: the choice of plan and release. Reads: state and journal. Never: moves anything itself; the switch does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepdown.errors import ChangedError, StepdownError, UsageError, sentence
from stepdown.host import break_glass, gateway, journal, notify, verdicts
from stepdown.host.attempt import EMERGENCY, ROLLBACK, Outcome, first_line
from stepdown.host.home import Home
from stepdown.host.release import load, staged
from stepdown.host.state import read_state, require_state
from stepdown.host.switch import switch
from stepdown.host.target import Target, target

STEPS_DOWN = (EMERGENCY, "fallback")


@dataclass(frozen=True)
class Move:
    """A plan of a release, and what kind of move leads there."""

    kind: str
    goal: Target

    def go(self, why: str) -> Outcome:
        """Move there; errors as `switch` has them."""
        return switch(self.goal, why=why, kind=self.kind)


def fallback(home: Home, to: str = "") -> Move:
    """One rung down, or to the plan named. StepdownError where there is no rung below."""
    state = require_state(home)
    release = load(home, state["release"])
    below = release.plans[release.plans.index(state["plan"]) + 1 :]
    if not to and not below:
        wrong = f"plan {state['plan']} is the last one; nothing is below it"
        raise StepdownError(sentence("fallback", wrong, release.plans, "./run recover"))
    return Move("fallback", _plan(home, state["release"], to or below[0]))


def recover(home: Home, to: str = "") -> Move:
    """Back to the plan that the host was on before it stepped down, or to the one named."""
    state = require_state(home)
    before = verdicts.plan_before_stepping_down(journal.read(home.journal).entries, state["plan"])
    return Move("recover", _plan(home, state["release"], to or before))


def rollback(home: Home, to: str = "") -> Move:
    """The plan that the host is on, of the last release that was proved good, or of the one named."""
    state = require_state(home)
    entries = journal.read(home.journal).entries
    chosen = verdicts.to_go_back_to(entries, state["release"], staged(home), to)
    return Move(ROLLBACK, _plan(home, chosen, state["plan"]))


def last_resorts(home: Home) -> Sequence[Target]:
    """What an emergency tries in turn: the last plan of the release that serves, then of those proved good.

    On a host where nothing ever served, of the one that was staged last. StepdownError where nothing is staged.
    """
    state, there, entries = read_state(home), staged(home), journal.read(home.journal).entries
    first = [state["release"]] if state else there[-1:]
    intent = journal.unfinished(entries)
    if intent and gateway.serving(home) == gateway.version(intent["release"], intent["to"]):
        first.insert(0, intent["release"])  # a switch that was cut has the traffic, whatever is on record
    good = [release for release in verdicts.good(entries) if release in there]
    chosen = [release for release in dict.fromkeys([*first, *good]) if release in there]
    if not chosen:
        raise StepdownError(sentence(str(home.path), "nothing is staged here", run="./run deploy --plan=D"))
    loaded = [load(home, release) for release in chosen]
    return [
        target(home, release, release.policy().get("standby", {}).get("plan", release.plans[-1])) for release in loaded
    ]


def emergency(home: Home, *, why: str, hours: float) -> tuple[Outcome, dict[str, Any]]:
    """The last resort now, and a break-glass for so many hours; what is on record of it.

    StepdownError where no release can give its last plan; then what served serves on.
    """
    glass = break_glass.open_for(home, why=why, hours=hours)
    failed = []
    for goal in last_resorts(home):
        try:
            outcome = Move(EMERGENCY, goal).go(why)
        except StepdownError as error:
            failed.append(error)
            if isinstance(error, ChangedError) and gateway.serving(home) == goal.version:
                break  # it has the traffic: another one would end what answers
            continue
        notify.put(home, f"emergency by {glass['by']}: plan {goal.plan} since {glass['since']}. Why: {why}")
        return outcome, glass
    told = next((error for error in failed if isinstance(error, ChangedError)), failed[-1])
    notify.put(home, f"emergency by {glass['by']} failed: {first_line(told)}. Why: {why}")
    raise told


def stepped_down(state: dict[str, Any] | None, wanted: str) -> bool:
    """Whether an emergency or a fallback brought the host to its plan, and `wanted` would lead it away."""
    return state is not None and state["kind"] in STEPS_DOWN and state["plan"] != wanted


def _plan(home: Home, release: str, plan: str) -> Target:
    loaded = load(home, release)
    if plan not in loaded.plans:
        raise UsageError(sentence(f"plan {plan!r}", f"is not in release {release}", loaded.plans, "./run plan.show"))
    return target(home, loaded, plan)
