"""What a terminal shows of a scan, and what of hostile names it never does."""

from __future__ import annotations

import io
import json

from stepdown.scan.baseline import Applied
from stepdown.scan.findings import NotJudged
from stepdown.scan.progress import line
from stepdown.scan.verdict import judge
from stepdown.scan.write_json import json_of
from stepdown.scan.write_text import printable, table, told
from tests.unit.scan.made import entry, finding, outcome, result


def test_the_table_counts_by_scanner_and_severity() -> None:
    """A finding of two scanners is one of each, and one in the sum."""
    found = (finding("1", scanners=("one", "two")), finding("2", severity="low"))
    scanners = (outcome("one"), outcome("two"), outcome("three", outcome="failed", reason="broke", files_judged=0))
    rows = [row.split() for row in table(result(*found, scanners=scanners), found).splitlines()]
    assert [
        ["scanner", "critical", "high", "medium", "low", "info", "judged", "seconds"],
        ["one", "0", "1", "0", "1", "0", "2/2", "1.5"],
        ["two", "0", "1", "0", "0", "0", "2/2", "1.5"],
        ["three", "-", "-", "-", "-", "-", "0/2", "1.5", "failed"],
        ["all", "0", "1", "0", "1", "0"],
    ] == rows


def test_everything_that_a_reader_must_know_is_told() -> None:
    """Findings with their places, what failed, what was left out, what no scanner saw."""
    scanners = (
        outcome(),
        outcome("two", outcome="failed", reason="broke"),
        outcome("x", outcome="skipped", reason="no"),
    )
    places = [NotJudged("link", "is a link", None), NotJudged("b.py", "syntax error", "one")]
    scanned = result(finding("1"), finding("2", path="src/accepted.py"), scanners=scanners, not_judged=places)
    accepted = {"2" * 32: entry("2")}
    text = told(scanned, judge(scanned, Applied(accepted, stale=("accepted/3: stale",)), "high"), accepted)
    for words in ("high      src/a.py:3  R1 [one]  a message", "two: broke", "x: no", "accepted/3: stale",
                  "is a link: link", "syntax error by one: b.py", "coverage: "):  # fmt: skip
        assert words in text
    assert "src/accepted.py" not in text


def test_one_rule_that_is_broken_everywhere_hides_no_other() -> None:
    """Three of it are listed; the number says how many more there are."""
    many = [finding(f"{number:x}", message=f"number {number}") for number in range(9)]
    scanned = result(*many, finding("f", rule="R2", severity="low", message="the other"))
    lines = told(scanned, judge(scanned, Applied(), "high"), {}).splitlines()
    listed = lines[lines.index("worst findings") + 1 :][:5]
    assert ["number 0", "number 1", "number 2", "the other", "… and 6 more in the reports"] == [
        line.split("  ")[-1] for line in listed
    ]


def test_a_name_cannot_steer_the_terminal() -> None:
    """No escape, no carriage return, no change of direction."""
    hostile = "a\x1b[2J\r\n\u202egnp.exe\udce4"
    assert "a\\x1b[2J\\r\\n\\u202egnp.exe\\udce4" == printable(hostile)
    scanned = result(finding(path=hostile, message=hostile), not_judged=[NotJudged(hostile, "is a link", None)])
    text = told(scanned, judge(scanned, Applied(), "high"), {})
    assert not set(text) & {"\x1b", "\r", "\u202e"}
    assert "\x1b" not in line(outcome(outcome="failed", reason=hostile), 1, 1)
    io.BytesIO().write(text.encode())


def test_the_document_holds_the_verdict_and_no_invented_score() -> None:
    """`max_score` is null where no scanner gave one."""
    scanned = result(finding())
    document = json.loads(json_of(scanned, judge(scanned, Applied(), "high"), {}, "r"))
    assert ({"max_score": None}, "findings", 1) == (
        document["cvss_summary"],
        document["verdict"],
        document["exit_code"],
    )
    scanned = result(finding(score=5.5), finding("1", score=9.1))
    document = json.loads(json_of(scanned, judge(scanned, Applied(), "high"), {"0" * 32: entry()}, "r"))
    assert ({"max_score": 9.1}, "platform") == (document["cvss_summary"], document["accepted"][0]["who"])
