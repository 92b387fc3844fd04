"""What clients saw of moves from plan to plan: latencies, failures and outages, and the verdicts on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from stepdown.bench import openloop
from stepdown.bench.measure import More, Verdict, statistic
from stepdown.bench.openloop import Load, Record
from stepdown.catalog import Objective

TAIL_SECONDS = 5.0  # after a move is done, during which clients may still feel it
PICTURED = ("A", "D")
OURS, RAW, PLAIN = "switch", "compose", "plain"
Pair = tuple[str, str]  # of plans: from, to


@dataclass(frozen=True)
class Move:
    """A move from plan to plan under load: when it began, was done, and returned, of time.monotonic()."""

    pair: Pair
    began: float
    done: float
    returned: float
    records: tuple[Record, ...]

    def window(self) -> list[Record]:
        """Calls whose time was from the beginning to 5 s after it was done."""
        return [record for record in self.records if self.began <= record.scheduled_at < self.done + TAIL_SECONDS]


@dataclass
class Seen:
    """What was measured beside the times: every move by way, and what the load itself cost."""

    moves: dict[str, list[Move]] = field(default_factory=lambda: {OURS: [], RAW: [], PLAIN: []})
    loads: list[Load] = field(default_factory=list)

    def latencies(self, way: str, pair: Pair | None = None) -> list[float]:
        """Of all calls in the windows of a pair, or of the pairs that start containers, which compose has too."""
        pairs = {pair} if pair else {move.pair for move in self.moves[RAW]}
        return [record.latency_seconds for move in self.moves[way] if move.pair in pairs for record in move.window()]


def name_of(pair: tuple[str, str]) -> str:
    """A pair of plans in a word."""
    return ">".join(pair)


def more(seen: Seen, pairs: Sequence[Pair], objectives: Mapping[str, Objective]) -> More:
    """The verdicts about calls, and for each pair what clients saw with us, with compose beside, and the plain way."""
    goal, other = objectives["switch_pause"], objectives["switch_pause_beside_compose"]
    pause, beside = (statistic(goal.statistic, seen.latencies(way)) for way in (OURS, RAW))
    instead = Verdict("all that start containers", other, pause / beside)
    failed = max(len(_failed(move.records)) for move in seen.moves[OURS])
    verdicts = (
        Verdict("all that start containers", goal, pause, instead),
        Verdict("the worst", objectives["switch_failed_calls"], float(failed)),
    )
    calls = {name_of(pair): {way: _figures(seen, way, pair) for way in seen.moves} for pair in pairs}
    costs = [load.cpu_seconds / load.wall_seconds for load in seen.loads]
    load = {
        "per_second": openloop.PER_SECOND,
        "deadline_seconds": openloop.DEADLINE_SECONDS,
        "calls": sum(load.sent for load in seen.loads),
        "cpu_share_of_a_core": round(max(costs), 4),
        "late_seconds": round(max(load.late_seconds for load in seen.loads), 4),
    }
    return More(verdicts, {"load": load, "calls": calls, "picture": picture(seen)})


def _figures(seen: Seen, way: str, pair: Pair) -> dict[str, Any]:
    """Of a pair's rounds together; nothing where the way has none."""
    moves = [move for move in seen.moves[way] if move.pair == pair]
    if not moves:
        return {}
    times = seen.latencies(way, pair)
    failed = [record for move in moves for record in _failed(move.records)]
    words = sorted({record.outcome.partition(":")[0] for record in failed})
    return {
        "calls": sum(len(move.records) for move in moves),
        "failed": len(failed),
        "outcomes": words,
        "outage_seconds": round(max(outage(move.records) for move in moves), 3),
        "returned_seconds": [round(move.returned - move.began, 3) for move in moves],
        **{name: round(statistic(name, times), 4) for name in ("p50", "p95", "p99", "max")},
    }


def outage(records: Sequence[Record]) -> float:
    """The longest that a server failed: from the time of a call that failed to that of the next good one, in seconds.

    Where no good one follows, to the last call's.
    """
    longest = 0.0
    by_server = sorted(records, key=lambda record: (record.server, record.scheduled_at))
    for _, mine in groupby(by_server, key=lambda record: record.server):
        since: float | None = None
        for record in mine:
            if since is not None:
                longest = max(longest, record.scheduled_at - since)
            if record.ok:
                since = None
            elif since is None:
                since = record.scheduled_at
    return longest


def picture(seen: Seen) -> dict[str, Any]:
    """The pictured pair's last move of each way, and its calls in columns; seconds count from the command."""
    shown: dict[str, Any] = {"pair": list(PICTURED)}
    for way in (OURS, PLAIN):
        move = [move for move in seen.moves[way] if move.pair == PICTURED][-1]
        calls = sorted(move.records, key=lambda record: record.scheduled_at)
        shown[way] = {
            "done": round(move.done - move.began, 3),
            "returned": round(move.returned - move.began, 3),
            "second": [round(call.scheduled_at - move.began, 3) for call in calls],
            "milliseconds": [round(call.latency_seconds * 1000, 2) for call in calls],
            "ok": [int(call.ok) for call in calls],
        }
    return shown


def _failed(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if not record.ok]
