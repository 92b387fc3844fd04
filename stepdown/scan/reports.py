"""What scanners write, in whichever format, to plain results. A report that is not what was promised is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from stepdown.scan.findings import SEVERITIES, Severity
from stepdown.scan.scanners import Scanner

LEVELS: dict[str, Severity] = {"error": "high", "warning": "medium", "note": "low", "none": "info"}
WORDS: dict[str, Severity] = {
    **{word: word for word in SEVERITIES}, **LEVELS,
    "undefined": "info", "informational": "info", "unknown": "info", "negligible": "info",
}  # fmt: skip


class InvalidReportError(Exception):
    """The report is not what the scanner promises; the message says where."""


@dataclass(frozen=True)
class Result:
    """One result, normalised. Lines and columns count from 1; 0 means none was given."""

    rule: str
    severity: Severity
    score: float | None
    message: str
    path: str
    start_line: int
    end_line: int
    commit: str | None
    help_uri: str | None
    aliases: tuple[str, ...] = ()  # other ids of the same advisory
    package: str | None = None
    package_version: str | None = None
    fixed_version: str | None = None
    category: str | None = None  # where a tool reports of several kinds; else its row's
    place: str = ""  # what else tells this secret from another one at the same path; never the secret


@dataclass(frozen=True)
class Report:
    """What one scanner wrote: its results, and the files that it says it could not read, or not to the end."""

    results: tuple[Result, ...]
    unread: tuple[tuple[str, str], ...]  # path, reason
    partly: tuple[tuple[str, str], ...] = ()

    def of_paths(self, named: Callable[[str], str], kept: Callable[[str], bool] = lambda _: True) -> Report:
        """The report with each path as `named` says, without those that are not `kept`."""
        unread, partly = (
            tuple((named(path), reason) for path, reason in places if kept(path))
            for places in (self.unread, self.partly)
        )
        results = tuple(replace(result, path=named(result.path)) for result in self.results if kept(result.path))
        return Report(results, unread, partly)


Read = Callable[[Any, Scanner, Path], Report]


def parse(text: bytes, scanner: Scanner, source: Path, read: Read, kind: str) -> Report:
    """`read` of a JSON document. Whatever is not as it expects raises InvalidReportError, never another error."""
    try:
        report = read(json.loads(text.decode("utf-8", "replace")), scanner, source)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise InvalidReportError(f"is no valid {kind}: {type(error).__name__} {error}"[:200]) from error
    broken = tuple((r.path, r.message[:200]) for r in report.results if r.rule in scanner.unread_rules)
    kept = tuple(r for r in report.results if r.rule not in scanner.unread_rules)
    return Report(kept, (*report.unread, *broken))


def told_aside(words: str, scanner: Scanner, source: Path) -> Report:
    """What a scanner prints of files and leaves out of its report. Raises InvalidReportError."""
    places = (
        [(plain_path(match["path"], source), reason) for match in re.finditer(pattern, words)] if pattern else []
        for pattern, reason in (
            (scanner.unread_words, "could not be parsed"),
            (scanner.partly_words, "names a part that is elsewhere, which was not judged"),
        )
    )
    unread, partly = (tuple(dict.fromkeys(found)) for found in places)
    return Report((), unread, partly)


def relative_path(uri: str, source: Path) -> str:
    """A path below `source` with forward slashes. Raises InvalidReportError for one outside it.

    Not every tool quotes: what is the name of a file as it stands is that file.
    """
    if uri.startswith("file:"):
        return plain_path(unquote(urlsplit(uri).path), source)
    plain = plain_path(uri, source)
    return plain if "%" in uri and _is_file(source / plain) else plain_path(unquote(uri), source)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # quoted, a name may be too long for one
        return False


def plain_path(text: str, source: Path) -> str:
    """As relative_path, for tools that name paths and no URIs."""
    path = PurePosixPath(text)
    if path.is_absolute():
        if not path.is_relative_to(source):
            raise InvalidReportError(f"names a file outside the tree: {path.name}")
        path = path.relative_to(source)
    if ".." in path.parts:
        raise InvalidReportError(f"names a file outside the tree: {path.name}")
    return writable(str(path))


def writable(text: str) -> str:
    """JSON may hold half a surrogate pair, which no UTF-8 file can."""
    return text.encode("utf-8", "replace").decode()


def severity_word(word: str) -> Severity:
    """One of five, from a tool's own word. Raises InvalidReportError for one that is not known."""
    known = WORDS.get(word.lower())
    if known is None:
        raise InvalidReportError(f"gives an unknown severity: {word[:40]}")
    return known


def score_of(value: Any) -> float:
    """A CVSS score. Raises InvalidReportError for what cannot be one."""
    score = float(value)
    if not 0 <= score <= 10:
        raise InvalidReportError(f"gives a CVSS score of {score:g}")
    return score


def advisory_id(ids: Iterable[str]) -> str:
    """The one name of an advisory with several: its CVE, else its GHSA, else the first in order."""
    kinds = ("CVE-", "GHSA-")
    known = sorted(set(ids))
    return next((name for kind in kinds for name in known if name.startswith(kind)), known[0])
