"""Locked requirements: what is pinned, where, and in how many runs all of it can be asked about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepdown.scan.pins import read_pins, runs

LOCK = """# comment
Some_Package==1.0 \\
    --hash=sha256:00 \\
    --hash=sha256:11
    # via other
other[extra,more]==2.0.post1 ; python_full_version < '3.12'  # why

last == 3
"""


def test_a_lock_is_read_with_its_lines() -> None:
    """Hashes, markers, extras and comments aside; names as the index knows them."""
    assert [(("some-package", "1.0"), 2), (("other", "2.0.post1"), 6), (("last", "3"), 8)] == read_pins(LOCK)


@pytest.mark.parametrize(
    "line", ["flask", "flask>=1", "flask==1.*", "-r other.txt", "-e .", "git+https://x/y", "x @ https://y", "a==1,!=2"]
)
def test_what_is_no_pin_makes_the_file_no_lock(line: str) -> None:
    """With its line, so that it can be found."""
    assert "is not locked: line 2 is no exact pin" == read_pins(f"one==1\n{line}\n")


NAMES = st.sampled_from(["a", "b", "c", "canary"])


@given(st.frozensets(st.tuples(NAMES, st.sampled_from(["1", "2", "3"]))))
def test_every_pin_is_asked_about_once_and_the_canary_always(pins: frozenset[tuple[str, str]]) -> None:
    """No run holds two versions of a package; another version of the canary's package is in none."""
    canary = ("canary", "1")
    lists = runs(pins, canary)
    assert 1 <= len(lists) <= 3
    for one in lists:
        names = [name for name, _ in one]
        assert (sorted(set(names)), True) == (names, canary in one)
    asked = [pin for one in lists for pin in one if pin != canary]
    assert sorted(pin for pin in pins if pin[0] != "canary") == sorted(asked)
