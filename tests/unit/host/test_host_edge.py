"""When a container of the edge has to be made anew."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from stepdown.host import edge
from stepdown.host.engine import Container
from stepdown.host.target import Target, target
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
