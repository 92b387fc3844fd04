"""The host agents of an inventory over plain SSH, all side by side: for when there is no time for a playbook.

Owns: the calls and what they answered, as rows. Reads: how hosts are reached, through stepdown.inventory. Never: needs
Ansible on the way to a host; `ssh HOST sudo python3 <home>/stepdown.pyz emergency` by hand does the same.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepdown import commands, hosts, inventory, where
from stepdown.errors import ChangedError, CommandError, StepdownError, UsageError, sentence
from stepdown.run import Completed, run
from stepdown.strict_yaml import load
from stepdown.where import Row

SSH_FAILED = 255  # OpenSSH's own, whatever the reason
SECONDS = 300.0  # for one host; the agent itself is done in ten
# of a connection that was there and broke: what was called may go on
BROKEN = ("Broken pipe", "closed by", "Connection reset", "not responding")
DEFAULTS = Path("roles", "mcp_stack", "defaults", "main.yml")
REACH = {
    "address": "ansible_host | default(inventory_hostname)",
    "port": "ansible_port | default('') | string",
    "user": "ansible_user | default('')",
    "key": "ansible_ssh_private_key_file | default(ansible_private_key_file | default(''))",
    "options": "ansible_ssh_common_args | default('') ~ ' ' ~ ansible_ssh_extra_args | default('')",
    "connection": "ansible_connection | default('ssh')",
    "become": "ansible_become | default(false) | bool",
    "password": "ansible_become_password | default(ansible_become_pass | default(''))",
    "python": "ansible_python_interpreter | default('python3')",
}


@dataclass(frozen=True)
class Remote:
    """A host, and how its agent is called; `local` is this machine."""

    name: str
    destination: str
    options: tuple[str, ...]
    become: bool
    password: str
    agent: tuple[str, ...]
    local: bool = False

    def argv(self, *words: str) -> tuple[str, ...]:
        """The call of the agent, as it is run here."""
        called = (*self._sudo(), *self.agent, *words)
        return called if self.local else commands.ssh(self.destination, self.options, shlex.join(called))

    def typed(self, *words: str) -> str:
        """What somebody can type to the same end, where sudo may ask."""
        sudo = ("sudo",) if self.become else ()
        if self.local:
            return shlex.join((*sudo, *self.agent, *words))
        return shlex.join(("ssh", "-t", *self.options, self.destination, *sudo, *self.agent, *words))

    def _sudo(self) -> tuple[str, ...]:
        if not self.become:
            return ()
        return ("sudo", "-S", "-p", "", "--") if self.password else ("sudo", "-n", "--")


def find(root: Path, name: str, limit: str = "") -> tuple[Remote, ...]:
    """The hosts of group stack of an inventory. UsageError where it has none, StepdownError where it cannot be read."""
    home = load(root / DEFAULTS, str(DEFAULTS)).value["mcp_stack_home"]
    asked = {**REACH, "home": f"mcp_stack_home | default('{home}')"}
    by_hand = f"ssh HOST sudo python3 {home}/stepdown.pyz emergency"
    try:
        answers = inventory.ask(root, name, asked, limit)
    except UsageError:
        raise
    except StepdownError as error:
        raise StepdownError(f"{error}; or without the inventory: {by_hand}") from error
    wrong = [answer for answer in answers if answer.error]
    if wrong:
        raise StepdownError(sentence(wrong[0].host, f"its variables cannot be read: {wrong[0].error}", run=by_hand))
    return tuple(_remote(answer.host, answer.values) for answer in answers)


def _remote(name: str, told: Any) -> Remote:
    user = f"{told['user']}@" if told["user"] else ""
    options = ["-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6"]
    options += ["-p", told["port"]] if told["port"] else []
    options += ["-i", os.path.expanduser(told["key"])] if told["key"] else []  # noqa: PTH111 - as Ansible does
    python = "python3" if told["python"].startswith("auto") else told["python"]
    return Remote(
        name=name,
        destination=f"{user}{told['address']}",
        options=(*options, *shlex.split(told["options"])),
        become=told["become"],
        password=told["password"] or _password_of_the_environment(),
        agent=(python, f"{told['home']}/stepdown.pyz", "--home", told["home"]),
        local=told["connection"] == "local",
    )


def _password_of_the_environment() -> str:
    """What ANSIBLE_BECOME_PASSWORD_FILE holds, as for a playbook; a program there is not run."""
    path = os.environ.get("ANSIBLE_BECOME_PASSWORD_FILE")
    return Path(path).expanduser().read_text(encoding="utf-8").strip() if path and not os.access(path, os.X_OK) else ""


def emergency(remotes: Sequence[Remote], words: Sequence[str], say: Callable[[str], None]) -> list[Row]:
    """Call `emergency` on all hosts at once; a row for each, in the order given. `say` is told as each one answers."""
    with ThreadPoolExecutor(len(remotes)) as pool:
        calls = {pool.submit(_emergency, remote, tuple(words)): remote for remote in remotes}
        for call in as_completed(calls):
            row = call.result()
            say(row.failure.partition("\n")[0] or f"{row.host}: plan {row.plan}, {row.run}")
        return [call.result() for call in calls]


def _emergency(remote: Remote, words: tuple[str, ...]) -> Row:
    done = _call(remote, "emergency", "--json", *words)
    if done.returncode:
        failed = {"failed": _failure(remote, done, words), "rc": _code(done)}
        asked = {"rc": SSH_FAILED} if done.returncode == SSH_FAILED else vars(_call(remote, "status", "--json"))
        return where.row(remote.name, {**asked, **_reach(remote)}, failed)
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    if "until" not in answer:  # of --check
        note = "would change" if answer["changed"] else "would stay as it is"
        return Row(remote.name, answer["plan"], answer["release"], "-", "-", note, 0, False)
    note = f"done in {answer['seconds']:g} s" if answer["changed"] else "was there already"
    gateway = f"gateway: {answer['gateway']}" if answer.get("gateway") else "ready"
    text = f"{note}; emergency until {answer['until']}"
    return Row(remote.name, answer["plan"], answer["release"], "-", gateway, text, 0, True)


def _call(remote: Remote, *words: str) -> Completed:
    stdin = f"{remote.password}\n" if remote.become and remote.password else None
    argv = remote.argv(*words)
    try:
        return run(argv, stdin=stdin, timeout_seconds=SECONDS, check=False)
    except CommandError as error:  # no end in time, or no ssh here
        return Completed(argv, error.returncode, "", str(error))


def _failure(remote: Remote, done: Completed, words: tuple[str, ...]) -> str:
    """What went wrong, as a sentence that names the host and says what to type."""
    said = [line for line in done.stderr.splitlines() if line.startswith("sudo: ")]
    if said:
        return sentence(remote.name, said[-1], run=remote.typed("emergency", *words))
    unreachable = {"unreachable": True, "msg": done.stderr} if done.returncode == SSH_FAILED else {}
    answer = {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr, **unreachable, **_reach(remote)}
    return hosts.refusal(remote.name, answer, "emergency")


def _reach(remote: Remote) -> dict[str, Any]:
    """As hosts.py tells of a way to a host."""
    user, _, host = remote.destination.rpartition("@")
    port = remote.options[remote.options.index("-p") + 1] if "-p" in remote.options else ""
    return {"reach": {"host": host, "port": port, "user": user}}


NOT_RUN = (126, 127)  # the shell's own words for a program that cannot be run, or is not there


def _code(done: Completed) -> int:
    """The agent's exit code; where only the connection speaks, whether anything can have changed."""
    if done.returncode == SSH_FAILED:
        broken = any(words in done.stderr for words in BROKEN)
        return ChangedError.exit_code if broken else StepdownError.exit_code
    known = done.returncode in (0, *(kind.exit_code for kind in (StepdownError, UsageError, ChangedError)), *NOT_RUN)
    return done.returncode if known else ChangedError.exit_code  # one that was killed, or did not end in time
