"""A <home> of a host, prepared, and a host whose engine is a file of containers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stepdown.host import engine
from stepdown.host.engine import Container
from stepdown.host.home import Home
from stepdown.host.target import Target, target

if TYPE_CHECKING:
    from tests.conftest import Staging

# A docker client that has compose: it lists the containers in the file beside it, and writes down what it is asked.
DOCKER = """#!/bin/sh
here=${0%/*}
if [ "$1" = ps ]; then
    while read -r line; do printf '%s\\n' "$line"; done <"$here/containers"
else
    echo "$*" >>"$here/calls"
    refused=
    [ ! -e "$here/fails" ] || read -r refused <"$here/fails"
    [ "$1" != "$refused" ] || { echo "no $1 today" >&2; exit 1; }
fi
"""
OLD = "000000000000"  # a release that is not the goal's


@dataclass(frozen=True)
class Running:
    """A host with a staged release, and what its engine shows and does."""

    folder: Path
    goal: Target

    def shows(self, **states: str) -> tuple[Container, ...]:
        """What the engine lists: name (`old_` before one of another release, `edge_` of none) to its state.

        A running monolith publishes the direct port.
        """
        rows = []
        for key, state in states.items():
            kind, name = key.split("_") if "_" in key else ("", key)
            release = {"old": OLD, "edge": ""}.get(kind, self.goal.release.id)
            port = f"127.0.0.1:{self.goal.instance.direct_port}->8080/tcp"
            published = port if (name, state) == ("monolith", "running") else ""
            labels = f"stepdown.container={name},stepdown.release={release}"
            rows.append({"ID": key, "State": state, "Image": "", "Ports": published, "Labels": labels})
        (self.folder / "containers").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return engine.containers(self.goal.instance.name)

    def fails(self, command: str) -> None:
        """The engine refuses this command from now on."""
        (self.folder / "fails").write_text(f"{command}\n")

    @property
    def calls(self) -> list[str]:
        """What the engine was asked to do; how compose is found out about is left out."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [line for line in lines if line != "compose version --short"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """The layout of <home>, empty."""
    made = Home(tmp_path / "home")
    made.prepare()
    return made


@pytest.fixture
def on_plan(staging: Staging) -> Callable[..., Running]:
    """A host that is to be on a plan, the last one kept beside it as `mode` says."""

    def make(plan: str, mode: str = "cold") -> Running:
        policy = staging.tree / "compose" / "policy.json"
        policy.write_text(json.dumps({"standby": {"plan": "D", "mode": mode}}))
        release, _ = staging.stage()
        (staging.engine / "docker").write_text(DOCKER)
        (staging.engine / "containers").write_text("")
        return Running(staging.engine, target(staging.home, release, plan))

    return make
