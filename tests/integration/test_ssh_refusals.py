"""Another machine that cannot take a deploy says so before anything changes there, all of it in one message."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepdown.catalog import Catalog
from stepdown.resolve import resolve
from stepdown.shared import EDGE_MEMORY_MIB
from tests.hosts import machine
from tests.integration.ssh_host import Host, inventory, reach
from tests.integration.test_operations import until
from tests.stack import Stack, docker, free_port

pytestmark = pytest.mark.engine

PORT = 8080
LISTEN = f"import socket, time; s = socket.create_server(('127.0.0.1', {PORT})); time.sleep(600)"
MEMORY_MIB = 700


@pytest.fixture(scope="module")
def poor(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, dict[str, Any]]]:
    """A machine that lacks much, entered as a user who may sudo with a password; and how it is reached."""
    if shutil.which("ssh") is None:
        pytest.skip("no ssh client on this machine; apt-get install openssh-client")
    folder, name = tmp_path_factory.mktemp("ssh"), f"{stack.name}-poor"
    try:
        reached = reach(machine.up(name, folder, user="deployer"))
        docker("update", "--memory", f"{MEMORY_MIB}m", "--memory-swap", f"{MEMORY_MIB}m", name)
        made = Host(name, folder)
        made.inside("mount", "-t", "tmpfs", "-o", "size=64m", "none", "/opt")
        made.inside("ip", "address", "add", "10.77.5.9/32", "dev", "lo")
        docker("exec", "--detach", name, "python3", "-c", LISTEN)
        until(lambda: f":{PORT} " in made.inside("ss", "-ltn"), "the port is taken")
        become = {"ansible_become": True, "ansible_become_password": (folder / "sudo_password").read_text()}
        yield made, {**reached, **become}
    finally:
        machine.down(name)


def _untouched(host: Host) -> bool:
    left = host.inside("sh", "-c", "ls -A /opt; command -v dockerd; ls -A ~deployer/.ansible/tmp", check=False)
    return left == ""


def _deploy(host: Host, hosts: dict[str, dict[str, Any]], folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and what `./run deploy` says last."""
    done = replace(host, inventory=inventory(folder, **hosts)).deploy("deploy", "--plan=C", *words)
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", [(), ("--check",)], ids=["deploy", "check"])
def test_all_problems_of_all_hosts_are_told_before_any_change(
    poor: tuple[Host, dict[str, Any]], tmp_path: Path, words: tuple[str, ...], catalog: Catalog
) -> None:
    """Settings, memory by the host's own limit, disk, port, subnet, workspace; beside them a host that is away."""
    host, reached = poor
    settings = {
        "mcp_stack_subnet": "10.77.5.0/24",
        "mcp_stack_workspace": "/srv/none",
        "mcp_stack_prot": 1,
        "mcp_stack_purge": "maybe",
    }
    port = free_port()
    hosts = {"far": {**reached, **settings}, "gone": {**reached, "ansible_port": port}}
    code, said = _deploy(host, hosts, tmp_path, *words)
    assert 1 == code, said
    assert "nothing was changed" in said
    for words_ in (
        "far: mcp_stack: mcp_stack_prot is not a variable of the role; did you mean mcp_stack_port?",
        "; mcp_stack: argument 'mcp_stack_purge' is of type str and we were unable to convert to bool",
        "far: 5 problems before any change:",
        f"  - {resolve(catalog, 'C').memory_mib + sum(EDGE_MEMORY_MIB.values())} MiB of memory are needed, ",
        "MiB of disk are needed below /opt/stepdown, 64 MiB are free",
        f"  - 127.0.0.1:{PORT} cannot be had (Address already in use)",
        "  - mcp_stack_subnet: 10.77.5.0/24 overlaps the address 10.77.5.9 of lo",
        "  - the workspace /srv/none is not there",
        "gone: cannot be reached: ssh: connect to host 127.0.0.1 port",
        f"Run: ssh -p {port} deployer@127.0.0.1 true",
    ):
        assert words_ in said
    available = int(said.partition("memory are needed, ")[2].partition(" MiB")[0])
    assert 0 < available < MEMORY_MIB
    assert _untouched(host)


def test_a_sudo_password_that_is_wrong_or_missing_is_told_last(
    poor: tuple[Host, dict[str, Any]], tmp_path: Path
) -> None:
    """Which host, and what to type."""
    host, reached = poor
    missing = {key: value for key, value in reached.items() if key != "ansible_become_password"}
    hosts = {"one": missing, "two": {**reached, "ansible_become_password": "wrong"}}
    code, said = _deploy(host, hosts, tmp_path)
    remedy = "Run: ANSIBLE_BECOME_ASK_PASS=true ./run deploy …, or set ansible_become_password from a vault"
    expected = [f"one: sudo: Missing sudo password. {remedy}", f"two: sudo: Incorrect sudo password. {remedy}"]
    assert (1, expected) == (code, said.splitlines()[-2:])
    assert _untouched(host)


def test_a_host_without_python_is_told_so(poor: tuple[Host, dict[str, Any]], tmp_path: Path) -> None:
    """Instead of a module that fails in the middle of the deploy."""
    host, reached = poor
    host.inside("mv", "/usr/bin/python3", "/usr/bin/python3.away")
    try:
        code, said = _deploy(host, {"far": reached}, tmp_path)
    finally:
        host.inside("mv", "/usr/bin/python3.away", "/usr/bin/python3")
    assert (1, True) == (code, "far: no Python to run there, 3.11 or newer is needed" in said), said


def test_the_playbook_alone_shows_a_bullet_for_each_problem(poor: tuple[Host, dict[str, Any]], tmp_path: Path) -> None:
    """Also for those who do not use ./run; nothing of the play after it is begun."""
    host, reached = poor
    where = inventory(tmp_path, far=reached)
    argv = [".venv/bin/ansible-playbook", "playbooks/deploy.yml", f"--inventory={where}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert 2 == done.returncode
    assert 1 == len([line for line in lines if line.startswith(f"  - 127.0.0.1:{PORT} cannot be had")])
    assert not any("Ship a release and activate a plan" in line for line in lines)
    assert _untouched(host)


def test_an_inventory_without_hosts_is_told(poor: tuple[Host, dict[str, Any]], tmp_path: Path) -> None:
    """Ansible itself would do nothing and call that a success."""
    host, _ = poor
    code, said = _deploy(host, {}, tmp_path)
    assert (1, True) == (code, "no host is in its group 'stack'" in said), said
