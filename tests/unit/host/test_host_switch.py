"""What a switch sees and does on its way, on an engine that only writes down what it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from stepdown.errors import ChangedError, StepdownError
from stepdown.host import journal, switch
from stepdown.host.engine import Container
from stepdown.host.switch import Attempt
from stepdown.shared import GRACE_SECONDS

if TYPE_CHECKING:
    from stepdown.host.target import Target
    from tests.unit.host.conftest import Running

OnPlan = Callable[..., "Running"]


def attempt(goal: Target, running: tuple[Container, ...] = (), **old: Any) -> Attempt:
    """A switch to `goal` that has done nothing yet."""
    return Attempt(goal, "switch", "a test", old, running, [])


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
    ends = {"to": "C", "release": goal.release.id}
    assert {**ends, "from": None, "from_release": None} == attempt(goal).words
    assert {**ends, "from": "D", "from_release": "abc"} == attempt(goal, plan="D", release="abc").words


def test_the_old_release_leaves_the_direct_port_to_the_new(on_plan: OnPlan, capsys: pytest.CaptureFixture[str]) -> None:
    """It is stopped and kept, for a way back; who else runs, runs on."""
    host = on_plan("D")
    running = host.shows(old_monolith="running", old_zen="running", edge_gateway="running")
    under_way = attempt(host.goal, running)
    under_way.clear_the_port()
    assert ["old_monolith"] == under_way.aside
    assert [f"stop --time {GRACE_SECONDS} old_monolith"] == host.calls
    assert under_way.closed >= under_way.began
    said = f"plan D: 127.0.0.1:7860 closes until release {host.goal.release.id} is up\n"
    assert said == capsys.readouterr().err


@pytest.mark.parametrize(
    ("plan", "there"),
    [
        ("D", {}),
        ("D", {"monolith": "running"}),
        ("D", {"old_monolith": "created"}),
        ("D", {"old_monolith": "exited"}),
        ("D", {"old_zen": "running"}),
        ("D", {"edge_monolith": "running"}),
        ("C", {"old_monolith": "running"}),
    ],
)
def test_nobody_else_is_set_aside(
    on_plan: OnPlan, capsys: pytest.CaptureFixture[str], plan: str, there: dict[str, str]
) -> None:
    """Not one of this release, one that does not run, one without the port; and none for a plan that has no port."""
    host = on_plan(plan)
    under_way = attempt(host.goal, host.shows(**there))
    under_way.clear_the_port()
    assert ([], [], 0.0, "") == (under_way.aside, host.calls, under_way.closed, capsys.readouterr().err)


def test_a_failed_switch_removes_what_it_made_and_only_ends_the_standby(on_plan: OnPlan) -> None:
    """The host keeps its last resort."""
    host = on_plan("D")
    under_way = attempt(host.goal, host.shows(monolith="created", old_zen="running"))
    under_way.begun += ["monolith", "extra"]
    host.shows(monolith="running", extra="running", old_zen="running")
    switch._end_begun(under_way)
    ended = f"stop --time {GRACE_SECONDS}"
    assert [f"{ended} extra", "rm --force --volumes extra", f"{ended} monolith"] == host.calls


def test_what_cannot_be_put_back_keeps_nothing_else_from_being(
    on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step is tried; the caller is told that something changed, and the journal what."""
    host, permitted = on_plan("D"), list[Any]()
    monkeypatch.setattr(switch, "_permit", lambda *given: permitted.append(given))
    under_way = attempt(host.goal, host.shows(old_monolith="running"))
    under_way.aside += ["old_monolith"]
    host.fails("start")
    with pytest.raises(ChangedError, match="it broke; and not all could be put back: docker start old_monolith"):
        switch._give_up(under_way, StepdownError("it broke"))
    assert 1 == len(permitted)
    last = journal.read(host.goal.home.journal).entries[-1]
    assert ("outcome", False, "it broke", 1) == (last["event"], last["ok"], last["error"], len(last["not_put_back"]))


def test_a_switch_that_is_given_up_tells_its_own_error(on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all was put back, nothing changed."""
    host = on_plan("D")
    monkeypatch.setattr(switch, "_permit", lambda *_: None)
    switch._give_up(attempt(host.goal, host.shows()), StepdownError("it broke"))
    last = journal.read(host.goal.home.journal).entries[-1]
    assert (False, "it broke", False) == (last["ok"], last["error"], "not_put_back" in last)


def test_a_standby_is_started_and_not_made_anew(on_plan: OnPlan) -> None:
    """It was made and never ran, so it holds nothing; making it is what it saves."""
    host = on_plan("D")
    switch._start(host.goal, host.shows(monolith="created"), ["monolith"])
    (call,) = host.calls
    assert call.startswith("compose ")
    assert call.endswith(" monolith")


@pytest.mark.parametrize("state", ["exited", "running"])
def test_a_container_that_ran_is_made_anew(on_plan: OnPlan, state: str) -> None:
    """It may hold what it was stopped for, or hang; that of another release is left alone."""
    host = on_plan("D")
    switch._start(host.goal, host.shows(monolith=state, old_monolith="exited", zen="exited"), ["monolith"])
    stopped, removed, made = host.calls
    assert ("stop --time 0 monolith", "rm --force --volumes monolith") == (stopped, removed)
    assert f"--file {host.goal.release.compose_file('D')} up " in made


def test_nothing_is_asked_of_compose_when_nothing_is_missing(on_plan: OnPlan) -> None:
    """A second of compose is a second of every switch."""
    host = on_plan("D")
    switch._start(host.goal, host.shows(monolith="running"), [])
    assert [] == host.calls
