"""Paths that a caller may name: folders inside the workspace, by any spelling that stays there."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from heimdall.refused import RefusedError
from stepdown.errors import sentence
from stepdown.scan.snapshot import REPOSITORY

PATH_CHARACTERS = 1024


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
    """`.git` may be a link, or a file that names another folder (git-worktree(1)): neither may lead out."""
    repository = folder / REPOSITORY
    target = repository.resolve()
    if target.is_file():
        first = target.read_bytes()[:4096].decode("utf-8", "replace").partition("\n")[0]
        target = (folder / first.removeprefix("gitdir:").strip()).resolve()
    if not target.is_relative_to(root):
        raise _refused(path, "keeps its history outside the workspace")


def _refused(path: str, wrong: str) -> RefusedError:
    return RefusedError(sentence("path", f"{path!r} {wrong}"), 400)
