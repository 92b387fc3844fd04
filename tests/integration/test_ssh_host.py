"""The roles on another machine: Debian under systemd, reached over SSH, with no engine of its own yet."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from stepdown import commands, images
from tests.integration.conftest import ROOT, Stack, docker
from tests.integration.test_operations import until

pytestmark = pytest.mark.engine

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "python3-apt", "sudo"),
    *("iproute2", "iptables", "ca-certificates", "procps"),
)
# systemd as PID 1, and a Docker engine inside, without --privileged
RIGHTS = (
    *("--cgroupns=host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--security-opt", "seccomp=unconfined"),
    *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN"),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp", "--stop-signal", "SIGRTMIN+3"),
)
ASK = """
import json, sys, urllib.request
token = open("/opt/stepdown/secrets/client_token").read().strip()
body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
head = {"Authorization": "Bearer " + token, "Content-Type": "application/json", "Accept": "application/json"}
for server in ("zen", "heimdall"):
    call = urllib.request.Request("http://127.0.0.1:8080/mcp/" + server, data=body, headers=head)
    assert json.load(urllib.request.urlopen(call, timeout=20))["result"]["tools"], server
"""


@dataclass(frozen=True)
class Host:
    """A systemd container that plays another machine, and an inventory that reaches it over SSH."""

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


@pytest.fixture(scope="module")
def host(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Made anew; the image that it starts from stays on the engine."""
    if shutil.which("ssh") is None:
        pytest.skip("no ssh client on this machine; apt-get install openssh-client")
    folder = tmp_path_factory.mktemp("ssh")
    name = f"{stack.name}-host"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    volume = f"{name}-docker"
    publish = ("--publish", "127.0.0.1::22", "--volume", f"{volume}:/var/lib/docker")
    docker("run", "--detach", "--name", name, *RIGHTS, *publish, _image(folder), "/lib/systemd/systemd")
    try:
        key = (folder / "key.pub").read_text()
        write = f"mkdir -p ~/.ssh && echo '{key.strip()}' >~/.ssh/authorized_keys"
        docker("exec", name, "sh", "-c", write)
        made = Host(name, _inventory(folder, name))
        until(lambda: made.inside("systemctl", "is-active", "ssh", check=False).strip() == "active", "sshd is up")
        yield made
    finally:
        docker("rm", "--force", name)
        docker("volume", "rm", volume)


def _image(folder: Path) -> str:
    tag = f"stepdown-test/host:{hashlib.sha256(repr(PACKAGES).encode()).hexdigest()[:12]}"
    if subprocess.run(["docker", "image", "inspect", tag], capture_output=True, check=False).returncode:
        images.require_mmdebstrap(print)
        argv = list(commands.mmdebstrap("bookworm", PACKAGES, str(folder / "host.tar")))
        argv[argv.index("--variant=essential")] = "--variant=apt"
        subprocess.run(argv, check=True, capture_output=True, timeout=600)
        docker("import", "--change", "LABEL stepdown.test=host", str(folder / "host.tar"), tag)
        (folder / "host.tar").unlink()
    return tag


def _inventory(folder: Path, name: str) -> Path:
    port = docker("port", name, "22/tcp").splitlines()[0].rpartition(":")[2]
    reach = {
        "ansible_host": "127.0.0.1",
        "ansible_port": int(port),
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(folder / "key"),
        "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
    }
    path = folder / "inventory" / "hosts.yml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump({"stack": {"hosts": {"far": reach}}}))
    return path.parent


def test_a_deploy_over_ssh_ends_with_plan_c_answering(host: Host) -> None:
    """Engine installed under systemd, images shipped, plan C answering inside, owned by an unprivileged user."""
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


def _answers(host: Host) -> bool:
    argv = ["docker", "exec", host.name, "python3", "-c", ASK]
    return subprocess.run(argv, capture_output=True, check=False, timeout=60).returncode == 0


def test_purge_leaves_the_host_as_it_was(host: Host) -> None:
    """Stack, data, images, engine and its packages are gone; what was there before stays."""
    done = host.deploy("down", "--purge")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "" == host.inside("sh", "-c", "command -v dockerd; ls -d /opt/stepdown 2>/dev/null", check=False)
    assert "inactive" == host.inside("systemctl", "is-active", "docker", check=False).strip()
    assert host.inside("dpkg-query", "--show", "iptables")


def test_other_machines_are_not_changed_unasked(host: Host) -> None:
    """Without --yes and without a terminal to ask on, nothing happens."""
    argv = ["./run", "deploy", f"--inventory={host.inventory}"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert (2, True) == (done.returncode, "say so with --yes" in done.stderr)
