"""An instance of its own on the real engine, its doors, and how tests wait for it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
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


def instance(home: Path) -> Stack:
    """An instance with a name and ports of its own in `home`, whatever the caller has set; nothing is deployed yet."""
    name = f"test-{secrets.token_hex(3)}"
    port = free_port()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("STEPDOWN_", "ZEN_"))},
        "STEPDOWN_INSTANCE": name,
        "STEPDOWN_HOME": str(home),
        "STEPDOWN_PORT": str(port),
        "STEPDOWN_DIRECT_PORT": str(free_port()),
    }
    return Stack(name, home, port, environment)


def bridge_address() -> str:
    """The engine's own address on its bridge, which containers know as host.docker.internal."""
    return docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
