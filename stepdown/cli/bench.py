"""bench."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from invoke.context import Context

from stepdown.bench import deploy, measure, report, scan, start, switch
from stepdown.cli import door
from stepdown.errors import StepdownError, UsageError, sentence

LOCAL = "inventory/local"
REPORT = "reports/bench.json"
MOST_ROUNDS = 100
NOT_JUDGED = 3
# Name to what prepares it; each leaves nothing behind.
BENCHMARKS: Mapping[str, Callable[[measure.Setting], AbstractContextManager[measure.Benchmark]]] = {
    "deploy": deploy.prepared,
    "scan": scan.prepared,
    "start": start.prepared,
    "switch": switch.prepared,
}
HERE_ONLY = ("scan", "start", "switch")  # measured on this machine, whatever the inventory


@door.command(
    help={
        "only": f"one benchmark alone ({', '.join(BENCHMARKS)})",
        "inventory": "the host; inventory/local is this machine",
        "rounds": "how often each contender runs",
        "write": "record the figures in docs/, too",
        "yes": "do not refuse another machine: a second instance is made on it, and removed",
    }
)
def bench(
    _context: Context,
    only: str = "",
    inventory: str = LOCAL,
    rounds: int = 5,
    write: bool = False,
    yes: bool = False,
) -> None:
    """Measure beside contenders, in turns; exit 1 when a limit is missed, 3 when it could not be judged."""
    local = (door.ROOT / inventory).resolve() == door.ROOT / LOCAL
    chosen = choose(only, rounds, local=local)
    if write and not local:
        raise UsageError(sentence("bench", f"--write is for this machine, not inventory {inventory!r}"))
    if not local and not yes:
        wrong = "bench makes a second instance on its host and removes it; say so with --yes"
        raise UsageError(sentence(f"inventory {inventory!r}", wrong))
    setting = measure.Setting(door.ROOT, inventory, door.catalog().objectives, door.say)
    done = []
    try:
        for name in chosen:
            done.append(_measured(name, setting, rounds))
            print(measure.table(done[-1]))
    except UsageError:
        raise
    except StepdownError as error:
        door.say(str(error))
        door.leave(NOT_JUDGED)
    path = door.ROOT / REPORT
    path.parent.mkdir(exist_ok=True)
    machine = report.machine() if local else {}
    documents = {
        ran.benchmark.name: {"inventory": inventory, "machine": machine, **measure.document(ran)} for ran in done
    }
    path.write_text(json.dumps({"benchmarks": documents}, indent=2) + "\n", encoding="utf-8")
    print("\n".join([REPORT, *(report.write(door.ROOT, documents) if write else [])]))
    door.leave(0 if all(verdict.good for ran in done for verdict in measure.judge(ran)) else 1)


def choose(only: str, rounds: int, *, local: bool) -> list[str]:
    """The benchmarks that were asked for; UsageError for one that is not there, or an odd number of rounds."""
    known = [name for name in BENCHMARKS if local or name not in HERE_ONLY]
    if only and only not in known:
        where = "" if local or only not in BENCHMARKS else " of another machine"
        raise UsageError(sentence("bench", f"--only={only} names no benchmark{where}", known, "./run bench"))
    if not 1 <= rounds <= MOST_ROUNDS:
        raise UsageError(sentence("bench", f"--rounds={rounds} should be from 1 to {MOST_ROUNDS}", run="./run bench"))
    return [only] if only else known


def _measured(name: str, setting: measure.Setting, rounds: int) -> measure.Measured:
    with BENCHMARKS[name](setting) as benchmark:
        before = os.getloadavg()
        samples = measure.take_turns(benchmark.contenders, rounds, setting.say, alternating=benchmark.alternating)
        return measure.Measured(benchmark, samples, before, os.getloadavg(), benchmark.more())
