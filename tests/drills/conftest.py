"""One instance for all drills, deployed once as a user would, with a model endpoint that counts what zen asks."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.doubles.model_endpoint import ModelEndpoint
from tests.drills.drill import MODEL, Drill
from tests.stack import ROOT, bridge_address, instance

FIGURES = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What the drills measured by the way."""
    if lines := config.stash.get(FIGURES, []):
        terminalreporter.section("drills")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def drill(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Drill]:
    """Plan C by `./run deploy`, and a release of its own whose policy is quick to judge; removed at the end."""
    folder = tmp_path_factory.mktemp("drill")
    stack = instance(folder / "home")
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        bring_an_engine = ["ansible-playbook", "--inventory=inventory/local", "playbooks/engine.yml"]
        subprocess.run(bring_an_engine, cwd=ROOT, check=True, capture_output=True, timeout=600)
    models = ModelEndpoint(bridge_address(), (MODEL, "model-two"))
    endpoint = {"ZEN_MCP_ENDPOINT": f"http://host.docker.internal:{models.port}/v1", "ZEN_MODELS": MODEL}
    try:
        done = stack.run("deploy", "--plan=C", **endpoint)
        assert 0 == done.returncode, done.stdout + done.stderr
        shutil.copy(stack.home / "current" / "release.json", folder)
        made = Drill(stack, models, folder)
        yield made
        config_figures = pytestconfig.stash.setdefault(FIGURES, [])
        config_figures += made.figures
    finally:
        stack.agent("down", "--purge")
        models.close()
