"""A private copy of what is to be judged, so that every scanner sees the same plain files and nothing else.

Left out, and said so: links (they may lead anywhere), folders of dependencies and caches, very large files, devices,
and in a repository what git ignores, which is no part of it.
A tree's own settings for a scanner are left out as well: the baseline is the one place where findings are accepted.
"""

from __future__ import annotations

import codecs
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
DEEPEST = 100  # folders inside each other; as many calls of ours, and of scanners, stand inside each other
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
TOO_LARGE = f"is larger than {FILE_BYTES // 2**20} MiB"
HEAD_BYTES = 8000  # as git, which calls a file binary when these hold a NUL
IGNORED = "is ignored by git"


@dataclass(frozen=True)
class TreeLimits:
    """How large a tree may be; what is left out does not count."""

    files: int = 20_000
    bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True)
class Snapshot:
    """The copy: its files (relative, sorted), those of them that are no text, their size, and what was left out."""

    root: Path
    files: tuple[str, ...]
    binary: frozenset[str]
    bytes: int
    not_judged: tuple[NotJudged, ...]


def take_snapshot(
    source: Path,
    target: Path,
    own_settings: Collection[str],
    limits: TreeLimits,
    ignored: Collection[str] = frozenset(),
) -> Snapshot:
    """Copy `source` to the new folder `target`. Blocks; UsageError when `source` is no folder, too large or too deep.

    `own_settings` are names or paths; `ignored` are paths of files and folders that are left out, without a slash at
    their end.
    """
    if not source.is_dir():
        raise UsageError(sentence(str(source), "is no folder"))
    if (source / "HEAD").is_file() and (source / "objects").is_dir() and (source / "refs").is_dir():
        raise UsageError(sentence(str(source), "is a repository without a work tree", run="git clone"))
    root = source.resolve()
    target.mkdir(parents=True)
    files: list[str] = []
    binary: set[str] = set()
    size = 0
    left_out: list[NotJudged] = []
    for name, reason in _walk(root, "", own_settings, ignored):
        if reason:
            left_out.append(NotJudged(name, reason, None))
            continue
        copied = _copy(root, name, target / name)
        if isinstance(copied, str):
            left_out.append(NotJudged(name, copied, None))
            continue
        files.append(name)
        size += copied.bytes
        if not copied.text:
            binary.add(name)
        if len(files) > limits.files or size > limits.bytes:
            raise UsageError(
                sentence(
                    source.name or str(source),
                    f"holds more than {limits.files} files or {limits.bytes // 2**20} MiB; scan a folder inside it",
                )
            )
    return Snapshot(target, tuple(sorted(files)), frozenset(binary), size, tuple(left_out))


@dataclass(frozen=True)
class _Copied:
    bytes: int
    text: bool


def _walk(
    root: Path, inside: str, own_settings: Collection[str], ignored: Collection[str]
) -> Iterator[tuple[str, str | None]]:
    """Every path below `root/inside` with the reason why it is left out, or None. UsageError for one too deep."""
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
            if inside:  # at the top, its history is a subject of its own
                yield name, "is another repository in this one: its history is not judged"
        elif name in ignored:
            yield name, IGNORED
        elif entry.is_dir(follow_symlinks=False):
            if entry.name in LEFT_OUT_FOLDERS:
                yield name, "is a folder of dependencies or caches"
            elif name.count("/") >= DEEPEST:
                wrong = f"holds folders more than {DEEPEST} deep; scan a folder inside it"
                raise UsageError(sentence(root.name or str(root), wrong))
            else:
                yield from _walk(root, name, own_settings, ignored)
        else:
            turns_off = entry.name in own_settings or name in own_settings
            yield name, "could turn a scanner off" if turns_off else None


def _copy(root: Path, name: str, target: Path) -> _Copied | str:
    """What was copied, or why nothing. The tree may change under us: what counts is the file that was really opened."""
    content = read_plain(root, name, FILE_BYTES + 1)
    if isinstance(content, str):
        return content
    if len(content) > FILE_BYTES:
        return TOO_LARGE
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return _Copied(len(content), is_text(content))


def read_plain(root: Path, name: str, limit: int) -> bytes | str:
    """The first `limit` bytes of a plain file below `root` (resolved), never through a link; or in words why not."""
    try:
        descriptor = os.open(root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # fdopen would raise for a folder, and leave it open
        os.close(descriptor)
        return "is no plain file"
    with os.fdopen(descriptor, "rb") as stream:
        if not Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(root):
            return "is a link"
        return stream.read(limit)


def is_text(content: bytes) -> bool:
    """Whether the start of a file holds no NUL, or says that it is UTF-16, which is full of them."""
    return content.startswith(UTF_16) or b"\0" not in content[:HEAD_BYTES]


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
