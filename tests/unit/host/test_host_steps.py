"""What the steps of a switch do, on an engine that only writes down what it is asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from stepdown import release as control
from stepdown.errors import StepdownError
from stepdown.host import gateway, journal, steps, verdicts
from stepdown.host.attempt import Attempt
from stepdown.host.engine import Container
from stepdown.host.fault import FaultyError
from stepdown.host.handshake import Handshake
from stepdown.host.release import Release, staged
from stepdown.host.state import require_state
from stepdown.shared import GRACE_SECONDS

if TYPE_CHECKING:
    from stepdown.host.target import Target
    from tests.conftest import Staging
    from tests.unit.host.conftest import Running

OnPlan = Callable[..., "Running"]
LATER = "gateway add route tell favour drain retire forbid record outcome standby prune"
NORMAL = f"intent permit clear start prove compare {LATER}"
URGENT = f"intent clear start prove compare {LATER}".replace(" route ", " route permit ")


def attempt(goal: Target, running: tuple[Container, ...] = (), kind: str = "switch", **old: Any) -> Attempt:
    """A switch to `goal` that has done nothing yet."""
    return Attempt(goal, kind, "a test", old, running, [])


@pytest.mark.parametrize(("urgent", "order"), [(False, NORMAL), (True, URGENT)])
def test_an_emergency_starts_the_plan_before_it_asks_the_edge(urgent: bool, order: str) -> None:
    """The egress proxy may be what is broken. No step is left out, and the first deaf one stays first."""
    found = steps.in_order(steps.STEPS, urgent=urgent)
    assert order.split() == [step.name for step in found]
    assert ["gateway"] == [step.name for step in found if step.deaf]


@pytest.mark.parametrize("urgent", [False, True])
def test_steps_that_none_is_deaf_in_keep_their_order(urgent: bool) -> None:
    """Whoever replaces them, for a drill, loses none."""
    plain = tuple(replace(step, deaf=False) for step in steps.STEPS if step.name != "permit")
    assert plain == steps.in_order(plain, urgent=urgent)


def test_the_intent_is_written_with_what_will_be_lost(on_plan: OnPlan, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is done; somebody may still stop it."""
    under_way = attempt(on_plan("C").goal, plan="B", release="abc")
    under_way.dropped = ({"server": "zen", "detail": "threads"},)
    steps.intend(under_way)
    (entry,) = journal.read(under_way.goal.home.journal).entries
    told = ("intent", "switch", "B", "C", "abc", "a test", ["zen"])
    assert told == tuple(entry[key] for key in ("event", "kind", "from", "to", "from_release", "why", "will_drop"))
    assert "plan C: zen will lose: threads\n" == capsys.readouterr().err


def test_the_old_release_leaves_the_direct_port_to_the_new(on_plan: OnPlan, capsys: pytest.CaptureFixture[str]) -> None:
    """It is stopped and kept, for a way back; who else runs, runs on."""
    host = on_plan("D")
    running = host.shows(old_monolith="running", old_zen="running", edge_gateway="running")
    under_way = attempt(host.goal, running)
    steps.clear(under_way)
    assert ["old_monolith"] == under_way.aside
    assert [f"stop --time {GRACE_SECONDS} old_monolith"] == host.calls
    assert under_way.closed is not None
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
    steps.clear(under_way)
    assert ([], [], None, "") == (under_way.aside, host.calls, under_way.closed, capsys.readouterr().err)


def test_a_standby_is_started_and_not_made_anew(on_plan: OnPlan) -> None:
    """It was made and never ran, so it holds nothing; making it is what it saves."""
    host = on_plan("D")
    steps.make(host.goal, host.shows(monolith="created"), ["monolith"])
    (call,) = host.calls
    assert call.startswith("compose ")
    assert call.endswith(" monolith")


@pytest.mark.parametrize("state", ["exited", "running"])
def test_a_container_that_ran_is_made_anew(on_plan: OnPlan, state: str) -> None:
    """It may hold what it was stopped for, or hang; that of another release is left alone."""
    host = on_plan("D")
    steps.make(host.goal, host.shows(monolith=state, old_monolith="exited", zen="exited"), ["monolith"])
    stopped, removed, made = host.calls
    assert ("stop --time 0 monolith", "rm --force --volumes monolith") == (stopped, removed)
    assert f"--file {host.goal.release.compose_file('D')} up " in made


def test_nothing_is_asked_of_compose_when_nothing_is_missing(on_plan: OnPlan) -> None:
    """A second of compose is a second of every switch."""
    host = on_plan("D")
    steps.make(host.goal, host.shows(monolith="running"), [])
    assert [] == host.calls


def _compared(host: Running, old: Release, before: str = "one", kind: str = "switch") -> None:
    """Compare a zen that now offers `chat` with the one that `old` had."""
    under_way = attempt(host.goal, (), kind, plan="C", release=old.id, schema_hashes={"zen": before})
    under_way.proofs = {"zen": Handshake(1.0, ("chat",), "two")}
    steps.compare(under_way)


