"""Only folders inside the workspace can be named, by any spelling."""

from __future__ import annotations

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


def test_no_workspace_is_said(tmp_path: Path) -> None:
    """A container without the mount."""
    with pytest.raises(RefusedError, match="the host has to mount one"):
        folder_in(tmp_path / "none", ".")
