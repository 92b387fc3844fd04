"""The break-glass of an emergency: a record, bounded in time, that rules may be set aside now, by whom and why.

Owns: `run/break_glass.json`. Reads: the clock. Never: switches; when it ends, the plan stays until somebody recovers.
"""

from __future__ import annotations

import datetime
from typing import Any

from stepdown.host import journal
from stepdown.host.home import Home, read_json

HOURS = 4.0
MOST_HOURS = 72.0


def open_for(home: Home, *, why: str, hours: float) -> dict[str, Any]:
    """Open it, or open it for longer; what is on record then."""
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)
    before = read(home)
    record = {
        "since": before["since"] if before else journal.now(),
        "until": until.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "by": journal.caller(),
        "why": why,
    }
    home.write_json(home.break_glass, record)
    journal.append(home.journal, "break_glass", state="opened", **record)
    return record


def read(home: Home) -> dict[str, Any] | None:
    """What is on record, None where it is not open: one whose time is over is not, journaled or not."""
    record = _recorded(home)
    return record if record and record["until"] > journal.now() else None


def end(home: Home, why: str) -> bool:
    """Close it, and say why; whether there was one."""
    record = _recorded(home)
    if record is None:
        return False
    journal.append(home.journal, "break_glass", state="ended", by=journal.caller(), why=why, since=record["since"])
    home.break_glass.unlink()
    return True


def end_if_over(home: Home) -> bool:
    """Close one whose time is over; whether that was so."""
    return _recorded(home) is not None and read(home) is None and end(home, "its time is over")


def _recorded(home: Home) -> dict[str, Any] | None:
    return dict(read_json(home.break_glass)) if home.break_glass.is_file() else None
