"""What is recorded in docs/, and what stays there as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stepdown.bench import report
from stepdown.errors import StepdownError

PROSE = f"# Benchmarks\n\nBy hand.\n\n{report.BEGIN}\nold\n{report.END}\n\nBy hand, too.\n"
MACHINE = {"date": "2026-11-25", "cpus": 2, "memory_gib": 24, "kernel": "6.1", "docker": "20.10", "python": "3.11.7"}


def ran(*limits: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A benchmark's document, as measure.document has it."""
    one = {"what": "it", "median": 2.0, "min": 1.0, "max": 3.0, "ratio": 1.0, "beside": "ours", "seconds": [1.0, 3.0]}
    load = {"before": [0.5, 0.4, 0.3], "after": [1.5, 0.9, 0.5]}
    head = {"summary": "with nothing to change", "reference": "ours", "rounds": 2, "machine": MACHINE}
    return {**head, "load_average": load, "contenders": {"ours": one}, "limits": list(limits), **more}


def limit(contender: str, measured: float, good: bool, **more: Any) -> dict[str, Any]:
    """A judged limit."""
    said = {"objective": "goal", "contender": contender, "statistic": "max", "measured": measured}
    return {**said, "limit": 2, "unit": "seconds", "good": good, **more}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with the document alone."""
    (tmp_path / "docs").mkdir()
    (tmp_path / report.DOCUMENT).write_text(PROSE, encoding="utf-8")
    return tmp_path


def test_only_what_stands_between_the_markers_is_replaced(tree: Path) -> None:
    """The words around it are somebody's."""
    assert [report.FIGURES, report.DOCUMENT] == report.write(tree, {"deploy": ran()})
    text = (tree / report.DOCUMENT).read_text(encoding="utf-8")
    before, after = PROSE.split("old")
    assert (True, True) == (text.startswith(before), text.endswith(after))
    assert "| ours | 2.00 | 1.00 | 3.00 | 1.00 | it |" in text.replace("`", "")
    figures = json.loads((tree / report.FIGURES).read_text(encoding="utf-8"))
    assert f"{before}{report.rendered(figures)}{after}" == text


def test_what_was_not_measured_this_time_stays(tree: Path) -> None:
    """One benchmark alone does not take the others away."""
    report.write(tree, {"start": ran()})
    report.write(tree, {"deploy": ran()})
    figures = json.loads((tree / report.FIGURES).read_text(encoding="utf-8"))
    assert ["deploy", "start"] == list(figures)


def test_measurements_stand_in_a_line(tree: Path) -> None:
    """So that a change of the file can be read."""
    report.write(tree, {"deploy": ran()})
    assert '"seconds": [ 1.0, 3.0 ]' in (tree / report.FIGURES).read_text(encoding="utf-8")


def test_a_document_without_its_markers_is_left_alone(tree: Path) -> None:
    """Nobody knows which part of it may go."""
    (tree / report.DOCUMENT).write_text("# Benchmarks\n", encoding="utf-8")
    with pytest.raises(StepdownError, match=r"docs/benchmarks\.md: has no"):
        report.write(tree, {"deploy": ran()})
    assert not (tree / report.FIGURES).exists()


def test_an_objective_is_told_by_the_worst_of_those_that_have_it() -> None:
    """And by how many missed it; one that is enough instead has a row of its own."""
    other = {**limit("all", 1.0, True), "objective": "other"}
    text = report.rendered({"deploy": ran(limit("a", 1.0, True), limit("b", 3.0, False, instead=other))})
    assert "| `goal` | b (worst of 2) | max 3 | 2 seconds | missed by 1 of 2 |" in text
    assert "| `other` | all | max 1 | 2 seconds | met |" in text


def way(failed: int, calls: int, returned: list[float]) -> dict[str, Any]:
    """What clients saw of a pair."""
    times = {"p50": 0.005, "p95": 0.02, "p99": 0.1, "max": 0.2}
    return {"calls": calls, "failed": failed, "outage_seconds": 4.2, "returned_seconds": returned, **times}


def test_a_pair_of_plans_has_a_row_of_times_and_one_of_calls(tree: Path) -> None:
    """Beside compose, the last resort's own start and the plain way; a dash where there is nothing; and a picture."""
    one = ran()["contenders"]["ours"]
    slow = {**one, "seconds": [2.0, 6.0], "median": 4.0}
    contenders = {"A>D": one, "A>D compose": one, "A>D own": slow, "A>D plain": slow, "A>C": one, "A>C plain": slow}
    calls = {
        "A>D": {"switch": way(0, 400, [3.0]), "compose": way(0, 410, [2.0]), "plain": way(200, 500, [4.0])},
        "A>C": {"switch": way(0, 300, [1.0]), "compose": {}, "plain": way(100, 400, [3.0])},
    }
    load = {"calls": 2010, "per_second": 50.0, "cpu_share_of_a_core": 0.031, "late_seconds": 0.004}
    shown = {"done": 1.0, "returned": 2.0, "second": [0.0, 1.0], "milliseconds": [5.0, 0.3], "ok": [1, 0]}
    picture = {"pair": ["A", "D"], "switch": {**shown, "ok": [1, 1]}, "plain": shown}
    document = ran(contenders=contenders, more={"calls": calls, "load": load, "picture": picture})
    assert [report.FIGURES, report.DOCUMENT, report.PICTURE] == report.write(tree, {"switch": document})
    text = (tree / report.DOCUMENT).read_text(encoding="utf-8")
    assert "| A → D | 2.00 | 3.00 | 3.00 | 2.00 | 4.00 | 4.00 | - | 1.00 | 0.50 | 0.50 |" in text
    assert "| A → C | 2.00 | 3.00 | 1.00 | - | - | 4.00 | - | - | - | 0.50 |" in text
    assert "| A → D | 0 of 400 | 5 | 100 | 200 | 100 | 200 of 500 | 4.2 |" in text
    assert "| A → C | 0 of 300 | 5 | 100 | 200 | - | 100 of 400 | 4.2 |" in text
    assert "2010 calls, 50 a second; it took at most 3.1% of a core, and began no call later than 4 ms" in text
    assert f"]({report.PICTURE.removeprefix('docs/')})" in text
    assert b"\x89PNG" == (tree / report.PICTURE).read_bytes()[:4]


def test_the_library_of_the_picture_is_loaded_for_it_alone(root: Path) -> None:
    """Every task would be half a second slower."""
    code = "import sys, stepdown.cli.bench; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=True
    )
    assert "False" == done.stdout.strip()
