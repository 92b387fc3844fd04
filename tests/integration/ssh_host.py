"""A systemd container that plays another machine, and the inventory that reaches it over SSH."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.hosts import machine
from tests.stack import ROOT


@dataclass(frozen=True)
class Host:
    """Another machine, by the name of its container and the inventory that it stands in."""

    name: str
    inventory: Path

    def inside(self, *words: str, check: bool = True) -> str:
        """A command's output on the host."""
        argv = ["docker", "exec", self.name, *words]
        return subprocess.run(argv, capture_output=True, text=True, check=check, timeout=120).stdout

    def deploy(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`./run deploy` or another task on this host, as on the command line."""
        argv = ["./run", *words, f"--inventory={self.inventory}", "--yes"]
        return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def reach(reached: machine.Machine) -> dict[str, Any]:
    """The variables of a host that Ansible needs to reach it."""
    return {
        "ansible_host": reached.address,
        "ansible_port": reached.port,
        "ansible_user": reached.user,
        "ansible_ssh_private_key_file": reached.identity_file,
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
    }


def inventory(folder: Path, **hosts: dict[str, Any]) -> Path:
    """Write an inventory below `folder` whose group `stack` has `hosts`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hosts.yml").write_text(yaml.safe_dump({"stack": {"hosts": hosts}}))
    return folder
