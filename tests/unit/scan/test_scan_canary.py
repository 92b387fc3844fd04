"""A scanner counts only when it finds, in the same run, the defect that was planted for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stepdown.scan.advisories import NONE, Advisories
from stepdown.scan.core import scan_tree, selftest
from stepdown.scan.findings import ScanResult
from stepdown.scan.scanners import Canary, Scanner, load_scanners
from tests.doubles import trivy_database

pytestmark = pytest.mark.anyio
MakeRow = Callable[..., Scanner]

CANARY = Canary("folder/canary.py", "a BAD line\n", "R1")
# Reports RULE for every file with the word BAD, and ends as the real ones do.
GREP = """import json, os, sys
found = [os.path.join(at, name) for at, _, names in os.walk('.') for name in names]
found = [path for path in found if 'BAD' in open(path).read()]
place = lambda path: {'physicalLocation': {'artifactLocation': {'uri': path}, 'region': {'startLine': 1}}}
results = [{'ruleId': 'RULE', 'message': {'text': 'm'}, 'locations': [place(path)]} for path in found]
log = {'version': '2.1.0', 'runs': [{'tool': {'driver': {'name': 't'}}, 'results': results}]}
json.dump(log, open(sys.argv[2], 'w'))
sys.exit(1 if found else 0)
"""
SEES, OTHER_RULE = GREP.replace("RULE", "R1"), GREP.replace("RULE", "R2")
BLIND = GREP.replace("'BAD' in", "'none' in").replace("RULE", "R1")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with a clean file and a bad one."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "good.py").write_text("one\n")
    (folder / "bad.py").write_text("BAD\n")
    return folder


async def _scan(tree: Path, *scanners: Scanner) -> ScanResult:
    scratch = tree.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return await scan_tree(tree, scanners, profile="full", scratch=scratch, limit_seconds=60)


async def _selftest(tmp_path: Path, *scanners: Scanner, advisories: Advisories = NONE) -> dict[str, str | None]:
    """Each scanner's reason, None for one that is well."""
    result = await selftest(scanners, scratch=tmp_path, limit_seconds=120, advisories=advisories)
    assert ((), 0) == (result.findings, result.coverage.files)
    return {outcome.name: outcome.reason for outcome in result.scanners}


async def test_a_canary_that_is_found_is_no_finding(tree: Path, row: MakeRow) -> None:
    """What the scanner found in the tree is left, and counts as it would without."""
    result = await _scan(tree, row(SEES, canary=CANARY))
    assert ("completed", ["bad.py"]) == (result.status, [finding.path for finding in result.findings])
    assert (2, 2, 1.0) == (result.coverage.files, result.coverage.text_files_parsed, result.coverage.share)
    assert (1, 2) == (result.scanners[0].findings, result.scanners[0].files_judged)


@pytest.mark.parametrize("program", [BLIND, OTHER_RULE])
async def test_a_scanner_that_misses_its_canary_is_broken(tree: Path, row: MakeRow, program: str) -> None:
    """However well its exit code and report look; what it found besides is not told."""
    result = await _scan(tree, row(program, canary=CANARY))
    said = "did not find its canary (R1 in a file of its kind), so its result says nothing"
    assert ("failed", said, ()) == (result.status, result.scanners[0].reason, result.findings)


async def test_a_canary_is_an_argument_where_files_are(tree: Path, row: MakeRow) -> None:
    """Scanners that are handed files get theirs with them, and no file that looks like an option."""
    (tree / "-x.py").write_text("BAD\n")
    by_hand = row(
        SEES.replace("[os.path.join(at, name) for at, _, names in os.walk('.') for name in names]", "sys.argv[3:]")
    )
    by_hand = replace(by_hand, subject="files", argv=(*by_hand.argv, "{files}"), canary=CANARY)
    result = await _scan(tree, by_hand)
    assert ("completed", ["-x.py", "bad.py"]) == (result.status, [finding.path for finding in result.findings])


async def test_a_tree_cannot_bring_canaries_of_its_own(tree: Path, row: MakeRow) -> None:
    """Their folder has another name in every scan, so what looks like one is judged."""
    (tree / "stepdown-canary-000000000000").mkdir()
    (tree / "stepdown-canary-000000000000" / "x.py").write_text("BAD\n")
    result = await _scan(tree, row(SEES, canary=CANARY))
    assert {"bad.py", "stepdown-canary-000000000000/x.py"} == {finding.path for finding in result.findings}


async def test_the_self_test_tells_the_well_from_the_broken(tmp_path: Path, row: MakeRow) -> None:
    """Without any tree."""
    well, broken = row(SEES, name="well", canary=CANARY), row(BLIND, name="broken", canary=CANARY)
    reasons = await _selftest(tmp_path, well, broken)
    assert (None, True) == (reasons["well"], str(reasons["broken"]).startswith("did not find its canary"))


@pytest.mark.usefixtures("scanners_environment")
async def test_every_scanner_of_the_catalogue_finds_its_canary(tmp_path: Path) -> None:
    """The real ones, all of them, with a local set of advisories that knows nothing else."""
    trivy_database.write(tmp_path / "db", {"feedgen": {"CVE-2020-5227": {"vulnerable": ["<0.9.0"]}}}, datetime.now(UTC))
    (tmp_path / "osv").mkdir()
    other = [{"package": {"ecosystem": "PyPI", "name": "other"}, "versions": ["1.0"]}]
    advisory = {"id": "X-1", "modified": "2026-01-01T00:00:00Z", "affected": other}
    (tmp_path / "osv" / "X-1.json").write_text(json.dumps(advisory))
    known = Advisories(known=tmp_path / "osv", database=tmp_path / "db")
    rows = load_scanners()
    assert dict.fromkeys(row.name for row in rows) == await _selftest(tmp_path, *rows, advisories=known)


@pytest.mark.usefixtures("scanners_environment")
async def test_a_real_scanner_without_its_rules_is_broken(tmp_path: Path) -> None:
    """trivy ends with 0 and a good report; only the canary tells that it looked for nothing."""
    trivy = next(row for row in load_scanners() if row.name == "trivy-configuration")
    deaf = replace(trivy, argv=(*trivy.argv[:2], "--misconfig-scanners=helm", *trivy.argv[2:]))
    reasons = await _selftest(tmp_path, deaf)
    assert str(reasons["trivy-configuration"]).startswith("did not find its canary")


@pytest.mark.usefixtures("scanners_environment")
async def test_java_archives_in_an_image_want_no_registry(tmp_path: Path) -> None:
    """trivy fails on any that it meets when it has no index of them."""
    trivy = next(row for row in load_scanners() if row.name == "trivy-image-vulnerabilities")
    jar = replace(trivy, canary=Canary("lib/some.jar", "no archive", "CVE-1"))
    trivy_database.write(tmp_path / "db", {"feedgen": {}}, datetime.now(UTC))
    known = Advisories(database=tmp_path / "db")
    reasons = await _selftest(tmp_path, jar, advisories=known)
    assert "not scanned, no database: did not find its canary" in str(reasons["trivy-image-vulnerabilities"])
