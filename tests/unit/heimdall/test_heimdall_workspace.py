"""Only folders inside the workspace can be named, by any spelling."""

from __future__ import annotations

import subprocess
import tracemalloc
from pathlib import Path

import pytest
from heimdall.refused import RefusedError
from heimdall.workspace import folder_in


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """With a folder, a file, and links of every kind; beside it something secret."""
    root = tmp_path / "workspace"
    (root / "app").mkdir(parents=True)
    (root / "file.py").write_text("x")
    (tmp_path / "secret").mkdir()
    (root / "inside").symlink_to(root / "app")
    (root / "outside").symlink_to(tmp_path / "secret")
    (root / "circle").symlink_to(root / "circle")
    (tmp_path / "workspace-evil").mkdir()
    return root


@pytest.mark.parametrize("path", ["app", "./app", "app/", "inside", "."])
def test_a_folder_of_the_workspace_is_found(workspace: Path, path: str) -> None:
    """Relative, and through links that stay inside."""
    expected = workspace if path == "." else workspace / "app"
    assert expected == folder_in(workspace, path)


def test_an_absolute_path_inside_is_found(workspace: Path) -> None:
    """As editors give it."""
    assert workspace / "app" == folder_in(workspace, str(workspace / "app"))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("..", "goes up with '..'"),
        ("app/../../secret", "goes up with '..'"),
        ("/etc", "is outside the workspace"),
        ("outside", "leads out of the workspace by a link"),
        ("file.py", "is no folder"),
        ("circle", "does not exist"),
        ("nothing", "does not exist"),
        ("", "printable characters"),
        ("a\0b", "printable characters"),
        ("a\n", "printable characters"),
        ("a" * 2000, "printable characters"),
    ],
)
def test_what_is_not_inside_is_refused(workspace: Path, path: str, said: str) -> None:
    """With a sentence that says why."""
    with pytest.raises(RefusedError) as refused:
        folder_in(workspace, path)
    assert said in str(refused.value)


def test_a_sibling_with_the_same_beginning_is_outside(workspace: Path) -> None:
    """Names are compared part by part."""
    with pytest.raises(RefusedError, match="outside the workspace"):
        folder_in(workspace, f"{workspace}-evil")


@pytest.mark.parametrize("by_link", [True, False])
def test_a_history_outside_is_refused(workspace: Path, by_link: bool) -> None:
    """`.git` may be a link, or a file that points elsewhere."""
    outside = workspace.parent / "secret"
    if by_link:
        (workspace / "app" / ".git").symlink_to(outside)
    else:
        (workspace / "app" / ".git").write_text(f"gitdir: {outside}\n")
    with pytest.raises(RefusedError, match="history outside the workspace"):
        folder_in(workspace, "app")


def test_a_work_tree_inside_is_found(workspace: Path) -> None:
    """`.git` may point to another repository of the workspace."""
    (workspace / "main.git").mkdir()
    (workspace / "app" / ".git").write_text("gitdir: ../main.git\n")
    assert workspace / "app" == folder_in(workspace, "app")


