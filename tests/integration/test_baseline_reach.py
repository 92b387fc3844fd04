"""The role host_baseline does not lock anybody out: a real machine over SSH, and settings that would."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hosts import machine
from tests.stack import ROOT, Stack, docker

pytestmark = pytest.mark.engine

SNAPSHOT = (ROOT / "tests" / "hosts" / "snapshot.py").read_text(encoding="utf-8")
CUT = {"host_baseline_firewall_extra": ["tcp dport 22 drop"], "host_baseline_confirm_seconds": 30}


@dataclass(frozen=True)
class Host:
    """A machine, and plays on it."""

    reached: machine.Machine

    def play(self, **variables: object) -> subprocess.CompletedProcess[str]:
        """The playbook, with variables of the role."""
        return self.play_in(ROOT, **variables)

    def play_in(self, tree: Path, **variables: object) -> subprocess.CompletedProcess[str]:
        """The playbook of another tree."""
        reach = {
            "ansible_host": self.reached.address,
            "ansible_port": self.reached.port,
            "ansible_user": self.reached.user,
            "ansible_ssh_private_key_file": self.reached.identity_file,
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        }
        inventory = Path(self.reached.identity_file).with_name("hosts.json")
        inventory.write_text(json.dumps({"stack": {"hosts": {"far": reach}}}))
        ansible = str(Path(sys.executable).with_name("ansible-playbook"))
        argv = [ansible, "-i", str(inventory), "playbooks/baseline.yml", "-e", json.dumps(variables)]
        return subprocess.run(argv, cwd=tree, capture_output=True, text=True, timeout=300, check=False)

    def now(self) -> dict[str, object]:
        """What the machine is."""
        return dict(json.loads(docker("exec", self.reached.instance, "python3", "-c", SNAPSHOT)))


@pytest.fixture(scope="module")
def host(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """With everything but the firewall in place, so that only the firewall is at stake; `stack` brings the engine."""
    name = f"test-{secrets.token_hex(3)}-baseline"
    try:
        made = Host(machine.up(name, tmp_path_factory.mktemp("machine")))
        done = made.play(host_baseline_firewall=False)
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        machine.down(name)


def test_a_firewall_that_cuts_the_way_is_taken_back(host: Host) -> None:
    """The play fails and says so, the host is as it was and can be reached."""
    docker("exec", host.reached.instance, "sh", "-c", "apt-get install -qq -y --no-install-recommends nftables")
    before = host.now()
    done = host.play(**CUT)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "with the new firewall settings far could not be reached" in done.stdout
    assert before == host.now()
    done = host.play(host_baseline_firewall=False)
    assert (0, True) == (done.returncode, "changed=0" in done.stdout), done.stdout


def test_ssh_settings_that_refuse_the_login_are_taken_back(host: Host, tmp_path: Path) -> None:
    """A mistake in the role itself: sshd takes the file and lets nobody in."""
    for name in ("roles", "playbooks", "plugins", "ansible.cfg"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(tmp_path)], check=True)
    template = tmp_path / "roles" / "host_baseline" / "templates" / "sshd.conf.j2"
    template.write_text(template.read_text() + "AllowUsers nobody\n")
    before = host.now()
    done = host.play_in(tmp_path, host_baseline_firewall=False, host_baseline_confirm_seconds=30)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "with the new ssh settings far could not be reached" in done.stdout
    assert before == host.now()


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        (
            {"host_baseline_ssh_root_login": "no"},
            "logs in as root, which host_baseline_ssh_root_login=no would shut out",
        ),
        ({"host_baseline_firewall_bridges": ["eth*"]}, "eth0 leads out of this host"),
        ({"host_baseline_firewall_tcp_ports": ["http"]}, "'http' is no port"),
        ({"host_baseline_firewall_tcp_ports": "443"}, "host_baseline_firewall_tcp_ports: no list"),
        ({"host_baseline_confirm_seconds": 5}, "at least 30"),
    ],
)
def test_what_would_lock_out_is_refused_before_anything_changes(
    host: Host, variables: dict[str, object], reason: str
) -> None:
    """With the reason."""
    done = host.play(**variables)
    assert (2, True, True) == (done.returncode, reason in done.stdout, "changed=0" in done.stdout), done.stdout


def test_a_login_without_a_key_is_refused(host: Host) -> None:
    """The open connection would be the last."""
    keys, shell = "~root/.ssh/authorized_keys", ("exec", host.reached.instance, "sh", "-c")
    docker(*shell, f"mv {keys} {keys}.away")  # connections that are open stay open
    try:
        done = host.play()
    finally:
        docker(*shell, f"mv {keys}.away {keys}")
    assert (2, True) == (done.returncode, "root, as whom the play logs in, has no authorized key" in done.stdout)


def test_another_firewall_is_refused(host: Host) -> None:
    """Two contradict each other; nobody would know which let something in."""
    script = "printf 'ENABLED=yes\\n' >/etc/ufw/ufw.conf && ln -s /bin/true /usr/sbin/ufw"
    docker("exec", host.reached.instance, "sh", "-ec", f"mkdir -p /etc/ufw; {script}")
    try:
        done = host.play()
    finally:
        docker("exec", host.reached.instance, "rm", "/etc/ufw/ufw.conf", "/usr/sbin/ufw")
    assert (2, True) == (done.returncode, "ufw is active" in done.stdout), done.stdout
