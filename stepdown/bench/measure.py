"""Contenders in turns, their statistics, verdicts against the catalogue's limits, and how both are told."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepdown.catalog import Objective

Load = tuple[float, float, float]  # the machine's load average over 1, 5 and 15 minutes
Samples = Mapping[str, tuple[float, ...]]  # contender to its measurements, one a round, in seconds


@dataclass(frozen=True)
class Contender:
    """One of those that do the same; `sample` does it once and returns how long it took, in seconds."""

    name: str
    what: str
    sample: Callable[[], float]
    beside: str = ""  # the contender that its ratio is to; the benchmark's reference where it names none


@dataclass(frozen=True)
class Setting:
    """What every benchmark is told: the checkout, the hosts, the limits, and where progress goes."""

    root: Path
    inventory: str
    objectives: Mapping[str, Objective]
    say: Callable[[str], None]


@dataclass(frozen=True)
class Ratio:
    """A limit on a contender's ratio to another one: the objective's statistic over rounds, each within itself."""

    contender: str
    beside: str
    objective: Objective


@dataclass(frozen=True)
class Verdict:
    """An objective and what was measured; good when it is below the limit, or when `instead`, if there is one, is."""

    contender: str
    objective: Objective
    measured: float
    instead: Verdict | None = None

    @property
    def good(self) -> bool:
        return self.measured < self.objective.limit or (self.instead is not None and self.instead.good)


@dataclass(frozen=True)
class More:
    """What a benchmark measured beside the times of its contenders, as it knows itself: verdicts, and JSON data."""

    verdicts: tuple[Verdict, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """What is measured: contenders in their order, the one that the others are compared with, and what is limited."""

    name: str
    summary: str
    reference: str
    contenders: tuple[Contender, ...]
    limits: Mapping[str, Objective]  # contender to the objective that it has to meet
    ratios: tuple[Ratio, ...] = ()
    more: Callable[[], More] = More  # asked once, after the last round
    alternating: bool = False  # every second round in the opposite order

    def __post_init__(self) -> None:
        names = [contender.name for contender in self.contenders]
        besides = {contender.beside or self.reference for contender in self.contenders}
        ends = {name for limit in self.ratios for name in (limit.contender, limit.beside)}
        unknown = {self.reference, *self.limits, *besides, *ends} - set(names)
        if unknown or len(set(names)) != len(names):
            raise ValueError(f"benchmark {self.name}: contenders {names}, and {sorted(unknown)} is none of them")


@dataclass(frozen=True)
class Measured:
    """A benchmark that ran; load averages from before the first round and after the last."""

    benchmark: Benchmark
    samples: Samples
    before: Load
    after: Load
    more: More = More()

    def ratio(self, contender: Contender) -> float:
        """How many times as long as the one beside it."""
        return ratio(self.samples[contender.name], self.samples[contender.beside or self.benchmark.reference])


def take_turns(
    contenders: Sequence[Contender], rounds: int, say: Callable[[str], None], *, alternating: bool = False
) -> Samples:
    """Every contender once a round, so that a busy minute falls on all of them.

    In the same order each round; `alternating`: in the opposite one every second round, where what ran before helps.
    """
    samples: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(1, rounds + 1):
        for contender in reversed(contenders) if alternating and number % 2 == 0 else contenders:
            samples[contender.name].append(contender.sample())
        latest = ", ".join(f"{name} {times[-1]:.2f} s" for name, times in samples.items())
        say(f"bench: round {number} of {rounds}: {latest}")
    return {name: tuple(times) for name, times in samples.items()}


def statistic(name: str, samples: Sequence[float]) -> float:
    """A statistic as objectives name them; percentiles above the median by nearest rank.

    https://en.wikipedia.org/wiki/Percentile#The_nearest-rank_method
    """
    if name == "max":
        return max(samples)
    if name == "p50":
        return statistics.median(samples)
    rank = math.ceil(int(name.removeprefix("p")) / 100 * len(samples))
    return sorted(samples)[rank - 1]


def ratio(samples: Sequence[float], reference: Sequence[float]) -> float:
    """How many times as long as the reference: the median over rounds, each compared within itself."""
    return statistics.median(ratios(samples, reference))


def ratios(samples: Sequence[float], reference: Sequence[float]) -> tuple[float, ...]:
    """How many times as long as the reference, in each round."""
    return tuple(mine / other for mine, other in zip(samples, reference, strict=True))


def judge(measured: Measured) -> tuple[Verdict, ...]:
    """One verdict for each limit."""
    benchmark, samples = measured.benchmark, measured.samples
    times = [(name, goal, samples[name]) for name, goal in benchmark.limits.items()]
    times += [
        (limit.contender, limit.objective, ratios(samples[limit.contender], samples[limit.beside]))
        for limit in benchmark.ratios
    ]
    verdicts = (Verdict(name, goal, statistic(goal.statistic, values)) for name, goal, values in times)
    return (*verdicts, *measured.more.verdicts)


def table(measured: Measured) -> str:
    """What people read: a row for each contender, the load, and the verdicts."""
    benchmark, samples = measured.benchmark, measured.samples
    width = max(len(name) for name in ("contender", *samples))
    lines = [f"{benchmark.name}: {benchmark.summary}"]
    lines.append(f"{'contender':<{width}}  {'median':>8}  {'min':>8}  {'max':>8}  {'ratio':>6}  what")
    for contender in benchmark.contenders:
        times = samples[contender.name]
        figures = "  ".join(f"{value:>6.2f} s" for value in (statistics.median(times), min(times), max(times)))
        lines.append(f"{contender.name:<{width}}  {figures}  {measured.ratio(contender):>6.2f}  {contender.what}")
    before, after = (" ".join(f"{value:.2f}" for value in load) for load in (measured.before, measured.after))
    rounds = f"{len(samples[benchmark.reference])} round(s), ratios to {benchmark.reference}"
    lines.append(f"{rounds}; load average {before} before, {after} after")
    lines += [told(verdict) for verdict in judge(measured)]
    return "\n".join(lines)


def told(verdict: Verdict) -> str:
    """A verdict in a line."""
    goal = verdict.objective
    text = f"{goal.name}: {verdict.contender} {goal.statistic} {verdict.measured:.2f}, limit {goal.limit:g} {goal.unit}"
    if verdict.instead and verdict.measured >= goal.limit:
        return f"{text}, or {told(verdict.instead)}"
    return f"{text}: {'good' if verdict.good else 'MISSED'}"


def document(measured: Measured) -> dict[str, Any]:
    """What programs read: every measurement and all that `table` says, as JSON data."""
    benchmark, samples = measured.benchmark, measured.samples
    contenders = {
        contender.name: {
            "what": contender.what,
            "seconds": list(samples[contender.name]),
            "median": statistics.median(samples[contender.name]),
            "min": min(samples[contender.name]),
            "max": max(samples[contender.name]),
            "ratio": measured.ratio(contender),
            "beside": contender.beside or benchmark.reference,
        }
        for contender in benchmark.contenders
    }
    return {
        "summary": benchmark.summary,
        "reference": benchmark.reference,
        "rounds": len(samples[benchmark.reference]),
        "load_average": {"before": list(measured.before), "after": list(measured.after)},
        "contenders": contenders,
        "limits": [_limit(verdict) for verdict in judge(measured)],
        **({"more": dict(measured.more.figures)} if measured.more.figures else {}),
    }


def _limit(verdict: Verdict) -> dict[str, Any]:
    goal = verdict.objective
    said: dict[str, Any] = {"objective": goal.name, "contender": verdict.contender, "statistic": goal.statistic}
    said |= {"measured": verdict.measured, "limit": goal.limit, "unit": goal.unit, "good": verdict.good}
    return said | ({"instead": _limit(verdict.instead)} if verdict.instead else {})
