"""Every scenario of molecule/, as `molecule test -s NAME` runs it by hand; two side by side."""

from __future__ import annotations

import itertools
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hosts import machine

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
SIDE_BY_SIDE = 2
SCENARIO_SECONDS = 900
CANARY = secrets.token_hex(16)  # stands for a secret; whoever prints it would print a real one

pytestmark = pytest.mark.engine

Ended = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def ended(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Ended]]:
    """Starts every chosen scenario on what this tree builds, and waits for the one asked for."""
    environment = _environment()  # once: tests that run meanwhile change this process's own
    bring_an_engine = ["ansible-playbook", "--inventory=inventory/local", "playbooks/engine.yml"]
    for argv in (bring_an_engine, ["./run", "build"]):
        subprocess.run(argv, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=600)
    mine = (item for item in request.session.items if isinstance(item, pytest.Function) and item.path == Path(__file__))
    chosen = [item.callspec.params["scenario"] for item in mine if hasattr(item, "callspec")]
    prefix = f"test-{secrets.token_hex(3)}"
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        runs: dict[str, Future[Ended]] = {
            name: pool.submit(_run, name, prefix, tmp_path_factory.mktemp(name), environment) for name in chosen
        }
        yield lambda name: runs[name].result()


def _environment() -> dict[str, str]:
    """This process's, without what would change an instance or Ansible."""
    mine = {key: value for key, value in os.environ.items() if not key.startswith(("STEPDOWN_", "ZEN_", "ANSIBLE_"))}
    return {**mine, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def _run(name: str, prefix: str, folder: Path, environment: dict[str, str]) -> Ended:
    environment = {
        **environment,
        "MOLECULE_EPHEMERAL_DIRECTORY": str(folder),
        "STEPDOWN_MOLECULE_PREFIX": prefix,
        "STEPDOWN_CANARY": CANARY,
        "ANSIBLE_VERBOSITY": "3" if name == "mcp_stack_alternative" else "0",
        "NO_COLOR": "1",
        "ANSIBLE_NOCOLOR": "1",
    }
    argv = ["molecule", "test", "--scenario-name", name]
    try:
        return subprocess.run(
            argv,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SCENARIO_SECONDS,
            check=False,
        )
    finally:
        machine.down(f"{prefix}-{name}")  # also when it did not come to its own end


@pytest.mark.usefixtures("ended")
def test_every_image_is_built_once() -> None:
    """What scenarios start from; they run from here on, beside the tests that come next (tests/conftest.py)."""
    done = subprocess.run(["./run", "build"], cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False)
    states = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("stepdown/")]
    assert 0 == done.returncode, done.stderr
    assert {"unchanged"} == set(states), done.stdout


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All scenarios, or half of every role's: shipping images to host after host takes most of the gate's time."""
    if "scenario" in metafunc.fixturenames:
        whole = metafunc.config.getoption("all")
        metafunc.parametrize("scenario", SCENARIOS if whole else sample(metafunc.config.getoption("seed")))


def sample(seed: int) -> list[str]:
    """Of each role, every second scenario; the next seed takes the others."""
    roles = itertools.groupby(SCENARIOS, key=lambda name: name.rpartition("_")[0])
    return [name for _, names in roles for name in list(names)[seed % 2 :: 2]]


def test_the_scenario_holds(ended: Callable[[str], Ended], scenario: str) -> None:
    """Check mode, converge, idempotence, verify, absent, and nothing left; no secret in what was printed."""
    done = ended(scenario)
    print(done.stdout)
    assert 0 == done.returncode
    assert CANARY not in done.stdout
