"""The picture of a switch: every call's latency, and the failures, with Stepdown above and plain compose below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stepdown.bench.seen import OURS, PLAIN

INK, GOOD, BAD, SPAN = "#24292f", "#1f6feb", "#cf222e", "#d4a72c"
INCHES, DOTS = (10.0, 6.4), 120
LOWEST_MS, HIGHEST_MS, FAILED_MS = 1.0, 30_000.0, 15_000.0  # failures stand in a row of their own at the top
NAMES = {OURS: "Stepdown switches", PLAIN: "docker compose down, then up"}


def draw(data: Mapping[str, Any], path: Path) -> None:
    """Draw what `seen.picture` gave, as PNG."""
    old, new = data["pair"]
    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"What clients see while plan {old} becomes plan {new}, at 50 calls a second", fontsize=14, color=INK
    )
    above, below = figure.subplots(2, 1, sharex=True, sharey=True)
    for axes, way in ((above, OURS), (below, PLAIN)):
        _panel(axes, data[way], NAMES[way])
    below.set_xlabel("seconds from the command")
    figure.legend(*below.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS, metadata={"Software": None})


def _panel(axes: Axes, way: Mapping[str, Any], name: str) -> None:
    calls = list(zip(way["second"], way["milliseconds"], way["ok"], strict=True))
    good = [(at, max(ms, LOWEST_MS)) for at, ms, ok in calls if ok]
    bad = [at for at, _, ok in calls if not ok]
    axes.axvspan(0, way["returned"], color=SPAN, alpha=0.18, lw=0, label="the command runs")
    axes.axvline(way["done"], color=SPAN, lw=1.5, ls="--", label="the new plan serves")
    axes.scatter([at for at, _ in good], [ms for _, ms in good], s=9, color=GOOD, alpha=0.7, lw=0, label="answered")
    axes.scatter(bad, [FAILED_MS] * len(bad), s=28, color=BAD, marker="x", lw=1, label="failed")
    axes.set_yscale("log")
    axes.set_ylim(LOWEST_MS * 0.8, HIGHEST_MS)
    axes.set_yticks([1, 10, 100, 1000, FAILED_MS], ["1", "10", "100", "1 000", "failed"])
    axes.minorticks_off()
    axes.set_ylabel("latency, ms")
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    failed = f"{len(bad)} of {len(calls)} calls failed"
    axes.set_title(f"{name}: {failed}", loc="left", fontsize=11, color=BAD if bad else INK)
