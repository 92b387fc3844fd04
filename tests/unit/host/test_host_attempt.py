"""What the steps of a switch share, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from stepdown.errors import StepdownError
from stepdown.host.attempt import Attempt, first_line

if TYPE_CHECKING:
    from stepdown.host.target import Target
    from tests.unit.host.conftest import Running

OnPlan = Callable[..., "Running"]


def attempt(goal: Target, kind: str = "switch", **old: Any) -> Attempt:
    """A switch to `goal` that has done nothing yet."""
    return Attempt(goal, kind, "a test", old, (), [])


def _broken() -> None:
    raise StepdownError("it does not answer\nsince long")


def test_another_plan_or_release_is_a_move(on_plan: OnPlan) -> None:
    """So is the first switch; the same plan of the same release is none."""
    goal = on_plan("C").goal
    assert True is attempt(goal).moves
    assert True is attempt(goal, plan="B", release=goal.release.id).moves
    assert True is attempt(goal, plan="C", release="000000000000").moves
    assert False is attempt(goal, plan="C", release=goal.release.id).moves


def test_the_journal_is_told_where_it_came_from(on_plan: OnPlan) -> None:
    """Nowhere, at first."""
    goal = on_plan("C").goal
    ends = {"kind": "switch", "to": "C", "release": goal.release.id}
    assert {**ends, "from": None, "from_release": None} == attempt(goal).words
    assert {**ends, "from": "D", "from_release": "abc"} == attempt(goal, plan="D", release="abc").words


def test_a_part_of_the_edge_that_fails_ends_a_switch(on_plan: OnPlan) -> None:
    """The old plan serves, so nothing is done by halves."""
    under_way = attempt(on_plan("C").goal)
    with pytest.raises(StepdownError, match="it does not answer"):
        under_way.with_edge("gateway", _broken)
    assert {} == under_way.lost


def test_an_emergency_does_without_it_from_then_on(on_plan: OnPlan) -> None:
    """It is asked once: each further question would cost the seconds that nobody has. Other parts are tried."""
    under_way, done = attempt(on_plan("D").goal, "emergency"), list[str]()
    under_way.with_edge("gateway", _broken)
    under_way.with_edge("gateway", lambda: done.append("gateway"))
    under_way.with_edge("egress", lambda: done.append("egress"))
    assert ({"gateway": "it does not answer"}, ["egress"]) == (under_way.lost, done)
    assert "it does not answer" == under_way.outcome().gateway


def test_what_was_not_begun_was_kept(on_plan: OnPlan) -> None:
    """By the names of the plan's containers; the time is that of the traffic, not of the clearing up."""
    under_way = attempt(on_plan("C").goal)
    under_way.begun.append("zen")
    under_way.seconds = 1.5
    outcome = under_way.outcome()
    assert (("zen",), ("heimdall",), 1.5, "") == (outcome.started, outcome.kept, outcome.seconds, outcome.gateway)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StepdownError("one\ntwo"), "one"),
        (KeyboardInterrupt(), "interrupted"),
        (ValueError(), "ValueError"),
        (StepdownError("a" * 301), "a" * 300),
    ],
)
def test_the_journal_is_told_one_short_line(error: BaseException, told: str) -> None:
    """Never an empty one."""
    assert told == first_line(error)
