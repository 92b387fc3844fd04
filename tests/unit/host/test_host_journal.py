"""The journal tells what happened, or says which of its lines it cannot vouch for."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepdown.host import journal

# what callers write: reasons of any text, names, lists of names, numbers, nothing
WHYS = st.text(max_size=30)
FIELDS = st.fixed_dictionaries(
    {"why": WHYS}, optional={"seconds": st.floats(0, 1e6), "started": st.lists(WHYS, max_size=3), "to": st.none()}
)


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    """What append returned is what read gives."""
    path = tmp_path / "journal.jsonl"
    written = [journal.append(path, "staged", release="abc"), journal.append(path, "intent", to="C", why='a "b"\n$')]
    assert journal.Reading(tuple(written), ()) == journal.read(path)
    assert 2 == len(path.read_bytes().splitlines())


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """The first deploy reads one."""
    assert journal.Reading((), ()) == journal.read(tmp_path / "journal.jsonl")


def test_a_torn_last_line_is_reported_and_not_guessed_at(tmp_path: Path) -> None:
    """A power cut leaves half a line; what stood before it is whole."""
    path = tmp_path / "journal.jsonl"
    first = journal.append(path, "intent", to="C")
    journal.append(path, "outcome", ok=True)
    path.write_bytes(path.read_bytes()[:-20])
    assert journal.Reading((first,), (2,)) == journal.read(path)


def test_an_entry_after_a_torn_line_is_whole(tmp_path: Path) -> None:
    """The torn line is closed first, so it spoils no other."""
    path = tmp_path / "journal.jsonl"
    journal.append(path, "intent", to="C")
    path.write_bytes(path.read_bytes()[:-20])
    after = journal.append(path, "outcome", ok=True)
    assert journal.Reading((after,), (1,)) == journal.read(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"ok":false', '"ok":true'),
        ('"event":"outcome"', '"event":"intent"'),
        ('"by":"ann"', '"by":"bob"'),
        ('"ok":false', '"ok":false,"more":1'),
        ('"by":"ann",', ""),
    ],
)
def test_an_altered_line_is_reported(tmp_path: Path, old: str, new: str) -> None:
    """Every field is under the line's checksum."""
    path = tmp_path / "journal.jsonl"
    first = journal.append(path, "intent", by="ann")
    journal.append(path, "outcome", by="ann", ok=False)
    head, altered = path.read_text().splitlines()
    assert old in altered
    path.write_text(f"{head}\n{altered.replace(old, new)}\n")
    assert journal.Reading((first,), (2,)) == journal.read(path)


@pytest.mark.parametrize("line", ["", "null", "[]", "7", "{}", '{"event":"outcome"}', "\x00\x00", "\xff", "{" * 50])
def test_a_line_that_is_no_entry_is_reported(tmp_path: Path, line: str) -> None:
    """JSON or not, without its checksum it is none of ours."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(line.encode("latin-1") + b"\n")
    after = journal.append(path, "staged")
    assert journal.Reading((after,), (1,)) == journal.read(path)


@given(st.lists(FIELDS, min_size=1, max_size=5), st.data())
def test_a_cut_anywhere_keeps_every_whole_line(fields: list[dict[str, Any]], data: st.DataObject) -> None:
    """Cut after any byte: the entries that were whole are read, at most one line is damaged, and the next is whole."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal.jsonl")
        written, ends = [], []
        for entry in fields:
            written.append(journal.append(path, "intent", **entry))
            ends.append(path.stat().st_size)
        cut = data.draw(st.integers(0, ends[-1]))
        path.write_bytes(path.read_bytes()[:cut])
        # a line that lost its newline only is whole
        whole = [entry for entry, end in zip(written, ends, strict=True) if end - 1 <= cut]
        torn = cut not in (0, *ends, *(end - 1 for end in ends))
        reading = journal.read(path)
        assert tuple(whole) == reading.entries
        assert ((len(whole) + 1,) if torn else ()) == reading.damaged
        after = journal.append(path, "outcome")
        assert journal.Reading((*whole, after), reading.damaged) == journal.read(path)


@given(FIELDS, st.data())
def test_no_altered_byte_goes_unseen(fields: dict[str, Any], data: st.DataObject) -> None:
    """Whatever byte of a line is another one, the entry that was written is not read in another form."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal.jsonl")
        written = journal.append(path, "intent", **fields)
        line = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(line) - 2))
        line[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[place]))
        path.write_bytes(bytes(line))
        assert [] == [entry for entry in journal.read(path).entries if entry != written]


def test_an_intent_without_an_outcome_is_unfinished() -> None:
    """The last one counts; entries of other kinds do not end it."""
    intent, outcome, staged = {"event": "intent", "to": "C"}, {"event": "outcome"}, {"event": "staged"}
    assert None is journal.unfinished(())
    assert None is journal.unfinished((staged,))
    assert None is journal.unfinished((intent, outcome))
    assert None is journal.unfinished((intent, outcome, staged))
    assert intent == journal.unfinished((outcome, intent))
    assert intent == journal.unfinished((intent, staged))
    assert intent == journal.unfinished(({**intent, "to": "A"}, intent))


def test_the_caller_behind_sudo_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """root alone would say nothing of who it was."""
    monkeypatch.setenv("SUDO_USER", "ann")
    assert "ann" == journal.caller()


def test_times_are_utc_to_the_millisecond(tmp_path: Path) -> None:
    """They sort as text."""
    path = tmp_path / "journal.jsonl"
    journal.append(path, "staged")
    assert json.loads(path.read_text())["time"].endswith("Z")
    assert len("2026-01-01T00:00:00.000Z") == len(journal.now())


def test_two_writers_at_once_spoil_no_line(tmp_path: Path, root: Path) -> None:
    """A watch in the background writes too."""
    path = tmp_path / "journal.jsonl"
    program = "import sys; from pathlib import Path; from stepdown.host import journal\n"
    program += "for n in range(50): journal.append(Path(sys.argv[1]), 'staged', n=n, by=sys.argv[2], why='x' * 5000)"
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(path), name], env={**os.environ, "PYTHONPATH": str(root)})
        for name in ("ann", "bob")
    ]
    assert [0, 0] == [writer.wait() for writer in writers]
    reading = journal.read(path)
    assert () == reading.damaged
    for name in ("ann", "bob"):
        assert list(range(50)) == [entry["n"] for entry in reading.entries if entry["by"] == name]


def test_an_entry_waits_for_who_writes(tmp_path: Path) -> None:
    """Else it could land in the middle of another's line."""
    path = tmp_path / "journal.jsonl"
    journal.append(path, "staged")
    with path.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        writer = threading.Thread(target=journal.append, args=(path, "outcome"))
        writer.start()
        writer.join(0.2)
        assert (True, 1) == (writer.is_alive(), len(journal.read(path).entries))
    writer.join()
    assert 2 == len(journal.read(path).entries)
