"""Every scenario of molecule/, as `molecule test -s NAME` runs it by hand; two side by side."""

from __future__ import annotations

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


@pytest.fixture(scope="module")
def ended(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Ended]]:
    """Starts every chosen scenario on what this tree builds, and waits for the one asked for."""
    bring_an_engine = ["ansible-playbook", "--inventory=inventory/local", "playbooks/engine.yml"]
    for argv in (bring_an_engine, ["./run", "build"]):
        subprocess.run(argv, cwd=ROOT, env=_environment(), check=True, capture_output=True, timeout=600)
    mine = (item for item in request.session.items if isinstance(item, pytest.Function) and item.path == Path(__file__))
    chosen = [item.callspec.params["scenario"] for item in mine]
    prefix = f"test-{secrets.token_hex(3)}"
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        runs: dict[str, Future[Ended]] = {
            name: pool.submit(_run, name, prefix, tmp_path_factory.mktemp(name)) for name in chosen
        }
        yield lambda name: runs[name].result()


def _environment() -> dict[str, str]:
    """This process's, without what would change an instance or Ansible."""
    mine = {key: value for key, value in os.environ.items() if not key.startswith(("STEPDOWN_", "ZEN_", "ANSIBLE_"))}
    return {**mine, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def _run(name: str, prefix: str, folder: Path) -> Ended:
    environment = {
        **_environment(),
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


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_scenario_holds(ended: Callable[[str], Ended], scenario: str) -> None:
    """Check mode, converge, idempotence, verify, absent, and nothing left; no secret in what was printed."""
    done = ended(scenario)
    print(done.stdout)
    assert 0 == done.returncode
    assert CANARY not in done.stdout
