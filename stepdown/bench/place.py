"""The one host that a benchmark runs on, and commands on it without Ansible: here, or over SSH as Ansible does."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepdown import commands, inventory
from stepdown.errors import StepdownError, UsageError, sentence
from stepdown.run import run
from stepdown.strict_yaml import load

KNOWN = ("local", "ssh")  # connections that can be measured
ROLE = "roles/mcp_stack/defaults/main.yml"
# As Ansible connects by default, so that a command without Ansible does not pay for a connection of its own.
SHARED = ("-o", "ControlMaster=auto", "-o", "ControlPersist=60s")
TEXTS = {  # of how Ansible connects: name here to variable
    "connection": "ansible_connection",
    "address": "ansible_host",
    "port": "ansible_port",
    "user": "ansible_user",
    "key": "ansible_ssh_private_key_file",
    "options": "ansible_ssh_common_args",
}


@dataclass(frozen=True)
class Place:
    """The host, and how it is reached; `prefix` goes before a shell command."""

    host: str
    home: str  # <home> there
    key_given: bool  # whether the inventory holds a key of the model endpoint
    connection: str
    prefix: tuple[str, ...]
    become: bool = False

    def shell(self, command: str, *, without: Sequence[str] = ()) -> str:
        """The output of a shell command there; `without` are beginnings of variables that it is not to see here."""
        asked = f"sudo -n sh -c {shlex.quote(command)}" if self.become else command
        return run((*self.prefix, asked), inherit=environment_without(without)).stdout

    def read(self, path: str) -> Any:
        """The JSON of a file there."""
        return json.loads(self.shell(f"cat {shlex.quote(path)}"))


def environment_without(beginnings: Sequence[str]) -> Collection[str] | None:
    """Names of this process's variables but for those that begin so; None, which is all, where nothing is left out."""
    return [name for name in os.environ if not name.startswith(tuple(beginnings))] if beginnings else None


def find(root: Path, name: str, sockets: Path) -> Place:
    """The only host of an inventory's group stack; shared SSH connections have their sockets in `sockets`.

    UsageError where there are several, or it is reached otherwise than `KNOWN`.
    """
    default_home = load(root / ROLE, ROLE).mapping([], None)["mcp_stack_home"].text()
    asked = {key: f"{variable} | default('', true) | string" for key, variable in TEXTS.items()}
    asked["home"] = f"mcp_stack_home | default({default_home!r}, true)"
    asked["key_given"] = "mcp_stack_zen_api_key | default('', true) | string | length > 0"
    asked["become"] = "ansible_become | default(false) | bool"
    answers = inventory.ask(root, name, asked)
    where = f"inventory {name!r}"
    if len(answers) != 1:
        hosts = [answer.host for answer in answers]
        raise UsageError(sentence(where, f"has {len(hosts)} hosts; name one with a single host", hosts))
    (answer,) = answers
    if answer.error:
        raise StepdownError(sentence(where, f"host {answer.host}: {answer.error}"))
    given = answer.values
    connection = given["connection"] or "ssh"
    if connection not in KNOWN:
        raise UsageError(sentence(where, f"host {answer.host} is reached by {connection!r}", KNOWN))
    prefix = ("sh", "-c") if connection == "local" else _ssh(answer.host, given, sockets)
    return Place(answer.host, given["home"], given["key_given"], connection, prefix, given["become"])


def _ssh(host: str, given: Any, sockets: Path) -> tuple[str, ...]:
    options = [*SHARED, "-o", f"ControlPath={sockets}/%C"]
    options += ["-p", given["port"]] if given["port"] else []
    options += ["-i", given["key"]] if given["key"] else []
    options += shlex.split(given["options"])
    address = given["address"] or host
    return commands.ssh(f"{given['user']}@{address}" if given["user"] else address, options, "")[:-1]
