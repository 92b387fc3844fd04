"""The watch: proves the release that serves, and ends a break-glass in time. It runs in the background, one per <home>.

Owns: the journal's `proved`, `unproved` and `unready` entries. Reads: state, what servers say. Never: switches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from stepdown.errors import StepdownError
from stepdown.host import break_glass, journal, lock, notify, status, verdicts
from stepdown.host.behind import in_background
from stepdown.host.home import Home
from stepdown.host.proof import prove_all
from stepdown.host.release import load, staged
from stepdown.host.state import read_state
from stepdown.host.target import target

PROVED_SECONDS = 600.0  # where the release's policy does not say it
PATIENCE = 6  # times as long as a proof takes: then the watch gives the release up
EVERY_SECONDS = 5.0
BUSY_SECONDS = 0.5
TURN_SECONDS = 10.0  # for a watch before this one to find out that it is done


def watch(home: Home, pause: Callable[[float], None] = time.sleep, now: Callable[[], float] = time.monotonic) -> None:
    """Watch until nothing is left to find out. Returns after a moment where another process goes on watching."""
    deadline = now() + TURN_SECONDS
    while lock.held(home.watch_lock):
        if now() > deadline:
            return
        pause(1.0)
    try:
        with lock.hold(home.watch_lock, "watch"):
            _watch(home, pause, now)
    except StepdownError:
        if home.state.is_file():
            raise
    except FileNotFoundError:
        return  # purged meanwhile


def owed(home: Home) -> bool:
    """Whether there is something to watch: a release that nothing was found out about, or a break-glass."""
    state = read_state(home)
    return state is not None and (not found(home, state["release"]) or home.break_glass.is_file())


def start(home: Home) -> None:
    """Watch in the background, where something is owed."""
    if owed(home):
        in_background(home, "watch")


def found(home: Home, release: str) -> str:
    """What was found out about a release since the host came to it: proved, unproved, bad; empty for nothing."""
    return verdicts.found_since_it_came(journal.read(home.journal).entries, release)


def _watch(home: Home, pause: Callable[[float], None], now: Callable[[], float]) -> None:
    """Each round looks at all servers; a miss starts the time anew, and is journaled once."""
    release, given_up, began, ready_since, missed = "", "", now(), now(), ""
    while state := read_state(home):
        if break_glass.end_if_over(home):
            notify.put(home, "the break-glass of the emergency is over; the plan stays until somebody recovers")
            notify.start(home)
        if state["release"] != release:
            release, given_up, began, ready_since, missed = state["release"], "", now(), now(), ""
        if found(home, release) == "proved" or release == given_up:
            if not home.break_glass.is_file():
                return
            pause(EVERY_SECONDS)
            continue
        needed = _needed_seconds(home, release)
        due = now() - ready_since >= needed
        wrong = _unready(home, state, thorough=due)
        if lock.held(home.lock) or read_state(home) != state:
            pause(BUSY_SECONDS)  # a switch is at work: what was seen is not the release's fault
            continue
        if wrong and not missed:
            journal.append(home.journal, "unready", release=release, plan=state["plan"], why=wrong)
        if wrong:
            ready_since = now()
        elif due:
            seconds = round(now() - ready_since)
            journal.append(home.journal, "proved", release=release, plan=state["plan"], seconds=seconds)
            continue
        missed = wrong
        if now() - began > PATIENCE * needed:
            why = missed or "it did not stay ready for long enough"
            journal.append(home.journal, "unproved", release=release, plan=state["plan"], why=why)
            given_up = release
        pause(min(EVERY_SECONDS, max(needed / 10, 0.2)))


def _needed_seconds(home: Home, release: str) -> float:
    policy = load(home, release).policy() if release in staged(home) else {}
    return float(policy.get("proved_after_seconds", PROVED_SECONDS))


def _unready(home: Home, state: dict[str, Any], *, thorough: bool) -> str:
    """What is not ready, in words; empty where all is. With `thorough`, every server has to answer a handshake."""
    try:
        if thorough:
            prove_all(target(home, load(home, state["release"]), state["plan"]), patience_seconds=0)
        servers = status.servers(home, state)
    except StepdownError as error:
        return str(error).splitlines()[0]
    return ", ".join(
        f"{name} is {each['state']}" for name, each in servers.items() if each["state"] not in ("ready", "lost")
    )
