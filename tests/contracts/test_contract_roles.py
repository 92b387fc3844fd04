"""Rules about roles: what is public is specified, told, tried in both kinds of scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent.parent.name for path in ROOT.glob("roles/*/meta/main.yml"))


def _yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_every_role_has_both_scenarios() -> None:
    """One with nothing set, one with every public variable changed; the last resort and the drills have their own."""
    found = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    both = [f"{role}_{kind}" for role in ROLES for kind in ("alternative", "default")]
    assert sorted([*both, "mcp_stack_drill", "mcp_stack_monolith"]) == found


@pytest.mark.parametrize("role", ROLES)
def test_the_alternative_scenario_changes_every_public_variable(role: str) -> None:
    """But the state, which the end of every scenario changes, and switches of what has more to set, which stay on."""
    defaults = _yaml(f"roles/{role}/defaults/main.yml")
    given = _yaml(f"molecule/{role}_alternative/molecule.yml")["provisioner"]["inventory"]["group_vars"]["stack"]
    unchanged = [name for name in defaults if name not in given or defaults[name] == given[name]]
    switches = [name for name in defaults if any(other.startswith(f"{name}_") for other in defaults)]
    assert [f"{role}_state"] == [name for name in unchanged if name not in switches or defaults[name] is not True]


@pytest.mark.parametrize("role", ROLES)
def test_the_default_scenario_sets_nothing(role: str) -> None:
    """So that the role does what its README says without a variable."""
    assert "inventory" not in _yaml(f"molecule/{role}_default/molecule.yml").get("provisioner", {})


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_specification_name_the_same_variables(role: str) -> None:
    """Every public variable bears the role's name and has a default, a type and a description."""
    options = _yaml(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert sorted(_yaml(f"roles/{role}/defaults/main.yml")) == sorted(options)
    assert [] == [name for name in options if not name.startswith(f"{role}_")]
    assert [] == [name for name, option in options.items() if not {"type", "description"} <= set(option)]


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_tells_every_variable_with_its_default(role: str) -> None:
    """One page, one table."""
    rows = {
        cells[1].strip(" `"): cells[2].strip()
        for cells in (line.split("|") for line in (ROOT / f"roles/{role}/README.md").read_text().splitlines())
        if len(cells) > 3 and cells[1].strip().startswith(f"`{role}_")
    }
    defaults = _yaml(f"roles/{role}/defaults/main.yml")
    assert sorted(defaults) == sorted(rows)
    for name, value in defaults.items():
        told = rows[name].strip("`")
        if isinstance(value, str | int) and not isinstance(value, bool) and "{{" not in str(value):
            assert (str(value) or "empty") == told, name


@pytest.mark.parametrize("role", ROLES)
def test_the_smallest_playbook_is_a_play_of_this_repository(role: str) -> None:
    """As the README shows it: what somebody copies from there is what is tried here."""
    shown = yaml.safe_load((ROOT / f"roles/{role}/README.md").read_text().split("```yaml\n")[1].split("```")[0])
    assert shown[0] in [play for path in ROOT.glob("playbooks/*.yml") for play in _yaml(str(path.relative_to(ROOT)))]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_first_refuses_variables_that_it_does_not_know(role: str) -> None:
    """Before it does anything."""
    assert "known_variables" in _yaml(f"roles/{role}/tasks/main.yml")[0]


def test_the_scenario_that_prints_everything_carries_a_secret() -> None:
    """Every secret of the role: else the search for the canary in its output could not fail."""
    given = _yaml("molecule/mcp_stack_alternative/molecule.yml")["provisioner"]["inventory"]["group_vars"]["stack"]
    options = _yaml("roles/mcp_stack/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    secrets = [name for name, option in options.items() if option.get("no_log")]
    assert secrets == [name for name in secrets if "${STEPDOWN_CANARY" in given[name]]
    assert "mcp_stack_zen_api_key" in secrets