@pytest.mark.parametrize(
    ("inside", "text", "leads"),
    [
        (".git/commondir", "{out}\n", "app/.git/commondir"),
        (".git/commondir", "../../../secret", "app/.git/commondir"),
        (".git/objects/info/alternates", "# more\n{out}/objects\n", "app/.git/objects/info/alternates"),
        (".git/objects/info/alternates", "../../../../secret\n", "app/.git/objects/info/alternates"),
        (".git/objects/pack", None, "app/.git/objects/pack"),
        (".git/HEAD", None, "app/.git/HEAD"),
        (".git/refs/heads/main", None, "app/.git/refs/heads/main"),
        (".git", "gitdir: ../part\n/../../../secret\n", "app/.git"),
    ],
)
def test_a_repository_that_leads_out_is_refused(workspace: Path, inside: str, text: str | None, leads: str) -> None:
    """By a file that names folders, in git's reading of it, or by a link anywhere in it; the sentence says which."""
    outside = workspace.parent / "secret"
    (workspace / "part\n").mkdir()
    place = workspace / "app" / inside
    place.parent.mkdir(parents=True, exist_ok=True)
    if text is None:
        place.symlink_to(outside)
    else:
        place.write_text(text.format(out=outside))
    with pytest.raises(RefusedError, match="keeps its history outside the workspace") as refused:
        folder_in(workspace, "app")
    assert leads in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"x" * 4000, "has a 'app/.git/objects/info/alternates' that cannot be followed"),
        (b"x\0y", "has a 'app/.git/objects/info/alternates' that does not name folders"),
        (b'"../x"\n', "has a 'app/.git/objects/info/alternates' with names in quotes"),
    ],
)
def test_names_of_folders_that_git_could_read_otherwise_are_refused(workspace: Path, text: bytes, said: str) -> None:
    """With a sentence, whatever stands there."""
    place = workspace / "app/.git/objects/info"
    place.mkdir(parents=True)
    (place / "alternates").write_bytes(text)
    with pytest.raises(RefusedError) as refused:
        folder_in(workspace, "app")
    assert f"path: 'app' {said}" == str(refused.value)


def test_a_linked_folder_of_alternates_is_refused(workspace: Path) -> None:
    """Whose names could be read from two places."""
    for name in ("app/.git/objects", "info"):
        (workspace / name).mkdir(parents=True)
    (workspace / "info" / "alternates").write_text("store\n")
    (workspace / "app/.git/objects/info").symlink_to("../../../info")
    with pytest.raises(RefusedError, match=r"has a link 'app/\.git/objects/info' where git wants a folder"):
        folder_in(workspace, "app")


def test_what_other_folders_of_the_workspace_lead_to_is_looked_at_too(workspace: Path) -> None:
    """A repository may borrow from another one there, which may not lead out itself."""
    for name in ("app/.git/objects/info", "store/info"):
        (workspace / name).mkdir(parents=True)
    (workspace / "app/.git/objects/info/alternates").write_text("../../../store\n")
    assert workspace / "app" == folder_in(workspace, "app")
    (workspace / "store" / "pack").symlink_to(workspace.parent / "secret")
    with pytest.raises(RefusedError, match="history outside the workspace: 'store/pack' leads there"):
        folder_in(workspace, "app")


def test_what_git_tries_beside_a_broken_repository_is_looked_at_too(workspace: Path) -> None:
    """Where `.git` is none, a clone takes FOLDER.git."""
    (workspace / "app" / ".git").mkdir()
    (workspace / "app.git").symlink_to(workspace.parent / "secret")
    with pytest.raises(RefusedError, match=r"history outside the workspace: 'app\.git' leads there"):
        folder_in(workspace, "app")


def test_a_real_work_tree_and_links_that_stay_are_found(workspace: Path) -> None:
    """As git-worktree(1) makes them."""
    name = ("-c", "user.name=T", "-c", "user.email=t@example.org")
    for words in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m1"), ("worktree", "add", "-q", "../second")):
        subprocess.run(("git", *name, *words), cwd=workspace / "app", check=True)
    (workspace / "app/.git/again").symlink_to(".")
    assert workspace / "second" == folder_in(workspace, "second")
    assert workspace / "app" == folder_in(workspace, "app")


def test_a_large_file_in_the_place_of_a_repository_is_not_read_whole(workspace: Path) -> None:
    """A sparse file costs nothing to make."""
    with (workspace / "app" / ".git").open("wb") as file:
        file.truncate(64 * 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError, match="does not name folders"):
            folder_in(workspace, "app")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_no_workspace_is_said(tmp_path: Path) -> None:
    """A container without the mount."""
    with pytest.raises(RefusedError, match="the host has to mount one"):
        folder_in(tmp_path / "none", ".")
