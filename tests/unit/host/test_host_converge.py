"""What a host ends in after a crash, and why that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from stepdown.errors import ChangedError, StepdownError
from stepdown.host import converge, journal, verdicts
from stepdown.host.attempt import Outcome
from stepdown.host.home import Home
from stepdown.host.target import Target

if TYPE_CHECKING:
    from tests.unit.host.conftest import Running

OnPlan = Callable[..., "Running"]
STATE = {"release": "old", "plan": "B"}
INTENT = {"event": "intent", "release": "new", "to": "C", "why": "a test", "from": "B", "from_release": "old"}


@pytest.mark.parametrize(
    ("state", "kind", "routes", "expected"),
    [
        (None, None, "", []),
        (STATE, None, "", [("old", "B", converge.AS_LEFT)]),
        (
            STATE,
            "switch",
            "old/B",
            [
                ("old", "B", "an unfinished switch had not moved the traffic: going back"),
                ("new", "C", "an unfinished switch, and the plan before it cannot be had"),
            ],
        ),
        (
            STATE,
            "fallback",
            "new/C",
            [
                ("new", "C", "an unfinished fallback had its routes in force: going forward"),
                ("old", "B", "an unfinished fallback had not moved the traffic: going back"),
            ],
        ),
        (
            STATE,
            "emergency",
            "old/B",
            [("new", "C", converge.ON), ("old", "B", "an unfinished emergency had not moved the traffic: going back")],
        ),
        (None, "switch", "idle", []),
        (None, "switch", "new/C", [("new", "C", "an unfinished switch had its routes in force: going forward")]),
        (None, "emergency", "idle", [("new", "C", converge.ON)]),
    ],
)
def test_the_routes_on_disk_decide_which_way_a_host_goes(
    home: Home, state: dict[str, Any] | None, kind: str | None, routes: str, expected: list[converge.Choice]
) -> None:
    """Forward where they were in force; back where not, but an emergency goes on. A first switch has no way back."""
    home.write_json(home.envoy_config("gateway") / "routes.json", {"version_info": routes, "resources": []})
    intent = {**INTENT, "kind": kind} if kind else None
    assert expected == converge._choices(home, state, intent, adopt=False)


@pytest.mark.parametrize(
    ("plan", "mode", "states", "found"),
    [
        ("C", "cold", {"zen": "running", "heimdall": "running"}, ""),
        ("C", "cold", {"zen-reasoning": "running", "heimdall": "running"}, ""),
        ("C", "cold", {"monolith": "running"}, "D"),
        ("C", "warm", {"monolith": "running"}, "D"),
        ("C", "warm", {"zen": "running", "heimdall": "running", "monolith": "running"}, ""),
        ("C", "cold", {"zen": "running", "heimdall": "running", "monolith": "running"}, "D"),
        ("D", "cold", {"zen": "running", "heimdall": "running"}, "C"),
        ("D", "cold", {"zen": "running", "heimdall": "exited"}, ""),
        ("D", "cold", {"old_zen": "running", "old_heimdall": "running"}, ""),
    ],
)
def test_a_plan_that_somebody_started_by_hand_is_known_when_it_is_whole(
    on_plan: OnPlan, plan: str, mode: str, states: Mapping[str, str], found: str
) -> None:
    """A warm standby beside its plan was started by nobody; one of another release, or half a plan, is none."""
    host = on_plan(plan, mode)
    host.shows(**states)
    assert found == converge._by_hand(host.goal)


def test_what_was_started_by_hand_comes_first_when_it_is_asked_for(on_plan: OnPlan) -> None:
    """And is left alone when it is not."""
    host = on_plan("C")
    host.shows(monolith="running")
    release, home = host.goal.release.id, host.goal.home
    state = {"release": release, "plan": "C"}
    left = (release, "C", converge.AS_LEFT)
    by_hand = (release, "D", "by hand plan D was started, and is whole")
    assert [by_hand, left] == converge._choices(home, state, None, adopt=True)
    assert [left] == converge._choices(home, state, None, adopt=False)


@pytest.mark.parametrize(
    ("intent", "reason", "kind"),
    [
        ("rollback", "an unfinished rollback had its routes in force: going forward", "rollback"),
        ("emergency", converge.ON, "emergency"),
        ("switch", "an unfinished switch had not moved the traffic: going back", "converge"),
        ("switch", "an unfinished switch, and the plan before it cannot be had", "converge"),
        ("", converge.AS_LEFT, "converge"),
        ("", "by hand plan D was started, and is whole", "adopt"),
        ("switch", "by hand plan D was started, and is whole", "adopt"),
    ],
)
def test_what_goes_forward_is_still_the_move_that_it_was(intent: str, reason: str, kind: str) -> None:
    """What follows from a rollback or an emergency does not depend on a crash."""
    assert kind == converge._kind({"kind": intent} if intent else None, reason)


class Switches:
    """Stands for the switch: takes down where it was sent, and cannot reach some plans."""

    def __init__(self, unreachable: str = "", changed: bool = True) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.unreachable, self.changed = unreachable, changed

    def __call__(self, goal: Target, *, why: str, kind: str = "switch") -> Outcome:
        self.asked.append((goal.plan, kind, why))
        if goal.plan in self.unreachable:
            raise StepdownError(f"plan {goal.plan} does not answer\nmore")
        return Outcome(self.changed, goal.plan, goal.release.id, 0.0, (), (), ())


def _crashed(
    on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch, switches: Switches, *, kind: str, routes: str, came_from: str = ""
) -> Home:
    """A host on plan B where a move to plan C was cut short."""
    goal = on_plan("B").goal
    release = goal.release.id
    goal.home.write_json(goal.home.state, {"release": release, "plan": "B"})
    version = f"{release}/{routes}"
    goal.home.write_json(goal.home.envoy_config("gateway") / "routes.json", {"version_info": version, "resources": []})
    words = {"kind": kind, "to": "C", "release": release, "from": "B", "from_release": came_from or release}
    journal.append(goal.home.journal, "intent", why="a test", **words)
    monkeypatch.setattr(converge, "switch", switches)
    return goal.home


def test_what_goes_forward_keeps_its_reason(on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked later is told both: why somebody moved, and that it was finished after a crash."""
    switches = Switches()
    home = _crashed(on_plan, monkeypatch, switches, kind="fallback", routes="C")
    outcome, reason = converge.converge(home)
    assert outcome is not None
    assert ("C", "an unfinished fallback had its routes in force: going forward") == (outcome.plan, reason)
    assert [("C", "fallback", f"a test; {reason}")] == switches.asked


