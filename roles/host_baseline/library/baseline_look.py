#!/usr/bin/python
"""What the role host_baseline has to know of a host before it changes anything, and why it must not.

Owns nothing. Reads: sshd's effective settings, keys, users, packages, routes, /proc/sys. Never: changes anything
but for sshd's own /run/sshd. Runs on the managed host: standard library and Ansible's own support only.
"""

from __future__ import annotations

import fnmatch
import grp
import ipaddress
import os
import pwd
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.baseline_host import HostError, Unit, call, kernel_path
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: baseline_look
short_description: Facts and refusals for the role host_baseline; changes nothing
description: Fails with every reason at once when the host, or the way to it, would not survive what is asked.
options:
  parts: {type: list, elements: str, required: true, description: Parts that are wanted}
  login: {type: str, required: true, description: User of the play's login}
  connection: {type: str, default: '', description: SSH_CONNECTION of that login; empty where it did not come over SSH}
  ssh: {type: str, default: '', description: The settings that sshd is to get}
  user: {type: dict, default: {}, description: 'Name, uid and comment of the user that is to be there'}
  lists: {type: dict, default: {}, description: The role's variables that have to be lists}
  values: {type: dict, default: {}, description: The role's variables that go into systemd's own files}
  sysctl: {type: dict, default: {}, description: Kernel values to set}
  confirm_seconds: {type: int, default: 60, description: Time for the proof that the host can still be reached}
"""
RETURN = r"""
ssh_ports: {type: list, elements: int, returned: always, description: Ports that lead to sshd, and this play's own}
sshd: {type: bool, returned: always, description: Whether there is an sshd}
root_shut: {type: bool, returned: always, description: Whether another file than ours keeps root out}
time_service: {type: str, returned: always, description: A time service other than systemd-timesyncd; empty without one}
time_account: {type: bool, returned: always, description: Whether systemd-timesyncd's user is there}
user: {type: str, returned: always, description: "none, ours (bears our comment) or theirs"}
"""
EXAMPLES = r"""
- name: Look at the host
  baseline_look:
    parts: [firewall]
    login: root
"""

OURS = "10-stepdown.conf"  # of tasks/ssh.yml
TIME_UNITS = ("chrony.service", "chronyd.service", "ntp.service", "ntpd.service", "ntpsec.service", "openntpd.service")
TIME_USER = "systemd-timesync"
LEAST_SECONDS = 30  # one attempt to connect may take ten
KEY = re.compile(r"(?m)^[^#\n]*\b(?:ssh-|ecdsa-|sk-)\S+ \S+")
FOREIGN = {"ufw": "ufw disable", "firewalld": "systemctl disable --now firewalld"}
KNOWN_SYSTEMS = {"debian", "ubuntu"}
SPAN = r"\d+(?:s|sec|m|min|h|hr|hours?|d|days?|w|weeks?|M|months?|y|years?)"
# systemd logs what it cannot read and goes on without it: variable to its part, its form, and an example
FORMS = {
    "host_baseline_journal_size": ("journal", r"\d+[KMGTPE]?", "1G"),
    "host_baseline_journal_retention": ("journal", rf"\d+|{SPAN}(?: {SPAN})*", "30day"),
    "host_baseline_limits_open_files": ("limits", r"(?:\d+|infinity)(?::(?:\d+|infinity))?", "65536:524288"),
}


def systems() -> set[str]:
    """ID and ID_LIKE of this distribution."""
    rows = Path("/etc/os-release").read_text().splitlines()
    values = [row.partition("=")[2].strip('"') for row in rows if row.startswith(("ID=", "ID_LIKE="))]
    return {word for value in values for word in value.split()}


def time_service() -> str:
    """A package that provides the time, or a unit that runs and does; never systemd-timesyncd."""
    rows = call("dpkg-query", "--show", "--showformat", "${db:Status-Status}\t${Package}\t${Provides}\n").splitlines()
    for status, package, provides in (row.split("\t") for row in rows):
        if status == "installed" and "time-daemon" in provides and package != "systemd-timesyncd":
            return package
    return next((unit for unit in TIME_UNITS if Unit.look(unit).active), "")


def effective(*words: str) -> dict[str, list[str]]:
    """sshd's own account of its settings: keyword to values."""
    found: dict[str, list[str]] = {}
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd refuses to speak without it, running or not
    for row in call("/usr/sbin/sshd", "-T", *words).splitlines():
        keyword, _, value = row.partition(" ")
        found.setdefault(keyword, []).append(value)
    return found


def ssh_ports(has_sshd: bool, connection: str) -> list[int]:
    """Ports of sshd, of its socket unit, and the one by which the play came."""
    found = {int(connection.split()[3])} if connection else set()
    if has_sshd:
        settings = effective()
        found |= {int(port) for port in settings["port"]}
        found |= {int(address.rpartition(":")[2]) for address in settings["listenaddress"]}
    if Unit.look("ssh.socket").active:
        found |= {int(port) for port in re.findall(r":(\d+) \(Stream\)", call("systemctl", "show", "ssh.socket"))}
    return sorted(found)


def refused_login(login: str, connection: str, settings: str) -> Iterator[str]:
    """Why this login would not come in again under the new settings."""
    address, _, here, port = connection.split()
    who = f"user={login},host={address},addr={address},laddr={here},lport={port}"
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as trial:  # the first value of a keyword counts
        trial.write(f"{settings}\nInclude /etc/ssh/sshd_config\n")
        trial.flush()
        then = effective("-f", trial.name, "-C", who)
    account = pwd.getpwnam(login)
    if account.pw_uid == 0 and then["permitrootlogin"] in (["no"], ["forced-commands-only"]):
        yield (
            f"the play logs in as {login}, which host_baseline_ssh_root_login=no would shut out. "
            "Log in as a user with sudo (ansible_user), or set prohibit-password"
        )
    if then["pubkeyauthentication"] != ["yes"]:
        yield f"sshd would not accept a key of {login}: PubkeyAuthentication is no in a Match block"
    others = (*then.get("authorizedkeyscommand", []), *then.get("trustedusercakeys", []))
    if all(value == "none" for value in others) and not any(map(_has_key, _key_files(account, then))):
        yield (
            f"{login}, as whom the play logs in, has no authorized key, and passwords are turned off. "
            f"Run: ssh-copy-id {login}@HOST, or set host_baseline_ssh to false"
        )


def _key_files(account: pwd.struct_passwd, settings: dict[str, list[str]]) -> Iterator[Path]:
    signs = {"%%": "%", "%h": account.pw_dir, "%u": account.pw_name, "%U": str(account.pw_uid)}
    for pattern in settings["authorizedkeysfile"][0].split():
        yield Path(account.pw_dir, re.sub("%[%huU]", lambda found: signs[found.group()], pattern))


def _has_key(path: Path) -> bool:
    return path.is_file() and bool(KEY.search(path.read_text(errors="replace")))


def root_shut() -> bool:
    """Whether another file than ours lets root in by no way at all; that is stricter, and stays."""
    files = [Path("/etc/ssh/sshd_config"), *Path("/etc/ssh/sshd_config.d").glob("*.conf")]
    texts = (path.read_text(errors="replace") for path in files if path.is_file() and path.name != OURS)
    return any(re.search(r"(?mi)^\s*PermitRootLogin\s+no\b", text) for text in texts)


def user_state(user: dict[str, Any]) -> tuple[str, list[str]]:
    """Whose the user is that is to be there, and what stands in its way."""
    name, uid = user["name"], int(user["uid"])
    accounts = {account.pw_name: account for account in pwd.getpwall()}
    taken = [f"user {other}" for other, account in accounts.items() if (other == name) != (account.pw_uid == uid)]
    if name not in accounts:  # the group alone may be of a run that was interrupted
        groups = ((group.gr_name, group.gr_gid) for group in grp.getgrall())
        taken += [f"group {other}" for other, gid in groups if (other == name) != (gid == uid)]
    remedy = "Rename or renumber it, or set host_baseline_user to false"
    against = [f"{', '.join(taken)} in the way of a user {name} with uid and gid {uid}. {remedy}"] if taken else []
    if name not in accounts:
        return "none", against
    return ("ours" if accounts[name].pw_gecos == user["comment"] else "theirs"), against


def refused_firewall(params: dict[str, Any]) -> Iterator[str]:
    """Another firewall, or rules that would not mean what they say."""
    ufw = Path("/etc/ufw/ufw.conf")
    running = {
        "ufw": shutil.which("ufw") and ufw.is_file() and re.search(r"(?mi)^ENABLED=yes", ufw.read_text()),
        "firewalld": Unit.look("firewalld.service").active,
    }
    for name, remedy in FOREIGN.items():
        if running[name]:
            yield (
                f"{name} is active, and two firewalls contradict each other. "
                f"Run: {remedy}, or set host_baseline_firewall to false"
            )
    lists = params["lists"]
    for name in ("host_baseline_firewall_tcp_ports", "host_baseline_firewall_udp_ports"):
        yield from (f"{name}: '{port}' is no port (known: 443, 8000-8010)" for port in lists[name] if not is_port(port))
    for source in lists["host_baseline_firewall_trusted_sources"]:
        try:
            ipaddress.ip_network(source)
        except ValueError as error:
            yield f"host_baseline_firewall_trusted_sources: {error}"
    bridges = lists["host_baseline_firewall_bridges"]
    for uplink in uplinks():
        if any(fnmatch.fnmatchcase(uplink, pattern) for pattern in bridges):
            yield (
                f"{uplink} leads out of this host and is among host_baseline_firewall_bridges ({', '.join(bridges)}), "
                "so everybody would be let in. Name Docker's bridges more exactly"
            )


def is_port(value: object) -> bool:
    """A port, or a range of two."""
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", str(value))
    return bool(found) and 0 < int(found[1]) <= int(found[2] or found[1]) < 65536


def uplinks() -> set[str]:
    """Interfaces of the default routes."""
    four = [row.split() for row in Path("/proc/net/route").read_text().splitlines()[1:]]
    six = Path("/proc/net/ipv6_route")
    more = [row.split() for row in six.read_text().splitlines()] if six.is_file() else []
    return {row[0] for row in four if row[1] == row[7] == "00000000"} | {
        row[9] for row in more if row[0] == "0" * 32 and row[1] == "00" and row[9] != "lo"
    }


def refused_values(parts: Iterable[str], values: dict[str, Any]) -> Iterator[str]:
    """Values that systemd would not understand, for parts that are wanted."""
    for name, (part, form, example) in FORMS.items():
        if part in parts and not re.fullmatch(form, str(values.get(name, example))):
            yield f"{name}: '{values[name]}' is no such value (known: {example})"


def refusals(params: dict[str, Any], has_sshd: bool) -> Iterator[str]:
    """Every reason not to start."""
    parts: Iterable[str] = params["parts"]
    text = [name for name, value in params["lists"].items() if not isinstance(value, list)]
    if text:  # a template would take it letter by letter
        yield f"{', '.join(text)}: no list, as -e NAME=VALUE makes it. Write it in YAML: [443, 8000-8010]"
        return
    yield from refused_values(parts, params["values"])
    if "ssh" in parts and has_sshd and params["connection"]:
        yield from refused_login(params["login"], params["connection"], params["ssh"])
    if "firewall" in parts:
        yield from refused_firewall(params)
    if "sysctl" in parts and os.access("/proc/sys/kernel/hostname", os.W_OK):
        unknown = [key for key in params["sysctl"] if not kernel_path(key).is_file()]
        yield from (f"host_baseline_sysctl_values: this kernel has no {key}" for key in unknown)
    if {"ssh", "firewall"} & {*parts} and params["confirm_seconds"] < LEAST_SECONDS:
        yield f"host_baseline_confirm_seconds: at least {LEAST_SECONDS}, since an attempt to connect may take ten"


def main() -> None:
    """Ansible's door."""
    module = AnsibleModule(
        argument_spec={
            "parts": {"type": "list", "elements": "str", "required": True},
            "login": {"type": "str", "required": True},
            "connection": {"type": "str", "default": ""},
            "ssh": {"type": "str", "default": ""},
            "user": {"type": "dict", "default": {}},
            "lists": {"type": "dict", "default": {}},
            "values": {"type": "dict", "default": {}},
            "sysctl": {"type": "dict", "default": {}},
            "confirm_seconds": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    params = module.params
    if not Path("/run/systemd/system").is_dir() or not KNOWN_SYSTEMS & systems():
        module.fail_json(msg="host_baseline: this host is not known here (known: Debian and Ubuntu under systemd)")
    try:
        has_sshd = Path("/usr/sbin/sshd").is_file()
        user, against = user_state(params["user"])
        found = [*(against if "user" in params["parts"] else []), *refusals(params, has_sshd)]
        ports = ssh_ports(has_sshd, params["connection"])
        clock = time_service()
    except (HostError, OSError, KeyError) as error:
        module.fail_json(msg=f"host_baseline: {error}. Nothing was changed")
    if found:
        module.fail_json(msg=f"host_baseline: {'; '.join(found)}. Nothing was changed")
    account = any(known.pw_name == TIME_USER for known in pwd.getpwall())
    found_here = {"ssh_ports": ports, "sshd": has_sshd, "time_service": clock, "time_account": account, "user": user}
    module.exit_json(changed=False, root_shut=root_shut(), **found_here)


if __name__ == "__main__":
    main()
