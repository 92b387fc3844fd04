"""The append-only record of a host: who did what, when, why, and how it ended. One checksummed JSON object a line."""

from __future__ import annotations

import datetime
import fcntl
import getpass
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKSUM_DIGITS = 12


@dataclass(frozen=True)
class Reading:
    """What a journal holds: its whole entries, and the numbers of lines that are no whole entry."""

    entries: tuple[dict[str, Any], ...]
    damaged: tuple[int, ...]


def now() -> str:
    """The time, UTC, to the millisecond, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def caller() -> str:
    """Who runs this: the user behind sudo, else the login name, else the uid."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def append(path: Path, event: str, **fields: Any) -> dict[str, Any]:
    """Add one entry and return it; it is on disk when this returns."""
    entry = {"time": now(), "event": event, **fields}
    line = json.dumps({**entry, "sum": _checksum(entry)}, separators=(",", ":")) + "\n"
    with path.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # a watch in the background writes too
        if stream.tell() and not _ends_with_newline(path):
            stream.write(b"\n")  # close a line that a power cut tore
        stream.write(line.encode())
        stream.flush()
        os.fsync(stream.fileno())
    return dict(entry)


def read(path: Path) -> Reading:
    """Every whole entry in order; a torn or altered line is reported by number, never guessed at."""
    entries, damaged = [], []
    for number, line in enumerate(_lines(path), start=1):
        entry = _parse(line)
        if entry is None:
            damaged.append(number)
        else:
            entries.append(entry)
    return Reading(tuple(entries), tuple(damaged))


def unfinished(entries: tuple[dict[str, Any], ...]) -> dict[str, Any] | None:
    """The last intent that no outcome followed."""
    for entry in reversed(entries):
        if entry["event"] == "outcome":
            return None
        if entry["event"] == "intent":
            return dict(entry)
    return None


def _lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        yield from path.read_bytes().splitlines()


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or "event" not in entry or entry.pop("sum", None) != _checksum(entry):
        return None
    return dict(entry)


def _checksum(entry: Mapping[str, Any]) -> str:
    text = json.dumps(entry, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:CHECKSUM_DIGITS]


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
