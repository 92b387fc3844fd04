"""The standby: the last plan's container, kept ready on a host that runs another plan.

Owns: that container while the host is not on its plan. Reads: `policy.json` of a release. Never: takes traffic away.
"""

from __future__ import annotations

from stepdown.errors import StepdownError
from stepdown.host import engine, kernel
from stepdown.host.proof import prove_all
from stepdown.host.target import Target

COLD, WARM = "cold", "warm"


def standby_of(goal: Target) -> Target | None:
    """The plan that is kept ready beside `goal`; None on that plan itself, and in a release that has none."""
    plan = goal.release.policy().get("standby", {}).get("plan")
    if plan is None or plan == goal.plan or plan not in goal.release.plans:
        return None
    return Target(goal.home, goal.instance, goal.release, plan)


def names(goal: Target) -> frozenset[str]:
    """Containers that are kept beside those of `goal`."""
    kept = standby_of(goal)
    return frozenset(kept.facts["containers"]) if kept else frozenset()


def mode(goal: Target, running: tuple[engine.Container, ...]) -> str:
    """How the standby is to be kept: as the policy says, but cold where there is no memory for a warm one."""
    kept = standby_of(goal)
    if kept is None or policy_mode(goal) == COLD:
        return COLD
    need = sum(facts["memory_mib"] for facts in kept.facts["containers"].values())
    warm_already = any(c.running for c in _there(goal, running))
    return WARM if warm_already or need <= kernel.memory_available_mib() else COLD


def policy_mode(goal: Target) -> str:
    """How the policy wants a standby to be kept."""
    return str(goal.release.policy().get("standby", {}).get("mode", COLD))


def kept(goal: Target, running: tuple[engine.Container, ...]) -> bool:
    """Whether the standby of `goal` is there, and runs if it is to be warm."""
    there = _there(goal, running)
    if {c.name for c in there} != names(goal):
        return False
    return all(c.running for c in there) or mode(goal, running) == COLD


def keep(goal: Target) -> str:
    """Make the standby, and start and prove a warm one; how it is kept, or "" where there is none.

    One that does not come up is not a failure of the plan that serves: it is told, and left for the next switch.
    """
    wanted = standby_of(goal)
    if wanted is None:
        return ""
    how = mode(goal, engine.containers(goal.instance.name))
    services = sorted(wanted.facts["containers"])
    file = goal.release.compose_file(wanted.plan)
    try:
        if how == COLD:
            engine.create(goal.home, goal.release.env_file, file, services)
        else:
            engine.up(goal.home, goal.release.env_file, file, services)
            prove_all(wanted)
    except StepdownError as error:
        return f"{how}, not ready: {str(error).splitlines()[0]}"
    return how


def _there(goal: Target, running: tuple[engine.Container, ...]) -> list[engine.Container]:
    kept_names = names(goal)
    return [c for c in running if c.release == goal.release.id and c.name in kept_names]
