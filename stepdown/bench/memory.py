"""The memory that containers need: their highest working set while every plan in turn bears the standard load."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from stepdown import commands
from stepdown.bench import load
from stepdown.bench.scratch import scratch
from stepdown.catalog import Catalog
from stepdown.errors import StepdownError, sentence
from stepdown.host import engine, kernel
from stepdown.memory import Memory
from stepdown.run import run
from stepdown.shared import EDGE_MEMORY_MIB

SAMPLE_SECONDS = 0.02
LOOK_SECONDS = 0.5  # between looks for containers that started


def measure(root: Path, catalog: Catalog, say: Callable[[str], None]) -> Memory:
    """Activate and load every plan on an instance of its own, from what `root` built last.

    StepdownError where a container does not show its memory: the engine is elsewhere, or has no memory controller.
    """
    with scratch(root) as made:
        load.write_repository(made.workspace)
        say("plan.measure: starting everything once; who reads a file of an image first is charged for its cache")
        for plan in catalog.plans:
            made.activate(plan)
        with watched(made.name) as peaks:
            for plan in catalog.plans:
                goal = made.activate(plan)
                say(f"plan.measure: plan {plan}: putting the load on {', '.join(goal.facts['containers'])}")
                load.put(goal)
    containers = dict.fromkeys(name for plan in catalog.plans.values() for name in plan.containers)
    unseen = [name for name in (*EDGE_MEMORY_MIB, *containers) if name not in peaks]
    if unseen:
        wrong = f"the memory of {', '.join(unseen)} does not show on this machine; measure where the engine runs"
        raise StepdownError(sentence("plan.measure", wrong))
    return Memory(
        edge={name: mib(peaks[name]) for name in EDGE_MEMORY_MIB},
        containers={name: mib(peaks[name]) for name in containers},
    )


@contextlib.contextmanager
def watched(instance: str) -> Iterator[Mapping[str, int]]:
    """The highest working set so far of each container of an instance, in bytes by name, from its first half second.

    Raises at the end what went wrong in looking.
    """
    peaks: dict[str, int] = {}
    failed: list[Exception] = []
    over = threading.Event()

    def watch() -> None:
        try:
            _watch(instance, peaks, over)
        except Exception as error:  # of whatever kind: a watch that ended early would show too little
            failed.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]


def _watch(instance: str, peaks: dict[str, int], over: threading.Event) -> None:
    pids: dict[str, tuple[str, int]] = {}
    look_at = 0.0
    while not over.is_set():
        if time.monotonic() >= look_at:
            pids = _pids(instance, pids)
            look_at = time.monotonic() + LOOK_SECONDS
        for id_, (name, pid) in pids.items():
            raise_peak(peaks, name, kernel.working_set_bytes(id_, pid))
        over.wait(SAMPLE_SECONDS)  # the kernel keeps no peak of the working set, so it is read again and again


def raise_peak(peaks: dict[str, int], name: str, used: int | None) -> None:
    """Take what is `used` for the container's peak where it is more; None is a container that is not there now."""
    if used is not None:
        peaks[name] = max(used, peaks.get(name, 0))


def _pids(instance: str, known: Mapping[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
    """Name and first process of each running container, by id; those that are `known` are not asked again."""
    running = {c.id: c.name for c in engine.containers(instance) if c.running}
    new = [id_ for id_ in running if id_ not in known]
    # one that went away meanwhile makes this fail, and is missing in what it prints
    shown = run(commands.inspect(engine.CLIENT, *new), check=False).stdout if new else "[]"
    pids = {row["Id"]: row["State"]["Pid"] for row in json.loads(shown or "[]")}
    found = {id_: (running[id_], pid) for id_, pid in pids.items() if pid}
    return {**{id_: known[id_] for id_ in running if id_ in known}, **found}


def mib(size: int) -> int:
    """Bytes in MiB, rounded up."""
    return math.ceil(size / 2**20)
