"""What a change adds: its files as they were and are, and the commits that made it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stepdown.errors import UsageError
from stepdown.scan.difference import Difference, added, check_base, difference, narrowed, raw_changes
from tests.unit.scan.made import finding, outcome, result

pytestmark = pytest.mark.anyio
Git = Callable[..., str]
LONG = "".join(f"line {number}\n" for number in range(30))


@pytest.fixture
def source(tmp_path: Path, git: Git) -> Path:
    """A repository with one commit on `main`: a.py, old.py and .gitignore."""
    folder = tmp_path / "source"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.py").write_text("a\n")
    (folder / "old.py").write_text(LONG)
    (folder / ".gitignore").write_text("ignored.py\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    return folder


def _commit(git: Git, source: Path, name: str, text: str) -> None:
    (source / name).write_text(text)
    git(source, "add", "--all")
    git(source, "commit", "-qm", name)


async def _difference(source: Path, base: str, tmp_path: Path) -> tuple[Difference, dict[str, str]]:
    """The change, and what its files held before."""
    scratch = tmp_path / f"scratch-{len(list(tmp_path.iterdir()))}"
    scratch.mkdir()
    change = await difference(source, base, scratch)
    return change, {
        str(path.relative_to(change.before)): path.read_text() for path in change.before.rglob("*") if path.is_file()
    }


async def test_commits_and_uncommitted_work_are_the_change(source: Path, tmp_path: Path, git: Git) -> None:
    """Added, changed, staged, removed, not even known to git; ignored files are not. The repository stays as it was."""
    git(source, "switch", "-qc", "work")
    _commit(git, source, "committed.py", "c\n")
    (source / "a.py").write_text("changed\n")
    (source / "staged.py").write_text("s\n")
    git(source, "add", "staged.py")
    (source / "unknown name.py").write_text("u\n")
    (source / "ignored.py").write_text("i\n")
    (source / "old.py").unlink()
    before = git(source, "status", "--porcelain")
    change, contents = await _difference(source, "main", tmp_path)
    assert 5 == change.files  # a.py, old.py, which is gone, and three new ones
    assert {"a.py": "a\n", "old.py": LONG, ".gitignore": "ignored.py\n"} == contents
    assert f"{git(source, 'rev-parse', 'main')}..{git(source, 'rev-parse', 'HEAD')}" == change.commits
    assert before == git(source, "status", "--porcelain")


async def test_a_renamed_file_is_held_against_what_it_was(source: Path, tmp_path: Path, git: Git) -> None:
    """Under the name that it has now, committed or only moved."""
    (source / "deep").mkdir()
    (source / "old.py").rename(source / "deep" / "new.py")
    (source / "deep" / "new.py").write_text(LONG + "more\n")
    moved = await _difference(source, "HEAD", tmp_path)
    git(source, "add", "--all")
    git(source, "commit", "-qm", "moved")
    committed = await _difference(source, "HEAD~1", tmp_path)
    for change, contents in (moved, committed):
        assert (1, {"deep/new.py": LONG, "a.py": "a\n", ".gitignore": "ignored.py\n"}) == (change.files, contents)
    head, before = git(source, "rev-parse", "HEAD"), git(source, "rev-parse", "HEAD~1")
    assert (f"{before}..{before}", f"{before}..{head}") == (moved[0].commits, committed[0].commits)


async def test_what_the_base_did_since_is_not_the_change(source: Path, tmp_path: Path, git: Git) -> None:
    """Compared is with where the change left the base."""
    git(source, "switch", "-qc", "work")
    _commit(git, source, "mine.py", "m\n")
    git(source, "switch", "-q", "main")
    _commit(git, source, "theirs.py", "t\n")
    git(source, "switch", "-q", "work")
    change, contents = await _difference(source, "main", tmp_path)
    assert (1, {"a.py", "old.py", ".gitignore"}) == (change.files, set(contents))


async def test_links_are_no_part_of_it(source: Path, tmp_path: Path, git: Git) -> None:
    """Neither one that is new nor one that became a file: nothing is read or written through them."""
    (source / "was").symlink_to("/etc/passwd")
    _commit(git, source, "b.py", "b\n")
    (source / "was").unlink()
    (source / "was").write_text("a file now\n")
    (source / "link").symlink_to("/etc")
    _, contents = await _difference(source, "HEAD", tmp_path)
    assert {"a.py", "b.py", "old.py", ".gitignore"} == set(contents)


async def test_a_file_makes_room_for_a_folder(source: Path, tmp_path: Path, git: Git) -> None:
    """What was renamed into it is there before the change, what stood in its place cannot be; and the other way."""
    _commit(git, source, "place", "a file\n")
    (source / "place").unlink()
    (source / "place").mkdir()
    (source / "old.py").rename(source / "place" / "new.py")
    _, contents = await _difference(source, "HEAD", tmp_path)
    assert {"place/new.py": LONG, "a.py": "a\n", ".gitignore": "ignored.py\n"} == contents
    git(source, "add", "--all")
    git(source, "commit", "-qm", "folder")
    (source / "place" / "new.py").rename(source / "moved.py")
    (source / "place").rmdir()
    (source / "moved.py").rename(source / "place")
    _, contents = await _difference(source, "HEAD", tmp_path)
    assert {"place": LONG, "a.py": "a\n", ".gitignore": "ignored.py\n"} == contents


async def test_repositories_inside_are_told(source: Path, tmp_path: Path, git: Git) -> None:
    """New, moved to another commit, checked out or not, and as they were: git names a commit of them and no more."""
    for name in ("kept", "moved", "new"):
        (source / name).mkdir()
        git(source / name, "init", "-q")
        _commit(git, source / name, "b.py", f"{name}\n")
        if name != "new":
            git(source, "add", name)
    git(source, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},elsewhere")
    git(source, "commit", "-qm", "inside")
    _commit(git, source / "moved", "b.py", "more\n")
    git(source, "update-index", "--cacheinfo", f"160000,{'2' * 40},elsewhere")
    git(source, "commit", "-qm", "elsewhere")
    change, _ = await _difference(source, "HEAD~1", tmp_path)
    assert ({"elsewhere", "moved", "new"}, {"kept"}) == (set(change.moved), set(change.kept))


async def test_a_hostile_repository_runs_nothing(source: Path, tmp_path: Path, git: Git) -> None:
    """Its settings, and those of a repository inside it, name programs that `git add` and `git diff` would run."""
    inside = source / "inside"
    inside.mkdir()
    git(inside, "init", "-q")
    _commit(git, inside, "b.py", "b\n")
    _commit(git, source, ".gitattributes", "*.py filter=evil diff=evil\n")
    ran = tmp_path / "ran"
    for key in ("filter.evil.clean", "filter.evil.smudge", "diff.evil.textconv", "diff.external", "core.fsmonitor"):
        git(source, "config", key, f"touch {ran}; cat")
        git(inside, "config", key, f"touch {ran}; cat")
    (source / "a.py").write_text("changed\n")
    (inside / "b.py").write_text("changed\n")
    change, contents = await _difference(source, "HEAD", tmp_path)
    assert (1, "a\n", False) == (change.files, contents["a.py"], ran.exists())
    git(source, "add", "a.py")
    assert ran.exists(), "the bait itself no longer works"


@pytest.mark.parametrize("base", ["nowhere", "--help", "HEAD:a.py", ""])
async def test_a_revision_that_is_not_there_is_refused(source: Path, tmp_path: Path, base: str) -> None:
    """With what to type."""
    with pytest.raises(UsageError, match=r"names no commit here\. Run: git log"):
        await _difference(source, base, tmp_path)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=r"names no commit here\. Run: git log"):
        await check_base(source, base, tmp_path)
    assert before == set(tmp_path.rglob("*"))


async def test_a_shallow_clone_works_or_says_what_it_lacks(source: Path, tmp_path: Path, git: Git) -> None:
    """It needs the change's own commits and the one before them."""
    for number in range(3):
        _commit(git, source, "a.py", f"{number}\n")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth=2", f"file://{source}", str(clone))
    change, contents = await _difference(clone, "HEAD~1", tmp_path)
    assert (1, "1\n") == (change.files, contents["a.py"])
    with pytest.raises(UsageError, match=r"names no commit here; this clone is shallow\. Run: git fetch --unshallow"):
        await _difference(clone, "HEAD~2", tmp_path)


