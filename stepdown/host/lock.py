"""One writer: a lock that says who holds it, since when and why, and that dies with its holder.

Owns: the lock file. Reads: /proc, to know the holder again. Never: ends a holder, unless an emergency asks.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from stepdown.errors import StepdownError, sentence
from stepdown.host import journal
from stepdown.host.home import Home
from stepdown.host.journal import caller, now

Holder = dict[str, Any]  # by, pid, started (clock ticks after boot), since, why
TERM_SECONDS = 2.0  # for a holder to put back what it began, before it is killed
KILL_SECONDS = 5.0
POLL_SECONDS = 0.02


@contextlib.contextmanager
def hold(path: Path, why: str, stale: Callable[[Holder], None] | None = None) -> Iterator[None]:
    """Hold the lock at `path`; StepdownError tells a second caller who has it, since when and why.

    The kernel drops the lock when its holder dies. What such a holder left in it is handed to `stale`.
    """
    with path.open("a+", encoding="utf-8") as stream:
        if not _take(stream):
            wrong = f"{_told(_holder(path))} is at work here; wait for its end"
            raise StepdownError(sentence(str(path), wrong))
        dead = _holder(path)
        stream.truncate(0)
        mine = {"by": caller(), "pid": os.getpid(), "started": _started(os.getpid()), "since": now(), "why": why}
        stream.write(json.dumps(mine))
        stream.flush()
        if dead and stale:
            stale(dead)
        try:
            yield
        finally:
            stream.truncate(0)


@contextlib.contextmanager
def writer(home: Home, why: str) -> Iterator[None]:
    """Hold the lock of <home>; one that a dead process left is taken over, which the journal tells."""

    def journaled(dead: Holder) -> None:
        if home.journal.is_file():
            who = {key: dead.get(key) for key in ("by", "pid", "since")}
            journal.append(home.journal, "stale_lock", what=dead.get("why"), **who)

    with hold(home.lock, why, journaled):
        yield


def preempt(path: Path) -> Holder | None:
    """End whoever holds the lock at `path`, with all that it started: TERM, two seconds, KILL.

    Returns who it was, None where nobody held it. StepdownError where it may not be ended, or its end is not its own.
    """
    if not path.exists():
        return None
    with path.open("a+", encoding="utf-8") as stream:
        if _take(stream):
            return None
        holder = _holder(path)
        pid = int(holder["pid"]) if holder else 0
        if holder is None or _started(pid) != holder["started"]:
            raise StepdownError(sentence(str(path), "is held by a process that left no name; end it by hand"))
        family = _descendants(pid)
        try:
            _signal([pid], signal.SIGTERM)
            if not _taken_within(stream, TERM_SECONDS):
                family |= _descendants(pid)
                _signal([pid, *family], signal.SIGKILL)
        except PermissionError as error:
            wrong = f"{_told(holder)} is at work here, and this user may not end it; use the one that deployed"
            raise StepdownError(sentence(str(path), wrong)) from error
        if not _taken_within(stream, KILL_SECONDS):
            raise StepdownError(sentence(str(path), f"{_told(holder)} does not end", run=f"kill -9 {pid}"))
        _signal([child for child in family if _alive(child)], signal.SIGKILL)
        stream.truncate(0)  # it is told by the journal's entry, not as a stale one too
        return holder


def held(path: Path) -> bool:
    """Whether somebody holds the lock at `path`, as the file says: to try would keep another from taking it."""
    holder = _holder(path) if path.exists() else None
    return holder is not None and _started(holder["pid"]) == holder["started"]


def _take(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _taken_within(stream: IO[str], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not _take(stream):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)  # a wait for the lock itself could not end in time
    return True


def _holder(path: Path) -> Holder | None:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return holder if isinstance(holder, dict) and {"pid", "started"} <= holder.keys() else None


def _told(holder: Holder | None) -> str:
    try:
        return "{by} (process {pid}, since {since}, {why})".format_map(holder or {})
    except KeyError:
        return "another process"


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the name, which may hold anything; empty for no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _started(pid: int) -> int:
    """When a process started, in clock ticks after boot: with its number it names one process for good."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def _alive(pid: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[0] != "Z"


def _descendants(pid: int) -> set[int]:
    """Processes that `pid` started, and theirs."""
    parents = {int(p.name): int(fields[1]) for p in Path("/proc").glob("[0-9]*") if (fields := _stat(int(p.name)))}
    found: set[int] = set()
    grown = {pid}
    while grown:
        grown = {child for child, parent in parents.items() if parent in grown} - found
        found |= grown
    return found


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # gone already, as wanted
            os.kill(pid, number)
