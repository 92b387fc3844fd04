"""What molecule's verifier hands to the tests of a host; without it these tests are not for this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
collect_ignore_glob = [] if "MOLECULE_SCENARIO_NAME" in os.environ else ["*"]


@pytest.fixture(scope="session")
def variables() -> dict[str, Any]:
    """Every public variable of the scenario's role: its defaults, and over them what the scenario sets."""
    role = os.environ["MOLECULE_SCENARIO_NAME"].rpartition("_")[0]
    inventory = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"], "inventory", "group_vars", "stack")
    defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8"))
    return {**defaults, **(yaml.safe_load(inventory.read_text(encoding="utf-8")) if inventory.is_file() else {})}
