"""What the doors of the tests hand on to pytest."""

from __future__ import annotations

import pytest

from stepdown.cli import quality
from stepdown.errors import UsageError


@pytest.mark.parametrize(
    ("whole", "seed", "words"),
    [
        (False, "", []),
        (True, "", ["--all"]),
        (False, "7", ["--seed=7"]),
        (True, "007", ["--all", "--seed=007"]),
    ],
)
def test_a_matrix_is_whole_or_a_sample_by_its_seed(whole: bool, seed: str, words: list[str]) -> None:
    """Without either pytest draws a seed and prints it."""
    assert words == quality.matrices(whole, seed)


def test_a_seed_is_a_number() -> None:
    """As an earlier run printed it."""
    with pytest.raises(UsageError, match=r"--seed: 'x' should be a number"):
        quality.matrices(False, "x")
