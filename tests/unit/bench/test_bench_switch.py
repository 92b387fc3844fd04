"""Which switches are measured, beside what, and against which limits."""

from __future__ import annotations

from itertools import permutations

import pytest

from stepdown.bench import switch
from stepdown.bench.measure import Benchmark
from stepdown.bench.scratch import Scratch
from stepdown.bench.seen import name_of
from stepdown.catalog import LAST_RESORT, PLAN_NAMES, Catalog
from tests.conftest import Staging


@pytest.fixture
def made(staging: Staging, catalog: Catalog) -> Benchmark:
    """The benchmark of a staged release of all four plans."""
    return switch.benchmark(Scratch("stepdown", staging.home, staging.stage()[0]), catalog.objectives, print)


def test_every_ordered_pair_is_on_the_route_once() -> None:
    """Each begins where the one before ended, and a round ends where the next begins."""
    assert sorted(permutations(PLAN_NAMES, 2)) == sorted(switch.PAIRS)
    assert switch.ROUTE[0] == switch.ROUTE[-1]


def test_each_switch_has_compose_before_it_and_the_plain_way_after(made: Benchmark) -> None:
    """Compose starts the same containers right before; none where a switch starts none."""
    names = [contender.name for contender in made.contenders]
    for pair in map(name_of, switch.PAIRS):
        before = names[: names.index(pair)]
        assert ("A>C" == pair) == (f"{pair} compose" not in before), pair
        assert f"{pair} plain" in names[names.index(pair) :], pair
    assert ["A>C", "A>C"] == [one.beside for one in made.contenders if one.name in ("A>C", "A>C plain")]


def test_compose_starts_what_the_switch_starts(made: Benchmark, catalog: Catalog) -> None:
    """The containers of the new plan that the old one does not have."""
    whats = {contender.name: contender.what for contender in made.contenders}
    plan_a, plan_b = (catalog.plan(name).containers for name in "AB")
    begun = ", ".join(name for name in plan_b if name not in plan_a)
    assert f"docker compose up of {begun} beside plan A, to the last handshake" == whats["A>B compose"]


def test_the_limits_are_those_of_the_design(made: Benchmark) -> None:
    """A to C and the warm last resort in seconds; every start beside compose, the cold last resort beside its own."""
    warm = {f"{old}>{LAST_RESORT} warm": "switch_to_last_resort_warm" for old in "ABC"}
    assert {"A>C": "switch_a_to_c", **warm} == {name: goal.name for name, goal in made.limits.items()}
    beside = {(limit.contender, limit.beside): limit.objective.name for limit in made.ratios}
    pairs = [pair for pair in map(name_of, switch.PAIRS) if pair != "A>C"]
    expected = {(pair, f"{pair} compose"): "switch_beside_compose" for pair in pairs}
    own = {(f"{old}>{LAST_RESORT}", f"{old}>{LAST_RESORT} own"): "switch_to_last_resort_cold" for old in "ABC"}
    assert {**expected, **own} == beside
