"""What people are told of a host, word for word."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from stepdown.errors import StepdownError
from stepdown.host import break_glass, journal, telling
from stepdown.host.home import Home

TIME = "2026-01-01T00:00:00.000Z"
STATE = {
    "plan": "D",
    "release": "abc",
    "since": TIME,
    "by": "ann",
    "why": "zen hangs",
    "kind": "emergency",
    "last_switch": {"from": "B", "to": "D", "seconds": 2.5, "ok": True},
}


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"event": "staged", "by": "ann", "release": "abc"}, "staged      release abc by ann"),
        (
            {
                "event": "intent",
                "kind": "switch",
                "to": "C",
                "from": None,
                "release": "abc",
                "by": "ann",
                "why": "deploy",
            },
            "intent      switch    - to C release abc by ann (deploy)",
        ),
        (
            {"event": "outcome", "kind": "emergency", "ok": True, "from": "B", "to": "D", "started": ["a", "b"]},
            "outcome     emergency ok     B to D started=a,b",
        ),
        (
            {"event": "outcome", "kind": "switch", "ok": False, "from": "B", "to": "D", "error": "it broke"},
            "outcome     switch    FAILED B to D error=it broke",
        ),
        ({"event": "notified", "ok": True, "to": "slack", "tries": 3}, "notified    ok     tries=3"),
        (
            {"event": "outcome", "stopped": [], "without": {}, "seconds": None, "dropped": [{"server": "zen"}]},
            "outcome     dropped=[{'server': 'zen'}]",
        ),
        ({"event": "break_glass", "state": "ended"}, "break_glass state=ended"),
        (
            {"event": "preempted", "by": "ann", "what": "switch to A", "pid": 7},
            "preempted   by ann what=switch to A pid=7",
        ),
    ],
)
def test_an_entry_is_one_line(entry: dict[str, Any], line: str) -> None:
    """What is empty is left out; what has no words of its own is told as it is."""
    assert f"{TIME} {line}" == telling.entry_line({"time": TIME, **entry})


def _why(home: Home, capsys: pytest.CaptureFixture[str], *, as_json: bool = False) -> str:
    assert 0 == telling.why_command(home, argparse.Namespace(json=as_json))
    return capsys.readouterr().out


def test_why_tells_how_it_came_what_it_cost_and_for_how_long(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody who comes next morning needs no more."""
    home.write_json(home.state, STATE)
    lost = [{"server": "zen", "detail": "threads"}]
    journal.append(home.journal, "outcome", kind="emergency", ok=True, to="D", release="abc", dropped=lost)
    journal.append(home.journal, "outcome", kind="switch", ok=False, to="A", release="abc")
    glass = break_glass.open_for(home, why="zen hangs", hours=4)
    verdict = "not proved good yet; stepdown.pyz watch looks again"
    expected = [
        f"plan D since {TIME} by ann: zen hangs",
        "by emergency from B, in 2.5 s",
        "zen lost: threads",
        f"release abc: {verdict}",
        f"break-glass until {glass['until']}, by {glass['by']}: zen hangs",
    ]
    assert expected == _why(home, capsys).splitlines()
    document = json.loads(_why(home, capsys, as_json=True))
    assert ("D", "emergency", lost, glass) == tuple(document[k] for k in ("plan", "kind", "dropped", "break_glass"))


def test_what_an_earlier_move_cost_is_not_told_again(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the last one counts; a host without a break-glass says nothing of one."""
    home.write_json(home.state, {**STATE, "last_switch": None})
    for dropped in ([{"server": "zen", "detail": "threads"}], []):
        journal.append(home.journal, "outcome", kind="switch", ok=True, to="D", release="abc", dropped=dropped)
    assert 2 == len(_why(home, capsys).splitlines())


def test_why_of_a_host_without_a_plan_says_what_to_type(home: Home) -> None:
    """There is no reason for what is not."""
    with pytest.raises(StepdownError, match=r"no plan is active\. Run: \./run deploy --plan=C"):
        telling.why_command(home, argparse.Namespace(json=False))


def test_the_journal_tells_of_lines_that_are_torn(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """By number, after the last entries."""
    for release in ("a", "b", "c"):
        journal.append(home.journal, "staged", release=release)
    with home.journal.open("a", encoding="utf-8") as stream:
        stream.write("{\n")
    options = argparse.Namespace(json=False, last=2)
    assert 0 == telling.journal_command(home, options)
    lines = capsys.readouterr().out.splitlines()
    assert ["release b", "release c", "line 4 is torn or altered"] == [line[-9:] for line in lines[:2]] + lines[2:]


def test_an_empty_journal_says_so(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Silence could be a failure."""
    telling.journal_command(home, argparse.Namespace(json=False, last=20))
    assert "the journal is empty\n" == capsys.readouterr().out
