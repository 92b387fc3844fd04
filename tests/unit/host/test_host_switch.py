"""What a switch sees and does on its way, on an engine that only writes down what it is asked."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from stepdown.errors import ChangedError, StepdownError
from stepdown.host import journal, preflight, steps, switch
from stepdown.host.attempt import Attempt
from stepdown.host.engine import Container
from stepdown.host.fault import FaultyError
from stepdown.host.steps import Step
from stepdown.shared import GRACE_SECONDS

if TYPE_CHECKING:
    from stepdown.host.target import Target
    from tests.unit.host.conftest import Running

OnPlan = Callable[..., "Running"]


def attempt(goal: Target, running: tuple[Container, ...] = (), **old: Any) -> Attempt:
    """A switch to `goal` that has done nothing yet."""
    return Attempt(goal, "switch", "a test", old, running, [])


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
    monkeypatch.setattr(steps, "allow", lambda *given: permitted.append(given))
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
    monkeypatch.setattr(steps, "allow", lambda *_: None)
    switch._give_up(attempt(host.goal, host.shows()), StepdownError("it broke"))
    last = journal.read(host.goal.home.journal).entries[-1]
    assert (False, "it broke", False) == (last["ok"], last["error"], "not_put_back" in last)


@pytest.mark.parametrize(
    ("error", "serves", "events"),
    [
        (FaultyError("zen lost a tool"), False, ["outcome", "bad"]),
        (FaultyError("zen lost a tool"), True, ["outcome"]),
        (StepdownError("no memory"), False, ["outcome"]),
        (KeyboardInterrupt(), False, ["outcome"]),
    ],
)
def test_only_a_release_at_fault_that_does_not_serve_is_marked_bad(
    on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch, error: BaseException, serves: bool, events: list[str]
) -> None:
    """The host's own trouble is not the release's, and the one that serves may be all that there is."""
    goal = on_plan("D").goal
    monkeypatch.setattr(steps, "allow", lambda *_: None)
    release = goal.release.id if serves else "ffffffffffff"
    switch._give_up(attempt(goal, plan="C", release=release), error)
    entries = journal.read(goal.home.journal).entries
    assert events == [entry["event"] for entry in entries]
    assert [goal.release.id for _ in events[1:]] == [entry["release"] for entry in entries[1:]]


def test_a_step_that_fails_before_the_traffic_moved_is_given_up(
    on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows it is not begun, and its own error is told."""
    goal, done = on_plan("D").goal, list[str]()

    def fail(_attempt: Attempt) -> None:
        raise StepdownError("it broke")

    monkeypatch.setattr(steps, "allow", lambda *_: None)
    monkeypatch.setattr(switch, "require_fit", lambda *_, **__: None)
    after = Step("after", lambda _: done.append("after"))
    monkeypatch.setattr(switch, "STEPS", (Step("before", lambda _: done.append("before")), Step("fails", fail), after))
    with pytest.raises(StepdownError, match=r"^it broke$") as failure:
        switch.switch(goal, why="a test")
    assert (["before"], 1) == (done, failure.value.exit_code)
    assert [False] == [entry["ok"] for entry in journal.read(goal.home.journal).entries]


@pytest.mark.parametrize("error", [StepdownError("disk full"), OSError(28, "disk full")])
def test_what_fails_after_the_traffic_moved_is_left_to_converge(
    on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Exit code 3; nothing is put back, and the journal keeps the intent open."""
    goal = on_plan("D").goal

    def move(under_way: Attempt) -> None:
        under_way.moved = True

    def fail(_attempt: Attempt) -> None:
        raise error

    monkeypatch.setattr(switch, "require_fit", lambda *_, **__: None)
    monkeypatch.setattr(switch, "STEPS", (Step("intent", steps.intend), Step("route", move), Step("fails", fail)))
    with pytest.raises(ChangedError, match=r"plan D: has the traffic, but what follows failed: .*disk full") as failure:
        switch.switch(goal, why="a test")
    assert 3 == failure.value.exit_code
    assert goal.plan == (journal.unfinished(journal.read(goal.home.journal).entries) or {})["to"]


def test_signals_wait_from_the_first_deaf_step_on(on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the switch ends, and no longer."""
    seen = list[bool]()

    def look(_attempt: object = None) -> None:
        seen.append(signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    monkeypatch.setattr(switch, "require_fit", lambda *_, **__: None)
    monkeypatch.setattr(switch, "STEPS", (Step("a", look), Step("b", look, deaf=True), Step("c", look)))
    switch.switch(on_plan("D").goal, why="a test")
    look()
    assert [False, True, True, False] == seen


@pytest.mark.parametrize("there", [True, False])
def test_an_emergency_asks_for_images_alone(on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """Memory, disk and ports are not asked, but without its image no container starts."""
    goal = on_plan("D").goal
    ids = {image["reference"]: image["id"] for image in goal.release.images.values()} if there else {}
    monkeypatch.setattr(preflight.engine, "image_ids", lambda _references: ids)
    monkeypatch.setattr(preflight, "problems", lambda *_: pytest.fail("it asked for more"))
    if there:
        switch.require_fit(goal, urgent=True)
    else:
        with pytest.raises(StepdownError, match=r"^plan D: 1 problem before any change:\n  - image stepdown/whole:"):
            switch.require_fit(goal, urgent=True)
