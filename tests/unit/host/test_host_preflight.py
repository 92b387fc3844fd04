"""Every problem before any change, each with its remedy."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from stepdown.host import preflight
from stepdown.host.engine import Container
from stepdown.host.instance import load_instance

if TYPE_CHECKING:
    from tests.conftest import Staging


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_port_that_is_listened_on_is_a_problem() -> None:
    """The message names the port, the variable that changes it, and the command that shows who has it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (problem,) = preflight.port_taken(port, "STEPDOWN_PORT")
    assert problem.startswith(f"127.0.0.1:{port} cannot be had (Address already in use). Set STEPDOWN_PORT")
    assert f"ss -ltnp 'sport = :{port}'" in problem


def test_a_free_port_is_none_and_stays_free() -> None:
    """Asking does not take it."""
    port = _free_port()
    assert [] == preflight.port_taken(port, "STEPDOWN_PORT")
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_port_that_was_just_closed_is_free() -> None:
    """Connections in TIME_WAIT do not stand against a gateway that is made anew."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()
    assert [] == preflight.port_taken(port, "STEPDOWN_PORT")


def test_available_memory_is_a_sensible_figure() -> None:
    """In MiB, and less than a machine has."""
    assert 0 < preflight.memory_available_mib() < 2**24


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with memory for every plan."""
    monkeypatch.setattr(preflight, "memory_available_mib", lambda: 100_000)


def test_a_host_with_everything_has_no_problem(staging: Staging, roomy: None) -> None:
    """Images there, memory, disk and ports free."""
    release, _ = staging.stage(port=_free_port())
    assert [] == preflight.problems(staging.home, load_instance(staging.home), release, "C", ())


def test_all_problems_are_told_at_once(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image, memory, the port, the workspace: each with what to type."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        release, _ = staging.stage(port=server.getsockname()[1], workspace="/nowhere/at/all")
        (staging.engine / "images").write_text("")
        monkeypatch.setattr(preflight, "memory_available_mib", lambda: 100)
        found = preflight.problems(staging.home, load_instance(staging.home), release, "C", ())
    assert 3 == len([problem for problem in found if problem.startswith("image stepdown/")])
    need = sum(container["memory_mib"] for container in release.facts("C")["containers"].values())
    assert f"{need} MiB of memory are needed, 100 MiB are available. Run: ./run plan.fit" in found
    assert any("STEPDOWN_PORT" in problem for problem in found)
    assert "the workspace /nowhere/at/all is not there. Run: mkdir -p /nowhere/at/all" in found
    assert 6 == len(found)


def test_what_runs_already_needs_no_memory_again(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is not available any more because it has it; the same holds for the gateway's port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        release, _ = staging.stage(port=server.getsockname()[1])
        running = [Container(name, name, release.id, True, "", "", "") for name in ("zen", "heimdall")]
        running.append(
            Container("gateway", "gateway", "", True, "", "", f"127.0.0.1:{server.getsockname()[1]}->8080/tcp")
        )
        monkeypatch.setattr(preflight, "memory_available_mib", lambda: 100)
        assert [] == preflight.problems(staging.home, load_instance(staging.home), release, "C", running)
        stopped = [Container(name, name, release.id, False, "", "", "") for name in ("zen", "heimdall", "gateway")]
        assert 2 == len(preflight.problems(staging.home, load_instance(staging.home), release, "C", stopped))


def test_plan_d_needs_its_own_port(staging: Staging, roomy: None) -> None:
    """Unless the monolith that has it is the instance's own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        release, _ = staging.stage(port=_free_port(), direct_port=server.getsockname()[1])
        instance = load_instance(staging.home)
        (problem,) = preflight.problems(staging.home, instance, release, "D", ())
        assert "STEPDOWN_DIRECT_PORT" in problem
        monolith = Container(
            "monolith", "monolith", release.id, True, "", "", f"127.0.0.1:{instance.direct_port}->8080/tcp"
        )
        assert [] == preflight.problems(staging.home, instance, release, "D", [monolith])
