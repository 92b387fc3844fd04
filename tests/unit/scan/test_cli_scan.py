"""What `./run scan` takes, refuses and ends with."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from invoke.exceptions import Exit

from stepdown.cli import door, scan
from stepdown.errors import StepdownError, UsageError
from stepdown.host.release import ID_DIGITS
from stepdown.scan import core
from stepdown.scan.assess import Assessment, assess, choose_scanners
from stepdown.scan.findings import ScannerOutcome
from stepdown.scan.scanners import load_catalogue
from stepdown.scan.snapshot import TreeLimits
from stepdown.scan_request import (
    BASELINE,
    Options,
    baseline_of,
    images_of,
    output_of,
    request_of,
    with_database,
    with_images,
)
from stepdown.scanners_environment import SERVICE

pytestmark = pytest.mark.usefixtures("scanners_environment")
Git = Callable[..., str]
BIN = Path(sys.executable).parent
BUCKET = """resource "aws_s3_bucket" "one" {
  bucket = "one"
}
"""
CLOSED = """resource "aws_s3_bucket_public_access_block" "one" {
  bucket = aws_s3_bucket.one.id
  block_public_acls = true
  block_public_policy = true
  ignore_public_acls = true
  restrict_public_buckets = true
}
"""


def _start(tree: Path, *words: str, task: str = "scan") -> subprocess.Popen[str]:
    """`./run scan` of a tree, or another task of it, with reports and temporary files beside it."""
    (tree.parent / "tmp").mkdir(exist_ok=True)
    settings = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "TMPDIR": str(tree.parent / "tmp")}
    argv = (str(BIN / "invoke"), task, f"--path={tree}", f"--output={tree.parent / 'reports'}", *words)
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, cwd=door.ROOT, env=settings, stdout=pipe, stderr=pipe, text=True)


def _assessed(tree: Path, **options: Any) -> Assessment:
    """The scan of a tree in this process."""
    request = request_of(door.ROOT, load_catalogue(), "", Options(path=str(tree), **options), {}, print)
    (tree.parent / "scratch").mkdir()
    return asyncio.run(assess(request, tree.parent / "scratch", print, datetime.now(UTC).date()))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with one harmless file."""
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    return folder


@pytest.fixture
def committed(tree: Path, git: Git) -> Path:
    """The same, as a repository of one commit."""
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    return tree


def test_the_exit_code_says_clean_findings_wrong_use_or_not_judged(tree: Path, tmp_path: Path, token: str) -> None:
    """Through the door that people use; reports are written but for wrong use, and the last line is the verdict."""
    leaky, empty = tmp_path / "leaky" / "tree", tmp_path / "empty" / "tree"
    for folder in (leaky, empty):
        folder.mkdir(parents=True)
    (leaky / "b.py").write_text(f'key = "{token}"\n')
    runs = {
        0: _start(tree, "--only=gitleaks"),
        1: _start(leaky, "--only=gitleaks"),
        3: _start(empty, "--only=gitleaks"),
    }
    said = {code: process.communicate(timeout=60) for code, process in runs.items()}
    assert {code: code for code in runs} == {code: process.returncode for code, process in runs.items()}
    words = {0: "verdict: clean: ", 1: "verdict: findings: ", 3: "verdict: could not judge: there is no file to judge"}
    for code, (out, progress) in said.items():
        assert out.splitlines()[-1].startswith(words[code]), out
        assert token not in out + progress
    reports = {"gitleaks.sarif", "security.sarif", "security.html", "security.json", "security.prom"}
    assert reports == {path.name for path in (leaky.parent / "reports").iterdir()}
    assert 1 == json.loads((leaky.parent / "reports" / "security.json").read_text())["exit_code"]
    assert "scan: 1/1  gitleaks  " in said[1][1]


def test_what_a_tree_is_made_of_is_written(tree: Path) -> None:
    """CycloneDX, under the tree's name."""
    (tree / "requirements.txt").write_text("made-up==1.0.0\n")
    out, _ = (process := _start(tree, task="scan.sbom")).communicate(timeout=60)
    bill = tree.parent / "reports" / "tree.cdx.json"
    named = [component["name"] for component in json.loads(bill.read_text())["components"]]
    assert (0, True) == (process.returncode, "made-up" in named)
    assert out.startswith(f"{bill}: {len(named)} components")


