"""The only place that executes programs. Standard library only: the host agent carries this module."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepdown.errors import CommandError

LAST_WORDS = 2000  # characters of a failed program's output that an error repeats


@dataclass(frozen=True)
class Completed:
    """What a program said and how it ended."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    stdin: str | None = None,
    timeout_seconds: float = 600,
    check: bool = True,
) -> Completed:
    """Run `argv` to its end and return its output; `env` is added to this process's environment.

    Raises CommandError when the program is missing, outlives `timeout_seconds` or, with `check`, exits non-zero.
    """
    arguments = tuple(argv)
    try:
        done = subprocess.run(
            arguments,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandError(f"{arguments[0]}: no such program on PATH", arguments, 127) from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{arguments[0]}: no end after {timeout_seconds:g} s", arguments, 124) from error
    result = Completed(arguments, done.returncode, done.stdout, done.stderr)
    if check and done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip())[-LAST_WORDS:]
        raise CommandError(
            f"{' '.join(arguments[:3])}: exit {done.returncode}: {words}", arguments, done.returncode, words
        )
    return result


def passthrough(argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | None = None) -> int:
    """Run `argv` with this process's terminal and return its exit code; on Ctrl-C waits for the program to end."""
    arguments = tuple(argv)
    try:
        process = subprocess.Popen(arguments, env={**os.environ, **(env or {})}, cwd=cwd)
    except FileNotFoundError as error:
        raise CommandError(f"{arguments[0]}: no such program on PATH", arguments, 127) from error
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()  # the terminal sent it the interrupt too; leave only after it has cleaned up
        raise
