"""The agent, or all at once, killed at every step of a switch: `converge` ends in one whole plan, and says which."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from stepdown.host.switch import STEPS
from tests.drills import crash
from tests.drills.drill import MODEL, Drill
from tests.stack import ROOT, until

pytestmark = [pytest.mark.engine, pytest.mark.mcp_integration]

NAMES = tuple(step.name for step in STEPS)
MOVED = NAMES.index("route")
ONE, OTHER = MODEL, f"{MODEL},model-two"  # two releases, by zen's list of models
WAYS = (("A", ONE, "C", ONE), ("C", ONE, "D", ONE), ("D", ONE, "B", ONE), ("A", ONE, "A", OTHER))
KILLED = (crash.AGENT, crash.EVERYTHING)
PER_SECOND = 20  # as a check that nobody notices; what a switch under full load does is drilled with all pairs
WITHIN = {False: 3, True: 20}  # kills at any moment: in the gate, and with --all


class Case(NamedTuple):
    """Killed when, at which step, and with what, on the way from a plan and release to another."""

    when: str
    step: str
    killed: str
    way: tuple[str, str, str, str]

    def __str__(self) -> str:
        here, one, there, other = self.way
        return f"{self.when}-{self.step}-{self.killed}-{here}-{there}{'' if one == other else '-release'}"


def cases(*, whole: bool, chosen: random.Random) -> list[Case]:
    """All; or half of the steps once, with every pair of the rest among them, those of one way side by side."""
    points = [(crash.BEFORE, NAMES[0]), *((crash.AFTER, name) for name in NAMES)]
    others = list(itertools.product(KILLED, WAYS))
    if whole:
        every = itertools.product(points, others)
        return sorted((Case(*point, *other) for point, other in every), key=lambda case: WAYS.index(case.way))
    chosen.shuffle(others)
    some = chosen.sample(points, len(points) // 2)
    taken = (Case(*point, *other) for point, other in zip(some, itertools.cycle(others), strict=False))
    return sorted(taken, key=lambda case: WAYS.index(case.way))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The matrix, or its sample."""
    chosen = random.Random(metafunc.config.getoption("seed"))
    whole = metafunc.config.getoption("all")
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", cases(whole=whole, chosen=chosen), ids=str)
    if "moment" in metafunc.fixturenames:
        # as a share of the time that the same switch takes unharmed
        metafunc.parametrize("moment", [round(chosen.random(), 2) for _ in range(WITHIN[whole])])


def killed_at(drill: Drill, case: Case, *command: str) -> None:
    """Run a command of the agent into its death."""
    argv = [sys.executable, str(Path(crash.__file__)), case.when, case.step, case.killed, str(drill.home.path)]
    environment = {**drill.stack.environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*argv, *command], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert -signal.SIGKILL == done.returncode, done.stdout + done.stderr


def converged(drill: Drill, since: int) -> tuple[str, str, str]:
    """Converge, and check that one plan is there wholly and the journal says so; the plan, its release and why."""
    answer = drill.agent("converge")
    release = str(drill.state()["release"])
    drill.require_whole(answer["plan"], release)
    last = drill.entries("outcome", since=since)
    if last:
        assert (True, answer["plan"], release) == (last[-1]["ok"], last[-1]["to"], last[-1]["release"])
    return answer["plan"], release, answer["reason"]


def test_converge_after_a_kill_ends_in_one_whole_plan(drill: Drill, case: Case) -> None:
    """Before the routes moved in the old one, after that in the new one; with the agent alone dead no call is lost."""
    here, one, there, other = case.way
    old, new = drill.bring(here, drill.stage(one)), drill.stage(other)
    since = drill.mark()
    move = ("switch", "--to", there, "--release", new)
    if case.killed == crash.AGENT:
        with drill.load(here, there, per_second=PER_SECOND):
            killed_at(drill, case, *move)
            plan, release, reason = converged(drill, since)
    else:
        killed_at(drill, case, *move)
        plan, release, reason = converged(drill, since)
    at = NAMES.index(case.step)
    first, second = ((here, old), (there, new))[:: 1 if at < MOVED else -1]
    if (plan, release) != first:  # where all died at once, it may not come up again in time; then that is told
        assert (second, crash.EVERYTHING, True) == ((plan, release), case.killed, "but not" in reason), reason
        drill.figures.append(f"killed {case}: {reason}")
    if case.when == crash.AFTER and at < NAMES.index("outcome"):
        assert "unfinished" in reason


def test_converge_after_a_kill_at_any_moment_ends_in_one_whole_plan(drill: Drill, moment: float) -> None:
    """Within a step too: the agent and all that it started die together, once more while it converges."""
    old = drill.bring("C")
    began = time.monotonic()
    drill.agent("switch", "--to", "A")
    whole = time.monotonic() - began
    drill.bring("C")
    since = drill.mark()
    for command in (("switch", "--to", "A"), ("converge",)):
        process = drill.begin(*command)
        time.sleep(moment * whole)  # this is the moment that is drilled: no event marks it
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    plan, release, _ = converged(drill, since)
    assert (plan, release) in {("A", old), ("C", old)}


def test_a_kill_while_it_converges_is_converged_too(drill: Drill) -> None:
    """All dead on the way to D, the agent that puts it right dead as well, and again: the third ends in one plan."""
    old = drill.bring("C")
    since = drill.mark()
    killed_at(drill, Case(crash.AFTER, "start", crash.EVERYTHING, WAYS[1]), "switch", "--to", "D")
    killed_at(drill, Case(crash.AFTER, "start", crash.EVERYTHING, WAYS[1]), "converge")
    killed_at(drill, Case(crash.AFTER, "route", crash.AGENT, WAYS[1]), "converge")
    assert ("C", old) == converged(drill, since)[:2]


def test_the_lock_of_a_dead_holder_is_taken_over_and_told(drill: Drill) -> None:
    """No lock file stands in anybody's way; who died is in the journal."""
    drill.bring("C")
    since = drill.mark()
    process = drill.begin("switch", "--to", "A", "--why", "to die")
    until(lambda: drill.entries("intent", since=since), "it is at work")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    drill.agent("converge")
    told = drill.wait_for("stale_lock", since)
    assert process.pid == told["pid"]