def test_images_are_those_of_the_active_plan_by_id(tmp_path: Path) -> None:
    """Where no plan was ever active, that is said; images of other plans are left out."""
    with pytest.raises(StepdownError, match=r"no plan is active\. Run: \./run deploy"):
        images_of(tmp_path)
    assert {"s/python:1": "sha256:1", "s/gw:1": "sha256:2"} == images_of(_active(tmp_path))


def test_a_scan_of_this_whole_repository_is_one_of_the_images_too(tmp_path: Path) -> None:
    """Of another tree, of a change, or without a plan, it is not."""
    asked = request_of(door.ROOT, load_catalogue(), "", Options(offline=True), {}, print)
    assert {} == with_images(door.ROOT, tmp_path, asked).images
    home = _active(tmp_path)
    assert images_of(home) == with_images(door.ROOT, home, asked).images
    for other in (replace(asked, source=tmp_path), replace(asked, base="main"), replace(asked, profile="quick")):
        assert {} == with_images(door.ROOT, home, other).images


def _active(home: Path) -> Path:
    """A home whose active plan C has one image of three."""
    release = home / "releases" / ("0" * ID_DIGITS)
    (release / "plan_c").mkdir(parents=True)
    (home / "state.json").write_text(json.dumps({"plan": "C", "release": release.name}))
    names = {
        "python": ("s/python:1", "sha256:1"),
        "gateway": ("s/gw:1", "sha256:2"),
        "whole": ("s/whole:1", "sha256:3"),
    }
    images = {name: {"reference": reference, "id": id_} for name, (reference, id_) in names.items()}
    staged = {"plans": ["C"], "slot": 0, "images": images, "environment": {}}
    (release / "release.json").write_text(json.dumps(staged))
    facts = {"containers": {"zen": {"image": "python"}, "heimdall": {"image": "python"}}}
    (release / "plan_c" / "plan.json").write_text(json.dumps(facts))
    return home


@pytest.mark.parametrize("options", [Options(offline=True), Options(only="gitleaks"), Options(only="pip-audit")])
def test_a_database_is_fetched_only_for_who_needs_one(options: Options, tmp_path: Path) -> None:
    """Neither offline nor for scanners that do without."""
    catalogue = load_catalogue()
    rows = choose_scanners(catalogue.scanners, options.only)
    said: list[str] = []
    data = with_database(tmp_path, catalogue, rows, options, {SERVICE: "http://127.0.0.1:9"}, said.append)
    assert ([], None, None if options.offline else "http://127.0.0.1:9") == (said, data.database, data.service)


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(tree: Path, signal_: signal.Signals) -> None:
    """No scanner, no temporary file, the old reports as they were."""
    (tree / "long.py").write_text("assert (1, 2, 3, 4) == (1, 2, 3, 4)\n" * 60_000)
    reports = tree.parent / "reports"
    reports.mkdir()
    (reports / "security.json").write_text("old")
    process = _start(tree, "--only=bandit")
    temporary = tree.parent / "tmp"
    while not list(temporary.glob("stepdown-scan-*/scan-*/bandit/*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal_)
    out, _ = process.communicate(timeout=30)
    assert (3, "verdict: could not judge: interrupted; the reports are as they were\n") == (process.returncode, out)
    assert ([], ["security.json"], "old") == (
        list(temporary.iterdir()),
        [path.name for path in reports.iterdir()],
        (reports / "security.json").read_text(),
    )


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"path": "no/such"}, "--path: no/such is no folder"),
        ({"path": "README.md"}, "--path: README.md is no folder"),
        ({"only": "gitleak"}, "--only: 'gitleak' names no scanner of this task (known: "),
        ({"only": "gitleaks,"}, "--only: '' names no scanner"),
        ({"fail_on": "bad"}, "--fail-on: 'bad' is no severity (known: critical, high, medium, low, info)"),
        ({"profile": "slow"}, "--profile: 'slow' is no profile (known: quick, full)"),
        ({"advisories": "no/such"}, "--advisories: no/such is no folder"),
        ({"advisories": ".", "offline": True}, "--offline: leaves out what --advisories is for; give one of them"),
        ({"baseline": "no/such.yaml"}, "no/such.yaml: cannot be read"),
        ({"baseline": "catalog/plans.yml"}, "catalog/plans.yml: unknown key"),
    ],
)
def test_wrong_use_says_what_is_right(columns: dict[str, object], said: str) -> None:
    """In one sentence, before anything is scanned."""
    options = Options(**columns)
    with pytest.raises(UsageError) as caught:
        request_of(door.ROOT, load_catalogue(), "", options, {}, print)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("README.md", "is no folder"),
        ("stepdown", "holds files of the repository that is judged, such as stepdown/__init__.py"),
        (".", "holds the tree that is judged"),
        ("..", "holds the tree that is judged"),
    ],
)
def test_reports_never_land_on_what_is_judged(output: str, said: str) -> None:
    """A folder that git does not track is fine."""
    with pytest.raises(UsageError, match=said):
        output_of(door.ROOT, output, door.ROOT)
    assert door.ROOT / "reports" == output_of(door.ROOT, "reports", door.ROOT)


