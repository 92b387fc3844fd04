"""One verdict: what could not be judged is worse than what was found, and both are said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stepdown.scan.baseline import Applied
from stepdown.scan.findings import SEVERITIES, NotJudged, ScannerOutcome, ScanResult, Severity
from stepdown.scan.verdict import CLEAN, FOUND, NOT_JUDGED, judge, last_line, percent
from tests.unit.scan.made import COVERAGE, entry, finding, outcome, result

FAILED = outcome("two", outcome="failed", reason="not scanned, no advisory data: none was given", files_judged=0)
OFFLINE = outcome("two", outcome="skipped", reason="left out by --offline: needs advisory data", files_judged=0)
NOTHING = outcome("two", outcome="skipped", reason="there is no file of its kind", files_expected=0, files_judged=0)
# scanners that no file is for
IMAGE = outcome("two", outcome="skipped", reason="no image was named", files_expected=0, files_judged=0)
QUICK = outcome("two", outcome="skipped", reason="is not in profile quick", files_expected=0, files_judged=0)


@pytest.mark.parametrize("gate", SEVERITIES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_gate_counts_what_is_as_bad_or_worse(severity: Severity, gate: Severity) -> None:
    """Every severity against every gate."""
    at_or_above = SEVERITIES.index(severity) <= SEVERITIES.index(gate)
    verdict = judge(result(finding(severity=severity)), Applied(), gate)
    assert (FOUND if at_or_above else CLEAN, int(at_or_above), int(not at_or_above)) == (
        verdict.exit_code,
        len(verdict.above),
        verdict.below,
    )


def test_an_accepted_finding_does_not_count() -> None:
    """And is numbered."""
    verdict = judge(result(finding("1"), finding("2")), Applied({"1" * 32: entry("1")}), "high")
    assert (FOUND, 1, 1) == (verdict.exit_code, len(verdict.above), verdict.accepted)
    verdict = judge(result(finding("1")), Applied({"1" * 32: entry("1")}), "high")
    assert (CLEAN, 0, 1) == (verdict.exit_code, len(verdict.above), verdict.accepted)


def test_a_baseline_that_does_not_hold_fails_a_scan_without_findings() -> None:
    """An expired entry is a promise that was not kept."""
    verdict = judge(result(), Applied(problems=("accepted/0: expired",)), "high")
    assert (FOUND, ("accepted/0: expired",)) == (verdict.exit_code, verdict.bad)


def test_a_stale_entry_is_said_and_fails_nothing() -> None:
    """It is only untidy."""
    verdict = judge(result(), Applied(stale=("accepted/0: matches nothing any more",)), "high")
    assert (CLEAN, ("accepted/0: matches nothing any more",)) == (verdict.exit_code, verdict.aloud)


@pytest.mark.parametrize(
    ("scanned", "said"),
    [
        (result(scanners=(outcome(), FAILED)), "two: not scanned, no advisory data: none was given"),
        (result(scanners=(OFFLINE,)), "no scanner ran"),
        (result(scanners=(IMAGE,)), "no scanner ran"),
        (result(scanners=(QUICK, NOTHING)), "no scanner ran"),
        (result(scanners=()), "no scanner ran"),
        (result(scanners=(NOTHING,), coverage=replace(COVERAGE, files=0, share=None)), "there is no file to judge"),
        (
            result(coverage=replace(COVERAGE, share=0.9499)),
            "coverage is 94.9 %, below 95 %",
        ),
        (
            result(not_judged=[NotJudged(".git", "is a shallow clone: its older commits are not here", None)]),
            "history is a shallow clone: its older commits are not here",
        ),
    ],
)
def test_what_was_not_judged_is_not_clean(scanned: ScanResult, said: str) -> None:
    """With and without findings: 3 wins over 1, and both are shown."""
    verdict = judge(scanned, Applied(), "high")
    assert (NOT_JUDGED, (said,), ()) == (verdict.exit_code, verdict.not_judged, verdict.bad)
    both = judge(result(finding(), scanners=(FAILED,)), Applied(), "high")
    assert (NOT_JUDGED, ("1 at or above high",)) == (both.exit_code, both.bad)
    assert "1 at or above high" in last_line(both, []) and "no advisory data" in last_line(both, [])


@pytest.mark.parametrize("skipped", [OFFLINE, NOTHING])
def test_what_is_left_out_is_said_beside_a_clean_verdict(skipped: ScannerOutcome) -> None:
    """--offline judges the rest, and a tree without workflows has none to be wrong."""
    verdict = judge(result(scanners=(outcome(), skipped)), Applied(), "high")
    assert (CLEAN, (f"two: {skipped.reason}",)) == (verdict.exit_code, verdict.aloud)


def test_a_kind_of_file_that_is_not_there_is_clean() -> None:
    """`scan.workflows` of a tree without workflows."""
    assert CLEAN == judge(result(scanners=(NOTHING,)), Applied(), "high").exit_code


def test_coverage_is_rounded_down() -> None:
    """What is below the limit must not read as if it were not."""
    assert ["94.9 %", "95 %", "100 %"] == [percent(share) for share in (0.94999, 0.95, 1.0)]


def test_a_change_does_not_need_the_whole_history() -> None:
    """A shallow clone that holds the change's own commits is enough."""
    scanned = result(not_judged=[NotJudged(".git", "is a shallow clone", None)])
    assert CLEAN == judge(scanned, Applied(), "high", whole_history=False).exit_code
    untold = result(not_judged=[NotJudged(".git", "git cannot list its files: broken", None)])
    assert NOT_JUDGED == judge(untold, Applied(), "high", whole_history=False).exit_code


def test_the_last_line_says_verdict_numbers_and_how_to_go_on() -> None:
    """One line, whatever happened."""
    clean = last_line(judge(result(finding(severity="low")), Applied(), "high"), ["Report: reports/security.html"])
    assert (
        "verdict: clean: no finding at or above high (1 below high, 0 accepted). Report: reports/security.html" == clean
    )
    found = last_line(judge(result(finding()), Applied(), "high"), [])
    assert "verdict: findings: 1 at or above high (0 below high, 0 accepted)" == found
