"""One form for every error line."""

from __future__ import annotations

import pytest

from stepdown.errors import ChangedError, CommandError, StepdownError, UsageError, sentence


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("plan 'E'", "no such plan"), "plan 'E': no such plan"),
        (("plan 'E'", "no such plan", ("A", "B")), "plan 'E': no such plan (known: A, B)"),
        (("docker", "is missing", (), "./run deploy"), "docker: is missing. Run: ./run deploy"),
        (("a", "b", iter(["c"]), "d"), "a: b (known: c). Run: d"),
    ],
)
def test_a_sentence_says_where_what_what_is_valid_and_what_to_type(arguments: tuple[str, ...], expected: str) -> None:
    """Parts that are empty leave nothing behind."""
    assert expected == sentence(*arguments)


def test_exit_codes_are_those_of_the_tree() -> None:
    """1 nothing changed, 2 wrong use, 3 something changed."""
    assert [1, 2, 1, 3] == [error.exit_code for error in (StepdownError, UsageError, CommandError, ChangedError)]
    assert all(issubclass(error, StepdownError) for error in (UsageError, CommandError, ChangedError))
