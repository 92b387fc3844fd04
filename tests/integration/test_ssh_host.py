"""The roles on another machine: Debian under systemd, reached over SSH, with no engine of its own yet."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.hosts import machine
from tests.integration.ssh_host import Host, inventory, reach
from tests.stack import ROOT, Stack, docker, until

pytestmark = pytest.mark.engine

ASK = """
import json, sys, urllib.request
token = open("/opt/stepdown/secrets/client_token").read().strip()
body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
head = {"Authorization": "Bearer " + token, "Content-Type": "application/json", "Accept": "application/json"}
for server in ("zen", "heimdall"):
    call = urllib.request.Request("http://127.0.0.1:8080/mcp/" + server, data=body, headers=head)
    assert json.load(urllib.request.urlopen(call, timeout=20))["result"]["tools"], server
"""


@pytest.fixture(scope="module")
def host(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Made anew; the image that it starts from stays on the engine."""
    if shutil.which("ssh") is None:
        pytest.skip("no ssh client on this machine; apt-get install openssh-client")
    folder = tmp_path_factory.mktemp("ssh")
    name = f"{stack.name}-host"
    try:
        reached = machine.up(name, folder)
        yield Host(name, inventory(folder / "inventory", far=reach(reached)))
    finally:
        machine.down(name)


def test_an_interrupted_deploy_is_mended_by_the_next(host: Host) -> None:
    """Killed between the engine and the images; then plan C answers, owned by an unprivileged user."""
    argv = ["./run", "deploy", "--plan=C", f"--inventory={host.inventory}", "--yes"]
    cut = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        shipped = ("ls", "/opt/stepdown/inbox/docker-compose")
        until(lambda: host.inside(*shipped, check=False) != "", "the agent is shipped, the images are not", seconds=240)
    finally:
        os.killpg(cut.pid, signal.SIGKILL)
        cut.wait()
    assert "" == host.inside("docker", "image", "ls", "--quiet")
    done = host.deploy("deploy", "--plan=C")
    assert done.returncode == 0, done.stdout + done.stderr
    host.inside("python3", "-c", ASK)
    document = json.loads(host.inside("python3", "/opt/stepdown/stepdown.pyz", "status", "--json"))
    assert ("C", "ready") == (document["plan"], document["gateway"]["state"])
    assert "10001" == host.inside("stat", "--format", "%u", "/opt/stepdown").strip()


def test_a_second_deploy_over_ssh_changes_nothing(host: Host) -> None:
    """Nor does it ship an image again."""
    done = host.deploy("deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0" in done.stdout


def test_a_restarted_engine_comes_back_on_its_plan(host: Host) -> None:
    """Engine and containers are brought back by systemd and Docker."""
    subprocess.run(["docker", "exec", host.name, "systemctl", "restart", "docker"], check=True, timeout=120)
    until(lambda: _answers(host), "plan C answers after the engine's restart")


def test_a_stopped_host_comes_back_on_its_plan(host: Host) -> None:
    """Stopped as a whole and started again, like a host that was switched off."""
    docker("restart", "--time", "60", host.name)
    until(lambda: _answers(host), "plan C answers after the host's restart")
    document = json.loads(host.inside("python3", "/opt/stepdown/stepdown.pyz", "status", "--json"))
    assert ("C", "ready") == (document["plan"], document["gateway"]["state"])


def _answers(host: Host) -> bool:
    argv = ["docker", "exec", host.name, "python3", "-c", ASK]
    return subprocess.run(argv, capture_output=True, check=False, timeout=60).returncode == 0


def test_purge_leaves_the_host_as_it_was(host: Host) -> None:
    """Stack, data, images, engine and its packages are gone; what was there before stays."""
    foretold = host.deploy("down", "--purge", "--check")
    assert (0, False) == (foretold.returncode, "so it stays" in foretold.stdout), foretold.stdout + foretold.stderr
    done = host.deploy("down", "--purge")
    assert _changes(foretold) == _changes(done)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "" == host.inside("sh", "-c", "command -v dockerd; ls -d /opt/stepdown 2>/dev/null", check=False)
    assert "inactive" == host.inside("systemctl", "is-active", "docker", check=False).strip()
    assert host.inside("dpkg-query", "--show", "iptables")


def _changes(done: subprocess.CompletedProcess[str]) -> list[str]:
    """How many tasks of each play changed something, or would."""
    return re.findall(r"changed=\d+", done.stdout)


def test_other_machines_are_not_changed_unasked(host: Host) -> None:
    """Without --yes and without a terminal to ask on, nothing happens."""
    argv = ["./run", "deploy", f"--inventory={host.inventory}"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert (2, True) == (done.returncode, "say so with --yes" in done.stderr)
