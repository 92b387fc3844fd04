"""Turns, statistics, verdicts, and how they are told."""

from __future__ import annotations

import json

import pytest

from stepdown.bench import measure
from stepdown.bench.measure import Benchmark, Contender, Measured, More, Ratio, Verdict
from stepdown.catalog import Objective

LIMIT = Objective("deploy_unchanged_local", "Deploy with nothing to change", "max", 8, "seconds")


def measured(ours: tuple[float, ...], plain: tuple[float, ...], limit: Objective = LIMIT) -> Measured:
    """Two contenders, ours the reference and limited."""
    contenders = (Contender("ours", "our own", lambda: 0.0), Contender("plain", "the other", lambda: 0.0))
    benchmark = Benchmark("deploy", "with nothing to change", "ours", contenders, {"ours": limit})
    return Measured(benchmark, {"ours": ours, "plain": plain}, (0.5, 0.4, 0.3), (1.5, 0.9, 0.5))


def test_contenders_take_turns() -> None:
    """A B A B, never A A B B, so that a busy minute falls on all."""
    order: list[str] = []

    def sampler(name: str) -> Contender:
        return Contender(name, name, lambda: float(order.append(name) or len(order)))

    samples = measure.take_turns((sampler("a"), sampler("b")), 2, lambda _: None)
    assert ["a", "b", "a", "b"] == order
    assert {"a": (1.0, 3.0), "b": (2.0, 4.0)} == samples


def test_contenders_can_swap_who_goes_first() -> None:
    """A B B A, where what ran before leaves files warm."""
    order: list[str] = []

    def sampler(name: str) -> Contender:
        return Contender(name, name, lambda: float(order.append(name) or len(order)))

    samples = measure.take_turns((sampler("a"), sampler("b")), 2, lambda _: None, alternating=True)
    assert ["a", "b", "b", "a"] == order
    assert {"a": (1.0, 4.0), "b": (2.0, 3.0)} == samples


def test_each_round_is_told() -> None:
    """A long measurement shows that it goes on, with what it just measured."""
    told: list[str] = []
    measure.take_turns((Contender("a", "", lambda: 1.25),), 2, told.append)
    assert ["bench: round 1 of 2: a 1.25 s", "bench: round 2 of 2: a 1.25 s"] == told


@pytest.mark.parametrize(
    ("name", "samples", "expected"),
    [
        ("max", (3.0, 9.0, 1.0), 9.0),
        ("p50", (3.0, 9.0, 1.0), 3.0),
        ("p50", (1.0, 2.0, 3.0, 10.0), 2.5),
        ("p95", tuple(float(number) for number in range(1, 101)), 95.0),
        ("p99", tuple(float(number) for number in range(100, 0, -1)), 99.0),
        ("p95", (4.0,), 4.0),
        ("p99", (1.0, 2.0, 3.0), 3.0),
    ],
)
def test_statistics_are_those_of_objectives(name: str, samples: tuple[float, ...], expected: float) -> None:
    """Every statistic that an objective can name, by nearest rank above the median."""
    assert expected == measure.statistic(name, samples)


def test_every_statistic_of_the_catalogue_can_be_computed() -> None:
    """An objective cannot name one that a benchmark does not know."""
    from stepdown.catalog import STATISTICS

    assert [2.0] * len(STATISTICS) == [measure.statistic(name, (2.0, 2.0)) for name in STATISTICS]


def test_a_ratio_compares_within_rounds() -> None:
    """A round in which the machine was ten times as slow for both does not move it."""
    assert 2.0 == measure.ratio((2.0, 20.0, 2.0), (1.0, 10.0, 1.0))


@pytest.mark.parametrize(("slowest", "good"), [(7.99, True), (8.0, False), (9.0, False)])
def test_a_limit_is_met_below_it(slowest: float, good: bool) -> None:
    """Exactly the limit is missed, as the catalogue says."""
    (verdict,) = measure.judge(measured((1.0, slowest), (1.0, 1.0)))
    assert (good, slowest) == (verdict.good, verdict.measured)


def test_the_table_says_all_that_counts() -> None:
    """Median, least, most, ratio, load average, rounds, and the verdict of the limit."""
    text = measure.table(measured((1.0, 9.0, 2.0), (4.0, 18.0, 6.0)))
    lines = text.splitlines()
    assert "deploy: with nothing to change" == lines[0]
    assert ["ours", "2.00", "s", "1.00", "s", "9.00", "s", "1.00", "our", "own"] == lines[2].split()
    assert ["plain", "6.00", "s", "4.00", "s", "18.00", "s", "3.00", "the", "other"] == lines[3].split()
    assert "3 round(s), ratios to ours; load average 0.50 0.40 0.30 before, 1.50 0.90 0.50 after" == lines[4]
    assert "deploy_unchanged_local: ours max 9.00, limit 8 seconds: MISSED" == lines[5]


