"""The switch: from whatever runs to one whole plan of one release, the old serving until the new is proved."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from stepdown.errors import ChangedError, StepdownError, sentence
from stepdown.host import allowance, edge, egress, engine, gateway, journal, preflight, standby, steps, tokens, verdicts
from stepdown.host.attempt import Attempt, Outcome, first_line
from stepdown.host.deaf import deaf
from stepdown.host.fault import FaultyError
from stepdown.host.home import read_json
from stepdown.host.proof import prove_all
from stepdown.host.release import refresh_env
from stepdown.host.state import read_state
from stepdown.host.steps import STEPS
from stepdown.host.target import Target
from stepdown.shared import GRACE_SECONDS


def pending(goal: Target) -> dict[str, list[str]]:
    """What a switch to `goal` would start, stop, keep and forget, by name; changes nothing."""
    running = engine.containers(goal.instance.name)
    plan = set(goal.facts["containers"])
    there = {c.name for c in running if c.release == goal.release.id and c.running}
    others = {c.name for c in steps.unwanted(goal, running)}
    dropped = steps.forgets(goal, read_state(goal.home) or {}, running)
    return {
        "start": sorted(plan - there),
        "stop": sorted(others),
        "keep": sorted(plan & there),
        "forget": [f"{each['server']}: {each['detail']}" for each in dropped],
    }


def switch(goal: Target, *, why: str, kind: str = "switch") -> Outcome:
    """Bring the host to `goal`. Raises StepdownError with the old plan serving, or ChangedError once traffic moved."""
    running = engine.containers(goal.instance.name)
    prepare(goal)
    if settled(goal, running):
        return Outcome(False, goal.plan, goal.release.id, 0.0, (), (), tuple(goal.facts["containers"]))
    old = read_state(goal.home) or {}
    attempt = Attempt(goal, kind, why, old, running, _missing(goal, running), steps.forgets(goal, old, running))
    require_fit(goal, urgent=attempt.urgent)
    with contextlib.ExitStack() as until_the_end:
        for step in steps.in_order(STEPS, urgent=attempt.urgent):
            if step.deaf:
                until_the_end.enter_context(deaf())
            try:
                step.act(attempt)
            except BaseException as error:
                if attempt.moved and isinstance(error, (StepdownError, OSError)):
                    wrong = f"has the traffic, but what follows failed: {error}"
                    raise ChangedError(sentence(f"plan {goal.plan}", wrong, run="stepdown.pyz converge")) from error
                if not attempt.moved:
                    _give_up(attempt, error)
                raise
    return attempt.outcome()


def require_fit(goal: Target, *, urgent: bool = False) -> None:
    """StepdownError with all that stands against a plan; an emergency asks for its images alone."""
    if urgent:
        found = preflight.images_lacking(goal.release, goal.plan)
    else:
        found = preflight.problems(goal.home, preflight.of_staged(goal.instance, goal.release, goal.plan))
    if found:
        raise StepdownError(f"plan {goal.plan}: {preflight.listed(found)}")


def prepare(goal: Target) -> None:
    """Tokens, folders and first files that containers of any plan expect."""
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
        steps.write_plan(goal, journal.now())


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
        allowed = allowance.of_containers(goal.home, goal.instance, steps.wanted(goal))
        if not egress.in_force(goal.home, egress.rules(allowed)):
            return False
        prove_all(goal, patience_seconds=0)
    except StepdownError:
        return False
    return True


def _missing(goal: Target, running: tuple[engine.Container, ...]) -> list[str]:
    there = {c.name for c in running if c.release == goal.release.id and c.running}
    return [name for name in goal.facts["containers"] if name not in there]


def _give_up(attempt: Attempt, error: BaseException) -> None:
    """Take away what was started, and put routes, edge and what was set aside back; the old plan has the traffic.

    Each part is tried whatever becomes of the others. ChangedError where one failed. A release that is at fault itself,
    and is not the one that serves, is marked bad.
    """
    goal = attempt.goal
    parts: tuple[Callable[[], object], ...] = (
        lambda: _put_routes_back(attempt),
        lambda: _end_begun(attempt),
        lambda: engine.bring_back(attempt.aside),
        lambda: edge.restore(goal.home, attempt.old, attempt.renewed),
        lambda: _permit_what_runs(attempt),
    )
    failed = []
    with deaf():
        for part in parts:
            try:
                part()
            except (StepdownError, OSError) as stuck:
                failed.append(first_line(stuck))
    words = {**attempt.words, "error": first_line(error), **({"not_put_back": failed} if failed else {})}
    journal.append(goal.home.journal, "outcome", ok=False, **words)
    if isinstance(error, FaultyError) and not attempt.urgent and attempt.old.get("release") != goal.release.id:
        verdicts.mark_bad(goal.home, goal.release.id, first_line(error))
    if failed:
        wrong = f"{first_line(error)}; and not all could be put back: {'; '.join(failed)}"
        raise ChangedError(sentence(f"plan {goal.plan}", wrong, run="stepdown.pyz converge")) from error


def _put_routes_back(attempt: Attempt) -> None:
    if attempt.routed:
        gateway.put_back(attempt.goal.home, attempt.routed)


def _permit_what_runs(attempt: Attempt) -> None:
    if "egress" not in attempt.lost:
        with edge.in_its_own_words(attempt.goal, "egress"):
            steps.allow(attempt.goal, engine.containers(attempt.goal.instance.name), set())


def _end_begun(attempt: Attempt) -> None:
    """Remove what was made, and only end what was there before it was started: the standby stays one."""
    goal, before = attempt.goal, {c.id for c in attempt.running}
    mine = [
        c for c in engine.containers(goal.instance.name) if c.release == goal.release.id and c.name in attempt.begun
    ]
    engine.stop_and_remove([c.id for c in mine if c.id not in before], GRACE_SECONDS)
    engine.set_aside([c.id for c in mine if c.id in before], GRACE_SECONDS)
