"""When a container of the edge has to be made anew."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from stepdown.errors import CommandError, StepdownError
from stepdown.host import edge
from stepdown.host.engine import Container
from stepdown.host.envoy import RefusedError
from stepdown.host.fault import FaultyError
from stepdown.host.target import Target, target
from stepdown.run import Completed
from stepdown.shared import EDGE_FOLDERS

if TYPE_CHECKING:
    from tests.conftest import Staging


@pytest.fixture
def goal(staging: Staging) -> Target:
    """Plan C of a release whose edge lies below <home>, as after a switch to it."""
    staged, _ = staging.stage()
    for path in ("compose.yml", *(f"{name}/bootstrap.json" for name in EDGE_FOLDERS)):
        staging.home.write(staging.home.edge / path, (staged.path / "edge" / path).read_text(encoding="utf-8"))
    return target(staging.home, staged, "C")


def running(goal: Target, **changed: dict[str, Any]) -> tuple[Container, ...]:
    """The edge as the engine shows it; `changed` replaces what it shows of one container."""
    found = []
    for name in EDGE_FOLDERS:
        text = (goal.release.path / "edge" / name / "bootstrap.json").read_bytes()
        ports = f"127.0.0.1:{goal.instance.port}->8080/tcp" if name == "gateway" else ""
        image = goal.release.images["gateway"]["reference"]
        container = Container(name, name, "", True, image, hashlib.sha256(text).hexdigest()[:12], ports)
        found.append(replace(container, **changed.get(name, {})))
    return tuple(found)


def test_an_edge_as_the_release_has_it_stays(goal: Target) -> None:
    """Whatever else the release changed."""
    assert () == edge.differing(goal, running(goal))


@pytest.mark.parametrize("name", EDGE_FOLDERS)
@pytest.mark.parametrize(
    "changed", [{"running": False}, {"image": "other"}, {"bootstrap": "other"}, {"name": "other"}, {"release": "abc"}]
)
def test_one_that_differs_does_not(goal: Target, name: str, changed: dict[str, Any]) -> None:
    """Stopped, of another image or start-up configuration, or not there at all."""
    assert (name,) == edge.differing(goal, running(goal, **{name: changed}))


def test_another_port_is_a_matter_of_the_gateway(goal: Target) -> None:
    """The egress proxy publishes none."""
    assert ("gateway",) == edge.differing(goal, running(goal, gateway={"ports": "127.0.0.1:1->8080/tcp"}))


@pytest.mark.parametrize("file", ["compose.yml", "egress/bootstrap.json"])
def test_what_lies_below_home_is_compared_too(goal: Target, file: str) -> None:
    """Compose's file decides what is started by hand; the start-up configuration is judged by the container's label."""
    goal.home.write(goal.home.edge / file, "other")
    expected = tuple(EDGE_FOLDERS) if file == "compose.yml" else ()
    assert expected == edge.differing(goal, running(goal))


def test_a_release_without_an_egress_proxy_needs_none(goal: Target) -> None:
    """One that an older version staged can still be gone back to."""
    gateway, _ = running(goal)
    (goal.release.path / "edge" / "egress" / "bootstrap.json").unlink()
    assert () == edge.differing(goal, (gateway,))


@pytest.mark.parametrize("changed", [{"running": False}, {"name": "other"}, {"release": "abc"}])
def test_one_that_does_not_run_does_not_hang(
    goal: Target, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    """It is not even asked: it is made anew for that it is missing."""
    monkeypatch.setattr(edge.Envoy, "wait_until_up", lambda *_: pytest.fail("it is asked"))
    assert False is edge.mute(goal, running(goal, gateway=changed), "gateway")


def test_one_that_runs_and_says_nothing_hangs(goal: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment, in which one that Docker is just restarting would have answered."""
    monkeypatch.setattr(edge, "MUTE_SECONDS", 0.1)
    assert True is edge.mute(goal, running(goal), "gateway")
    monkeypatch.setattr(edge.Envoy, "wait_until_up", lambda *_: None)
    assert False is edge.mute(goal, running(goal), "gateway")


def test_only_the_one_that_hangs_is_ended(goal: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a container of a release that has its name."""
    ended = list[str]()
    monkeypatch.setattr(edge.engine, "remove", ended.extend)
    other = replace(running(goal)[0], id="other", release="abc")
    edge.end((*running(goal), other), "gateway")
    assert ["gateway"] == ended


def test_a_paused_one_hangs(goal: Target) -> None:
    """Nothing is asked of it: it cannot answer."""
    gateway, egress = running(goal)
    assert edge.mute(goal, (replace(gateway, running=False, state="paused"), egress), "gateway")


@pytest.mark.parametrize(
    ("code", "said", "error", "told"),
    [
        (1, "one\nbad bootstrap\n", RefusedError, "gateway: Envoy refused its start-up configuration: bad bootstrap"),
        (1, "", RefusedError, "gateway: Envoy refused its start-up configuration: exit 1"),
        (125, "no such image", CommandError, "gateway: its start-up configuration could not be checked: no such image"),
    ],
)
def test_a_start_up_configuration_that_is_refused_replaces_nothing(
    goal: Target, monkeypatch: pytest.MonkeyPatch, code: int, said: str, error: type[StepdownError], told: str
) -> None:
    """The fault is the release's only where Envoy itself refused it."""
    monkeypatch.setattr(edge, "run", lambda argv, **_: Completed(tuple(argv), code, "", said))
    monkeypatch.setattr(edge, "_up", lambda *_: pytest.fail("it is replaced"))
    with pytest.raises(error) as refused:
        edge.renew(goal, "gateway")
    assert told == str(refused.value)
    assert (error is RefusedError) == isinstance(refused.value, FaultyError)
