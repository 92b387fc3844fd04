"""How an inventory's hosts are called over plain SSH, and what a way that is closed says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from stepdown import remote
from stepdown.errors import StepdownError, UsageError
from tests.unit.sealing import isolate, vault_file

SSH = (
    "ssh",
    "-o",
    "BatchMode=yes",
    "-o",
    "ConnectTimeout=10",
    "-o",
    "ServerAliveInterval=5",
    "-o",
    "ServerAliveCountMax=6",
)
AGENT = "/opt/stepdown/stepdown.pyz --home /opt/stepdown"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty inventory."""
    isolate(monkeypatch, tmp_path)
    return tmp_path / "hosts.yml"


def find(root: Path, site: Path, **variables: object) -> remote.Remote:
    """The one host of an inventory with these variables."""
    site.write_text(yaml.safe_dump({"stack": {"hosts": {"far": variables}}}))
    (found,) = remote.find(root, str(site))
    return found


def test_a_host_with_nothing_but_a_name(root: Path, site: Path) -> None:
    """SSH's own configuration says the rest; <home> is the role's default."""
    found = find(root, site)
    assert (*SSH, "far", f"python3 {AGENT} emergency --why 'a b'") == found.argv("emergency", "--why", "a b")


def test_a_host_with_everything(root: Path, site: Path) -> None:
    """Address, port, user, key, options, interpreter and home of the inventory, as its playbooks would have them."""
    found = find(
        root,
        site,
        ansible_host="192.0.2.7",
        ansible_port=2222,
        ansible_user="op",
        ansible_ssh_private_key_file="/keys/op",
        ansible_ssh_common_args="-o ProxyJump=gate",
        ansible_python_interpreter="/opt/python/bin/python3",
        ansible_become=True,
        mcp_stack_home="/srv/{{ inventory_hostname }}",
    )
    way = (*SSH, "-p", "2222", "-i", "/keys/op", "-o", "ProxyJump=gate", "op@192.0.2.7")
    called = "sudo -n -- /opt/python/bin/python3 /srv/far/stepdown.pyz --home /srv/far status"
    assert (*way, called) == found.argv("status")


def test_a_password_of_sudo_goes_to_its_standard_input(root: Path, site: Path) -> None:
    """Never into an argument; and what somebody types lets sudo ask."""
    found = find(root, site, ansible_become=True, ansible_become_password="open sesame")
    assert (*SSH, "far", f"sudo -S -p '' -- python3 {AGENT} emergency") == found.argv("emergency")
    assert "sesame" not in " ".join((*found.argv("emergency"), found.typed("emergency")))
    assert found.typed("emergency").endswith(f" far sudo python3 {AGENT} emergency")


def test_a_password_may_come_from_the_file_that_playbooks_take(
    root: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ANSIBLE_BECOME_PASSWORD_FILE, without its line end."""
    (site.parent / "password").write_text("open sesame\n")
    monkeypatch.setenv("ANSIBLE_BECOME_PASSWORD_FILE", str(site.parent / "password"))
    assert "open sesame" == find(root, site, ansible_become=True).password


def test_this_machine_is_called_without_ssh(root: Path, site: Path) -> None:
    """A host of ansible_connection local."""
    found = find(root, site, ansible_connection="local", ansible_python_interpreter="/usr/bin/python3")
    assert ("/usr/bin/python3", *AGENT.split(), "status") == found.argv("status")


def test_a_locked_vault_says_what_to_type_instead(root: Path, site: Path) -> None:
    """The inventory cannot be read then; SSH still goes."""
    (site.parent / "password").write_text("right\n")
    folder = site.parent / "site"
    (folder / "group_vars").mkdir(parents=True)
    (folder / "hosts.yml").write_text("stack: {hosts: {far: {}}}")
    vault_file(folder / "group_vars" / "stack.yml", "mcp_stack_zen_api_key: x\n", site.parent / "password")
    with pytest.raises(StepdownError, match=r"ssh HOST sudo python3 /opt/stepdown/stepdown\.pyz emergency"):
        remote.find(root, str(folder))


def test_a_limit_without_hosts_is_wrong_use(root: Path, site: Path) -> None:
    """Also where it names a host that is not of the stack."""
    site.write_text(yaml.safe_dump({"stack": {"hosts": {"far": {}}}, "runners": {"hosts": {"ci": {}}}}))
    for limit in ("ci", "nobody"):
        with pytest.raises(UsageError, match=f"--limit={limit}: leaves no host of group stack"):
            remote.find(root, str(site), limit)


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no SSH client on this machine; apt-get install openssh-client")
def test_a_host_out_of_reach_is_told_with_ssh_s_own_words(root: Path, site: Path) -> None:
    """And changed nothing: exit code 1."""
    found = find(root, site, ansible_host="127.0.0.1", ansible_port=1, ansible_user="op")
    heard: list[str] = []
    (row,) = remote.emergency([found], ["--why", "a drill"], heard.append)
    wrong = "far: cannot be reached: ssh: connect to host 127.0.0.1 port 1: Connection refused"
    assert f"{wrong}. Run: ssh -p 1 op@127.0.0.1 true, with the inventory's key" == row.failure == heard[0]
    assert (1, False, "?") == (row.code, row.changed, row.plan)
