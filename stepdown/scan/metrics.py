"""What Prometheus is told of scans: by heimdall's /metrics, a textfile of a CI run, or a Pushgateway. One set of names.

    security_scan_findings{severity,tool,repository}            gauge: findings of the last scan that this tool ended
    security_scan_duration_seconds{repository}                  histogram, every scan
    security_scan_last_success_timestamp_seconds{repository}    last scan in which everything was judged, Unix time

Labels are bounded: severities and tools are the catalogue's, repositories are names of folders, the first KEPT of them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, generate_latest, pushadd_to_gateway
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from stepdown.scan.findings import SEVERITIES, ScanResult

FINDINGS = "security_scan_findings"
DURATION = "security_scan_duration_seconds"
LAST_SUCCESS = "security_scan_last_success_timestamp_seconds"
BUCKETS = (1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0)
KEPT = 50
OTHER = "other"
JOB = "security_scan"
PUSH_SECONDS = 5


def repository_label(name: str) -> str:
    """The last part of a path or remote as a label: letters, digits, `._-`, 64 at most."""
    last = [part for part in re.split(r"[/:\\]", urlsplit(name).path or name) if part.strip(".")]
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", last[-1].removesuffix(".git") if last else "").strip("-.")
    return text[:64] or "repository"


class Metrics:
    """Figures of scans, as a collector that a registry can take. One thread at a time records."""

    def __init__(self) -> None:
        self._findings: dict[tuple[str, str, str], float] = {}  # severity, tool, repository
        self._seconds: dict[str, tuple[list[float], float]] = {}  # repository: count by bucket (the last: all), sum
        self._success: dict[str, float] = {}

    def record(
        self, repository: str, result: ScanResult | None, seconds: float, *, judged: bool, ended: float | None = None
    ) -> None:
        """Note a scan that took `seconds` and ended at `ended` (Unix time, now by default).

        `judged`: nothing failed and nothing was missing. A tool that failed says nothing: its old figures go.
        """
        name = self._bounded(repository_label(repository))
        for one in result.scanners if result else ():
            for word in SEVERITIES:
                self._findings.pop((word, one.name, name), None)
                if one.outcome == "ok" and result:
                    count = sum(f.severity == word and one.name in f.scanners for f in result.findings)
                    self._findings[word, one.name, name] = count
        counts, total = self._seconds.get(name, ([0.0] * (len(BUCKETS) + 1), 0.0))
        grown = [count + (seconds <= bound) for count, bound in zip(counts, (*BUCKETS, float("inf")), strict=True)]
        self._seconds[name] = (grown, total + seconds)
        if judged:
            self._success[name] = time.time() if ended is None else ended

    def collect(self) -> Iterator[Metric]:
        """The families, for a registry."""
        findings = GaugeMetricFamily(
            FINDINGS, "Findings of the last scan, accepted ones too.", labels=("severity", "tool", "repository")
        )
        for labels, value in sorted(self._findings.items()):
            findings.add_metric(labels, value)
        yield findings
        duration = HistogramMetricFamily(DURATION, "Wall time of scans.", labels=("repository",))
        for name, (counts, total) in sorted(self._seconds.items()):
            bounds = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")
            duration.add_metric((name,), list(zip(bounds, counts, strict=True)), total)
        yield duration
        success = GaugeMetricFamily(
            LAST_SUCCESS, "When a scan last judged everything, Unix time.", labels=("repository",)
        )
        for name, value in sorted(self._success.items()):
            success.add_metric((name,), value)
        yield success

    def take_over(self, text: str, tools: Collection[str]) -> None:
        """Go on from what an earlier run wrote: a scan that fails must not forget when one last succeeded.

        Of findings only those of `tools`. A text that is no such file changes nothing.
        """
        try:
            samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        except ValueError:
            return
        buckets: dict[str, dict[str, float]] = {}
        sums: dict[str, float] = {}
        for sample in samples:
            name = sample.labels.get("repository", "")
            if sample.name == FINDINGS and sample.labels.get("tool") in tools:
                self._findings[sample.labels.get("severity", ""), sample.labels["tool"], name] = sample.value
            elif sample.name == LAST_SUCCESS:
                self._success[name] = sample.value
            elif sample.name == f"{DURATION}_sum":
                sums[name] = sample.value
            elif sample.name == f"{DURATION}_bucket":
                buckets.setdefault(name, {})[sample.labels.get("le", "")] = sample.value
        for name, found in buckets.items():
            bounds = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")
            if set(found) == set(bounds) and name in sums:
                self._seconds[name] = ([found[bound] for bound in bounds], sums[name])

    def _bounded(self, name: str) -> str:
        known = {*self._seconds, *self._success}
        return name if name in known or len(known) < KEPT else OTHER


def text_of(metrics: Metrics) -> bytes:
    """The text that a node exporter's textfile collector reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    return generate_latest(registry)


def earlier(file: Path) -> str:
    """What an earlier run wrote, or nothing."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def push(metrics: Metrics, gateway: str, repository: str) -> Sequence[str]:
    """Send to a Pushgateway; in words what went wrong. Figures that this run has none of stay there."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    try:
        pushadd_to_gateway(
            gateway, JOB, registry, grouping_key={"repository": repository_label(repository)}, timeout=PUSH_SECONDS
        )
    except (OSError, ValueError) as error:
        return [f"the Pushgateway did not take the figures: {type(error).__name__}"]
    return []