def test_a_first_choice_that_does_not_work_is_followed_by_the_other(
    on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was wrong with it is told."""
    switches = Switches(unreachable="B")
    home = _crashed(on_plan, monkeypatch, switches, kind="switch", routes="B")
    outcome, reason = converge.converge(home)
    assert outcome is not None
    assert ["B", "C"] == [plan for plan, *_ in switches.asked]
    assert reason.startswith("an unfinished switch, and the plan before it cannot be had; but not plan B of release")
    assert reason.endswith("plan B does not answer")


def test_where_no_plan_can_be_had_the_last_resort_is_named(on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3, with what was wrong with each."""
    home = _crashed(on_plan, monkeypatch, Switches(unreachable="BC"), kind="switch", routes="B")
    with pytest.raises(ChangedError, match=r"(?s)plan B does not.*plan C does not.* Run: stepdown\.pyz emergency$"):
        converge.converge(home)


def test_where_all_was_done_but_the_record_of_it_the_record_is_made(
    on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next one would find an unfinished move again."""
    home = _crashed(on_plan, monkeypatch, Switches(changed=False), kind="switch", routes="C")
    converge.converge(home)
    entries = journal.read(home.journal).entries
    assert None is journal.unfinished(entries)
    assert ("switch", "C", True) == tuple(entries[-1][key] for key in ("kind", "to", "ok"))


@pytest.mark.parametrize(("routes", "events"), [("C", ["intent", "bad"]), ("B", ["intent"])])
def test_a_rollback_that_was_cut_short_marks_what_it_left_only_when_it_left_it(
    on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch, routes: str, events: list[str]
) -> None:
    """Where the host goes back to the release, it was not left."""
    home = _crashed(on_plan, monkeypatch, Switches(), kind="rollback", routes=routes, came_from="ffffffffffff")
    state = {"release": "ffffffffffff", "plan": "B"} if routes == "C" else None
    if state:
        home.write_json(home.state, state)
    else:
        home.state.unlink()
    converge.converge(home)
    entries = journal.read(home.journal).entries
    assert events == [entry["event"] for entry in entries if entry["event"] != "outcome"]
    assert (verdicts.BAD if routes == "C" else verdicts.UNKNOWN) == verdicts.verdict(entries, "ffffffffffff")


def test_a_host_where_no_switch_was_ever_completed_runs_nothing(on_plan: OnPlan) -> None:
    """What a first one began is stopped; the edge stays."""
    host = on_plan("C")
    host.shows(zen="running", edge_gateway="running")
    assert (None, "no switch was ever completed here: nothing runs") == converge.converge(host.goal.home)
    assert ["stop", "rm"] == [call.split()[0] for call in host.calls]
    assert all(call.endswith(" zen") for call in host.calls)
