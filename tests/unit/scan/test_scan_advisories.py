"""Without advisories that can be believed nothing is said about dependencies, and that is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stepdown.errors import UsageError
from stepdown.scan.advisories import NONE, Advisories, from_folder, from_places, read_known
from stepdown.scan.core import scan_tree
from stepdown.scan.findings import ScanResult
from stepdown.scan.scanners import Advice, Scanner, load_scanners
from tests.doubles import trivy_database

pytestmark = pytest.mark.anyio
MakeRow = Callable[..., Scanner]
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
ADVICE = Advice(maximum_age_days=7, service="https://osv.example.org/v1/query")
CANARY = {"feedgen": {"CVE-2020-5227": {"vulnerable": ["<0.9.0"]}}}
FLAW: dict[str, Any] = {
    "id": "PYSEC-1", "modified": "2026-01-01T00:00:00Z", "aliases": ["CVE-2019-10906"], "summary": "escape",
    "affected": [{"package": {"ecosystem": "PyPI", "name": "jinja2"}, "versions": ["2.10"]}],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A local set with one advisory, for pip-audit and for trivy, of today."""
    place = tmp_path / "advisories"
    (place / "osv" / "PyPI").mkdir(parents=True)
    _date(place, NOW)
    (place / "osv" / "PyPI" / "PYSEC-1.json").write_text(json.dumps(FLAW))
    flaw = {"CVE-2019-10906": {"vulnerable": ["<2.10.1"], "CVSS": {"nvd": {"V3Score": 8.6}}}}
    trivy_database.write(place / "trivy-db", {"jinja2": flaw, **CANARY}, NOW)
    return place


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A lock with a vulnerable pin, one that is none, and two versions of one package."""
    source = tmp_path / "source"
    (source / "other").mkdir(parents=True)
    (source / "requirements.txt").write_text("# lock\njinja2==2.10\n")
    (source / "other" / "requirements.txt").write_text("jinja2==3.1.6\n")
    (source / "other" / "requirements-dev.txt").write_text("flask>=1\n")
    return source


def _date(place: Path, dated: datetime) -> None:
    (place / "metadata.json").write_text(json.dumps({"dated": dated.isoformat(), "source": "a test"}))


async def _scan(tree: Path, *scanners: Scanner, advisories: Advisories, offline: bool = False) -> ScanResult:
    scratch = tree.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return await scan_tree(
        tree, scanners, profile="full", scratch=scratch, limit_seconds=60, advisories=advisories, offline=offline
    )


def _rows(*names: str) -> list[Scanner]:
    return [row for row in load_scanners() if row.name in names]


@pytest.mark.usefixtures("scanners_environment")
async def test_one_flaw_that_two_tools_know_is_one_finding(tree: Path, folder: Path) -> None:
    """Under different ids, with the score of the one that has it; the real tools on a local set."""
    known = from_folder(folder, ADVICE, NOW)
    result = await _scan(tree, *_rows("pip-audit", "trivy-vulnerabilities"), advisories=known)
    assert ("completed", None) == (result.status, result.error)
    (finding,) = result.findings
    assert ("requirements.txt", 2, "CVE-2019-10906", 8.6) == (
        finding.path, finding.start_line, finding.rule, finding.score,
    )  # fmt: skip
    assert (("pip-audit", "trivy-vulnerabilities"), ("PYSEC-1",)) == (finding.scanners, finding.aliases)
    assert ("jinja2", "2.10") == (finding.package, finding.package_version)
    said = [(n.path, n.reason, n.scanner) for n in result.not_judged]
    assert [("other/requirements-dev.txt", "is not locked: line 1 is no exact pin", "pip-audit")] == said
    assert 8.6 == result.max_score()


@pytest.mark.usefixtures("scanners_environment")
async def test_a_service_that_cannot_be_reached_is_no_advisory_data(tree: Path) -> None:
    """The real pip-audit, with a service where nothing listens."""
    nobody = Advisories(service="http://127.0.0.1:9/v1/query")
    result = await _scan(tree, *_rows("pip-audit"), advisories=nobody)
    assert "failed" == result.status
    assert str(result.error).startswith("pip-audit: not scanned, no advisory data: the service did not answer; ")


@pytest.mark.usefixtures("scanners_environment")
async def test_a_database_without_the_canary_is_no_database(tree: Path, tmp_path: Path) -> None:
    """One that is empty would call everything clean."""
    trivy_database.write(tmp_path / "db", {"other": {"CVE-1": {"vulnerable": ["<1"]}}}, NOW)
    result = await _scan(tree, *_rows("trivy-vulnerabilities"), advisories=Advisories(database=tmp_path / "db"))
    assert "trivy-vulnerabilities: not scanned, no database: did not find its canary" in str(result.error)


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        ("advisory-service", "not scanned, no advisory data: none was named"),
        ("vulnerability-database", "not scanned, no database: none was named"),
    ],
)
async def test_without_data_a_scanner_fails_and_offline_it_is_left_out(
    tree: Path, row: MakeRow, needs: str, said: str
) -> None:
    """Never run, so that it cannot pass for clean."""
    told = []
    for offline in (False, True):
        result = await _scan(tree, row("raise SystemExit(9)", needs=needs), advisories=NONE, offline=offline)
        told.append((result.status, result.scanners[0].outcome, result.scanners[0].reason))
    left_out = "left out by --offline: needs advisory data"
    assert [("failed", "failed", said), ("completed", "skipped", left_out)] == told


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (0, None),
        (7, None),
        (8, "its data is 8 days old, at most 7 are allowed"),
        (-3, "its data is dated 3 days ahead of this machine's clock"),
    ],
)
def test_a_set_is_believed_for_some_days(folder: Path, days: int, said: str | None) -> None:
    """Older ones, and ones from the future, count as none."""
    _date(folder, NOW - timedelta(days=days))
    known = from_folder(folder, ADVICE, NOW)
    expected = [f"not scanned, no {what}: {said}" if said else None for what in ("advisory data", "database")]
    assert expected == [known.missing("advisory-service"), known.missing("vulnerability-database")]


def test_a_database_is_as_old_as_it_says_itself(folder: Path) -> None:
    """Whatever the set around it is dated."""
    later = NOW + timedelta(days=10)
    _date(folder, later)
    known = from_folder(folder, ADVICE, later)
    fetched = from_places("", folder / "trivy-db", ADVICE, later)
    said = "not scanned, no database: its data is 9 days old, at most 7 are allowed"
    assert [said, said] == [one.missing("vulnerability-database") for one in (known, fetched)]
    assert known.missing("advisory-service") is None


def test_what_a_set_does_not_hold_is_said(tmp_path: Path) -> None:
    """Advisories alone, or a database alone, are half of what is asked."""
    _date(tmp_path, NOW)
    known = from_folder(tmp_path, ADVICE, NOW)
    assert (f"not scanned, no advisory data: {tmp_path} has no osv folder", True) == (
        known.missing("advisory-service"),
        str(known.missing("vulnerability-database")).endswith("trivy-db holds no trivy.db"),
    )


@pytest.mark.parametrize("text", [None, "{", "{}", '{"dated": "soon"}', "[]", '{"dated": 3}'])
def test_a_folder_that_is_no_set_is_wrong_use(tmp_path: Path, text: str | None) -> None:
    """With the file that is wrong."""
    if text is not None:
        (tmp_path / "metadata.json").write_text(text)
    with pytest.raises(UsageError, match=r"metadata\.json: "):
        from_folder(tmp_path, ADVICE, NOW)


def test_a_broken_advisory_is_no_advisory_data(folder: Path) -> None:
    """With its name."""
    (folder / "osv" / "broken.json").write_text("{")
    assert "not scanned, no advisory data: broken.json is no OSV advisory" == read_known(folder / "osv", None)


def test_a_set_about_other_languages_alone_is_no_advisory_data(tmp_path: Path) -> None:
    """The canary is served with whatever is there, so it cannot tell."""
    other = {**FLAW, "affected": [{"package": {"ecosystem": "npm", "name": "x"}, "versions": ["1"]}]}
    (tmp_path / "X-1.json").write_text(json.dumps(other))
    row = next(iter(_rows("pip-audit")))
    assert f"not scanned, no advisory data: {tmp_path} holds no advisory about PyPI" == read_known(tmp_path, row)
