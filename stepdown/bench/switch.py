"""A switch as clients see it, beside plain compose: starting the same containers, and bringing a plan down and up.

What each contender does, and why that is fair, stands in tests/performance/README.md.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise

from stepdown import commands
from stepdown.bench import openloop
from stepdown.bench.measure import Benchmark, Contender, Ratio, Setting
from stepdown.bench.scratch import Scratch, scratch
from stepdown.bench.seen import OURS, PLAIN, RAW, TAIL_SECONDS, Move, Pair, Seen, more, name_of
from stepdown.catalog import LAST_RESORT, PLAN_NAMES, Objective
from stepdown.errors import StepdownError, sentence
from stepdown.host import engine, gateway, switch, tokens
from stepdown.host.home import read_json
from stepdown.host.proof import prove
from stepdown.host.target import Target
from stepdown.run import run

ROUTE = "ABACADBCBDCDA"  # every ordered pair of plans once, each where the one before ended; it ends where it begins
PAIRS = tuple(pairwise(ROUTE))
LEAD_SECONDS = 1.0  # of the load before anything begins, for its connections
SETTLE_SECONDS = 1.0  # between two contenders, for what the last one left to end


@contextlib.contextmanager
def prepared(setting: Setting) -> Iterator[Benchmark]:
    """The benchmark on an instance of its own, which is on plan A and has been on every plan.

    Raises StepdownError where nothing was built, a plan does not come up, or a switch touches what it keeps.
    """
    with scratch(setting.root) as made:
        setting.say("bench: making an instance of its own, and going through every plan, so that all is warm")
        for plan in (*PLAN_NAMES, ROUTE[0]):
            made.activate(plan)
        yield benchmark(made, setting.objectives, setting.say)


def benchmark(made: Scratch, objectives: Mapping[str, Objective], say: Callable[[str], None]) -> Benchmark:
    """For each pair plain compose's start and ours, and into the last resort its own start; then all the plain way."""
    seen = Seen()
    stage = _Stage(made, seen, say)
    contenders: list[Contender] = []
    ratios: list[Ratio] = []
    for pair in PAIRS:
        name, (old, new) = name_of(pair), pair
        begun = ", ".join(stage.begun(pair))
        if begun:
            what = f"docker compose up of {begun} beside plan {old}, to the last handshake"
            contenders.append(Contender(f"{name} compose", what, partial(stage.composed, pair), f"{name} compose"))
            ratios.append(Ratio(name, f"{name} compose", objectives["switch_beside_compose"]))
        if new == LAST_RESORT:
            what = f"docker start of {begun} beside plan {old}, to the last handshake"
            contenders.append(Contender(f"{name} own", what, partial(stage.started, pair), f"{name} compose"))
            ratios.append(Ratio(name, f"{name} own", objectives["switch_to_last_resort_cold"]))
        beside = f"{name} compose" if begun else name
        contenders.append(Contender(name, f"switch from {old} to {new}", partial(stage.switched, pair), beside))
    for pair in PAIRS:
        what = f"docker compose down of {pair[0]}, up of {pair[1]}, to the last handshake"
        contenders.append(Contender(f"{name_of(pair)} plain", what, partial(stage.down_and_up, pair), name_of(pair)))
    warm = [pair for pair in PAIRS if pair[1] == LAST_RESORT]
    for pair in warm:
        name = f"{name_of(pair)} warm"
        what = f"switch from {pair[0]} to {pair[1]}, which runs already"
        contenders.append(Contender(name, what, partial(stage.warm, pair), name_of(pair)))
    limits = {f"{name_of(pair)} warm": objectives["switch_to_last_resort_warm"] for pair in warm}
    return Benchmark(
        name="switch",
        summary="all switches at 50 calls/s, images warm",
        reference=contenders[0].name,
        contenders=tuple(contenders),
        limits={"A>C": objectives["switch_a_to_c"], **limits},
        ratios=tuple(ratios),
        more=lambda: more(seen, PAIRS, objectives),
    )


