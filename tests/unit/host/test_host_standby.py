"""The last plan's container beside the others: kept made, kept running, or nobody's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from stepdown.host import kernel, standby
from stepdown.host.switch import pending
from stepdown.resolve import resolve

if TYPE_CHECKING:
    from stepdown.catalog import Catalog
    from tests.unit.host.conftest import Running

OnPlan = Callable[..., "Running"]
C = {"zen": "running", "heimdall": "running", "edge_gateway": "running", "edge_egress": "running"}


@pytest.fixture
def spare(monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> Callable[[int], None]:
    """Let this host have so many MiB more than plan D's container may take."""
    need = sum(container.memory_mib for container in resolve(catalog, "D").containers)
    return lambda mib: monkeypatch.setattr(kernel, "memory_available_mib", lambda: need + mib)


@pytest.mark.parametrize("plan", ["A", "B", "C"])
def test_the_last_plan_is_kept_beside_every_other(on_plan: OnPlan, plan: str) -> None:
    """Its one container, on no other plan's account."""
    goal = on_plan(plan).goal
    assert replace(goal, plan="D") == standby.standby_of(goal)
    assert {"monolith"} == standby.names(goal)


@pytest.mark.parametrize("mode", ["cold", "warm"])
def test_on_the_last_plan_nothing_is_kept(on_plan: OnPlan, mode: str) -> None:
    """The container is the plan's own there, and running it is no matter of the policy."""
    host = on_plan("D", mode)
    running = host.shows(monolith="running")
    assert (None, set()) == (standby.standby_of(host.goal), standby.names(host.goal))
    assert True is standby.kept(host.goal, running)
    assert {"start": [], "stop": [], "keep": ["monolith"], "forget": []} == pending(host.goal)
    assert ("", []) == (standby.keep(host.goal), host.calls)


def test_a_release_without_the_last_plan_keeps_nothing(on_plan: OnPlan) -> None:
    """Its other plans work all the same."""
    goal = on_plan("C").goal
    bare = replace(goal, release=replace(goal.release, plans=("A", "B", "C")))
    assert (None, set(), "") == (standby.standby_of(bare), standby.names(bare), standby.keep(bare))


@pytest.mark.parametrize(
    ("policy", "more", "monolith", "mode", "kept", "stop"),
    [
        ("cold", 0, {}, "cold", False, []),
        ("cold", 0, {"monolith": "created"}, "cold", True, []),
        ("cold", 0, {"monolith": "exited"}, "cold", True, []),
        ("cold", 0, {"monolith": "running"}, "cold", True, ["monolith"]),
        ("warm", 0, {}, "warm", False, []),
        ("warm", 0, {"monolith": "created"}, "warm", False, []),
        ("warm", 0, {"monolith": "exited"}, "warm", False, []),
        ("warm", -1, {}, "cold", False, []),
        ("warm", -1, {"monolith": "created"}, "cold", True, []),
        ("warm", -1, {"monolith": "running"}, "warm", True, []),
        ("cold", 0, {"old_monolith": "running"}, "cold", False, ["monolith"]),
        ("cold", 0, {"old_monolith": "created"}, "cold", False, ["monolith"]),
        ("warm", 0, {"old_monolith": "running"}, "warm", False, ["monolith"]),
        ("warm", -1, {"old_monolith": "running"}, "cold", False, ["monolith"]),
        ("warm", -1, {"monolith": "running", "old_monolith": "created"}, "warm", True, ["monolith"]),
    ],
)
def test_beside_plan_c_the_monolith_is_kept_as_policy_and_memory_say(
    on_plan: OnPlan,
    spare: Callable[[int], None],
    policy: str,
    more: int,
    monolith: dict[str, str],
    mode: str,
    kept: bool,
    stop: list[str],
) -> None:
    """One left over from plan D stays only when warm, one of another release never; one that runs needs no memory."""
    spare(more)
    host = on_plan("C", policy)
    running = host.shows(**C, **monolith)
    assert mode == standby.mode(host.goal, running)
    assert kept == standby.kept(host.goal, running)
    assert {"start": [], "stop": stop, "keep": ["heimdall", "zen"], "forget": []} == pending(host.goal)


def test_what_the_plan_does_not_want_is_stopped(on_plan: OnPlan) -> None:
    """Containers of other plans and of other releases; the edge is none of a release, and never is."""
    host = on_plan("C")
    host.shows(**C, serena="exited", old_zen="running", monolith="created")
    assert {"start": [], "stop": ["serena", "zen"], "keep": ["heimdall", "zen"], "forget": []} == pending(host.goal)


def test_a_container_that_does_not_run_is_started(on_plan: OnPlan) -> None:
    """Nor does the same one of another release count."""
    host = on_plan("C")
    host.shows(heimdall="exited", old_zen="running")
    assert {"start": ["heimdall", "zen"], "stop": ["zen"], "keep": [], "forget": []} == pending(host.goal)


def test_a_cold_standby_is_made_and_not_started(on_plan: OnPlan) -> None:
    """From the compose file of its own plan, in the release that serves; one that is there stays as it is."""
    host = on_plan("B")
    assert "cold" == standby.keep(host.goal)
    (call,) = host.calls
    assert f"--file {host.goal.release.compose_file('D')} create --no-recreate --no-build monolith" in call


def test_a_warm_standby_without_memory_is_made_all_the_same(on_plan: OnPlan, spare: Callable[[int], None]) -> None:
    """It is told how it is kept: the next switch may find more."""
    spare(-1)
    host = on_plan("B", "warm")
    assert "cold" == standby.keep(host.goal)
    assert ["create"] == [word for call in host.calls for word in call.split() if word in ("create", "up")]


def test_a_standby_that_cannot_be_made_is_told_and_fails_nothing(on_plan: Callable[..., Running]) -> None:
    """The plan that serves is not worse for it."""
    host = on_plan("C")
    host.fails("compose")
    assert standby.keep(host.goal).startswith("cold, not ready: ")


def test_a_release_of_an_older_version_has_none(on_plan: Callable[..., Running]) -> None:
    """It can still be gone back to."""
    goal = on_plan("C").goal
    (goal.release.path / "policy.json").unlink()
    assert (None, "") == (standby.standby_of(goal), standby.keep(goal))
