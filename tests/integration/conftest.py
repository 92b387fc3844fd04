"""One plan C of an instance of its own, deployed as a user would: real engine, images, gateway and servers."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.model_endpoint import ModelEndpoint

ROOT = Path(__file__).resolve().parents[2]
DEPLOY_SECONDS = 600
PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Stack:
    """An instance under test, and its doors."""

    name: str
    home: Path
    port: int
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return (self.home / "secrets" / "client_token").read_text().strip()

    def run(self, *words: str, cwd: Path = ROOT, **more: str) -> subprocess.CompletedProcess[str]:
        """`./run WORDS` on this instance."""
        return subprocess.run(
            ["./run", *words],
            cwd=cwd,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=DEPLOY_SECONDS,
            check=False,
        )

    def agent(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The host agent as it lies on the host."""
        argv = ["python3", str(self.home / "stepdown.pyz"), *words]
        return subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=120, check=False)

    def status(self) -> dict[str, Any]:
        """`./run status --json`."""
        return dict(json.loads(self.run("status", "--json").stdout))

    def containers(self) -> dict[str, str]:
        """Name in the plan to container id, of what runs."""
        rows = docker("ps", "--no-trunc", "--filter", f"label=stepdown.instance={self.name}", "--format", "{{json .}}")
        found = {}
        for row in map(json.loads, rows.splitlines()):
            labels = dict(pair.partition("=")[::2] for pair in row["Labels"].split(","))
            found[labels["stepdown.container"]] = row["ID"]
        return found


def docker(*words: str) -> str:
    """A docker command's output."""
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True, timeout=120).stdout


def until(met: Any, what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for a state of the engine that only polling shows."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)  # the engine tells of this only when asked


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def models() -> Iterator[list[ModelEndpoint]]:
    """Holds the model endpoint once the engine is up, since it listens on the engine's bridge only."""
    made: list[ModelEndpoint] = []
    yield made
    for endpoint in made:
        endpoint.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Plan C, deployed by `./run deploy --plan=C` with nothing set but the instance; removed at the end."""
    name = f"test-{secrets.token_hex(3)}"
    home = tmp_path_factory.mktemp("stepdown") / "home"
    port = free_port()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("STEPDOWN_", "ZEN_"))},
        "STEPDOWN_INSTANCE": name,
        "STEPDOWN_HOME": str(home),
        "STEPDOWN_PORT": str(port),
        "STEPDOWN_DIRECT_PORT": str(free_port()),
    }
    made = Stack(name, home, port, environment)
    done = made.run("deploy", "--plan=C")
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        made.agent("down", "--purge")


@pytest.fixture(scope="session")
def endpoint(stack: Stack, models: list[ModelEndpoint]) -> ModelEndpoint:
    """A model endpoint with two models on the bridge that containers know as host.docker.internal."""
    address = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
    models.append(ModelEndpoint(address, ("model-one", "model-two")))
    return models[0]
