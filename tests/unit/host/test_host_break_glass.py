"""A break-glass is bounded in time, and its record is whole."""

from __future__ import annotations

import datetime

from stepdown.host import break_glass, journal
from stepdown.host.home import Home


def test_a_break_glass_is_open_for_so_many_hours(home: Home) -> None:
    """Opened again, it stays open for longer, since when it was first."""
    assert None is break_glass.read(home)
    first = break_glass.open_for(home, why="one", hours=4)
    since, until = (datetime.datetime.fromisoformat(first[key]) for key in ("since", "until"))
    assert abs((until - since).total_seconds() - 4 * 3600) < 5
    second = break_glass.open_for(home, why="two", hours=8)
    assert (first["since"], "two") == (second["since"], second["why"])
    assert second == break_glass.read(home)
    assert second["until"] > first["until"]
    assert False is break_glass.end_if_over(home)


def test_a_break_glass_whose_time_is_over_is_not_open(home: Home) -> None:
    """Journaled or not; it is ended once, and one that is opened then is a new one."""
    old = break_glass.open_for(home, why="one", hours=-1)
    assert None is break_glass.read(home)
    assert [True, False] == [break_glass.end_if_over(home) for _ in range(2)]
    assert False is break_glass.end(home, "recover")
    assert old["since"] <= break_glass.open_for(home, why="two", hours=1)["since"]
    assert ["opened", "ended", "opened"] == [entry["state"] for entry in journal.read(home.journal).entries]