def test_a_server_that_lost_a_tool_is_refused(staging: Staging, on_plan: OnPlan) -> None:
    """Agreed and configured alike, it is broken, and clients would find out one by one."""
    old, _ = staging.stage()
    with pytest.raises(FaultyError) as refused:
        _compared(on_plan("C"), old)
    assert str(refused.value).startswith(
        "plan C: zen offers other tools or schemas than before, with the same settings"
    )
    assert "zen now has chat. Run: ./run build --accept-tools" in str(refused.value)


def test_the_same_tools_are_accepted(staging: Staging, on_plan: OnPlan) -> None:
    """So are those of a server that the host did not have before."""
    old, _ = staging.stage()
    host = on_plan("C")
    _compared(host, old, before="two")
    under_way = attempt(host.goal, plan="C", release=old.id, schema_hashes={"heimdall": "one"})
    under_way.proofs = {"zen": Handshake(1.0, ("chat",), "two")}
    steps.compare(under_way)


def test_other_settings_may_give_other_tools(staging: Staging, on_plan: OnPlan) -> None:
    """An operator set them; settings of another server are no reason."""
    old, _ = staging.stage(environment={"ZEN_MCP_ENDPOINT": "http://other.example/v1", "ZEN_MODELS": ""})
    other, _ = staging.stage(
        environment={"ZEN_MCP_ENDPOINT": "http://models.example/v1", "ZEN_MODELS": "", "GITHUB_READ_ONLY": "1"}
    )
    host = on_plan("C")
    _compared(host, old)
    with pytest.raises(FaultyError, match="zen offers other tools"):
        _compared(host, other)


def test_other_agreed_tools_are_accepted(staging: Staging, on_plan: OnPlan) -> None:
    """Whoever built the release agreed to them."""
    archive = control.pack(staging.tree, staging.images, {"zen": "1" * 64})
    old, _ = staging.stage(archive)
    _compared(on_plan("C"), old)


def test_what_cannot_be_compared_is_accepted(staging: Staging, on_plan: OnPlan) -> None:
    """The release before is gone; or it is an emergency, where a tool less is better than none."""
    old, _ = staging.stage()
    host = on_plan("D")
    _compared(host, replace(old, id="ffffffffffff"))
    _compared(host, old, kind="emergency")


@pytest.mark.parametrize(
    ("plan", "states", "lost"),
    [
        ("D", {"zen-reasoning": "running", "code": "running"}, ["zen", "sequential-thinking"]),
        ("D", {"zen-reasoning": "exited", "code": "running"}, []),
        ("B", {"zen-reasoning": "running", "code": "running"}, []),
    ],
)
def test_what_servers_keep_in_memory_is_foretold(
    on_plan: OnPlan, plan: str, states: dict[str, str], lost: list[str]
) -> None:
    """Of those whose containers run and will end; what lies on disk is lost by nobody."""
    host = on_plan(plan)
    found = steps.forgets(host.goal, {"plan": "B", "release": host.goal.release.id}, host.shows(**states))
    assert lost == [each["server"] for each in found]
    assert all(each["detail"] for each in found)


@pytest.mark.parametrize("old", [{}, {"plan": "B", "release": "ffffffffffff"}])
def test_nothing_is_foretold_of_what_is_not_known(on_plan: OnPlan, old: dict[str, str]) -> None:
    """The first switch, and one from a release that is gone."""
    host = on_plan("D")
    assert () == steps.forgets(host.goal, old, host.shows(zen="running"))


@pytest.mark.parametrize(
    ("old", "kind", "expected"),
    [
        ({}, "switch", "switch"),
        ({"plan": "C", "kind": "switch"}, "fallback", "fallback"),
        ({"plan": "D", "kind": "emergency"}, "switch", "emergency"),
        ({"plan": "D", "kind": "fallback"}, "converge", "fallback"),
        ({"plan": "D", "kind": "switch"}, "emergency", "emergency"),
        ({"plan": "D"}, "rollback", "rollback"),
        ({"plan": "C", "kind": "emergency"}, "recover", "recover"),
    ],
)
def test_how_the_host_came_to_its_plan_outlives_what_happens_there(
    on_plan: OnPlan, old: dict[str, str], kind: str, expected: str
) -> None:
    """A new release on plan D does not end the emergency; an emergency on plan D begins one."""
    under_way = attempt(on_plan("D").goal, (), kind)
    under_way.old = old
    assert expected == steps._kind(under_way)


