"""What `./run bench --only=scan` compares, and when it has nothing to compare."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepdown.bench import scan
from stepdown.bench.measure import Benchmark, Setting
from stepdown.catalog import Catalog
from stepdown.errors import StepdownError


@pytest.fixture
def place(tmp_path: Path) -> scan.Place:
    """A checkout whose `./run` ends with 3, as a scan that could not judge does."""
    door = tmp_path / "run"
    door.write_text("#!/bin/sh\necho 'verdict: could not judge: semgrep'\nexit 3\n")
    door.chmod(0o755)
    return scan.Place(tmp_path, tmp_path, tmp_path, tmp_path)


@pytest.fixture
def made(place: scan.Place, catalog: Catalog) -> Benchmark:
    """The benchmark by the catalogue's limits."""
    return scan.benchmark(place, Setting(place.root, "", catalog.objectives, lambda _: None))


def test_the_whole_command_is_compared_with_the_programs_alone(made: Benchmark) -> None:
    """In turns that swap; the ratio is limited, and the time of a scan as such."""
    assert (["one by one", "scan"], "one by one") == ([one.name for one in made.contenders], made.reference)
    assert made.alternating
    assert [("scan", "security_scan")] == [(name, goal.name) for name, goal in made.limits.items()]
    ratios = [(limit.contender, limit.beside, limit.objective.name) for limit in made.ratios]
    assert [("scan", "one by one", "security_scan_beside_one_by_one")] == ratios


def test_a_scan_that_could_not_judge_is_no_measurement(place: scan.Place) -> None:
    """A scanner that fails at once would make it look quick."""
    with pytest.raises(StepdownError, match="should have ended with 1: 3: verdict: could not judge: semgrep"):
        scan.at_once(place)
