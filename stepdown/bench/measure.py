"""Contenders in turns, their statistics, the verdict against the catalogue's limits, and how both are told."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Setting:
    """What every benchmark is told: the checkout, the hosts, the limits, and where progress goes."""

    root: Path
    inventory: str
    objectives: Mapping[str, Objective]
    say: Callable[[str], None]


@dataclass(frozen=True)
class Benchmark:
    """What is measured: contenders in their order, the one that the others are compared with, and what is limited."""

    name: str
    summary: str
    reference: str
    contenders: tuple[Contender, ...]
    limits: Mapping[str, Objective]  # contender to the objective that it has to meet

    def __post_init__(self) -> None:
        names = [contender.name for contender in self.contenders]
        unknown = {self.reference, *self.limits} - set(names)
        if unknown or len(set(names)) != len(names):
            raise ValueError(f"benchmark {self.name}: contenders {names}, and {sorted(unknown)} is none of them")


@dataclass(frozen=True)
class Measured:
    """A benchmark that ran; load averages from before the first round and after the last."""

    benchmark: Benchmark
    samples: Samples
    before: Load
    after: Load


@dataclass(frozen=True)
class Verdict:
    """An objective and what was measured; good when it is below the limit."""

    contender: str
    objective: Objective
    measured: float

    @property
    def good(self) -> bool:
        return self.measured < self.objective.limit


def take_turns(contenders: Sequence[Contender], rounds: int, say: Callable[[str], None]) -> Samples:
    """Every contender once a round, in the same order each round, so that a busy minute falls on all of them."""
    samples: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(1, rounds + 1):
        for contender in contenders:
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
    return statistics.median(mine / other for mine, other in zip(samples, reference, strict=True))


def judge(measured: Measured) -> tuple[Verdict, ...]:
    """One verdict for each limit."""
    limits = measured.benchmark.limits.items()
    return tuple(
        Verdict(name, objective, statistic(objective.statistic, measured.samples[name])) for name, objective in limits
    )


def table(measured: Measured) -> str:
    """What people read: a row for each contender, the load, and the verdicts."""
    benchmark, samples = measured.benchmark, measured.samples
    reference = samples[benchmark.reference]
    width = max(len(name) for name in ("contender", *samples))
    lines = [f"{benchmark.name}: {benchmark.summary}"]
    lines.append(f"{'contender':<{width}}  {'median':>8}  {'min':>8}  {'max':>8}  {'ratio':>6}  what")
    for contender in benchmark.contenders:
        times = samples[contender.name]
        figures = "  ".join(f"{value:>6.2f} s" for value in (statistics.median(times), min(times), max(times)))
        lines.append(f"{contender.name:<{width}}  {figures}  {ratio(times, reference):>6.2f}  {contender.what}")
    before, after = (" ".join(f"{value:.2f}" for value in load) for load in (measured.before, measured.after))
    rounds = f"{len(reference)} round(s), ratios to {benchmark.reference}"
    lines.append(f"{rounds}; load average {before} before, {after} after")
    for verdict in judge(measured):
        goal = verdict.objective
        against = f"{goal.statistic} {verdict.measured:.2f}, limit {goal.limit:g} {goal.unit}"
        lines.append(f"{goal.name}: {verdict.contender} {against}: {'good' if verdict.good else 'MISSED'}")
    return "\n".join(lines)


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
            "ratio": ratio(samples[contender.name], samples[benchmark.reference]),
        }
        for contender in benchmark.contenders
    }
    limits = [
        {
            "objective": verdict.objective.name,
            "contender": verdict.contender,
            "statistic": verdict.objective.statistic,
            "measured": verdict.measured,
            "limit": verdict.objective.limit,
            "unit": verdict.objective.unit,
            "good": verdict.good,
        }
        for verdict in judge(measured)
    ]
    return {
        "summary": benchmark.summary,
        "reference": benchmark.reference,
        "rounds": len(samples[benchmark.reference]),
        "load_average": {"before": list(measured.before), "after": list(measured.after)},
        "contenders": contenders,
        "limits": limits,
    }
