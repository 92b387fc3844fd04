"""Peaks of what was sampled."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepdown.bench import memory
from stepdown.errors import CommandError


def test_the_highest_sample_of_each_container_is_kept() -> None:
    """Across plans, and whichever comes first."""
    peaks: dict[str, int] = {}
    for name, used in (("zen", 5), ("heimdall", 7), ("zen", 6), ("zen", 4), ("heimdall", 3)):
        memory.raise_peak(peaks, name, used)
    assert {"zen": 6, "heimdall": 7} == peaks


def test_a_container_that_ended_keeps_its_peak() -> None:
    """And one that never showed has none, rather than zero."""
    peaks = {"zen": 5}
    memory.raise_peak(peaks, "zen", None)
    memory.raise_peak(peaks, "heimdall", None)
    assert {"zen": 5} == peaks


def test_what_goes_wrong_in_looking_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that died in silence would leave figures that are too low."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="docker: no such program"), memory.watched("nobody"):
        pass


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (2**20, 1), (2**20 + 1, 2)])
def test_mib_are_rounded_up(size: int, expected: int) -> None:
    """A need is never told as less than it was."""
    assert expected == memory.mib(size)
