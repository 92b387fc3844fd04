"""First task of every role: refuse `<role>_*` variables that the role does not have.

Ansible itself lets a misspelt variable pass in silence, and the default stands. Owns: the refusal. Reads: the role's
meta/argument_specs.yml and, where there is one, meta/renamed_variables.yml ({old name: new name}). Never: a value of a
secret in a message.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

SPECS = Path("meta", "argument_specs.yml")
RENAMED = Path("meta", "renamed_variables.yml")


def options_of(role: Path) -> dict[str, dict[str, Any]]:
    """Name to specification of every public variable of a role, over all its entry points."""
    specs = yaml.safe_load((role / SPECS).read_text(encoding="utf-8"))["argument_specs"]
    return {name: option for entry in specs.values() for name, option in (entry.get("options") or {}).items()}


def renamed_in(role: Path) -> dict[str, str]:
    """Former name to present name; empty where the role never renamed one."""
    path = role / RENAMED
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def unknown(role: str, given: Iterable[str], known: Iterable[str], renamed: Mapping[str, str]) -> list[str]:
    """One sentence for each given variable that bears the role's prefix and is not the role's, sorted by name."""
    names = sorted(known)
    found = []
    for name in sorted(set(given) - set(names)):
        if not name.startswith(f"{role}_"):
            continue
        if name in renamed:
            found.append(f"{name} is now {renamed[name]}")
            continue
        near = difflib.get_close_matches(name, names, n=1)
        found.append(f"{name} is not a variable of the role" + (f"; did you mean {near[0]}?" if near else ""))
    return found


class ActionModule(ActionBase):
    """`known_variables:` without arguments, inside a role."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        role = self._task._role
        if role is None:
            raise AnsibleActionFail("known_variables: it judges the variables of a role, so it belongs into one")
        name, path = role.get_name(), Path(role._role_path)
        options = options_of(path)
        found = unknown(name, task_vars or {}, options, renamed_in(path))
        if found:
            known = ", ".join(sorted(options))
            raise AnsibleActionFail(f"{name}: {'; '.join(found)} (known: {known})")
        return {**result, "changed": False}
