"""A host that the role host_baseline prepared: time, journal, upgrades, kernel, limits, user, SSH."""

from __future__ import annotations

import json
import re
from typing import Any

from testinfra.host import Host

from stepdown.host.home import ROOT_DEPLOYS_AS

JOURNAL_OPENED = "ec387f577b844b8fa948f33cad9a75e6"  # journald's own message id: the journal, and how large it may be
SIZES = {"K": 2**10, "M": 2**20, "G": 2**30}


def test_the_clock_is_kept(host: Host, variables: dict[str, Any]) -> None:
    """At every boot, by the servers that were given; in a container systemd does not let it run."""
    assert host.service("systemd-timesyncd").is_enabled
    asked = host.check_output("systemctl show --property=ActiveState,ConditionResult systemd-timesyncd").splitlines()
    assert asked in (["ActiveState=active", "ConditionResult=yes"], ["ActiveState=inactive", "ConditionResult=no"])
    merged = host.check_output("systemd-analyze cat-config systemd/timesyncd.conf")
    given = re.findall(r"(?m)^NTP=(.*)", merged)
    assert (
        [" ".join(variables["host_baseline_time_servers"])] if variables["host_baseline_time_servers"] else []
    ) == given


def test_the_journal_is_bounded(host: Host, variables: dict[str, Any]) -> None:
    """journald itself says its limit when it starts."""
    size = variables["host_baseline_journal_size"]
    rows = host.check_output(
        f"journalctl --output=json --unit=systemd-journald MESSAGE_ID={JOURNAL_OPENED}"
    ).splitlines()
    last = [row for row in map(json.loads, rows) if row["JOURNAL_NAME"] == "System Journal"][-1]
    assert int(size[:-1]) * SIZES[size[-1]] == int(last["MAX_USE"])
    merged = host.check_output("systemd-analyze cat-config systemd/journald.conf")
    assert [variables["host_baseline_journal_retention"]] == re.findall(r"(?m)^MaxRetentionSec=(.*)", merged)


def test_only_security_upgrades_come_by_themselves(host: Host, variables: dict[str, Any]) -> None:
    """unattended-upgrade itself says what it allows and what it leaves alone."""
    told = host.run("unattended-upgrade --dry-run --debug")
    said = told.stdout + told.stderr
    allowed = re.findall(r"Allowed origins are: (.*)", said)[0].split(", ")
    assert [] == [origin for origin in allowed if "security" not in origin]
    left_alone = re.findall(r"Initial blacklist: (.*)", said)[0].split()
    excluded = variables["host_baseline_upgrades_excluded"]
    assert [] == [name for name in excluded if not any(re.match(pattern, name) for pattern in left_alone)]
    assert not any(re.match(pattern, "openssl") for pattern in left_alone)


def test_upgrades_reboot_only_where_that_is_wanted(host: Host, variables: dict[str, Any]) -> None:
    """apt's merged settings, and the timers that act on them."""
    merged = host.check_output("apt-config shell REBOOT Unattended-Upgrade::Automatic-Reboot/b")
    assert ("REBOOT='true'" in merged) is variables["host_baseline_upgrades_reboot"]
    daily = host.check_output(
        "apt-config shell LISTS APT::Periodic::Update-Package-Lists DO APT::Periodic::Unattended-Upgrade"
    )
    assert ["LISTS='1'", "DO='1'"] == daily.splitlines()
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert (True, True) == (host.service(timer).is_enabled, host.service(timer).is_running), timer


def test_kernel_values_are_in_force_where_they_can_be(host: Host, variables: dict[str, Any]) -> None:
    """Now, unless /proc/sys is read-only; and whenever the host starts."""
    merged = host.check_output("/lib/systemd/systemd-sysctl --cat-config")
    for key, value in variables["host_baseline_sysctl_values"].items():
        if host.run(f"test -w /proc/sys/{key.replace('.', '/')}").succeeded:
            assert value == host.sysctl(key)
        assert str(value) == re.findall(rf"(?m)^{re.escape(key)} *= *(\S+)", merged)[-1]


def test_services_may_open_files(host: Host, variables: dict[str, Any]) -> None:
    """A service that starts now gets the limit, as far as systemd itself may go."""
    wanted = [int(number) for number in variables["host_baseline_limits_open_files"].split(":")]
    most = int(re.findall(r"Max open files +\d+ +(\d+)", host.check_output("cat /proc/1/limits"))[0])
    got = host.check_output("systemd-run --quiet --wait --pipe sh -c 'ulimit -Sn; ulimit -Hn'").split()
    assert [min(number, most) for number in wanted] == [int(number) for number in got]


def test_the_user_owns_and_does_not_log_in(host: Host, variables: dict[str, Any]) -> None:
    """The number that the agent hands <home> to, with a name."""
    user = host.user("stepdown")
    assert (ROOT_DEPLOYS_AS, ROOT_DEPLOYS_AS) == (user.uid, user.gid)
    assert (["stepdown"], variables["host_baseline_user_home"]) == (user.groups, user.home)
    assert not host.file(user.home).exists
    assert host.run("su stepdown -c true").failed
    assert "L" == host.check_output("passwd --status stepdown").split()[1]
    assert not host.run("grep stepdown: /etc/subuid").stdout


def test_ssh_takes_keys_only(host: Host) -> None:
    """What sshd offers to somebody without a key."""
    options = "-o PreferredAuthentications=none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    refused = host.run(f"ssh {options} root@localhost true")
    assert (255, True) == (refused.rc, "Permission denied (publickey)." in refused.stderr), refused.stderr


def test_root_logs_in_by_key_or_not_at_all(host: Host, variables: dict[str, Any]) -> None:
    """A key that root trusts opens the door only where root may come in."""
    folder_was_there = host.run("test -d ~root/.ssh").succeeded
    host.check_output("ssh-keygen -q -t ed25519 -N '' -f /run/probe && mkdir -p ~root/.ssh")
    host.check_output("cat /run/probe.pub >~root/.ssh/authorized_keys2")
    options = "-i /run/probe -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    came_in = host.run(f"ssh {options} root@localhost true").succeeded
    host.check_output("rm ~root/.ssh/authorized_keys2 /run/probe /run/probe.pub")
    host.check_output("true" if folder_was_there else "rmdir ~root/.ssh")
    assert (variables["host_baseline_ssh_root_login"] != "no") is came_in


def test_nothing_waits_to_be_taken_back(host: Host) -> None:
    """Every change was confirmed over a new connection."""
    assert "" == host.run("ls -d /var/lib/stepdown-revert-* /etc/systemd/system/stepdown-revert-*").stdout
    assert "stepdown-revert" not in host.check_output("systemctl list-units --all")
