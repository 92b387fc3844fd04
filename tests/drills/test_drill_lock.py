"""One writer: who else comes is told, or, in an emergency, comes first."""

from __future__ import annotations

import getpass

import pytest

from tests.drills.drill import Drill
from tests.stack import until

pytestmark = [pytest.mark.engine, pytest.mark.mcp_integration]


def test_a_second_switch_is_told_who_is_at_work(drill: Drill) -> None:
    """Who, since when and why; it exits 1 and changes nothing, and the first ends well."""
    release = drill.bring("C")
    since = drill.mark()
    first = drill.begin("switch", "--to", "A", "--why", "the first of two")
    until(lambda: drill.entries("intent", since=since), "the first is at work")
    second = drill.attempt("switch", "--to", "B")
    _, error = first.communicate(timeout=120)
    assert (0, 1) == (first.returncode, second.code), error + second.error
    told = (getpass.getuser(), f"process {first.pid}", "since 20", "the first of two")
    assert [] == [words for words in told if words not in second.error], second.error
    drill.require_whole("A", release)


def test_an_emergency_does_not_wait_for_a_switch(drill: Drill) -> None:
    """The holder is ended, that is journaled, and the host is on D; what was begun is nobody's any more."""
    release = drill.bring("C")
    since = drill.mark()
    first = drill.begin("switch", "--to", "A", "--why", "to be pre-empted")
    until(lambda: drill.entries("intent", since=since), "the first is at work")
    with drill.load("C", "D"):
        answer = drill.agent("emergency", "--why", "it burns")
    first.communicate(timeout=60)
    assert 0 != first.returncode
    assert "D" == answer["plan"]
    drill.require_whole("D", release)
    (pushed,) = drill.entries("preempted", since=since)
    assert first.pid == pushed["pid"]
    drill.agent("recover")
    drill.require_whole("C", release)
