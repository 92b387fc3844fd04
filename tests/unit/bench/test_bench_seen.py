"""What clients saw of a move, counted and judged."""

from __future__ import annotations

import pytest

from stepdown.bench import seen
from stepdown.bench.openloop import Load, Record
from stepdown.bench.seen import OURS, PLAIN, RAW, Move, Pair, Seen
from stepdown.catalog import Catalog

DOWN = "http 503: no healthy upstream"


def record(at: float, latency: float = 0.01, outcome: str = "ok", server: str = "zen") -> Record:
    """A call, scheduled at a second."""
    return Record(server, "probe", at, latency, outcome)


def move(*records: Record, pair: Pair = ("A", "D"), began: float = 10.0, done: float = 12.0) -> Move:
    """A move of two seconds that returned a second later."""
    return Move(pair, began, done, done + 1, records)


def of(ours: list[Move], raw: list[Move], plain: list[Move]) -> Seen:
    """All that was seen, under one load."""
    load = Load(sent=100, cpu_seconds=0.5, wall_seconds=10.0, late_seconds=0.002)
    return Seen({OURS: ours, RAW: raw, PLAIN: plain}, [load])


def test_a_pause_is_sought_from_the_beginning_to_five_seconds_after() -> None:
    """Calls before and after are of another load."""
    times = [9.99, 10.0, 12.0, 16.99, 17.0]
    assert [10.0, 12.0, 16.99] == [call.scheduled_at for call in move(*map(record, times)).window()]


def test_only_pairs_that_start_containers_are_pooled() -> None:
    """A to C starts none, and its quick calls would hide the slow ones of the others."""
    ours = [move(record(11, 0.2)), move(record(11, 0.001), pair=("A", "C"))]
    known = of(ours, [move(record(11, 0.1))], [])
    assert [0.2] == known.latencies(OURS)
    assert [0.001] == known.latencies(OURS, ("A", "C"))


@pytest.mark.parametrize(
    ("records", "seconds"),
    [
        ([record(1), record(2)], 0.0),
        ([record(1), record(2, outcome=DOWN), record(3, outcome=DOWN), record(4)], 2.0),
        ([record(1, outcome=DOWN), record(4), record(5, outcome=DOWN), record(6)], 3.0),
        ([record(1, outcome=DOWN), record(2, server="serena"), record(3)], 2.0),
        ([record(1), record(2, outcome=DOWN), record(7, outcome=DOWN)], 5.0),
    ],
    ids=["none", "one", "the longest", "of one server", "without end"],
)
def test_an_outage_lasts_from_the_first_failed_call_to_the_next_good_one(records: list[Record], seconds: float) -> None:
    """Of one server, whatever the others do, and in whatever order the records came."""
    assert seconds == seen.outage(records[::-1])


@pytest.mark.parametrize(
    ("ours", "beside", "good"),
    [(0.2, 0.01, True), (0.4, 0.3, True), (0.4, 0.1, False)],
    ids=["below", "no worse than twice compose", "neither"],
)
def test_a_pause_is_good_below_its_limit_or_below_twice_that_of_compose(
    catalog: Catalog, ours: float, beside: float, good: bool
) -> None:
    """As the design has it."""
    known = of([move(record(11, ours))], [move(record(11, beside))], [move(record(11))])
    pause, failed = seen.more(known, [("A", "D")], catalog.objectives).verdicts
    assert (good, ours) == (pause.good, pause.measured)
    assert (True, 0) == (failed.good, failed.measured)


def test_one_failed_call_is_one_too_many(catalog: Catalog) -> None:
    """Also before the window and after it: every call that was sent counts."""
    ours = [move(record(11), record(9, outcome=DOWN)), move(record(11))]
    known = of(ours, [move(record(11))], [move(record(11))])
    *_, failed = seen.more(known, [("A", "D")], catalog.objectives).verdicts
    assert (False, 1) == (failed.good, failed.measured)


def test_the_figures_tell_each_way_apart(catalog: Catalog) -> None:
    """Calls, failures, outage and latencies; nothing where a way has none; and what the load itself took."""
    plain = [move(record(10), record(11, outcome=DOWN), record(12, outcome=DOWN), record(13, 0.5))]
    ours = [move(record(11, 0.2)), move(record(11), pair=("A", "C"))]
    known = of(ours, [move(record(11, 0.1))], plain)
    figures = seen.more(known, [("A", "D"), ("A", "C")], catalog.objectives).figures
    assert {} == figures["calls"]["A>C"][RAW]
    of_plain = figures["calls"]["A>D"][PLAIN]
    assert (4, 2, ["http 503"], 2.0) == tuple(
        of_plain[key] for key in ("calls", "failed", "outcomes", "outage_seconds")
    )
    assert ([3.0], 0.5) == (of_plain["returned_seconds"], of_plain["max"])
    assert (100, 0.05, 0.002) == tuple(figures["load"][key] for key in ("calls", "cpu_share_of_a_core", "late_seconds"))


def test_the_picture_has_the_last_move_of_both_ways() -> None:
    """Its seconds count from the command."""
    earlier, later = move(record(11)), move(record(10.5, 0.2), record(9, 0.1, DOWN))
    shown = seen.picture(of([earlier, later], [], [earlier]))
    ours = shown[OURS]
    assert ([-1.0, 0.5], [100.0, 200.0], [0, 1]) == (ours["second"], ours["milliseconds"], ours["ok"])
    assert (2.0, 3.0) == (ours["done"], ours["returned"])
    assert [1.0] == shown[PLAIN]["second"]
