"""Paths that a caller may name: folders inside the workspace, by any spelling that stays there."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from heimdall.documents import PATH_CHARACTERS
from heimdall.refused import RefusedError
from stepdown.errors import sentence
from stepdown.scan.snapshot import REPOSITORY, read_plain

ALTERNATES = "alternates"  # folders of more objects
NAME_FOLDERS = (ALTERNATES, "commondir")
NAMES_BYTES = 4096  # of a file that names folders
FOLDERS_AND_LINKS = 50_000  # of a repository; one with as many is no project


def folder_in(workspace: Path, path: str) -> Path:
    """The real folder that `path` (relative to the workspace, or absolute inside it) names.

    Raises RefusedError for `..`, for what is outside or leads out by a link, and for what is no folder. It says nothing
    about what stands outside.
    """
    if not path or len(path) > PATH_CHARACTERS or not path.isprintable():
        raise _refused(path[:80], f"should be 1 to {PATH_CHARACTERS} printable characters")
    named = PurePosixPath(path)
    if ".." in named.parts:
        raise _refused(path, "goes up with '..'; name a folder inside the workspace")
    try:
        root = workspace.resolve(strict=True)
    except OSError as error:
        raise RefusedError(sentence("workspace", "is not there; the host has to mount one"), 404) from error
    if named.is_absolute() and not named.is_relative_to(workspace):
        raise _refused(path, f"is outside the workspace {workspace}")
    try:
        folder = (workspace / named).resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise RefusedError(sentence("path", f"{path!r} does not exist in the workspace"), 404) from error
    if not folder.is_relative_to(root):
        raise _refused(path, "leads out of the workspace by a link")
    if not folder.is_dir():
        raise _refused(path, "is no folder; scan its folder, or send the text with scan_code")
    _check_repository(root, folder, path)
    return folder


def _check_repository(root: Path, folder: Path, path: str) -> None:
    """Git follows links and files that name folders, each of which may lead out: none may."""
    if not os.path.lexists(folder / REPOSITORY):
        return
    left = [(one, one) for one in _tried_by_git(root, folder)]  # what to look at, and what led there
    followed = 0
    seen: set[Path] = set()
    while left:
        named, led = left.pop()
        followed += 1
        if followed > FOLDERS_AND_LINKS:
            raise _refused(path, f"has a repository of more than {FOLDERS_AND_LINKS} folders; scan a clone of it")
        try:
            target = named.resolve()
            is_folder, is_link = target.is_dir(), named.is_symlink()
        except (OSError, RuntimeError) as error:
            raise _refused(path, f"has a {_shown(led, root)} that cannot be followed") from error
        if not target.is_relative_to(root):
            raise _refused(path, f"keeps its history outside the workspace: {_shown(led, root)} leads there")
        if not is_folder:
            left += [(one, named) for one in _named_by(root, target, named, path)]
        elif target not in seen:
            seen.add(target)
            left += [(one, one) for one in _inside(target)]
        if named.name == "info" and is_link and os.path.lexists(target / ALTERNATES):
            raise _refused(path, f"has a link {_shown(named, root)} where git wants a folder")  # alternates to what?


def _tried_by_git(root: Path, folder: Path) -> list[Path]:
    """What git takes for the repository of this folder, or tries when that is none (git-clone(1))."""
    tried = [folder / REPOSITORY]
    if folder != root:
        beside = folder.parent / f"{folder.name}{REPOSITORY}"
        tried += [beside, beside / REPOSITORY, folder.parent / f"{folder.name}.bundle"]
    if os.path.lexists(folder / "HEAD"):  # a repository without a work tree; the other files here are no part of it
        tried += [folder / name for name in ("HEAD", "commondir", "config", "objects", "packed-refs", "refs")]
    return [one for one in tried if os.path.lexists(one)]


def _inside(folder: Path) -> list[Path]:
    """What of this folder may lead elsewhere. One that cannot be read is none for git either."""
    try:
        with os.scandir(folder) as entries:
            return [
                Path(entry.path)
                for entry in entries
                if entry.is_symlink() or entry.is_dir(follow_symlinks=False) or entry.name in NAME_FOLDERS
            ]
    except OSError:
        return []


def _named_by(root: Path, file: Path, named: Path, path: str) -> list[Path]:
    """The folders that this file names, read as git does (gitrepository-layout(5)), if it is such a file."""
    if not named.name.endswith((REPOSITORY, *NAME_FOLDERS)):
        return []
    content = read_plain(root, str(file.relative_to(root)), NAMES_BYTES + 1)
    if isinstance(content, str):  # no plain file, or gone: git does not read it either
        return []
    if len(content) > NAMES_BYTES or b"\0" in content:
        raise _refused(path, f"has a {_shown(named, root)} that does not name folders")
    text = os.fsdecode(content)
    if named.name != ALTERNATES:
        return [named.parent / text.rstrip("\r\n").removeprefix("gitdir: ")]
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    if any(line.startswith('"') for line in lines):  # git would take it apart
        raise _refused(path, f"has a {_shown(named, root)} with names in quotes")
    return [named.parent.parent / line for line in lines]  # relative to the folder of objects


def _shown(named: Path, root: Path) -> str:
    return repr(str(named.relative_to(root)) if named.is_relative_to(root) else named.name)


def _refused(path: str, wrong: str) -> RefusedError:
    return RefusedError(sentence("path", f"{path!r} {wrong}"), 400)
