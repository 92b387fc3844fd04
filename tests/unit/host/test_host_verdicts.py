"""What the journal says of releases and plans, as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stepdown.errors import StepdownError
from stepdown.host import journal, lock, verdicts
from stepdown.host.home import Home

CASES = yaml.safe_load((Path(__file__).parents[2] / "cases" / "verdicts.yml").read_text(encoding="utf-8"))
KNOWN = {"name", "journal", "staged", "verdict", "since", "good", "kept", "rollback", "refused", "recover"}
VERDICTS = ("proved", "bad", "unproved")


def entries(rows: list[list[str]]) -> list[dict[str, Any]]:
    """The journal's entries of a case's rows."""
    found: list[dict[str, Any]] = []
    plan, release = None, None
    for event, *words in rows:
        if event in VERDICTS:
            found.append({"event": event, "release": words[0], "why": "a reason"})
            continue
        crashed = event == "crashed"
        if crashed:
            event, words = words[0], words[1:]
        kind, ok = ("switch", False) if event == "failed" else (event, True)
        came = {"from": plan, "from_release": release}
        found.append({"event": "intent", "kind": kind, "release": words[0], "to": words[1], **came})
        if not crashed:
            found.append({"event": "outcome", "ok": ok, "kind": kind, "release": words[0], "to": words[1], **came})
        if ok:
            release, plan = words
    return found


def current(given: list[dict[str, Any]], key: str) -> str:
    """Where the last move led: its release, or its plan."""
    return str(next((e[key] for e in reversed(given) if e["event"] == "outcome" and e["ok"]), "C"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_journal_decides(case: dict[str, Any]) -> None:
    """Each row says what is known, kept, and gone back to; a word that nobody reads would claim nothing."""
    assert set() == set(case) - KNOWN
    given = entries(case["journal"])
    for release, expected in case.get("verdict", {}).items():
        assert expected == verdicts.verdict(given, release)
    for release, expected in case.get("since", {}).items():
        assert expected == verdicts.found_since_it_came(given, release)
    for key, found in (("good", verdicts.good(given)), ("kept", verdicts.kept(given))):
        assert case.get(key, found) == found
    release = current(given, "release")
    staged = case.get("staged", list(dict.fromkeys(entry["release"] for entry in given)))
    for wanted, expected in case.get("rollback", {}).items():
        assert expected == verdicts.to_go_back_to(given, release, staged, wanted)
    for wanted, wrong in case.get("refused", {}).items():
        with pytest.raises(StepdownError, match=wrong):
            verdicts.to_go_back_to(given, release, staged, wanted)
    if "recover" in case:
        assert case["recover"] == verdicts.plan_before_stepping_down(given, current(given, "to"))


def test_a_refusal_names_what_there_is_and_how_good_that_is() -> None:
    """Whoever rolls back in a hurry need not look it up."""
    given = entries([["switch", "a", "C"], ["bad", "a"], ["switch", "b", "C"], ["switch", "c", "C"]])
    with pytest.raises(StepdownError) as refused:
        verdicts.to_go_back_to(given, "c", ["a", "b", "c"])
    known = "(known: a marked bad, b never proved good). Run: stepdown.pyz switch --release=ID, at your own risk"
    assert str(refused.value).endswith(known)


def test_an_instance_that_was_taken_down_remembers_where_it_was() -> None:
    """A `down` names neither plan nor release."""
    down = {"event": "outcome", "kind": "down", "ok": True}
    given = [*entries([["switch", "a", "C"]]), down]
    assert (["a"], "C") == (verdicts.served(given), verdicts.plan_before_stepping_down(given, "D"))


def test_a_release_is_watched_while_a_watch_is_at_work(home: Home) -> None:
    """What was found out wins: bad or proved needs no watch."""
    assert "unproved" == verdicts.proof(home, "a")
    with lock.hold(home.watch_lock, "watch"):
        assert "watched" == verdicts.proof(home, "a")
        journal.append(home.journal, "unproved", release="a", why="a reason")
        assert "watched" == verdicts.proof(home, "a")
        verdicts.mark_bad(home, "a", "a reason")
        assert "bad" == verdicts.proof(home, "a")
    journal.append(home.journal, "proved", release="a")
    assert "proved" == verdicts.proof(home, "a")
