"""The instance that drills are done on: moved by its own agent, loaded by a client that counts, and judged whole."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp import Client

from stepdown import release as control
from stepdown.bench import openloop
from stepdown.host import gateway, journal
from stepdown.host.home import Home, read_json
from stepdown.images import Built
from stepdown.shared import EDGE_MEMORY_MIB
from tests.doubles.model_endpoint import ModelEndpoint
from tests.integration.clients import REVISIONS, request, tools_list, with_client
from tests.stack import ROOT, Stack, docker, until

MODEL = "model-one"
WARM_UP, COOL_DOWN = 1.0, 1.5  # seconds of load before and after what is drilled
CHAT_EVERY = 8  # calls of zen: what its one process can take beside all else on two cores
PROVED_AFTER_SECONDS = 2
DRAIN_SECONDS = 60

Edit = Callable[[Path], None]  # changes the tree that a release is packed from


@dataclass(frozen=True)
class Ended:
    """How a command of the agent ended."""

    code: int
    answer: dict[str, Any]  # of --json; empty where it failed
    error: str


@dataclass
class Drill:
    """A deployed instance, the models that its zen asks, and a folder for the trees that releases are packed from."""

    stack: Stack
    models: ModelEndpoint
    folder: Path
    figures: list[str] = field(default_factory=list)

    @property
    def home(self) -> Home:
        return Home(self.stack.home)

    def agent(self, *words: str) -> dict[str, Any]:
        """A command of the agent that has to succeed; its answer."""
        ended = self.attempt(*words)
        assert 0 == ended.code, ended.error
        return ended.answer

    def attempt(self, *words: str) -> Ended:
        """A command of the agent, however it ends."""
        done = self.stack.agent(*words, "--json")
        return Ended(done.returncode, json.loads(done.stdout) if done.stdout.startswith("{") else {}, done.stderr)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """A command of the agent that is under way when this returns, in a process group of its own."""
        argv = ["python3", str(self.home.agent), *words, "--json"]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        pipes["start_new_session"] = True
        return subprocess.Popen(argv, env=self.stack.environment, **pipes)

    def state(self) -> dict[str, Any]:
        """`state.json`."""
        return dict(read_json(self.home.state))

    def entries(self, *events: str, since: int = 0) -> list[dict[str, Any]]:
        """The journal's entries of these kinds, without the first `since` of all."""
        every = journal.read(self.home.journal).entries[since:]
        return [entry for entry in every if not events or entry["event"] in events]

    def mark(self) -> int:
        """How many entries the journal has now."""
        return len(self.entries())

    def stage(
        self,
        models: str = MODEL,
        *,
        policy: Mapping[str, Any] | None = None,
        images: Mapping[str, Built] | None = None,
        edit: Edit | None = None,
    ) -> str:
        """Stage a release with this model list of zen, and return its id; the same words give the same release."""
        tree = self.folder / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(ROOT / "compose", tree / "compose")
        timing = {"proved_after_seconds": PROVED_AFTER_SECONDS, "drain_seconds": DRAIN_SECONDS}
        rules = json.loads((tree / "compose" / "policy.json").read_text())
        (tree / "compose" / "policy.json").write_text(json.dumps({**rules, **timing, **(policy or {})}))
        if edit:
            edit(tree / "compose")
        packed = json.loads((self.folder / "release.json").read_text())
        built = {name: Built(name, image["reference"], image["id"], False) for name, image in packed["images"].items()}
        archive = control.pack(tree, {**built, **(images or {})}, packed["tools"])
        settings = {
            "instance": read_json(self.home.instance),
            "environment": {**packed["environment"], "ZEN_MODELS": models},
        }
        argv = ["python3", str(self.home.agent), "stage", "--archive", str(archive), "--json"]
        environment = self.stack.environment
        done = subprocess.run(argv, input=json.dumps(settings), env=environment, capture_output=True, text=True)
        assert 0 == done.returncode, done.stderr
        return str(json.loads(done.stdout)["release"])

    def bring(self, plan: str, release: str = "") -> str:
        """Be on `plan` of `release`, or of the drills' own first one, wholly and without a break-glass; its id."""
        wanted = release or self.stage()
        if self.attempt("status").answer.get("break_glass"):
            self.agent("recover", "--to", plan)
        self.agent("switch", "--to", plan, "--release", wanted)
        return wanted

    def facts(self, plan: str) -> dict[str, Any]:
        """`plan.json` of a plan of the release that serves."""
        return dict(read_json(self.home.current / f"plan_{plan.lower()}" / "plan.json"))

    def calls(self, *plans: str) -> dict[str, openloop.Maker]:
        """Calls to every server that all of these plans carry; some of zen's are chats, which must not run twice."""
        carried = [self.facts(plan)["servers"] for plan in plans]
        shared = {name: facts for name, facts in carried[0].items() if all(name in other for other in carried)}
        cheap, chat = openloop.cheap_calls(shared), openloop.chat(MODEL)
        return {**cheap, "zen": lambda number: cheap["zen"](number) if number % CHAT_EVERY else chat(number)}

    @contextmanager
    def load(self, *plans: str, per_second: float = openloop.PER_SECOND) -> Iterator[openloop.Load]:
        """Call the servers of these plans so often before, during and after the block.

        Afterwards each call has ended in its own answer, a result, and none reached the model endpoint twice.
        """
        self.models.requests.clear()
        with openloop.running(self.stack.url, self.stack.token, self.calls(*plans), per_second=per_second) as load:
            until(lambda: len(load.records) >= per_second * WARM_UP, "calls are answered before")
            yield load
            sent = load.sent
            until(lambda: load.sent >= sent + per_second * COOL_DOWN, "calls are sent after")
        assert {} == Counter((record.server, record.kind, record.outcome) for record in load.failed())
        assert load.sent == len(load.records)
        chats = [record for record in load.records if record.kind == "chat"]
        arrived = openloop.arrivals(json.dumps(body) for _, body in self.models.requests)
        assert (len(chats), {1}) == (arrived.total(), set(arrived.values()))

    def client(self, server: str, revision: str, use: Callable[[Client], Awaitable[Any]]) -> Any:
        """What `use` makes of the official SDK's client of a server, connected as users connect it."""
        config = json.loads(self.stack.run("client.config").stdout)
        return with_client(config, server, REVISIONS[revision], use)

    def tell(self, what: str, load: openloop.Load, seconds: float) -> None:
        """Keep a line of figures for the summary; they are told, not judged: the bench judges."""
        waits = sorted(1000 * record.latency_seconds for record in load.records)
        p50, p99 = statistics.median(waits), waits[int(0.99 * (len(waits) - 1))]
        line = f"{what}: {load.sent} calls, 0 lost; p50 {p50:.0f}, p99 {p99:.0f}, most {waits[-1]:.0f} ms"
        self.figures.append(f"{line}; switched in {seconds:g} s")

    def containers(self) -> dict[str, tuple[str, str, str]]:
        """Every container but the edge's, running or not: name to release, state, id."""
        found = {}
        wanted = ("ps", "--all", "--no-trunc", "--filter", f"label=stepdown.instance={self.stack.name}")
        for row in map(json.loads, docker(*wanted, "--format", "{{json .}}").splitlines()):
            labels = dict(pair.partition("=")[::2] for pair in row["Labels"].split(","))
            name = labels["stepdown.container"]
            if name not in EDGE_MEMORY_MIB:
                assert name not in found, f"two containers {name}"
                found[name] = (labels["stepdown.release"], row["State"], row["ID"])
        return found

    def running(self) -> dict[str, str]:
        """The plan's containers that run: name to id."""
        return {name: identity for name, (_, state, identity) in self.containers().items() if state == "running"}

    def require_whole(self, plan: str, release: str) -> None:
        """The host is on `plan` of `release` wholly: containers, standby, routes, state, journal, and every answer."""
        state = self.state()
        assert (plan, release) == (state["plan"], state["release"])
        facts = self.facts(plan)
        expected = dict.fromkeys(facts["containers"], (release, "running"))
        if plan != "D":
            expected |= dict.fromkeys(self.facts("D")["containers"], (release, "created"))
        assert expected == {name: found[:2] for name, found in self.containers().items()}
        assert gateway.version(release, plan) == gateway.routes_version(self.home)
        assert release == self.home.current.resolve().name
        assert journal.unfinished(tuple(self.entries())) is None
        for server in facts["servers"]:
            status, _, text = request(f"{self.stack.url}/mcp/{server}", self.stack.token, tools_list())
            assert (200, True) == (status, "result" in json.loads(text)), (server, text[:300])

    def wait_for(self, event: str, since: int, **words: Any) -> dict[str, Any]:
        """The first entry of the journal after `since` that says all these words; waits for it."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [e for e in self.entries(event, since=since) if words.items() <= e.items()]
            return bool(found)

        until(there, f"the journal says {event} {words}")
        return found[0]


def seconds_of(act: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.monotonic()
    act()
    return time.monotonic() - began
