"""What the journal says of releases: proved good, marked bad, served last, and so which one to go back to.

Owns: the journal's `bad` entries. Reads: its `proved`, `unproved` and `outcome` entries. Never: proves; the watch does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepdown.errors import StepdownError, sentence
from stepdown.host import journal, lock
from stepdown.host.home import Home

GOOD, BAD, UNKNOWN = "proved good", "marked bad", "never proved good"
KEPT_GOOD = 3
CHOSEN = ("switch", "recover", "adopt")  # kinds of outcome that say where the host is meant to be
Entries = Sequence[dict[str, Any]]


def verdict(entries: Entries, release: str) -> str:
    """What was last found out about a release."""
    words = {"proved": GOOD, "bad": BAD, "unproved": UNKNOWN}
    found = [words[entry["event"]] for entry in entries if entry["event"] in words and entry["release"] == release]
    return found[-1] if found else UNKNOWN


def found_since_it_came(entries: Entries, release: str) -> str:
    """proved, bad or unproved: what was found out after the host last came to a release; empty for nothing.

    A release that was gone back to is watched again, however good it was before.
    """
    for entry in reversed(_told_whole(entries)):
        if entry["event"] in ("proved", "bad", "unproved") and entry["release"] == release:
            return str(entry["event"])
        if _arrived(entry, release):
            return ""
    return ""


def mark_bad(home: Home, release: str, why: str) -> None:
    """No rollback goes to this release, until it is proved good after all."""
    journal.append(home.journal, "bad", release=release, by=journal.caller(), why=why)


def left_for(release: str, why: str) -> str:
    """Why a release is bad that somebody rolled back from."""
    return f"rolled back to {release}: {why}"


def good(entries: Entries) -> list[str]:
    """Releases whose last verdict is good, the last proved first."""
    proved = [entry["release"] for entry in reversed(entries) if entry["event"] == "proved"]
    return [release for release in dict.fromkeys(proved) if verdict(entries, release) == GOOD]


def proof(home: Home, release: str) -> str:
    """What is known of the release that serves: proved, bad, watched, unproved."""
    found = found_since_it_came(journal.read(home.journal).entries, release)
    if found in ("proved", "bad"):
        return found
    return "watched" if lock.held(home.watch_lock) else "unproved"


def served(entries: Entries) -> list[str]:
    """Releases that had the traffic, the last first."""
    outcomes = (entry for entry in reversed(entries) if entry["event"] == "outcome")
    return list(dict.fromkeys(entry["release"] for entry in outcomes if entry["ok"] and entry.get("to")))


def kept(entries: Entries) -> list[str]:
    """What may not be pruned: the release that serves and the one before it, and the last three proved good."""
    return list(dict.fromkeys([*served(entries)[:2], *good(entries)[:KEPT_GOOD]]))


def to_go_back_to(entries: Entries, current: str, staged: Sequence[str], wanted: str = "") -> str:
    """The release that a rollback from `current` goes to: `wanted`, or the last that was proved good.

    StepdownError where there is none, or `wanted` is not staged, is where the host is, or was marked bad.
    """
    others = [release for release in staged if release != current]
    known = [f"{release} {verdict(entries, release)}" for release in others]
    if not wanted:
        found = [release for release in good(entries) if release in others]
        if not found:
            wrong = f"no release but {current}, which serves, was proved good and is still on this host"
            raise StepdownError(
                sentence("rollback", wrong, known, "stepdown.pyz switch --release=ID, at your own risk")
            )
        return found[0]
    if wanted == current:
        raise StepdownError(sentence("rollback", f"release {wanted} is the one that serves", known))
    if wanted not in others:
        raise StepdownError(sentence("rollback", f"release {wanted!r} is not on this host", known))
    if verdict(entries, wanted) == BAD:
        why = next(e["why"] for e in reversed(entries) if e["event"] == "bad" and e["release"] == wanted)
        raise StepdownError(sentence("rollback", f"release {wanted} was marked bad: {why}", known))
    return wanted


def plan_before_stepping_down(entries: Entries, current: str) -> str:
    """The plan that somebody chose last, from which the host stepped down to `current`; `current` where it did not."""
    for entry in reversed(_told_whole(entries)):
        moved = entry["event"] == "outcome" and entry["ok"] and entry.get("to") and entry.get("from") != entry["to"]
        if moved and entry["kind"] in CHOSEN:
            return str(entry["to"])
    return current


def _told_whole(entries: Entries) -> list[dict[str, Any]]:
    """The entries, each outcome with where its move began.

    One that a crash interrupted is ended by a convergence, which finds the host where the move had brought it already.
    """
    found: list[dict[str, Any]] = []
    began: dict[str, Any] | None = None
    for entry in entries:
        whole = entry
        if entry["event"] == "intent":
            began = began or entry
        elif entry["event"] == "outcome":
            if began and all(began.get(key) == entry.get(key) for key in ("kind", "to", "release")):
                whole = {**entry, **{key: began[key] for key in ("from", "from_release") if key in began}}
            began = None
        found.append(whole)
    return found


def _arrived(entry: dict[str, Any], release: str) -> bool:
    came = entry["event"] == "outcome" and entry["ok"] and entry.get("to") and entry["release"] == release
    return bool(came) and entry.get("from_release") != release
