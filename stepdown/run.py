"""The only place that executes programs. Standard library only: the host agent carries this module."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
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
    inherit: Collection[str] | None = None,
    cwd: str | None = None,
    stdin: str | None = None,
    timeout_seconds: float = 600,
    check: bool = True,
) -> Completed:
    """Run `argv` to its end and return its output.

    Its environment is this process's (of it only the names in `inherit`, where given) and `env`.
    Raises CommandError when the program is missing, outlives `timeout_seconds` or, with `check`, exits non-zero.
    """
    arguments = tuple(argv)
    passed = {key: value for key, value in os.environ.items() if inherit is None or key in inherit}
    try:
        done = subprocess.run(
            arguments,
            env={**passed, **(env or {})},
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except OSError as error:
        raise _not_started(arguments, error) from error
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
    except OSError as error:
        raise _not_started(arguments, error) from error
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()  # the terminal sent it the interrupt too; leave only after it has cleaned up
        raise


def background(argv: Sequence[str]) -> None:
    """Start `argv` in a session of its own, with nothing of this process's terminal, and leave it to itself."""
    arguments = tuple(argv)
    quiet = subprocess.DEVNULL
    try:
        subprocess.Popen(arguments, stdin=quiet, stdout=quiet, stderr=quiet, cwd="/", start_new_session=True)
    except OSError as error:
        raise _not_started(arguments, error) from error


def _not_started(argv: tuple[str, ...], error: OSError) -> CommandError:
    missing = isinstance(error, FileNotFoundError)
    return CommandError(
        f"{argv[0]}: {'no such program on PATH' if missing else error.strerror}", argv, 127 if missing else 126
    )
