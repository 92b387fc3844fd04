"""Files that others replace while the host runs: the tokens and the plan.

They live in bind-mounted directories and are replaced by atomic rename, so one stat per read tells whether to read
again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from mcp_host.errors import FileError, sentence

log = logging.getLogger(__name__)
T = TypeVar("T")


class WatchedFile(Generic[T]):
    """The last good value of a JSON file; a broken file changes nothing and is logged once.

    `initial` is the value before the first good read. A missing file keeps the last good value, or, with
    `missing_resets`, goes back to `initial`.
    """

    def __init__(self, path: Path, parse: Callable[[Any, str], T], initial: T, *, missing_resets: bool) -> None:
        self._path = path
        self._parse = parse
        self._initial = initial
        self._missing_resets = missing_resets
        self._value = initial
        self._seen: tuple[int, int, int] | str | None = "never looked"

    def value(self) -> T:
        """The value now; one stat when nothing changed."""
        seen = self._fingerprint()
        if seen != self._seen:
            self._seen = seen
            if seen is None and self._missing_resets:
                self._value = self._initial
            else:
                self._reload()
        return self._value

    def _fingerprint(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:  # the reason is told by the read that follows
            return None
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def _reload(self) -> None:
        try:
            self._value = self._parse(json.loads(self._path.read_bytes()), str(self._path))
        except (OSError, ValueError, FileError) as error:
            reason = str(error) if isinstance(error, FileError) else f"{self._path}: {type(error).__name__}: {error}"
            log.error("file refused, the last good one stays in use", extra={"fields": {"reason": reason}})


@dataclass(frozen=True)
class Token:
    """One bearer token, known by its hash only; `servers` may hold "*"."""

    name: str
    sha256: str
    servers: frozenset[str]

    def allows(self, server: str) -> bool:
        return "*" in self.servers or server in self.servers


@dataclass(frozen=True)
class Plan:
    """The plan in force and, for each server that it has lost, what to use instead."""

    plan: str = ""
    since: str = ""
    lost: dict[str, str] = field(default_factory=dict)


def parse_tokens(raw: Any, where: str) -> tuple[Token, ...]:
    """Validate `{"tokens": [{"name", "sha256", "servers"}]}`. Raises FileError; never repeats a value."""
    entries = _only(raw, where, "tokens")["tokens"]
    if not isinstance(entries, list):
        raise FileError(f"{where}/tokens: must be a list")
    tokens = []
    for index, raw_entry in enumerate(entries):
        path = f"{where}/tokens/{index}"
        entry = _only(raw_entry, path, "name", "sha256", "servers")
        digest, servers = entry["sha256"], entry["servers"]
        if not isinstance(entry["name"], str) or not entry["name"]:
            raise FileError(f"{path}/name: must be a non-empty string")
        if not isinstance(digest, str) or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise FileError(f"{path}/sha256: must be 64 lower-case hexadecimal digits")
        if not isinstance(servers, list) or not all(isinstance(server, str) for server in servers):
            raise FileError(f"{path}/servers: must be a list of server names")
        tokens.append(Token(entry["name"], digest, frozenset(servers)))
    return tuple(tokens)


def parse_plan(raw: Any, where: str) -> Plan:
    """Validate `{"plan", "since", "lost": {server: alternative}}`. Raises FileError."""
    entry = _only(raw, where, "plan", "since", "lost")
    lost = entry["lost"]
    if not isinstance(entry["plan"], str) or not isinstance(entry["since"], str):
        raise FileError(f"{where}: plan and since must be strings")
    if not isinstance(lost, dict) or not all(isinstance(text, str) for text in lost.values()):
        raise FileError(f"{where}/lost: must be an object of strings")
    return Plan(entry["plan"], entry["since"], lost)


def _only(raw: Any, where: str, *keys: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise FileError(f"{where}: must be an object")
    if set(raw) != set(keys):
        wrong = ", ".join(sorted(set(raw) ^ set(keys)))
        raise FileError(sentence(where, f"missing or unknown keys: {wrong}", keys))
    return raw
