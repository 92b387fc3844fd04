"""Every error that Stepdown raises on purpose.

    StepdownError                 exit 1  failed, nothing changed
    ├── UsageError                exit 2  wrong use: bad option, bad catalogue, bad inventory
    ├── CommandError              exit 1  a program that was run failed
    └── ChangedError              exit 3  failed and something changed; the message holds the undo

A message reads `<where>: <what is wrong> (known: …). Run: …` and never holds a secret.
Standard library only: the host agent carries this module.
"""

from __future__ import annotations

from collections.abc import Iterable


class StepdownError(Exception):
    """Failed, nothing changed."""

    exit_code = 1


class UsageError(StepdownError):
    """Wrong use: the caller must type or write something else."""

    exit_code = 2


class CommandError(StepdownError):
    """A program failed; `argv` and `returncode` say which and how, `output` its last words."""

    def __init__(self, message: str, argv: tuple[str, ...] = (), returncode: int = 1, output: str = "") -> None:
        super().__init__(message)
        self.argv = argv
        self.returncode = returncode
        self.output = output


class ChangedError(StepdownError):
    """Failed half-way: something changed, and the message says how to undo or finish it."""

    exit_code = 3


def sentence(where: str, wrong: str, known: Iterable[str] = (), run: str = "") -> str:
    """One error line in the house form; `known` lists what is valid, `run` what to type."""
    text = f"{where}: {wrong}"
    listed = ", ".join(known)
    if listed:
        text += f" (known: {listed})"
    if run:
        text += f". Run: {run}"
    return text
