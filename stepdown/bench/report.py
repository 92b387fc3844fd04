"""What a run measured, for people: docs/benchmarks.md, generated from docs/benchmarks.json, with its picture.

Only the part of the document between its markers is generated; the words around it are by hand.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from stepdown.bench.measure import ratio
from stepdown.bench.seen import OURS, PLAIN, RAW
from stepdown.errors import StepdownError, sentence
from stepdown.host import engine
from stepdown.host.journal import now

DOCUMENT = "docs/benchmarks.md"
FIGURES = "docs/benchmarks.json"
PICTURE = "docs/images/switch.png"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
NONE = "-"  # where there is nothing to measure
Document = Mapping[str, Any]


def machine() -> dict[str, Any]:
    """What the figures depend on, without naming the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = {"cpus": os.cpu_count(), "memory_gib": round(memory), "kernel": platform.release().split("-")[0]}
    return {"date": now()[:10], **found, "python": platform.python_version(), "docker": engine.facts().version}


def write(root: Path, documents: Mapping[str, Document]) -> list[str]:
    """Record what was measured beside what was not measured this time; returns the files written.

    StepdownError where the document has lost its markers.
    """
    figures, path = root / FIGURES, root / DOCUMENT
    before = json.loads(figures.read_text(encoding="utf-8")) if figures.is_file() else {}
    known = dict(sorted({**before, **documents}.items()))
    text = path.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise StepdownError(sentence(DOCUMENT, f"has no {BEGIN} … {END}"))
    figures.write_text(_dumped(known), encoding="utf-8")
    path.write_text(f"{head}{BEGIN}\n{rendered(known)}\n{END}{tail}", encoding="utf-8")
    if "switch" not in documents:
        return [FIGURES, DOCUMENT]
    from stepdown.bench import picture  # here, since its library takes half a second to load

    picture.draw(documents["switch"]["more"]["picture"], root / PICTURE)
    return [FIGURES, DOCUMENT, PICTURE]


def _dumped(known: Mapping[str, Any]) -> str:
    """JSON in which a list of numbers stands in one line."""
    text = json.dumps(known, indent=1)
    return re.sub(r"\[[\s\d.,e+-]+\]", lambda found: re.sub(r"\s+", " ", found.group()), text) + "\n"


def rendered(known: Mapping[str, Document]) -> str:
    """The generated part of the document."""
    return "\n\n".join(_section(name, ran) for name, ran in known.items())


def _section(name: str, ran: Document) -> str:
    made, load = ran["machine"], ran["load_average"]
    facts = f"{made['cpus']} CPUs, {made['memory_gib']} GiB, kernel {made['kernel']}, Docker {made['docker']}"
    loads = f"load average {load['before'][0]:.2f} before, {load['after'][0]:.2f} after"
    when = f"{made['date']}, {ran['rounds']} round(s), {facts}, Python {made['python']}; {loads}."
    parts = [f"## {name}", f"{ran['summary'].capitalize()}. {when}", _goals(ran["limits"])]
    parts += _switches(ran) if name == "switch" else [_contenders(ran)]
    return "\n\n".join(parts)


def _goals(limits: Iterable[Document]) -> str:
    """Each objective once, with the contender that came off worst."""
    by_name: dict[str, list[Document]] = {}
    for limit in [one for judged in limits for one in (judged, judged.get("instead")) if one]:
        by_name.setdefault(limit["objective"], []).append(limit)
    rows = []
    for name, of_it in by_name.items():
        worst = max(of_it, key=lambda limit: limit["measured"])
        count = f" (worst of {len(of_it)})" if len(of_it) > 1 else ""
        measured = f"{worst['statistic']} {worst['measured']:.3g}"
        good = sum(limit["good"] for limit in of_it)
        verdict = "met" if good == len(of_it) else f"missed by {len(of_it) - good} of {len(of_it)}"
        rows.append((f"`{name}`", worst["contender"] + count, measured, f"{worst['limit']:g} {worst['unit']}", verdict))
    return _table(("objective", "of", "measured", "below", "verdict"), rows)


def _contenders(ran: Document) -> str:
    rows = [
        (
            f"`{name}`",
            f"{one['median']:.2f}",
            f"{one['min']:.2f}",
            f"{one['max']:.2f}",
            f"{one['ratio']:.2f}",
            one["what"],
        )
        for name, one in ran["contenders"].items()
    ]
    return _table(("contender", "median s", "min s", "max s", f"ratio to {ran['reference']}", "what"), rows)


def _switches(ran: Document) -> list[str]:
    """A row for each pair of plans: how long, and what clients saw."""
    contenders, calls = ran["contenders"], ran["more"]["calls"]
    times = [_times(pair, ways, contenders) for pair, ways in calls.items()]
    saw = [_saw(pair, ways) for pair, ways in calls.items()]
    load = ran["more"]["load"]
    words = (
        f"The load: {load['calls']} calls, {load['per_second']:g} a second; it took at most"
        f" {load['cpu_share_of_a_core']:.1%} of a core, and began no call later than"
        f" {load['late_seconds'] * 1000:.0f} ms after its time."
    )
    head = ("switch", "median", "max", "returned", "compose", "own", "plain", "warm")
    seen = ("switch", "failed", "p50", "p99", "max", "p99, compose", "failed, plain", "outage, plain")
    over = ("over compose", "over own", "over plain")
    pictured = f"![Latency and failures of calls during a switch, with Stepdown and with compose]({PICTURE[5:]})"
    return [
        f"How long, in seconds: medians, and how many times as long as the others.\n\n{_table((*head, *over), times)}",
        f"What clients saw, latencies in ms, the outage in seconds.\n\n{_table(seen, saw)}",
        words,
        pictured,
    ]


def _times(pair: str, ways: Document, contenders: Document) -> tuple[str, ...]:
    ours = contenders[pair]
    others = [contenders.get(f"{pair} {way}") for way in (RAW, "own", PLAIN, "warm")]
    medians = [_figure(one["median"] if one else None, ".2f") for one in others]
    over = [_figure(ratio(ours["seconds"], one["seconds"]) if one else None, ".2f") for one in others[:-1]]
    mine = [f"{value:.2f}" for value in (ours["median"], ours["max"], median(ways[OURS]["returned_seconds"]))]
    return (_arrow(pair), *mine, *medians, *over)


def _saw(pair: str, ways: Document) -> tuple[str, ...]:
    ours, beside, plain = ways[OURS], ways[RAW], ways[PLAIN]
    failed, of_plain = (f"{way['failed']} of {way['calls']}" for way in (ours, plain))
    latencies = [f"{ours[name] * 1000:.0f}" for name in ("p50", "p99", "max")]
    pause = _figure(beside["p99"] * 1000 if beside else None, ".0f")
    return (_arrow(pair), failed, *latencies, pause, of_plain, f"{plain['outage_seconds']:.1f}")


def _figure(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)


def _arrow(pair: str) -> str:
    return pair.replace(">", " → ")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
