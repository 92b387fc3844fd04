"""Which secrets the roles take, and whether an inventory gives them: never a value, nor anything of one.

Owns: which secret is needed when. Reads: roles/*/meta/argument_specs.yml; an inventory, through stepdown.inventory.
Never: a host; it may have a secret that an inventory no longer gives.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stepdown import inventory
from stepdown.errors import sentence
from stepdown.strict_yaml import load

# A secret is needed on a host where this other variable is given, or, with None, nowhere: a server does without it. A
# role that gains a secret says so here.
NEEDED_WITH: dict[str, str | None] = {
    "mcp_stack_zen_api_key": "mcp_stack_zen_endpoint",
    "mcp_stack_github_token": None,
    "mcp_stack_github_app_private_key": "mcp_stack_github_app_id",
    "mcp_stack_slack_webhook": None,
}
VAULT = ".venv/bin/ansible-vault"
SOPS = ".venv/bin/sops"
WHERE = ("*", "group_vars/**/*", "host_vars/**/*")  # files of an inventory that can give a variable
VAULT_FILE = "group_vars/stack/vault.yml"
ENCRYPTED = "$ANSIBLE_VAULT"
FROM_ENVIRONMENT = re.compile(r"lookup\(\s*'(?:ansible\.builtin\.)?env'\s*,\s*'(?P<name>\w+)'")
FROM_SOPS = re.compile(r"lookup\(\s*'(?:ansible\.legacy\.)?sops'\s*,\s*(?:inventory_dir ~ )?'/?(?P<file>[^']+)'")
# The failures whose words hold nothing of a value; any other is told without its words.
TELLABLE = re.compile(
    r"The lookup plugin '[\w.]*sops' failed: (?P<sops>.*)|(?P<vault>.*(?:decrypt|Decrypt).*)", re.DOTALL
)


@dataclass(frozen=True)
class Secret:
    """A variable of a role that holds a secret."""

    name: str
    description: str
    needed_with: str | None  # the variable that makes it needed; empty: always, None: never


@dataclass(frozen=True)
class Source:
    """Where an inventory takes a secret from, and what to type to put it there."""

    told: str
    remedy: str


@dataclass(frozen=True)
class Finding:
    """One secret on one host; `error` says why it cannot be told."""

    host: str
    secret: Secret
    given: bool
    needed: bool
    error: str = ""

    @property
    def missing(self) -> bool:
        return self.needed and not self.given and not self.error

    @property
    def good(self) -> bool:
        return not self.error and not self.missing


def secrets_of(root: Path) -> tuple[Secret, ...]:
    """Every option with `no_log: true` of every role, by name."""
    found = []
    for path in root.glob("roles/*/meta/argument_specs.yml"):
        entries = (
            load(path, str(path.relative_to(root))).mapping(["argument_specs"])["argument_specs"].mapping([], None)
        )
        for entry in entries.values():
            for name, option in (entry.value.get("options") or {}).items():
                if option.get("no_log"):
                    found.append(Secret(name, option["description"], NEEDED_WITH.get(name, "")))
    return tuple(sorted(found, key=lambda secret: secret.name))


def examine(root: Path, name: str, secrets: Iterable[Secret]) -> list[Finding]:
    """A finding for each secret and host of group stack; asked one by one, so that one failure hides no other."""
    found = []
    for secret in secrets:
        expressions = {
            "given": _given(secret.name),
            "needed": _given(secret.needed_with) if secret.needed_with else str(secret.needed_with is not None),
        }
        for answer in inventory.ask(root, name, expressions):
            values = answer.values
            given, needed = bool(values.get("given")), bool(values.get("needed"))
            found.append(Finding(answer.host, secret, given, needed, _told(answer.error)))
    return found


def source(folder: Path, name: str) -> Source:
    """How the files of an inventory give a variable, by their text; folder is the inventory's."""
    encrypted = []
    for path in sorted(path for pattern in WHERE for path in folder.glob(pattern) if path.is_file()):
        text = path.read_text(encoding="utf-8", errors="replace")
        if text.startswith(ENCRYPTED):
            encrypted.append(path)
        elif match := re.search(rf"^\s*{re.escape(name)}:[ \t]*(?P<value>.*)$", text, re.MULTILINE):
            return _source(path, name, match["value"], folder)
    if encrypted:
        return Source(f"ansible-vault, {encrypted[0]}", f"{VAULT} edit {shlex.quote(str(encrypted[0]))}")
    return Source("nothing in this inventory names it", _vault(folder / VAULT_FILE))


def _source(path: Path, name: str, value: str, folder: Path) -> Source:
    if match := FROM_ENVIRONMENT.search(value):
        variable = match["name"]
        return Source(f"the environment, {variable}", f"read -rs {variable} && export {variable}")
    if match := FROM_SOPS.search(value):
        file = folder / match["file"]
        return Source(f"SOPS, {file}", f"{SOPS} edit {shlex.quote(str(file))}")
    if value.startswith("!vault"):
        return Source(f"ansible-vault, inside {path}", f"{VAULT} encrypt_string --stdin-name {name}")
    if "{{" in value:
        return Source(f"another variable, see {path}", _vault(folder / VAULT_FILE))
    return Source(f"{path}, in the clear", f"{VAULT} encrypt {shlex.quote(str(path))}")


def _vault(path: Path) -> str:
    return f"{VAULT} {'edit' if path.is_file() else 'create'} {shlex.quote(str(path))}"


def line(finding: Finding) -> str:
    """One line for people."""
    if finding.error:
        state = f"cannot be read: {finding.error}"
    elif finding.given:
        state = "set"
    elif finding.needed:
        state = f"MISSING, and {finding.secret.needed_with or 'the role'} needs it"
    elif finding.secret.needed_with is None:
        state = "not set, and not needed"
    else:
        state = f"not set, and not needed while {finding.secret.needed_with} is empty"
    return f"{finding.host}: {finding.secret.name}: {state}"


def _given(variable: str) -> str:
    return f"{variable} | default('', true) | string | length > 0"


def _told(error: str) -> str:
    """An error of Ansible, as far as it can hold nothing of a value."""
    if not error:
        return ""
    match = TELLABLE.fullmatch(error)
    if match is None:
        return "its expression fails; ansible-inventory shows it, and with it what the inventory holds"
    if match["sops"]:
        return match["sops"]
    return sentence("ansible-vault", "no password at hand opens it", run=inventory.UNLOCK)