class _Stage:
    """The instance, and each way to move it under load. A contender finds it on the plan where its pair begins."""

    def __init__(self, made: Scratch, seen: Seen, say: Callable[[str], None]) -> None:
        self.made, self.seen, self.say = made, seen, say

    def begun(self, pair: Pair) -> list[str]:
        """Containers of the new plan that the old one does not have."""
        old, new = (self.made.target(plan).facts["containers"] for plan in pair)
        return [name for name in new if name not in old]

    def composed(self, pair: Pair) -> float:
        """Plain compose starts the new plan's containers beside the old plan, which goes on serving."""
        goal, names = self.made.target(pair[1]), self.begun(pair)
        self._remove(goal, names)
        return self._start(pair, names, lambda: _up(self.made, goal, names), RAW)

    def started(self, pair: Pair) -> float:
        """The containers are made already, as those of a cold standby are, and are only started."""
        goal, names = self.made.target(pair[1]), self.begun(pair)
        self._remove(goal, names)
        engine.create(self.made.home, goal.release.env_file, goal.release.compose_file(goal.plan), names)
        ids = [c.id for c in engine.containers(self.made.name) if c.name in names]
        return self._start(pair, names, lambda: engine.bring_back(ids), "")

    def switched(self, pair: Pair) -> float:
        """The agent's switch. StepdownError where it touched a container that both plans have."""
        kept = self._kept(pair)
        seconds = self._switch(pair, OURS)
        if self._kept(pair) != kept:
            raise StepdownError(sentence(f"switch {name_of(pair)}", "a container that both plans have was replaced"))
        return seconds

    def down_and_up(self, pair: Pair) -> float:
        """The old plan's containers end, then the new plan's start; the routes follow when all of them answer."""
        old, new = (self.made.target(plan) for plan in pair)
        if pair == PAIRS[0]:
            self._remove(old, [c.name for c in engine.containers(self.made.name) if c.release and not c.running])

        def act() -> float:
            files = (str(old.release.env_file), str(old.release.compose_file(old.plan)))
            _compose(commands.compose(engine.compose_binary(self.made.home), *files, "down"))
            _up(self.made, new, list(new.facts["containers"]))
            prove(new, tuple(new.facts["servers"]))
            done = time.monotonic()
            _route(new)
            return done

        return self._under_load(pair, act, PLAIN)

    def warm(self, pair: Pair) -> float:
        """A switch to the last resort that is kept running, as `standby: warm` in the release's policy has it."""
        path = self.made.release.path / "policy.json"
        before = path.read_bytes()
        policy = read_json(path)
        policy["standby"]["mode"] = "warm"
        self.made.home.write_json(path, policy)
        try:
            self.made.activate(pair[0])
            seconds = self._switch(pair, "")
        finally:
            self.made.home.write(path, before.decode(), 0o644)
        self.made.activate(ROUTE[0])
        return seconds

    def _switch(self, pair: Pair, way: str) -> float:
        self.made.activate(pair[0])  # nothing, but for the first after the plain way
        seconds = 0.0

        def act() -> float:
            nonlocal seconds
            began = time.monotonic()
            seconds = switch.switch(self.made.target(pair[1]), why="measured").seconds
            return began + seconds

        self._under_load(pair, act, way)
        return seconds

    def _start(self, pair: Pair, names: Sequence[str], begin: Callable[[], object], way: str) -> float:
        goal = self.made.target(pair[1])
        servers = [name for name, facts in goal.facts["servers"].items() if facts["container"] in names]

        def act() -> float:
            begin()
            prove(goal, servers)
            return time.monotonic()

        seconds = self._under_load(pair, act, way)
        self._remove(goal, names)
        if goal.plan == LAST_RESORT:  # the standby, as it was
            engine.create(self.made.home, goal.release.env_file, goal.release.compose_file(goal.plan), names)
        return seconds

    def _under_load(self, pair: Pair, act: Callable[[], float], way: str) -> float:
        """Seconds from the beginning of `act` to the moment that it returns, with the load around it."""
        old, new = (self.made.target(plan) for plan in pair)
        both = {name: facts for name, facts in old.facts["servers"].items() if name in new.facts["servers"]}
        base = f"http://127.0.0.1:{old.instance.port}"
        time.sleep(SETTLE_SECONDS)  # what the last contender left has no event for its end
        with openloop.running(base, tokens.read(old.home.client_token), openloop.cheap_calls(both)) as load:
            time.sleep(LEAD_SECONDS)  # part of what is measured: the load as it is before anything begins
            began = time.monotonic()
            done = act()
            returned = time.monotonic()
            time.sleep(max(0.0, done + TAIL_SECONDS - returned) if way else 0)  # measured: what comes after
        self.seen.loads.append(load)
        words = f"{name_of(pair)} {way or 'own or warm'} {done - began:.2f} s"
        self.say(f"bench: {words}, {load.sent} calls, {len(load.failed())} failed")
        if way:
            self.seen.moves[way].append(Move(pair, began, done, returned, tuple(load.records)))
        return done - began

    def _kept(self, pair: Pair) -> dict[str, str]:
        """When each container that both plans have was started, by id."""
        names = set(self.made.target(pair[0]).facts["containers"]) - set(self.begun((pair[1], pair[0])))
        ids = sorted(c.id for c in engine.containers(self.made.name) if c.release and c.name in names)
        words = ("inspect", "--format", "{{.Id}} {{.State.StartedAt}}")
        rows = run((engine.CLIENT, *words, *ids)).stdout.splitlines() if ids else []
        return {id_: started for id_, _, started in (row.partition(" ") for row in rows)}

    def _remove(self, goal: Target, names: Collection[str]) -> None:
        mine = [c.id for c in engine.containers(self.made.name) if c.release == goal.release.id and c.name in names]
        engine.stop_and_remove(mine, 0)


def _up(made: Scratch, goal: Target, names: Sequence[str]) -> None:
    files = (str(goal.release.env_file), str(goal.release.compose_file(goal.plan)))
    _compose(commands.compose_up(engine.compose_binary(made.home), *files, names))


def _route(goal: Target) -> None:
    """What the agent does to bring the traffic to a plan whose servers answer."""
    gateway.add(goal.home, goal.configuration(), goal.version)
    gateway.route(goal.home, goal.configuration(), goal.version)


def _compose(argv: Sequence[str]) -> None:
    run(argv, inherit=engine.COMPOSE_INHERITS, timeout_seconds=engine.UP_SECONDS)
