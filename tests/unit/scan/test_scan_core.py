"""A scan fails closed: only a scanner that ran, ended well and wrote a true report counts."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stepdown.errors import UsageError
from stepdown.scan.core import scan_tree
from stepdown.scan.findings import ScanResult
from stepdown.scan.scanners import Profile, Scanner
from stepdown.scan.snapshot import DEEPEST, TreeLimits

pytestmark = pytest.mark.anyio
MakeRow = Callable[..., Scanner]
Git = Callable[..., str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with one file."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.py").write_text("one\ntwo\n")
    return folder


def _writes(*paths: str, code: int = 0) -> str:
    """A program that reports a finding in line 1 of each path and ends with `code`."""
    results = [
        {
            "ruleId": "R1",
            "message": {"text": "m"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": path}, "region": {"startLine": 1}}}],
        }
        for path in paths
    ]
    log = {"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "t"}}, "results": results}]}
    return f"import sys; open(sys.argv[2], 'w').write({json.dumps(log)!r}); sys.exit({code})"


async def _scan(
    tree: Path, *scanners: Scanner, profile: Profile = "full", seconds: float = 30, limits: TreeLimits | None = None
) -> ScanResult:
    scratch = tree.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    try:
        return await scan_tree(
            tree, scanners, profile=profile, scratch=scratch, limit_seconds=seconds, tree_limits=limits or TreeLimits()
        )
    finally:
        assert [] == list(scratch.iterdir())


@pytest.mark.parametrize(
    ("program", "columns", "said"),
    [
        ("import sys; sys.exit(2)", {}, "ended with exit code 2"),
        ("raise RuntimeError('deep')", {}, "wrote no report (exit code 1: RuntimeError: deep"),
        ("", {}, "wrote no report (exit code 0"),
        ("import sys; open(sys.argv[2], 'w').write('{')", {}, "is no valid SARIF"),
        (_writes("a.py"), {}, "exit code 0 means none, and its report has 1 findings"),
        (_writes(code=1), {}, "exit code 1 means findings, and its report has none"),
        (_writes("../a.py", code=1), {}, "outside the tree"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", {}, "was ended by SIGKILL"),
        ("import time; time.sleep(60)", {"time_limit_seconds": 0.3}, "outlived its limit"),
        ("", {"argv": ("no-such-scanner",)}, "its program is not installed"),
        ("", {"program": "no_such_package/bin/x"}, "its program is not installed"),
        ("", {"program": "stepdown/no-such-file"}, "its program is not installed"),
    ],
)
async def test_a_scanner_that_cannot_be_believed_fails_the_scan(
    tree: Path, row: MakeRow, program: str, columns: dict[str, object], said: str
) -> None:
    """It is named, and the findings of the others are kept."""
    good = row(_writes("a.py", code=1), name="good")
    result = await _scan(tree, row(program, name="bad", **columns), good)
    outcomes = {outcome.name: outcome.outcome for outcome in result.scanners}
    assert ("failed", {"bad": "failed", "good": "ok"}, 1) == (result.status, outcomes, len(result.findings))
    assert result.error is not None and result.error.startswith("bad: ") and said in result.error


@pytest.mark.parametrize(("paths", "code"), [((), 0), (("a.py",), 1)])
async def test_a_scanner_that_agrees_with_itself_is_believed(
    tree: Path, row: MakeRow, paths: tuple[str, ...], code: int
) -> None:
    """Exit code and report say the same."""
    result = await _scan(tree, row(_writes(*paths, code=code)))
    assert ("completed", None, len(paths)) == (result.status, result.error, len(result.findings))


async def test_an_exit_code_may_say_nothing_about_findings(tree: Path, row: MakeRow) -> None:
    """Some tools end with 0 whenever they write SARIF."""
    result = await _scan(tree, row(_writes("a.py"), exit_codes={0: "either"}))
    assert ("completed", 1) == (result.status, len(result.findings))


async def test_the_limit_of_the_whole_scan_ends_its_scanners(tree: Path, row: MakeRow) -> None:
    """Whatever each row allows."""
    result = await _scan(tree, row("import time; time.sleep(60)"), seconds=0.5)
    assert "failed" == result.status


async def test_a_profile_skips_and_says_so(tree: Path, row: MakeRow) -> None:
    """Not run is not clean."""
    result = await _scan(tree, row(profiles=("full",)), profile="quick")
    assert ("skipped", "is not in profile quick", 0) == (
        result.scanners[0].outcome,
        result.scanners[0].reason,
        result.scanners[0].files_judged,
    )


async def test_links_never_reach_a_scanner(tree: Path, row: MakeRow) -> None:
    """A link may lead to a secret of the host; it is left out and counted."""
    (tree / "link.py").symlink_to("/etc/passwd")
    (tree / "away").symlink_to("/etc")
    lists = "import os, sys; sys.exit(9 if set(os.listdir('.')) == {'a.py'} else 8)"
    result = await _scan(tree, row(lists, exit_codes={0: "clean"}))
    assert "ended with exit code 9: it said nothing" == result.scanners[0].reason
    assert [("away", "is a link"), ("link.py", "is a link")] == [(n.path, n.reason) for n in result.not_judged]


async def test_what_runs_the_trees_code_cannot_change_what_others_judge(tree: Path, row: MakeRow) -> None:
    """Not even by way of their copy, which it can reach: it starts when they are through."""
    spoils = "import glob; [open(p, 'w').write('quiet') for p in glob.glob('../../**/a.py', recursive=True)];"
    changes = row(spoils + _writes(), runs_the_tree="plugins")
    reads = "import sys; sys.exit(9 if open('a.py').read() == 'one\\ntwo\\n' else 8)"
    scratch = tree.parent / "scratch"
    scratch.mkdir()
    one_by_one = asyncio.Semaphore(1)
    result = await scan_tree(
        tree,
        [changes, row(reads, name="reads")],
        profile="full",
        scratch=scratch,
        limit_seconds=30,
        gate=one_by_one,
        trust=True,
    )
    assert ["ok", "ended with exit code 9: it said nothing"] == [o.reason or o.outcome for o in result.scanners]


async def test_what_runs_the_trees_code_is_left_out_without_trust(tree: Path, row: MakeRow) -> None:
    """And said, with how to go on."""
    ran = tree.parent / "ran"
    result = await _scan(tree, row(f"open({str(ran)!r}, 'w');" + _writes(), runs_the_tree="plugins"))
    said = "left out: it runs code of the tree that it judges; --trust where you would run that code yourself"
    assert ("skipped", said, False) == (result.scanners[0].outcome, result.scanners[0].reason, ran.exists())


async def test_a_tree_cannot_turn_its_scanner_off(tree: Path, row: MakeRow) -> None:
    """Settings of the tree for a scanner are left out."""
    (tree / ".quiet").write_text("skip everything")
    result = await _scan(tree, row(_writes(), own_settings=(".quiet",)))
    assert [(".quiet", "could turn a scanner off")] == [(n.path, n.reason) for n in result.not_judged]


async def test_what_is_not_judged_is_counted(tree: Path, row: MakeRow) -> None:
    """Folders of dependencies, large files, pipes."""
    (tree / "node_modules").mkdir()
    (tree / "node_modules" / "x.js").write_text("x")
    (tree / "large.bin").write_bytes(bytes(5 * 2**20 + 1))
    os.mkfifo(tree / "pipe")
    result = await _scan(tree, row(_writes()))
    assert {"node_modules", "large.bin", "pipe"} == {place.path for place in result.not_judged}
    assert (1, 8, 3) == (result.coverage.files, result.coverage.bytes, result.coverage.files_not_judged)


@pytest.mark.parametrize("limits", [TreeLimits(files=1), TreeLimits(bytes=9)])
async def test_a_tree_that_is_too_large_is_refused(tree: Path, row: MakeRow, limits: TreeLimits) -> None:
    """By number of files and by size."""
    (tree / "b.py").write_text("more")
    with pytest.raises(UsageError, match="holds more than"):
        await _scan(tree, row(_writes()), limits=limits)


async def test_a_tree_without_end_is_refused(tree: Path, row: MakeRow) -> None:
    """Programs, this one too, break at a thousand folders inside each other, and nothing may hide down there."""
    (tree / Path(*["d"] * DEEPEST)).mkdir(parents=True)
    assert "completed" == (await _scan(tree, row(_writes()))).status
    (tree / Path(*["d"] * (DEEPEST + 1))).mkdir(parents=True)
    with pytest.raises(UsageError, match=f"holds folders more than {DEEPEST} deep; scan a folder inside it"):
        await _scan(tree, row(_writes()))


async def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, row: MakeRow) -> None:
    """Nothing to judge is no clean result."""
    with pytest.raises(UsageError, match="is no folder"):
        await _scan(tmp_path / "none", row(_writes()))


async def test_cancelling_a_scan_leaves_no_program_and_no_file(tree: Path, row: MakeRow) -> None:
    """Cancelled is over when the caller is told."""
    pipe = tree.parent / "pid"
    os.mkfifo(pipe)
    program = f"import os, time; f = open({str(pipe)!r}, 'w'); f.write(str(os.getpid())); f.close(); time.sleep(60)"
    task = asyncio.create_task(_scan(tree, row(program)))
    pid = int(await asyncio.to_thread(pipe.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/{pid}").exists()


async def test_a_hostile_repository_runs_nothing(tree: Path, row: MakeRow, git: Git) -> None:
    """Its own config names programs that `git log -p` would run."""
    git(tree, "init", "-q")
    (tree / ".gitattributes").write_text("*.py diff=evil\n")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    ran = tree.parent / "ran"
    for key in ("diff.evil.textconv", "core.fsmonitor", "uploadpack.packObjectsHook"):
        git(tree, "config", key, f"touch {ran}; cat")
    log = "import subprocess as s, sys; s.run(['git', 'log', '-p', '--all'], check=True, stdout=s.DEVNULL);"
    history = row(log + _writes(), subject="history")
    result = await _scan(tree, history)
    assert ("completed", False) == (result.status, ran.exists())
    git(tree, "log", "-p")
    assert ran.exists(), "the bait itself no longer works"


async def test_a_repository_that_git_cannot_read_fails(tree: Path, row: MakeRow) -> None:
    """A broken history is not an empty one."""
    (tree / ".git").mkdir()
    result = await _scan(tree, row(_writes(), subject="history"))
    assert ("failed", True) == (result.status, "git cannot read the history" in str(result.error))


async def test_a_shallow_history_is_said(tree: Path, row: MakeRow, git: Git) -> None:
    """Older commits that are not here were not judged."""
    git(tree, "init", "-q")
    for number in range(2):
        (tree / "a.py").write_text(f"{number}\n")
        git(tree, "add", ".")
        git(tree, "commit", "-qm", str(number))
    shallow = tree.parent / "shallow"
    git(tree.parent, "clone", "-q", "--depth=1", f"file://{tree}", str(shallow))
    result = await _scan(shallow, row(_writes(), subject="history"))
    assert [".git"] == [place.path for place in result.not_judged]
    assert 1 == result.coverage.commits


async def test_without_history_a_history_scanner_is_skipped(tree: Path, row: MakeRow, git: Git) -> None:
    """No repository, and a repository without a commit."""
    history = row(_writes(), subject="history")
    none = await _scan(tree, history)
    git(tree, "init", "-q")
    empty = await _scan(tree, history)
    assert ["there is no git history", "the history has no commit"] == [
        none.scanners[0].reason,
        empty.scanners[0].reason,
    ]


async def test_a_folder_of_a_repository_is_told_whose_history_is_meant(tree: Path, row: MakeRow, git: Git) -> None:
    """It has one; it is only not its own."""
    git(tree, "init", "-q")
    (tree / "inside").mkdir()
    (tree / "inside" / "a.py").write_text("x")
    scratch = tree.parent / "scratch"
    scratch.mkdir()
    history = row(_writes(), subject="history")
    result = await scan_tree(tree / "inside", [history], profile="full", scratch=scratch, limit_seconds=30)
    assert f"its history is that of {tree}; give --path={tree}" == result.scanners[0].reason


async def test_the_document_has_a_score_only_when_a_tool_gave_one(tree: Path, row: MakeRow) -> None:
    """cvss_summary is never made up."""
    result = await _scan(tree, row(_writes("a.py", code=1)))
    scored = replace(result, findings=(replace(result.findings[0], score=8.1),))
    assert [{"max_score": None}, {"max_score": 8.1}] == [r.document()["cvss_summary"] for r in (result, scored)]
