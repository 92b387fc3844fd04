"""Where the named moves lead."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from stepdown.errors import StepdownError, UsageError
from stepdown.host import break_glass, journal, moves
from stepdown.host.attempt import Outcome
from stepdown.host.home import Home
from stepdown.host.moves import Move
from stepdown.host.target import Target

if TYPE_CHECKING:
    from tests.conftest import Staging
    from tests.unit.host.conftest import Running

OnPlan = Callable[..., "Running"]


def _on(goal: Target, plan: str = "", kind: str = "switch") -> Home:
    """The goal's host, its plan and release on record."""
    state = {"plan": plan or goal.plan, "release": goal.release.id, "kind": kind}
    goal.home.write_json(goal.home.state, state)
    return goal.home


def _where(move: Move) -> tuple[str, str]:
    return move.kind, move.goal.plan


@pytest.mark.parametrize(("plan", "below"), [("A", "B"), ("B", "C"), ("C", "D")])
def test_a_fallback_goes_one_rung_down(on_plan: OnPlan, plan: str, below: str) -> None:
    """Of the release that serves."""
    goal = on_plan(plan).goal
    move = moves.fallback(_on(goal))
    assert ("fallback", below, goal.release.id) == (*_where(move), move.goal.release.id)


def test_below_the_last_rung_is_nothing(on_plan: OnPlan) -> None:
    """But a plan that is named is gone to."""
    home = _on(on_plan("D").goal)
    wrong = r"^fallback: plan D is the last one; nothing is below it \(known: A, B, C, D\)\. Run: \./run recover$"
    with pytest.raises(StepdownError, match=wrong):
        moves.fallback(home)
    assert ("fallback", "C") == _where(moves.fallback(home, "C"))


def test_a_recovery_leads_to_the_plan_that_was_chosen_last(on_plan: OnPlan) -> None:
    """Or to the one named; where nothing was left, nowhere else."""
    goal = on_plan("D").goal
    home = _on(goal)
    assert ("recover", "D") == _where(moves.recover(home))
    for kind, before, plan in (("switch", None, "B"), ("fallback", "B", "C"), ("emergency", "C", "D")):
        words = {"from": before, "to": plan, "release": goal.release.id, "from_release": goal.release.id}
        journal.append(home.journal, "outcome", kind=kind, ok=True, **words)
    assert ("recover", "B") == _where(moves.recover(home))
    assert ("recover", "A") == _where(moves.recover(home, "A"))


def test_a_rollback_keeps_the_plan(staging: Staging, on_plan: OnPlan) -> None:
    """Of the release that was proved good."""
    old, _ = staging.stage()
    goal = on_plan("B").goal
    home = _on(goal)
    journal.append(home.journal, "proved", release=old.id)
    move = moves.rollback(home)
    assert ("rollback", "B", old.id) == (*_where(move), move.goal.release.id)


@pytest.mark.parametrize("move", [moves.fallback, moves.recover])
def test_a_plan_that_is_in_no_release_is_wrong_use(on_plan: OnPlan, move: Callable[[Home, str], Move]) -> None:
    """Exit code 2, with those that there are."""
    home = _on(on_plan("C").goal)
    with pytest.raises(UsageError, match=r"plan 'E': is not in release .* \(known: A, B, C, D\)"):
        move(home, "E")


@pytest.mark.parametrize("move", [moves.fallback, moves.recover, moves.rollback])
def test_a_host_that_is_on_no_plan_moves_nowhere(home: Home, move: Callable[[Home], Move]) -> None:
    """A deploy comes first."""
    with pytest.raises(StepdownError, match=r"no plan is active\. Run: \./run deploy --plan=C"):
        move(home)


def test_the_last_resorts_are_of_what_serves_and_then_of_what_was_good(staging: Staging, on_plan: OnPlan) -> None:
    """Each its last plan; where nothing ever served, of what was staged last, and where nothing is staged, none."""
    with pytest.raises(StepdownError, match="nothing is staged here"):
        moves.last_resorts(staging.home)
    old, _ = staging.stage()
    goal = on_plan("B").goal
    home = goal.home
    assert 1 == len(moves.last_resorts(home))
    _on(goal)
    for release in ("ffffffffffff", old.id, goal.release.id):
        journal.append(home.journal, "proved", release=release)
    found = moves.last_resorts(home)
    assert [(goal.release.id, "D"), (old.id, "D")] == [(each.release.id, each.plan) for each in found]


def _emergency(home: Home, monkeypatch: pytest.MonkeyPatch, fails: int) -> list[str]:
    """Releases that an emergency asked for, so many of which cannot be had."""
    asked = list[str]()

    def go(move: Move, _why: str) -> Outcome:
        asked.append(move.goal.release.id)
        if len(asked) <= fails:
            raise StepdownError(f"no image of {move.goal.release.id}")
        return Outcome(True, move.goal.plan, move.goal.release.id, 0.0, (), (), ())

    monkeypatch.setattr(Move, "go", go)
    if fails < 2:
        moves.emergency(home, why="a test", hours=4)
    else:
        with pytest.raises(StepdownError, match=f"no image of {asked[-1] if asked else ''}"):
            moves.emergency(home, why="a test", hours=4)
    return asked


@pytest.mark.parametrize(("fails", "tried"), [(0, 1), (1, 2), (2, 2)])
def test_an_emergency_tries_one_release_after_the_other(
    staging: Staging, on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch, fails: int, tried: int
) -> None:
    """Until one answers; the break-glass is open either way, and people are told either way."""
    old, _ = staging.stage()
    goal = on_plan("B").goal
    home = _on(goal)
    journal.append(home.journal, "proved", release=old.id)
    home.make_directory(home.slack_webhook.parent, 0o700)
    home.write(home.slack_webhook, "http://127.0.0.1:9/", 0o400)
    assert [goal.release.id, old.id][:tried] == _emergency(home, monkeypatch, fails)
    assert None is not break_glass.read(home)
    (notice,) = home.notices.glob("*.json")
    assert (fails == 2) == ("failed: no image" in notice.read_text())


@pytest.mark.parametrize(
    ("state", "wanted", "expected"),
    [
        (None, "C", False),
        ({"kind": "switch", "plan": "D"}, "C", False),
        ({"kind": "recover", "plan": "D"}, "C", False),
        ({"kind": "emergency", "plan": "D"}, "C", True),
        ({"kind": "fallback", "plan": "D"}, "C", True),
        ({"kind": "emergency", "plan": "D"}, "D", False),
    ],
)
def test_a_deploy_leaves_a_host_where_it_stepped_down_to(
    state: dict[str, Any] | None, wanted: str, expected: bool
) -> None:
    """Not where it is on another plan by choice, or stays."""
    assert expected == moves.stepped_down(state, wanted)
