"""Coverage is parsed over tracked text files, and what git ignores is no part of a repository."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stepdown.errors import UsageError
from stepdown.scan.core import scan_tree
from stepdown.scan.findings import Coverage, ScanResult, share_of
from stepdown.scan.scanners import Scanner

pytestmark = pytest.mark.anyio
MakeRow = Callable[..., Scanner]
Git = Callable[..., str]


@pytest.fixture
def repository(tmp_path: Path, git: Git) -> Path:
    """Four tracked text files, one binary, one link; one file that is new, and some that are ignored."""
    folder = tmp_path / "source"
    (folder / "build").mkdir(parents=True)
    git(folder, "init", "-q")
    for name in ("a.py", "b.py", "c.txt", ".gitignore"):
        (folder / name).write_text("build/\n*.log\n")
    (folder / "x.bin").write_bytes(b"\0\1")
    (folder / "link").symlink_to("a.py")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    for name in ("new.py", "build/out.py", "run.log"):
        (folder / name).write_text("x")
    return folder


def _unable(*paths: str) -> str:
    """A program that finds nothing and could not parse these."""
    places = [{"physicalLocation": {"artifactLocation": {"uri": path}}} for path in paths]
    note = {"level": "error", "message": {"text": "syntax"}, "locations": places}
    invocation = {"executionSuccessful": True, "toolExecutionNotifications": [note] if paths else []}
    run = {"tool": {"driver": {"name": "t"}}, "results": [], "invocations": [invocation]}
    return f"import sys; open(sys.argv[2], 'w').write({json.dumps({'version': '2.1.0', 'runs': [run]})!r})"


async def _scan(tree: Path, *scanners: Scanner) -> ScanResult:
    scratch = tree.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return await scan_tree(tree, scanners, profile="full", scratch=scratch, limit_seconds=30)


def _counted(coverage: Coverage) -> tuple[int, int, int, float | None]:
    return coverage.text_files, coverage.text_files_parsed, coverage.binary_files, coverage.share


async def test_new_files_are_judged_and_ignored_ones_are_not(repository: Path, row: MakeRow) -> None:
    """The share counts tracked ones: a file of today changes nothing about it."""
    seen = (
        "import os, sys; sys.exit(9 if {'a.py', 'new.py'} < {*os.listdir('.')} and not os.path.exists('build') else 8)"
    )
    result = await _scan(repository, row(_unable()), row(seen, name="lists", exit_codes={0: "clean"}))
    assert (4, 4, 1, 1.0) == _counted(result.coverage)
    assert "ended with exit code 9: it said nothing" == result.scanners[1].reason
    ignored = [(n.path, n.reason) for n in result.not_judged if n.path != "link"]
    assert [("build", "is ignored by git"), ("run.log", "is ignored by git")] == ignored


async def test_a_file_that_one_scanner_could_not_parse_is_not_scanned(repository: Path, row: MakeRow) -> None:
    """Even when another one had no trouble with it."""
    result = await _scan(repository, row(_unable("b.py", "new.py"), name="one"), row(_unable(), name="two"))
    assert (4, 3, 1, 0.75) == _counted(result.coverage)


async def test_only_scanners_that_ended_well_cover_anything(repository: Path, row: MakeRow) -> None:
    """What a failed one was for, was not judged."""
    python = row("raise SystemExit(9)", name="python", files=("*.py",))
    text = row(_unable(), name="text", files=("*.txt",))
    assert (3, 1, 1, 0.3333) == _counted((await _scan(repository, python, text)).coverage)


async def test_tracked_files_that_are_left_out_count_as_not_scanned(repository: Path, row: MakeRow, git: Git) -> None:
    """By size, by their folder, as settings of a scanner; a binary one does not."""
    (repository / "venv").mkdir()
    (repository / "venv" / "x.py").write_text("x")
    (repository / "venv" / "y").write_bytes(b"\0")
    (repository / "large.txt").write_text("x" * (5 * 2**20 + 1))
    (repository / ".quiet").write_text("x")
    git(repository, "add", "--force", ".")
    result = await _scan(repository, row(_unable(), own_settings=(".quiet",)))
    tracked = 4 + len({"new.py", "build/out.py", "run.log"})
    assert (tracked + 3, tracked, 1) == _counted(result.coverage)[:3]


async def test_without_a_repository_every_file_counts(tmp_path: Path, row: MakeRow) -> None:
    """Nothing says which are meant."""
    (tmp_path / "source").mkdir()
    for name in ("a.py", "b.py"):
        (tmp_path / "source" / name).write_text("x")
    assert (2, 2, 0, 1.0) == _counted((await _scan(tmp_path / "source", row(_unable()))).coverage)


async def test_a_repository_that_git_cannot_list_is_said(tmp_path: Path, row: MakeRow) -> None:
    """Then every file counts."""
    (tmp_path / "source" / ".git").mkdir(parents=True)
    (tmp_path / "source" / "a.py").write_text("x")
    result = await _scan(tmp_path / "source", row(_unable()))
    assert [(".git", True)] == [(n.path, n.reason.startswith("git cannot list its files")) for n in result.not_judged]
    assert (1, 1, 0, 1.0) == _counted(result.coverage)


@pytest.mark.parametrize(
    ("parsed", "of", "share"), [(0, 0, None), (19, 20, 0.95), (99999, 100000, 0.9999), (2, 2, 1.0)]
)
def test_a_share_is_never_rounded_up(parsed: int, of: int, share: float | None) -> None:
    """What is not whole does not read as 1."""
    assert share == share_of(parsed, of)


async def test_a_submodule_is_told_and_hides_nothing(tmp_path: Path, repository: Path, row: MakeRow, git: Git) -> None:
    """Whether its files are here or not; a repository that is none of the first is told too."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    (other / "inside.py").write_text("x")
    git(other, "add", ".")
    git(other, "commit", "-qm", "one")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "sub")
    git(repository, "commit", "-qm", "two")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repository), str(clone))
    told = []
    for tree in (repository, clone):
        result = await _scan(tree, row(_unable()))
        told.append([n.path for n in result.not_judged if n.path.startswith("sub")])
        assert ("completed", (5, 5)) == (result.status, _counted(result.coverage)[:2])
    assert [["sub/.git", "sub"], ["sub"]] == told