def test_the_report_has_every_measurement() -> None:
    """As JSON, so that a later run can be compared with it."""
    document = json.loads(json.dumps(measure.document(measured((1.0, 3.0), (4.0, 6.0)))))
    assert [4.0, 6.0] == document["contenders"]["plain"]["seconds"]
    assert 3.0 == document["contenders"]["plain"]["ratio"]
    assert (2, "ours") == (document["rounds"], document["reference"])
    assert {"before": [0.5, 0.4, 0.3], "after": [1.5, 0.9, 0.5]} == document["load_average"]
    (limit,) = document["limits"]
    assert {
        "objective": "deploy_unchanged_local",
        "contender": "ours",
        "statistic": "max",
        "measured": 3.0,
        "limit": 8,
        "unit": "seconds",
        "good": True,
    } == limit


@pytest.mark.parametrize(("reference", "limited"), [("nobody", "a"), ("a", "nobody")])
def test_a_benchmark_names_its_own_contenders(reference: str, limited: str) -> None:
    """A misspelt name is seen before anything is measured."""
    with pytest.raises(ValueError, match="nobody"):
        Benchmark("b", "", reference, (Contender("a", "", lambda: 0.0),), {limited: LIMIT})


def beside(ours: tuple[float, ...], plain: tuple[float, ...], more: More | None = None) -> Measured:
    """Three contenders; ours must not take 1.2 times as long as plain, in the median."""
    goal = Objective("switch_beside_compose", "A switch over compose", "p50", 1.2, "ratio")
    contenders = [Contender("first", "", lambda: 0.0), Contender("plain", "", lambda: 0.0)]
    contenders.append(Contender("ours", "", lambda: 0.0, beside="plain"))
    benchmark = Benchmark("switch", "", "first", tuple(contenders), {}, (Ratio("ours", "plain", goal),))
    samples = {"first": (1.0,) * len(ours), "plain": plain, "ours": ours}
    return Measured(benchmark, samples, (0, 0, 0), (0, 0, 0), more or More())


@pytest.mark.parametrize(("ours", "good"), [((1.1, 11.0, 9.0), True), ((1.3, 13.0, 9.0), False)])
def test_a_limit_can_be_on_the_ratio_to_another(ours: tuple[float, ...], good: bool) -> None:
    """Each round within itself: the median of ratios, not the ratio of medians."""
    (verdict,) = measure.judge(beside(ours, (1.0, 10.0, 10.0)))
    assert (good, "ours") == (verdict.good, verdict.contender)
    assert pytest.approx(ours[0]) == verdict.measured


def test_a_contender_may_be_compared_with_its_own_like() -> None:
    """And not with the benchmark's reference."""
    document = measure.document(beside((4.0,), (2.0,)))
    assert (2.0, "plain") == tuple(document["contenders"]["ours"][key] for key in ("ratio", "beside"))
    assert (2.0, "first") == tuple(document["contenders"]["plain"][key] for key in ("ratio", "beside"))


@pytest.mark.parametrize(("ratio", "good"), [(1.5, True), (2.5, False)])
def test_a_missed_limit_can_be_made_good_by_another(ratio: float, good: bool) -> None:
    """Both are told, in the table and in the report."""
    pause = Objective("switch_pause", "", "p99", 0.25, "seconds")
    other = Objective("switch_pause_beside_compose", "", "p99", 2, "ratio")
    verdict = Verdict("all", pause, 0.4, Verdict("all", other, ratio))
    assert good is verdict.good
    ran = beside((1.0,), (1.0,), More((verdict,), {"calls": 7}))
    line = f"switch_pause: all p99 0.40, limit 0.25 seconds, or switch_pause_beside_compose: all p99 {ratio:.2f}"
    assert f"{line}, limit 2 ratio: {'good' if good else 'MISSED'}" == measure.table(ran).splitlines()[-1]
    document = measure.document(ran)
    told = document["limits"][-1]
    assert (good, "switch_pause_beside_compose", ratio) == (
        told["good"],
        told["instead"]["objective"],
        told["instead"]["measured"],
    )
    assert {"calls": 7} == document["more"]
