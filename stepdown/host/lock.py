"""One writer: a lock that says who holds it, since when and why, and that dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from stepdown.errors import StepdownError, sentence
from stepdown.host.journal import caller, now


@contextlib.contextmanager
def hold(path: Path, why: str) -> Iterator[None]:
    """Hold the lock at `path`; StepdownError tells a second caller who has it, since when and why.

    The kernel drops the lock when the holder dies, so no stale lock can stand in the way.
    """
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StepdownError(sentence(str(path), f"{_holder(path)} is at work here; wait for its end")) from error
        stream.truncate(0)
        stream.write(json.dumps({"by": caller(), "pid": os.getpid(), "since": now(), "why": why}))
        stream.flush()
        try:
            yield
        finally:
            stream.truncate(0)


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"{holder['by']} (process {holder['pid']}, since {holder['since']}, {holder['why']})"
    except (ValueError, KeyError):
        return "another process"
