"""What `./run deploy` tells the roles."""

from __future__ import annotations

from stepdown.cli import deploy


def test_only_what_was_typed_wins_over_the_inventory() -> None:
    """A variable given on Ansible's command line beats every other, also when it is empty."""
    assert {} == deploy.asked("", "")
    assert {"mcp_stack_why": "a reason"} == deploy.asked("", "a reason")


def test_a_plan_that_was_typed_ends_an_emergency() -> None:
    """One that only the inventory has does not: a routine deploy leaves a host where an emergency brought it."""
    expected = {"mcp_stack_plan": "C", "mcp_stack_end_emergency": True}
    assert expected == deploy.asked("C", "")