def test_a_tree_cannot_accept_its_own_findings(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only this repository's own baseline counts by itself; another one when the caller names it."""
    own = tree / BASELINE
    own.parent.mkdir()
    own.write_text(
        f'accepted:\n  - {{fingerprint: "{"0" * 32}", scanner: gitleaks, rule: r, path: p, expires: 2020-01-01}}\n'
    )
    assert () == baseline_of(door.ROOT, load_catalogue(), tree, "", print)
    assert f"To use it: --baseline={own}" in capsys.readouterr().out
    assert 1 == len(baseline_of(door.ROOT, load_catalogue(), tree, str(own), print))


def test_images_are_no_part_of_one_kind_of_scan(tree: Path) -> None:
    """`scan.dependencies` of a tree without any is clean: nothing was left out."""
    rows = request_of(door.ROOT, load_catalogue(), "dependency", Options(path=str(tree)), {}, print).scanners
    assert [] == [row.name for row in rows if row.subject == "image"]
    assert {"pip-audit", "trivy-vulnerabilities"} <= {row.name for row in rows}


@pytest.mark.parametrize("options", [{"only": "trivy-image"}, {"only": "gitleaks-history", "profile": "quick"}])
def test_what_did_not_run_is_not_clean(tree: Path, options: dict[str, str]) -> None:
    """Scanners of history and images have no file that they are for, and are missed all the same."""
    done = _assessed(tree, **options)
    assert (3, ("no scanner ran",)) == (done.verdict.exit_code, done.verdict.not_judged)


def test_only_this_repository_is_trusted(tree: Path) -> None:
    """Code of another tree runs where the caller says so."""
    trusted = [
        request_of(door.ROOT, load_catalogue(), "", Options(path=path, trust=trust, offline=True), {}, print).trust
        for path, trust in ((".", False), (str(tree), False), (str(tree), True))
    ]
    assert [True, False, True] == trusted


def test_what_runs_code_of_the_tree_is_left_out_aloud(tree: Path) -> None:
    """With the word that lets it."""
    (tree / "site.yml").write_text("---\n- name: One\n  hosts: all\n")
    done = _assessed(tree, only="ansible-lint,gitleaks")
    assert (0, True) == (done.verdict.exit_code, "--trust" in done.verdict.aloud[0]), done.verdict


@pytest.mark.parametrize(
    ("error", "said", "traced"),
    [
        (RecursionError("too deep"), "scan: this is a defect of Stepdown: RecursionError: too deep\n", True),
        (ExceptionGroup("g", [ExceptionGroup("h", [OSError(28, "full")])]), "scan: [Errno 28] full\n", False),
        (StepdownError("git cannot"), "git cannot\n", False),
    ],
)
def test_an_error_that_nobody_expected_is_no_verdict(
    error: Exception, said: str, traced: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 3, not the 1 of findings; the traceback where it is a defect of ours."""

    def body() -> int:
        raise error

    with pytest.raises(Exit) as left:
        scan._judged(body)
    out, err = capsys.readouterr()
    assert (3, True, traced) == (left.value.code, err.endswith(said), "Traceback" in err)
    assert "verdict: could not judge: see above; the reports are as they were\n" == out


def test_wrong_use_in_one_of_two_scans_stays_wrong_use() -> None:
    """Whatever else went wrong beside it."""

    def body() -> int:
        raise ExceptionGroup("g", [OSError(28, "full"), UsageError("too large")])

    with pytest.raises(UsageError, match="too large"):
        scan._judged(body)


def test_a_revision_that_is_not_there_costs_no_download(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before scanners and advisory data are fetched."""
    for module, name in ((scan.scanners_environment, "ensure"), (scan.scan_request, "with_database")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("something was fetched"))
    with pytest.raises(UsageError, match="'nowhere' names no commit here"):
        scan._scan("", Options(path=str(committed), output=str(committed.parent / "reports"), diff="nowhere"))


def test_both_sides_of_a_change_that_cannot_be_scanned_make_one_sentence(
    committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are scanned at once, and each is too large."""
    (committed / "a.py").write_text("x = 2\n")
    take = core.take_snapshot
    none = TreeLimits(files=0)
    monkeypatch.setattr(core, "take_snapshot", lambda source, to, own, _, ignored: take(source, to, own, none, ignored))
    with pytest.raises(UsageError, match="holds more than 0 files"):
        _assessed(committed, only="gitleaks", diff="HEAD")


def test_a_scanner_that_failed_before_the_change_leaves_it_unjudged(
    committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the old findings nobody knows which are new."""
    (committed / "a.py").write_text("x = 2\n")
    real = core.judge
    broken = ScannerOutcome("gitleaks", "1", "failed", "broke", 0.0, 0, 1, 0)

    async def fails_on_the_old(*args: Any) -> Any:
        judged = await real(*args)
        old = (args[3].snapshot.root / "a.py").read_text() == "x = 1\n"
        return replace(judged, outcome=broken) if old else judged

    monkeypatch.setattr(core, "judge", fails_on_the_old)
    done = _assessed(committed, only="gitleaks", diff="HEAD")
    assert (3, ("gitleaks before the change: broke",)) == (done.verdict.exit_code, done.verdict.not_judged)


def test_what_the_change_adds_is_found_alone(tree: Path, git: Git, token: str) -> None:
    """Through the core: the old finding is not told again, whether it moved or not."""
    git(tree, "init", "-q")
    old = f'key = "{token}"\n'
    (tree / "a.py").write_text(old)
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    (tree / "a.py").rename(tree / "b.py")
    (tree / "new.py").write_text(f'key = "{token[::-1].replace("_phg", "")}{token}"\n')
    (tree / "a%41.py").write_text(f'other = "{token[::-1].replace("_phg", "")}{token}"\n')
    done = _assessed(tree, only="gitleaks", diff="HEAD")
    assert {"new.py", "a%41.py"} == {finding.path for finding in done.result.findings}
    assert 1 == done.verdict.exit_code


@pytest.mark.parametrize("left", ["", CLOSED.replace("aws_s3_bucket.one.id", '"another"')])
def test_what_a_change_does_to_a_file_that_it_leaves_alone_is_found(tree: Path, git: Git, left: str) -> None:
    """What one file says, or its being there, makes another one right; what was wrong before is not told."""
    git(tree, "init", "-q")
    (tree / "main.tf").write_text(BUCKET)
    (tree / "access.tf").write_text(CLOSED)
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    if left:
        (tree / "access.tf").write_text(left)
    else:
        (tree / "access.tf").unlink()
    done = _assessed(tree, only="trivy-configuration", diff="HEAD")
    found = {(finding.path, finding.rule) for finding in done.verdict.above}
    assert 1 == done.verdict.exit_code
    assert {("main.tf", rule) for rule in ("AWS-0086", "AWS-0087", "AWS-0091", "AWS-0093")} == found
