"""`scan` of a planted repository beside the same scanners one after another.

What each contender does, and why that is fair, stands in tests/performance/README.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stepdown import scanners_environment
from stepdown.bench.measure import Benchmark, Contender, Ratio, Setting
from stepdown.errors import StepdownError, sentence
from stepdown.run import run
from stepdown.scan.advisories import from_folder
from stepdown.scan.core import scan_tree
from stepdown.scan.scanners import load_catalogue

OURS, REFERENCE = "scan", "one by one"
FOUND = 1  # the exit code of a scan that judged everything and found something
LIMIT_SECONDS = 1800.0


@dataclass(frozen=True)
class Place:
    """The planted repository, the advisories about it, and a folder for what is written."""

    root: Path
    repository: Path
    advisories: Path
    scratch: Path


@contextlib.contextmanager
def prepared(setting: Setting) -> Iterator[Benchmark]:
    """The benchmark on a repository that is made for it, both contenders run once, so that all is warm.

    Raises StepdownError where a scanner fails, or the scan does not end as one that found something.
    """
    scanners_environment.ensure(setting.root, setting.say)
    with tempfile.TemporaryDirectory(prefix="stepdown-bench-") as name:
        folder = Path(name)
        argv = (sys.executable, "-m", "tests.planted", str(folder / "planted"))
        told = json.loads(run(argv, cwd=str(setting.root)).stdout)
        place = Place(setting.root, Path(told["root"]), Path(told["advisories"]), folder)
        size = f"{told['files']} files in {told['commits']} commits"
        setting.say(f"bench: {size}; both contenders once, so that all is warm")
        ready = benchmark(place, setting)
        for contender in ready.contenders:
            contender.sample()
        yield ready


def benchmark(place: Place, setting: Setting) -> Benchmark:
    """The whole command, and its scanners one at a time."""
    return Benchmark(
        name=OURS,
        summary="every scanner on the planted repository",
        reference=REFERENCE,
        contenders=(
            Contender(REFERENCE, "the same commands, one at a time: the sum of their times", lambda: one_by_one(place)),
            Contender(OURS, "./run scan, from its start to its end", lambda: at_once(place)),
        ),
        limits={OURS: setting.objectives["security_scan"]},
        ratios=(Ratio(OURS, REFERENCE, setting.objectives["security_scan_beside_one_by_one"]),),
        alternating=True,
    )


def at_once(place: Place) -> float:
    """Seconds of `./run scan`. StepdownError unless it judged everything and found something."""
    with tempfile.TemporaryDirectory(dir=place.scratch) as output:
        options = (f"--path={place.repository}", f"--output={output}", f"--advisories={place.advisories}", "--trust")
        began = time.perf_counter()
        done = run(("./run", "scan", *options), cwd=str(place.root), check=False, timeout_seconds=LIMIT_SECONDS)
        seconds = time.perf_counter() - began
        if done.returncode != FOUND:
            words = (done.stderr + done.stdout).strip()[-2000:]
            raise StepdownError(sentence("./run scan", f"should have ended with {FOUND}: {done.returncode}: {words}"))
    return seconds


def one_by_one(place: Place) -> float:
    """Seconds that the scanners' programs took, one at a time; what is around them does not count.

    StepdownError where one of them fails.
    """
    catalogue = load_catalogue()
    scanning = scan_tree(
        place.repository,
        catalogue.scanners,
        profile="full",
        scratch=place.scratch,
        limit_seconds=LIMIT_SECONDS,
        gate=asyncio.Semaphore(1),
        advisories=from_folder(place.advisories, catalogue.advice, datetime.now(UTC)),
        trust=True,
    )
    result = asyncio.run(scanning)
    if result.error:
        raise StepdownError(sentence("one by one", result.error))
    return sum(scanner.seconds for scanner in result.scanners)
