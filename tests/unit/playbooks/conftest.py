"""Three hosts of this machine whose agents are stubs: Ansible, the playbooks, the role and the order are real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.sealing import isolate

BIN = Path(sys.executable).parent
STUB = Path(__file__).with_name("stub_agent.py")
NAMES = ("one", "two", "three")


@dataclass(frozen=True)
class Hosts:
    """The hosts of an inventory file, and what is asked of them."""

    root: Path
    folder: Path

    @property
    def inventory(self) -> Path:
        """The file that lists them."""
        return self.folder / "hosts.yml"

    def become(self, host: str, **stub: Any) -> None:
        """Have a host answer so; without a word on plan C of release r1."""
        home = self.folder / host
        home.mkdir(exist_ok=True)
        shutil.copy(STUB, home / "stepdown.pyz")
        (home / "stub.json").write_text(json.dumps({"plan": "C", "release": "r1", **stub}))

    def give(self, host: str = "", **variables: Any) -> None:
        """Set variables of one host, or of all."""
        document = yaml.safe_load(self.inventory.read_text())["stack"]
        place = document["hosts"][host] if host else document["vars"]
        place.update(variables)
        self.inventory.write_text(
            yaml.safe_dump({"stack": document, "runners": {"hosts": {"ci": {}}}}, sort_keys=False)
        )

    def plans(self) -> list[str]:
        """The plan of each host, in their order."""
        return [json.loads((self.folder / name / "stub.json").read_text())["plan"] for name in NAMES]

    def calls(self, *called: str) -> list[tuple[str, str]]:
        """Host and event of every such call, in the order in which they came."""
        log = self.folder / "log.jsonl"
        entries = map(json.loads, log.read_text().splitlines() if log.is_file() else ())
        return [(entry["host"], entry["event"]) for entry in entries if entry["called"] in called]

    def play(self, playbook: str, *words: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        """Run a playbook of this repository."""
        argv = [str(BIN / "ansible-playbook"), f"playbooks/{playbook}.yml", f"--inventory={self.inventory}", *words]
        return self._run([*argv, "--extra-vars", json.dumps(variables)])

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a task of the command line."""
        return self._run([str(BIN / "invoke"), *words, f"--inventory={self.inventory}"])

    def _run(self, argv: list[str], env: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            cwd=self.root,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )


@pytest.fixture
def hosts(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """Three of them on plan C, and a runner that is none of the stack."""
    isolate(monkeypatch, tmp_path)
    made = Hosts(root, tmp_path / "site")
    made.folder.mkdir()
    group = {
        "hosts": {name: {} for name in NAMES},
        "vars": {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "mcp_stack_home": str(made.folder) + "/{{ inventory_hostname }}",
        },
    }
    made.inventory.write_text(yaml.safe_dump({"stack": group}, sort_keys=False))
    made.give()
    for name in NAMES:
        made.become(name)
    return made
