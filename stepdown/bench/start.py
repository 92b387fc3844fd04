"""Container start to first handshake, for each server, beside plain compose; and the last resort's to its last.

What each contender does, and why that is fair, stands in tests/performance/README.md.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from stepdown import commands
from stepdown.bench.measure import Benchmark, Contender, Setting
from stepdown.bench.scratch import Scratch, scratch
from stepdown.catalog import LAST_RESORT, PLAN_NAMES, Objective
from stepdown.host import engine
from stepdown.host.proof import prove
from stepdown.host.target import Target
from stepdown.run import run

WHOLE = PLAN_NAMES[0]  # the plan in which every server has a container of its own
REFERENCE = "compose"


@contextlib.contextmanager
def prepared(setting: Setting) -> Iterator[Benchmark]:
    """The benchmark on an instance of its own, whose network, folders and edge are there and whose servers are not.

    Raises StepdownError where nothing was built, or a server does not come up.
    """
    with scratch(setting.root) as made:
        setting.say("bench: making an instance of its own, and starting everything once, so that all is warm")
        made.activate(LAST_RESORT)
        _clear(made)
        ready = benchmark(made, setting.objectives)
        for contender in ready.contenders:
            contender.sample()
        yield ready


def benchmark(made: Scratch, objectives: Mapping[str, Objective]) -> Benchmark:
    """Plain compose, each server in the container that carries it in the whole plan, and the last resort."""
    whole, last = made.target(WHOLE), made.target(LAST_RESORT)
    carriers = {name: facts["container"] for name, facts in whole.facts["servers"].items()}
    first = next(iter(carriers))
    (monolith,) = last.facts["containers"]

    def starting(goal: Target, container: str, servers: Sequence[str], until: str) -> Contender:
        name = servers[0] if len(servers) == 1 else container
        what = f"docker start of container {container}, to {until}"
        return Contender(name, what, lambda: _started(made, goal, container, servers))

    reference = Contender(
        REFERENCE,
        f"docker compose up --detach {carriers[first]}, to its handshake",
        lambda: _composed(made, whole, carriers[first], [first]),
    )
    each = [starting(whole, container, [name], "its handshake") for name, container in carriers.items()]
    whole_at_once = starting(last, monolith, tuple(last.facts["servers"]), "the last of its handshakes")
    limits = dict.fromkeys(carriers, objectives["container_start_typical"])
    return Benchmark(
        name="start",
        summary="container start to first handshake, images warm",
        reference=REFERENCE,
        contenders=(reference, *each, whole_at_once),
        limits={**limits, monolith: objectives["container_start"]},
    )


def _started(made: Scratch, goal: Target, container: str, servers: Sequence[str]) -> float:
    """Seconds from `docker start` of a container that compose made and that never ran."""
    engine.create(made.home, goal.release.env_file, goal.release.compose_file(goal.plan), [container])
    ids = [c.id for c in engine.containers(made.name) if c.name == container]
    return _seconds(made, goal, servers, lambda: engine.bring_back(ids))


def _composed(made: Scratch, goal: Target, container: str, servers: Sequence[str]) -> float:
    """Seconds from `docker compose up`, which makes the container first."""
    files = (str(goal.release.env_file), str(goal.release.compose_file(goal.plan)))
    argv = commands.compose_up(engine.compose_binary(made.home), *files, [container])
    return _seconds(
        made, goal, servers, lambda: run(argv, inherit=engine.COMPOSE_INHERITS, timeout_seconds=engine.UP_SECONDS)
    )


def _seconds(made: Scratch, goal: Target, servers: Sequence[str], begin: Callable[[], object]) -> float:
    """From the beginning to the last handshake of `servers`; the container is removed after."""
    began = time.perf_counter()
    begin()
    prove(goal, servers)
    seconds = time.perf_counter() - began
    _clear(made)
    return seconds


def _clear(made: Scratch) -> None:
    """Remove every container but the edge's, so that the next one is fresh and alone."""
    engine.stop_and_remove([c.id for c in engine.containers(made.name) if c.release], 0)
