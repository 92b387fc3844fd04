"""SARIF of any tool becomes one kind of result; what is none is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepdown.scan.formats import read_report
from stepdown.scan.reports import InvalidReportError, relative_path
from stepdown.scan.scanners import Scanner

SOURCE = Path("/src/tree")
MakeRow = Callable[..., Scanner]


def _log(*results: dict[str, Any], rules: list[dict[str, Any]] | None = None, **run: Any) -> bytes:
    driver = {"name": "t", "rules": rules or []}
    return json.dumps({"version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results, **run}]}).encode()


def _entry(uri: str = "a.py", **more: Any) -> dict[str, Any]:
    place = {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": 3}}}
    return {"ruleId": "R1", "message": {"text": "m"}, "locations": [place], **more}


@pytest.mark.parametrize(
    ("entry", "rule", "columns", "severity"),
    [
        ({"level": "error"}, {}, {}, "high"),
        ({"level": "none"}, {}, {}, "info"),
        ({}, {}, {}, "medium"),
        ({}, {"defaultConfiguration": {"level": "note"}}, {}, "low"),
        ({"level": "note"}, {"properties": {"security-severity": "9.8"}}, {}, "critical"),
        ({"properties": {"security-severity": "6.9"}}, {}, {}, "medium"),
        ({"properties": {"issue_severity": "HIGH"}}, {}, {"severity_property": "issue_severity"}, "high"),
        ({"level": "note"}, {}, {"severity": "critical"}, "critical"),
    ],
)
def test_severity_has_five_words(
    row: MakeRow, entry: dict[str, Any], rule: dict[str, Any], columns: dict[str, Any], severity: str
) -> None:
    """The row's word, the tool's, its score, its level: in this order."""
    report = read_report(_log(_entry(**entry), rules=[{"id": "R1", **rule}]), row(**columns), SOURCE)
    assert severity == report.results[0].severity


def test_a_score_is_only_what_a_tool_gave(row: MakeRow) -> None:
    """No CVSS number is made up from a level."""
    report = read_report(_log(_entry(level="error")), row(), SOURCE)
    assert report.results[0].score is None


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("./a/b.py", "a/b.py"),
        ("a%20b.py", "a b.py"),
        ("file:///src/tree/c.py", "c.py"),
        ("/src/tree/d/e.py", "d/e.py"),
    ],
)
def test_paths_are_relative_with_forward_slashes(uri: str, path: str) -> None:
    """However a tool spells it."""
    assert path == relative_path(uri, SOURCE)


def test_a_name_that_no_tool_quoted_is_that_file(tmp_path: Path) -> None:
    """gitleaks writes paths as they are; a quoted one is the same file."""
    (tmp_path / "a%41.ini").touch()
    assert {"a%41.ini"} == {relative_path(uri, tmp_path) for uri in ("a%41.ini", "./a%41.ini", "a%2541.ini")}
    assert "\u00e9" * 100 == relative_path("%C3%A9" * 100, tmp_path)  # as it stands too long for a name


def test_paths_in_history_are_taken_as_they_are(row: MakeRow) -> None:
    """The file may be long gone, so nothing tells a name with a % from a quoted one."""
    report = read_report(_log(_entry("a%41.py")), row(subject="history"), SOURCE)
    assert "a%41.py" == report.results[0].path


@pytest.mark.parametrize("uri", ["../x", "/etc/passwd", "file:///src/other", "a/../../x"])
def test_a_path_outside_the_tree_is_refused(uri: str) -> None:
    """A scanner that leaves the tree is not believed."""
    with pytest.raises(InvalidReportError, match="outside the tree"):
        relative_path(uri, SOURCE)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"version": "2.1.0", "runs": []}',
        b'{"version": "2.0.0", "runs": [{}]}',
        b'{"version": "2.1.0", "runs": [{"tool": {"driver": {}}, "results": null}]}',
        b'{"version": "2.1.0", "runs": [{"tool": {"driver": {}}}]}',
        b"[" * 100_000,
        _log({"ruleId": "R", "message": {"text": "m"}, "locations": []}),
        _log(_entry(level="dreadful")),
        _log(_entry(properties={"security-severity": "11"})),
        _log(invocations=[{"executionSuccessful": False}]),
        _log(
            invocations=[
                {
                    "executionSuccessful": True,
                    "toolExecutionNotifications": [{"level": "error", "message": {"text": "broke"}}],
                }
            ]
        ),
    ],
)
def test_what_is_no_trustworthy_report_is_refused(row: MakeRow, text: bytes) -> None:
    """Never an empty result from a broken report."""
    with pytest.raises(InvalidReportError):
        read_report(text, row(), SOURCE)


def test_a_file_that_the_tool_could_not_read_is_told(row: MakeRow) -> None:
    """An error with a file is a hole in coverage, not a failure."""
    place = {"physicalLocation": {"artifactLocation": {"uri": "./bad.py"}}}
    note = {"level": "error", "message": {"text": "syntax error"}, "locations": [place]}
    invocation = {"executionSuccessful": True, "toolConfigurationNotifications": [note]}
    assert (("bad.py", "syntax error"),) == read_report(_log(invocations=[invocation]), row(), SOURCE).unread


def test_half_a_surrogate_pair_can_be_written_on(row: MakeRow) -> None:
    """Text from hostile files must not break what stores the result."""
    report = read_report(_log(_entry(message={"text": "x\ud800"})), row(), SOURCE)
    assert "x?" == report.results[0].message