def _drained(
    on_plan: OnPlan,
    monkeypatch: pytest.MonkeyPatch,
    under_way: Sequence[bool],
    kind: str = "switch",
    policy: float = 300,
) -> tuple[float, int]:
    """How long a drain of zen waited by a clock that only its pauses move, and how often it asked."""
    host = on_plan("D")
    goal = host.goal
    goal.home.write_json(goal.release.path / "policy.json", {"drain_seconds": policy})
    (old,) = host.shows(zen="running")
    clock, asked, answers = [0.0], [0], list(under_way)

    def ask(_home: object, _clusters: set[str]) -> int:
        asked[0] += 1
        return int(answers.pop(0) if len(answers) > 1 else answers[0])

    def pause(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(steps.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(steps.time, "sleep", pause)
    monkeypatch.setattr(steps.gateway, "active_requests", ask)
    moved = Attempt(goal, kind, "a test", {}, (old,), [], began=0.0)
    steps.drain(moved)
    return clock[0], asked[0]


def test_a_drain_ends_with_the_last_call(on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a moment later."""
    seconds, asked = _drained(on_plan, monkeypatch, [True, True, True, False])
    assert (pytest.approx(3 * steps.POLL_SECONDS), 4) == (seconds, asked)


@pytest.mark.parametrize(
    ("kind", "policy", "expected"),
    [("switch", 300, 120.0), ("switch", 7, 7.0), ("switch", 0, 0.0), ("emergency", 300, 10.0), ("emergency", 7, 10.0)],
)
def test_a_call_without_an_end_is_cut(
    on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch, kind: str, policy: float, expected: float
) -> None:
    """After as long as one of the server may take (zen 120 s), and as the policy allows; in an emergency after 10 s."""
    seconds, _ = _drained(on_plan, monkeypatch, [True], kind, policy)
    assert expected <= seconds < expected + 2 * steps.POLL_SECONDS


def test_a_gateway_that_says_nothing_ends_no_switch_but_an_urgent_one(on_plan: OnPlan) -> None:
    """What is under way is not known then: a switch stops before it cuts calls, an emergency cuts them."""
    host = on_plan("D")
    running = host.shows(zen="running")
    with pytest.raises(StepdownError, match="admin socket"):
        steps.drain(attempt(host.goal, running))
    began = time.monotonic()
    steps.drain(attempt(host.goal, running, "emergency"))
    assert time.monotonic() - began < steps.URGENT_DRAIN_SECONDS


def test_a_switch_that_moves_nothing_keeps_who_since_and_why(on_plan: OnPlan) -> None:
    """A container that was made anew is no reason to be on the plan."""
    goal = on_plan("C").goal
    old = {
        "plan": "C",
        "release": goal.release.id,
        "since": "then",
        "by": "ann",
        "why": "office move",
        "kind": "recover",
    }
    under_way = attempt(goal, (), "converge", schema_hashes={"zen": "one", "heimdall": "two"})
    under_way.old |= old
    under_way.proofs = {"zen": Handshake(1.0, (), "three")}
    steps.record(under_way)
    state = require_state(goal.home)
    assert old == {key: state[key] for key in old}
    assert {"zen": "three", "heimdall": "two"} == state["schema_hashes"]


def test_a_rollback_marks_what_it_left_before_it_says_that_it_is_done(on_plan: OnPlan) -> None:
    """No crash can come between the two and leave the bad release unmarked."""
    goal = on_plan("C").goal
    steps.conclude(attempt(goal, (), "rollback", plan="C", release="ffffffffffff"))
    bad, outcome = journal.read(goal.home.journal).entries
    assert ("bad", "ffffffffffff", verdicts.left_for(goal.release.id, "a test")) == (
        bad["event"],
        bad["release"],
        bad["why"],
    )
    assert ("outcome", True) == (outcome["event"], outcome["ok"])


@pytest.mark.parametrize("kind", ["switch", "rollback"])
def test_nothing_else_marks_a_release(on_plan: OnPlan, kind: str) -> None:
    """Not a switch to another release, nor a rollback that has to be repeated."""
    goal = on_plan("C").goal
    release = goal.release.id if kind == "rollback" else "ffffffffffff"
    steps.conclude(attempt(goal, (), kind, plan="C", release=release))
    assert ["outcome"] == [entry["event"] for entry in journal.read(goal.home.journal).entries]


def test_an_emergency_without_a_gateway_leaves_the_routes_for_it(
    on_plan: OnPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plan answers on its own port, and the clients of the gateway are told why they wait."""
    goal = on_plan("D").goal
    gateway.write_idle(goal.home, {"name": "servers"})
    under_way = attempt(goal, (), "emergency")
    under_way.lost["gateway"] = "it is dead"
    steps.add(under_way)
    steps.route(under_way)
    assert (True, goal.version) == (under_way.moved, gateway.serving(goal.home))
    assert "plan D: clients of the gateway wait for it: it is dead\n" == capsys.readouterr().err


def test_what_was_staged_last_is_not_pruned_before_it_served(staging: Staging, on_plan: OnPlan) -> None:
    """Somebody may be about to switch to it; one that was marked bad goes."""
    settings = [{"ZEN_MCP_ENDPOINT": f"http://{n}.example/v1", "ZEN_MODELS": ""} for n in range(2)]
    first, last = (staging.stage(environment=each)[0].id for each in settings)
    goal = on_plan("C").goal
    newer = time.time() + 1
    os.utime(goal.home.releases / last, (newer, newer))
    steps.prune_releases(attempt(goal))
    assert {goal.release.id, last} == set(staged(goal.home))
    assert first not in staged(goal.home)
    verdicts.mark_bad(goal.home, last, "a test")
    steps.prune_releases(attempt(goal))
    assert [goal.release.id] == staged(goal.home)
