"""Argument vectors, word for word, with no host."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepdown import commands

CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[1] / "cases" / "commands.yml").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_command_is_exactly_this(case: dict[str, Any]) -> None:
    """Every case of tests/cases/commands.yml."""
    build = getattr(commands, case["builder"])
    assert tuple(case["argv"]) == build(*case.get("args", []), **case.get("kwargs", {}))


def test_every_builder_has_a_case() -> None:
    """A builder without one could say anything."""
    builders = {
        name
        for name, function in inspect.getmembers(commands, inspect.isfunction)
        if function.__module__ == commands.__name__
    }
    assert builders == {case["builder"] for case in CASES}
