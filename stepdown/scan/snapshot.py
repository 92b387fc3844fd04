"""A private copy of what is to be judged, so that every scanner sees the same plain files and nothing else.

Left out, and said so: links (they may lead anywhere), folders of dependencies and caches, very large files, devices.
A tree's own settings for a scanner are left out as well: the baseline is the one place where findings are accepted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from stepdown.errors import UsageError, sentence
from stepdown.scan.findings import NotJudged

LEFT_OUT_FOLDERS = frozenset(
    {
        ".git", ".hg", ".svn", "node_modules", "bower_components", ".venv", "venv", "__pycache__", ".tox", ".nox",
        ".mypy_cache", ".pytest_cache", ".ruff_cache", ".eggs", "site-packages",
    }
)  # fmt: skip
REPOSITORY = ".git"
FILE_BYTES = 5 * 1024 * 1024


@dataclass(frozen=True)
class TreeLimits:
    """How large a tree may be; what is left out does not count."""

    files: int = 20_000
    bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True)
class Snapshot:
    """The copy: its files (relative, sorted), their size in bytes, and what was left out."""

    root: Path
    files: tuple[str, ...]
    bytes: int
    not_judged: tuple[NotJudged, ...]


def take_snapshot(source: Path, target: Path, own_settings: Collection[str], limits: TreeLimits) -> Snapshot:
    """Copy `source` to the new folder `target`. Blocks; raises UsageError when `source` is no folder or too large."""
    if not source.is_dir():
        raise UsageError(sentence(str(source), "is no folder"))
    root = source.resolve()
    target.mkdir()
    files: list[str] = []
    size = 0
    left_out: list[NotJudged] = []
    for name, reason in _walk(root, "", own_settings):
        if reason:
            left_out.append(NotJudged(name, reason, None))
            continue
        copied = _copy(root, name, target / name)
        if isinstance(copied, str):
            left_out.append(NotJudged(name, copied, None))
            continue
        files.append(name)
        size += copied
        if len(files) > limits.files or size > limits.bytes:
            raise UsageError(
                sentence(
                    source.name or str(source),
                    f"holds more than {limits.files} files or {limits.bytes // 2**20} MiB; scan a folder inside it",
                )
            )
    return Snapshot(target, tuple(sorted(files)), size, tuple(left_out))


def _walk(root: Path, inside: str, own_settings: Collection[str]) -> Iterator[tuple[str, str | None]]:
    """Every path below `root/inside` with the reason why it is left out, or None."""
    try:
        entries = sorted(os.scandir(root / inside), key=lambda entry: entry.name)
    except OSError as error:
        yield inside or ".", f"cannot be read: {error.strerror}"
        return
    for entry in entries:
        name = f"{inside}/{entry.name}" if inside else entry.name
        if not _is_utf8(entry.name):
            yield name.encode("utf-8", "replace").decode(), "has a name that is no UTF-8"
        elif entry.is_symlink():
            yield name, "is a link"
        elif entry.name == REPOSITORY:
            continue  # its history is a subject of its own
        elif entry.is_dir(follow_symlinks=False):
            if entry.name in LEFT_OUT_FOLDERS:
                yield name, "is a folder of dependencies or caches"
            else:
                yield from _walk(root, name, own_settings)
        else:
            yield name, "could turn a scanner off" if entry.name in own_settings else None


def _copy(root: Path, name: str, target: Path) -> int | str:
    """Bytes copied, or why not. The tree may change under us: what counts is the file that was really opened."""
    try:
        descriptor = os.open(root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return "is no plain file"
        if not Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(root):
            return "is a link"
        content = stream.read(FILE_BYTES + 1)
    if len(content) > FILE_BYTES:
        return f"is larger than {FILE_BYTES // 2**20} MiB"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return len(content)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
