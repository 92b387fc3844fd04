"""The commands that move a host between plans and releases, and what goes on in the background after them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from stepdown.errors import ChangedError, UsageError, sentence
from stepdown.host import break_glass, engine, journal, lock, moves, notify, release, switch, watch
from stepdown.host import converge as converging
from stepdown.host.attempt import EMERGENCY, Outcome
from stepdown.host.home import Home
from stepdown.host.instance import load_instance, settle_instance
from stepdown.host.moves import Move
from stepdown.host.state import read_state
from stepdown.host.target import Target, target
from stepdown.host.telling import say
from stepdown.shared import FIRST_PLAN


def switch_command(home: Home, options: argparse.Namespace) -> int:
    """To the plan and release that are named; those that are not stay."""
    if options.check:
        return _preview_switch(home, options)
    _require_deployed(home)
    with lock.writer(home, f"switch to {options.to or 'the plan that the host is on'}: {options.why}"):
        release_id, plan = _chosen(home, options)  # under the lock: another switch may just have ended
        move = Move("switch", target(home, release.load(home, release_id), plan))
        outcome = move.go(options.why)
        _end_emergency(home, "switch")
    return _tell(home, options, outcome, {"kept_emergency": _keeps(home, options)})


def fallback_command(home: Home, options: argparse.Namespace) -> int:
    """One rung down, or to the plan named."""
    return _go(home, options, lambda: moves.fallback(home, options.to or ""))


def recover_command(home: Home, options: argparse.Namespace) -> int:
    """Back to where the host was before it stepped down; ends the break-glass."""
    return _go(home, options, lambda: moves.recover(home, options.to or ""))


def rollback_command(home: Home, options: argparse.Namespace) -> int:
    """To the last release that was proved good."""
    return _go(home, options, lambda: moves.rollback(home, options.to or ""))


def emergency_command(home: Home, options: argparse.Namespace) -> int:
    """The last resort now, whoever is at work; exit code 0 when all of it answers on its own port."""
    if not 0 < options.hours <= break_glass.MOST_HOURS:
        wrong = f"--hours={options.hours:g} should be more than 0, {break_glass.MOST_HOURS:g} at the most"
        raise UsageError(sentence("emergency", wrong, run="stepdown.pyz emergency --hours=4"))
    _require_deployed(home)
    if options.check:
        return _preview(options, moves.last_resorts(home)[0], urgent=True)
    ended = lock.preempt(home.lock)
    if ended:
        who = {key: ended.get(key) for key in ("by", "pid", "since")}
        journal.append(home.journal, "preempted", what=ended.get("why"), **who)
        print(f"emergency: ended {ended.get('why')} of {ended.get('by')}, process {ended.get('pid')}", file=sys.stderr)
    with lock.writer(home, f"{EMERGENCY}: {options.why}"):
        try:
            outcome, glass = moves.emergency(home, why=options.why, hours=options.hours)
        except BaseException:
            _leave_to_the_background(home)  # its notice, and the end of the break-glass
            raise
    told = _tell(home, options, outcome, {"until": glass["until"]})
    return ChangedError.exit_code if outcome.unready else told


def converge_command(home: Home, options: argparse.Namespace) -> int:
    """One whole plan after a crash, a boot, or what somebody started by hand."""
    load_instance(home)
    engine.require_engine()
    with lock.writer(home, "converge"):
        outcome, reason = converging.converge(home, adopt=options.adopt)
    _leave_to_the_background(home)
    plan = outcome.plan if outcome else None
    changed = bool(outcome and outcome.changed)
    unready = dict(outcome.unready) if outcome else {}
    lines = [
        f"plan {plan or 'none'}: {reason}",
        *(f"{name} does not answer: {wrong}" for name, wrong in unready.items()),
    ]
    say(options, {"plan": plan, "changed": changed, "reason": reason, "unready": unready}, "\n".join(lines))
    return ChangedError.exit_code if unready else 0


def watch_command(home: Home, options: argparse.Namespace) -> int:
    """Watch until the release is proved good or given up, and no break-glass is open."""
    watch.watch(home)
    state = read_state(home)
    found = watch.found(home, state["release"]) if state else None
    say(options, {"proof": found}, f"release {state['release']}: {found}" if state else "nothing is active")
    return 0


def notify_command(home: Home, options: argparse.Namespace) -> int:
    """Send the notices that wait."""
    notify.send_all(home)
    left = len(notify.waiting(home))
    say(options, {"waiting": left}, f"{left} notices wait")
    return 0


def _go(home: Home, options: argparse.Namespace, choose: Callable[[], Move]) -> int:
    if options.check:
        return _preview(options, choose().goal)
    _require_deployed(home)
    with lock.writer(home, f"{options.command}: {options.why}"):
        move = choose()  # under the lock, as what it reads may just have changed
        outcome = move.go(options.why)
        _end_emergency(home, move.kind)
    return _tell(home, options, outcome, {})


def _require_deployed(home: Home) -> None:
    engine.require_engine()  # first: who has no rights on it may not read <home> either
    load_instance(home)  # says that nothing is deployed here


def _end_emergency(home: Home, kind: str) -> None:
    """Whoever leads the host away from where an emergency brought it ends the break-glass."""
    state = read_state(home)
    if (
        state
        and (kind == "recover" or state["kind"] != EMERGENCY)
        and break_glass.end(home, f"{kind} to plan {state['plan']}")
    ):
        notify.put(home, f"emergency over: {kind} to plan {state['plan']}")


def _leave_to_the_background(home: Home) -> None:
    """What need not be waited for: the proof of the release, the end of a break-glass, notices."""
    watch.start(home)
    notify.start(home)


def _tell(home: Home, options: argparse.Namespace, outcome: Outcome, more: Mapping[str, Any]) -> int:
    _leave_to_the_background(home)
    lines = [
        f"plan {outcome.plan}, release {outcome.release}: "
        + (
            f"active after {outcome.seconds:g} s (started {', '.join(outcome.started) or 'nothing'}; "
            f"stopped {', '.join(outcome.stopped) or 'nothing'})"
            if outcome.changed
            else "active already, nothing changed"
        )
    ]
    lines += [f"{each['server']} lost: {each['detail']}" for each in outcome.dropped]
    lines += [f"{name} does not answer yet: {wrong}" for name, wrong in outcome.unready.items()]
    if outcome.gateway:
        lines.append(f"the gateway does not follow: {outcome.gateway}. Run: ./run recover, when it can be had again")
    if "until" in more:
        lines.append(f"break-glass open until {more['until']}. Back: ./run recover")
    say(options, {**vars(outcome), **more}, "\n".join(lines))
    return 0


def _chosen(home: Home, options: argparse.Namespace) -> tuple[str, str]:
    """Release and plan: as asked for, else as the host has them."""
    state = read_state(home)
    release_id = options.release or (state["release"] if state else "")
    if not release_id:
        known = release.staged(home)
        raise UsageError(sentence("switch", "no release is active yet; name one", known, "… --release=ID"))
    plan = options.to or (state["plan"] if state else FIRST_PLAN)
    if state and _keeps(home, options):
        how = f"since {state['since']} by {state['kind']}, {state['by']}: {state['why']}"
        remedy = "./run recover, or ./run deploy --plan=" + plan
        print(f"plan {state['plan']} is kept ({how}). To leave it, run: {remedy}", file=sys.stderr)
        return release_id, state["plan"]
    return release_id, plan


def _keeps(home: Home, options: argparse.Namespace) -> bool:
    """Whether the host stays where it stepped down to, though another plan was asked for."""
    wanted = options.to or ""
    return bool(options.unless_emergency and wanted) and moves.stepped_down(read_state(home), wanted)


def _preview_switch(home: Home, options: argparse.Namespace) -> int:
    release_id, plan = _chosen(home, options)
    if release_id not in release.staged(home) or not engine.answers():
        say(options, {"changed": True}, f"would activate plan {plan} of release {release_id}")
        return 0
    known = load_instance(home)
    wanted = json.load(sys.stdin)["instance"] if options.settings else vars(known)
    goal = Target(home, settle_instance(home, wanted, record=False), release.load(home, release_id), plan)
    return _preview(options, goal, kept_emergency=_keeps(home, options))


def _preview(options: argparse.Namespace, goal: Target, *, urgent: bool = False, **more: Any) -> int:
    """What would be done; StepdownError where the move itself would be refused."""
    changed = not switch.settled(goal, engine.containers(load_instance(goal.home).name))
    if changed:
        switch.require_fit(goal, urgent=urgent)
    actions = switch.pending(goal)
    done = "; ".join(f"{verb} {', '.join(names) or 'nothing'}" for verb, names in actions.items())
    text = f"plan {goal.plan} of release {goal.release.id}: would {done}"
    say(options, {"changed": changed, "plan": goal.plan, "release": goal.release.id, **actions, **more}, text)
    return 0
