"""Waiting for servers that start: all of them, or those that come, and no longer than it makes sense."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from stepdown.host import proof, tokens
from stepdown.host.fault import FaultyError
from stepdown.host.handshake import Handshake, HandshakeError

if TYPE_CHECKING:
    from stepdown.host.target import Target
    from tests.unit.host.conftest import Running

OnPlan = Callable[..., "Running"]
ANSWER = Handshake(1.0, ("a",), "hash")


@pytest.fixture
def goal(on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch) -> Target:
    """Plan A, its containers running, and a moment's patience with each server."""
    host = on_plan("A")
    tokens.ensure(host.goal.home)
    host.shows(**dict.fromkeys(host.goal.facts["containers"], "running"))
    monkeypatch.setattr(proof, "STATE_EVERY_SECONDS", 0.05)
    return host.goal


def answering(monkeypatch: pytest.MonkeyPatch, *silent: str) -> None:
    """Every server gives a handshake but the silent ones."""

    def handshake(_host: str, _port: int, server: str, *_more: Any) -> Handshake:
        if server in silent:
            raise HandshakeError(f"server {server}: no handshake: refused")
        return ANSWER

    monkeypatch.setattr(proof, "handshake", handshake)


def test_every_server_proves_itself(goal: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the plan, whoever was first."""
    answering(monkeypatch)
    assert dict.fromkeys(goal.facts["servers"], ANSWER) == proof.prove_all(goal, 0)
    assert (dict.fromkeys(goal.facts["servers"], ANSWER), {}) == proof.prove_each(goal)


def test_one_silent_server_is_no_proof(goal: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with how long it was waited for, and the release is at fault."""
    answering(monkeypatch, "serena")
    with pytest.raises(FaultyError, match=r"plan A: server serena: no handshake: refused; waited 0 s"):
        proof.prove_all(goal, 0)


def test_a_container_that_does_not_stay_up_is_not_waited_for(
    goal: Target, on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the patience."""
    answering(monkeypatch, "github")
    names = set(goal.facts["containers"]) - {"github"}
    on_plan("A").shows(**dict.fromkeys(names, "running"), github="exited")
    with pytest.raises(FaultyError, match="container github does not stay up"):
        proof.prove_all(goal, 60)


def test_those_that_answer_are_told_apart_from_the_others(
    goal: Target, on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For who takes what there is."""
    answering(monkeypatch, "zen", "serena")
    names = set(goal.facts["containers"]) - {"zen", "serena"}
    on_plan("A").shows(**dict.fromkeys(names, "running"))
    proofs, errors = proof.prove_each(goal)
    assert (names, {"zen", "serena"}) == (set(proofs), set(errors))
    assert "plan A: container zen does not stay up. zen is gone" == errors["zen"]


def test_where_none_answers_there_is_nothing_to_take(
    goal: Target, on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release is at fault."""
    answering(monkeypatch, *goal.facts["servers"])
    on_plan("A").shows()
    with pytest.raises(FaultyError, match="does not stay up"):
        proof.prove_each(goal)
