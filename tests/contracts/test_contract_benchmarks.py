"""The figures in the documents are those that were measured, and every benchmark is described."""

from __future__ import annotations

import json
from pathlib import Path

from stepdown.bench import report
from stepdown.catalog import Catalog
from stepdown.cli import bench


def test_the_document_shows_the_recorded_figures(root: Path) -> None:
    """Its generated part is what `./run bench --write` makes of docs/benchmarks.json."""
    figures = json.loads((root / report.FIGURES).read_text(encoding="utf-8"))
    text = (root / report.DOCUMENT).read_text(encoding="utf-8")
    shown = text.partition(report.BEGIN)[2].partition(report.END)[0]
    assert report.rendered(figures) == shown.strip()


def test_the_figures_are_of_benchmarks_and_objectives_that_there_are(root: Path, catalog: Catalog) -> None:
    """One that was renamed must be measured again; a limit that was changed, too."""
    figures = json.loads((root / report.FIGURES).read_text(encoding="utf-8"))
    assert set() == set(figures) - set(bench.BENCHMARKS)
    judged = [limit for ran in figures.values() for limit in ran["limits"]]
    told = {limit["objective"]: (limit["statistic"], limit["limit"], limit["unit"]) for limit in judged}
    goals = catalog.objectives
    assert {name: (goals[name].statistic, goals[name].limit, goals[name].unit) for name in told} == told


def test_every_benchmark_is_described(root: Path) -> None:
    """What its contenders do, and why that is fair."""
    text = (root / "tests/performance/README.md").read_text(encoding="utf-8")
    assert [] == [name for name in bench.BENCHMARKS if f"\n## {name}\n" not in text]
