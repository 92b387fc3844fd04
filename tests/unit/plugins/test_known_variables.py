"""The action plugin that refuses variables which a role does not have, run by Ansible itself."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROLE = {
    "meta/argument_specs.yml": """
argument_specs:
  main:
    options:
      probe_port: {type: int}
      probe_key: {type: str, no_log: true}
""",
    "meta/renamed_variables.yml": "probe_gate: probe_port\n",
    "tasks/main.yml": "- name: Refuse\n  known_variables:\n",
}


@pytest.fixture(scope="module")
def plugin() -> ModuleType:
    """The plugin's own functions."""
    spec = importlib.util.spec_from_file_location("known_variables", ROOT / "plugins/action/known_variables.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def play(folder: Path, **variables: object) -> subprocess.CompletedProcess[str]:
    """A play of one role on this machine, with variables as an inventory would set them."""
    for name, text in ROLE.items():
        path = folder / "roles" / "probe" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "play.yml").write_text(
        json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "roles": ["probe"]}])
    )
    (folder / "variables.json").write_text(json.dumps(variables))
    argv = ["ansible-playbook", "-i", "localhost,", "play.yml", "-e", "@variables.json", "-vvv", "--diff"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "ANSIBLE_ACTION_PLUGINS": str(ROOT / "plugins/action")}
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_role_takes_its_own_variables(tmp_path: Path) -> None:
    """And those of others, whose names do not bear its prefix."""
    assert 0 == play(tmp_path, probe_port=1, other_thing=2, probes=3).returncode


def test_all_unknown_variables_are_told_at_once_without_a_secret(tmp_path: Path) -> None:
    """A misspelt one with what was meant, a renamed one with its new name, nothing of a value."""
    done = play(tmp_path, probe_prot=1, probe_gate=2, probe_key="a-secret-value", probe_kye="a-secret-value")
    assert 2 == done.returncode
    said = " ".join((done.stdout + done.stderr).split())
    assert (
        "probe: probe_gate is now probe_port; probe_kye is not a variable of the role; did you mean probe_key?; "
        "probe_prot is not a variable of the role; did you mean probe_port? (known: probe_key, probe_port)"
    ) in said
    assert "a-secret-value" not in done.stdout + done.stderr


def test_a_name_far_from_all_is_told_without_a_guess(plugin: ModuleType) -> None:
    """No suggestion is better than a wrong one."""
    found = plugin.unknown("probe", ["probe_zzzzzzzz"], ["probe_port"], {})
    assert ["probe_zzzzzzzz is not a variable of the role"] == found


def test_internal_variables_are_not_judged(plugin: ModuleType) -> None:
    """Two underscores in front mark what belongs to the role itself."""
    assert [] == plugin.unknown("probe", ["__probe_found"], ["probe_port"], {})


@pytest.mark.parametrize("role", sorted(path.parent.parent.name for path in ROOT.glob("roles/*/meta/main.yml")))
def test_renamed_variables_lead_to_present_ones(plugin: ModuleType, role: str) -> None:
    """A new name that is none would send the reader in a circle."""
    renamed = plugin.renamed_in(ROOT / "roles" / role)
    options = plugin.options_of(ROOT / "roles" / role)
    assert set(renamed.values()) <= set(options)
    assert not set(renamed) & set(options)
