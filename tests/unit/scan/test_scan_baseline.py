"""A baseline accepts one finding at a time, for a reason, for a time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from stepdown.errors import UsageError
from stepdown.scan.baseline import Applied, apply, load_baseline
from stepdown.scan.findings import NotJudged, ScannerOutcome
from tests.unit.scan.made import TODAY, entry, finding, outcome, result

ROW = {
    "fingerprint": f'"{"0" * 32}"',
    "scanner": "one",
    "rule": "R1",
    "path": "src/a.py",
    "reason": "it is a test",
    "who": "platform",
    "expires": str(TODAY),
}


def _written(folder: Path, *rows: dict[str, str]) -> Path:
    """A baseline with these rows."""
    lines = ["accepted:" if rows else "accepted: []"]
    for row in rows:
        lines += [f"{'  - ' if not i else '    '}{key}: {value}" for i, (key, value) in enumerate(row.items())]
    path = folder / "baseline.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_entry_that_agrees_accepts_its_finding() -> None:
    """On its last day too."""
    assert Applied({"0" * 32: entry()}) == apply([entry()], result(finding()), TODAY)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"expires": TODAY - timedelta(days=1)}, "expired on 2030-06-14"),
        ({"reason": ""}, "gives no reason, so it accepts nothing"),
        ({"who": ""}, "gives no who, so it accepts nothing"),
        ({"reason": "", "who": ""}, "gives no reason and no who"),
        ({"rule": "R2"}, "does not agree with its finding, which is R1 in src/a.py"),
        ({"path": "src/b.py"}, "does not agree with its finding, which is R1 in src/a.py"),
        ({"scanner": "two"}, "names two, and the finding is one of one"),
    ],
)
def test_an_entry_that_does_not_hold_accepts_nothing_and_is_a_problem(columns: dict[str, object], said: str) -> None:
    """The finding counts again, and the entry is named with its place."""
    applied = apply([entry(**columns)], result(finding()), TODAY)
    assert ({}, 1, ()) == (applied.accepted, len(applied.problems), applied.stale)
    assert applied.problems[0].startswith("config/scan-baseline.yaml: accepted/0: ") and said in applied.problems[0]


def test_an_expired_entry_is_a_problem_without_a_finding_too() -> None:
    """Whoever reads the file must not find dead rows."""
    applied = apply([entry(expires=TODAY - timedelta(days=1))], result(), TODAY)
    assert (1, 1) == (len(applied.problems), len(applied.stale))


@pytest.mark.parametrize(
    ("scanners", "unread", "stale"),
    [
        ([outcome("one")], [], 1),
        ([outcome("one")], [NotJudged("src/b.py", "syntax error", "one")], 1),
        ([outcome("one")], [NotJudged("src/a.py", "syntax error", "two")], 1),
        ([outcome("one")], [NotJudged("src/a.py", "syntax error", "one")], 0),
        ([outcome("one")], [NotJudged("src/a.py", "is larger than 5 MiB", None)], 0),
        ([outcome("one", outcome="failed")], [], 0),
        ([outcome("one", outcome="skipped")], [], 0),
        ([outcome("two")], [], 0),
    ],
)
def test_an_entry_is_stale_only_when_its_scanner_read_its_file(
    scanners: list[ScannerOutcome], unread: list[NotJudged], stale: int
) -> None:
    """A scanner that did not run, or could not read the file, says nothing."""
    applied = apply([entry("1")], result(finding("2"), scanners=scanners, not_judged=unread), TODAY)
    assert (stale, (), {}) == (len(applied.stale), applied.problems, applied.accepted)


def test_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    """Every column arrives, and a date a year ahead is allowed."""
    expires = TODAY + timedelta(days=366)
    path = _written(tmp_path, {**ROW, "expires": str(expires)})
    loaded = load_baseline(path, "config/scan-baseline.yaml", ["one"], TODAY)
    assert (entry(expires=expires),) == loaded


def test_an_empty_baseline_accepts_nothing(tmp_path: Path) -> None:
    """The list must be there."""
    assert () == load_baseline(_written(tmp_path), "b.yaml", ["one"], TODAY)


def test_an_entry_without_reason_can_be_read(tmp_path: Path) -> None:
    """So that the scan runs, and the verdict says so beside everything else."""
    bare = {key: value for key, value in ROW.items() if key not in ("reason", "who")}
    loaded = load_baseline(_written(tmp_path, bare), "b.yaml", ["one"], TODAY)
    assert [("", "")] == [(one.reason, one.who) for one in loaded]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{**ROW, "fingerprint": '"*"'}], "accepted/0/fingerprint: should be a finding's fingerprint"),
        ([{**ROW, "scanner": "none"}], r"accepted/0/scanner: is 'none' \(known: one\)"),
        ([{**ROW, "path": '"src/**"'}], "accepted/0/path: should be the path of one file; folders and patterns"),
        ([{**ROW, "path": "src/"}], "accepted/0/path: should be the path of one file"),
        ([{**ROW, "expires": "soon"}], "accepted/0/expires: should be a date such as"),
        ([{**ROW, "expires": "2030-02-31"}], "2030-02-31 is no date of the calendar"),
        ([{**ROW, "expires": "2031-06-17"}], "2031-06-17 is more than 366 days ahead"),
        ([{**ROW, "whole_folder": "true"}], "unknown key 'whole_folder'"),
        ([{k: v for k, v in ROW.items() if k != "fingerprint"}], "key 'fingerprint' is missing"),
        ([{k: v for k, v in ROW.items() if k != "expires"}], "key 'expires' is missing"),
        ([ROW, ROW], "accepted/1: has the fingerprint of b.yaml: accepted/0; keep one"),
    ],
)
def test_what_is_no_single_finding_is_refused(tmp_path: Path, rows: list[dict[str, str]], said: str) -> None:
    """No folder, pattern, rule or scanner can be accepted, nor anything for ever."""
    with pytest.raises(UsageError, match=said):
        load_baseline(_written(tmp_path, *rows), "b.yaml", ["one"], TODAY)