async def test_a_file_that_was_to_be_text_counts_as_such(repository: Path, row: MakeRow, git: Git) -> None:
    """A NUL takes no file out of what a scanner could not read, and UTF-16 is text."""
    (repository / "nul.py").write_bytes(b"def (:\n\0")
    (repository / "wide.py").write_bytes("def (:\n".encode("utf-16"))
    git(repository, "add", ".")
    assert (6, 6, 2) == _counted((await _scan(repository, row(_unable()))).coverage)[:3]
    assert (7, 5, 2) == _counted((await _scan(repository, row(_unable("nul.py", "wide.py")))).coverage)[:3]


async def test_a_sparse_checkout_is_told(repository: Path, row: MakeRow, git: Git) -> None:
    """What is not there was not judged."""
    git(repository, "sparse-checkout", "set", "--no-cone", "/*", "!/b.py")
    result = await _scan(repository, row(_unable()))
    assert (4, 3) == _counted(result.coverage)[:2]
    assert ("b.py", "is not in the work tree, a sparse checkout") in [(n.path, n.reason) for n in result.not_judged]


async def test_a_repository_without_a_work_tree_is_refused(repository: Path, row: MakeRow, git: Git) -> None:
    """Its objects are no files to judge."""
    git(repository.parent, "clone", "-q", "--bare", str(repository), "bare")
    with pytest.raises(UsageError, match="is a repository without a work tree"):
        await _scan(repository.parent / "bare", row(_unable()))


async def test_a_large_file_counts_without_a_repository_too(tmp_path: Path, row: MakeRow) -> None:
    """As one that was not judged."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.py").write_text("x")
    (tmp_path / "source" / "large.py").write_text("x" * (5 * 2**20 + 1))
    assert (2, 1, 0, 0.5) == _counted((await _scan(tmp_path / "source", row(_unable()))).coverage)


async def test_a_search_for_secrets_parses_nothing_that_another_failed_on(repository: Path, row: MakeRow) -> None:
    """It takes any text as lines; where nobody else looks, that is all that there is to do."""
    failed = row("raise SystemExit(9)", name="python", files=("*.py",))
    secrets = row(_unable(), name="secrets", category="secret")
    assert (4, 2, 1, 0.5) == _counted((await _scan(repository, failed, secrets)).coverage)