async def test_a_shallow_clone_without_the_fork_is_refused(source: Path, tmp_path: Path, git: Git) -> None:
    """Both ends are there, and not where they part: what the change adds cannot be told."""
    git(source, "switch", "-qc", "work")
    _commit(git, source, "mine.py", "m\n")
    git(source, "switch", "-q", "main")
    _commit(git, source, "theirs.py", "t\n")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth=1", "--no-single-branch", "--branch=work", f"file://{source}", str(clone))
    with pytest.raises(UsageError, match="does not reach back to where the change left 'origin/main'"):
        await _difference(clone, "origin/main", tmp_path)


async def test_a_folder_that_is_no_repository_is_refused(source: Path, tmp_path: Path) -> None:
    """A folder inside one, too: paths would not agree."""
    (source / "inside").mkdir()
    with pytest.raises(UsageError, match="is not the top folder of a git repository"):
        await _difference(source / "inside", "HEAD", tmp_path)


def test_only_what_the_change_brought_is_left() -> None:
    """Not what was there before; what is new in a file that the change left alone, too: another may be the cause."""
    change = Difference("b", 1, Path("before"), "b..b", moved=frozenset({"moved"}), kept=frozenset({"kept"}))
    new, old, elsewhere = finding("1"), finding("2"), finding("3", path="src/b.py")
    committed, inside = finding("4", path="gone.py", commit="c" * 40), finding("5", path="moved/a.py")
    head = result(new, old, elsewhere, committed, inside, finding("6", path="kept/a.py"))
    assert {new, elsewhere, committed, inside} == set(added(head, result(old), change))
    assert {new, old, elsewhere, committed, inside} == set(added(head, None, change))
    left = narrowed(result(new, scanners=(outcome(findings=9),)), (new,), change)
    assert ([1], ["kept", "moved"]) == ([one.findings for one in left.scanners], [one.path for one in left.not_judged])
    assert 2 == left.coverage.files_not_judged


def test_git_s_raw_output_is_read() -> None:
    """Renamed, added, changed, removed, became a link, was a link."""
    ids = f"{'0' * 40} {'1' * 40}"
    lines = [
        (f":100644 100644 {ids} R091", "old", "new"), (f":000000 100644 {ids} A", "added"),
        (f":100644 100755 {ids} M", "changed"), (f":100644 000000 {ids} D", "removed"),
        (f":100644 120000 {ids} T", "became a link"), (f":120000 100644 {ids} T", "was a link"),
    ]  # fmt: skip
    output = "".join(f"{word}\0" for line in lines for word in line).encode()
    same = [(name, name) for name in ("became a link", "was a link")]
    assert [("old", "new"), (None, "added"), ("changed", "changed"), ("removed", None), *same] == raw_changes(output)
