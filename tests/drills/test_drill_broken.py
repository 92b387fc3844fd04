"""A release that does not work never gets a call: the old one serves on, and the journal keeps the broken one out."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stepdown.images import Built
from tests.drills.drill import Drill
from tests.stack import docker

pytestmark = [pytest.mark.engine, pytest.mark.mcp_integration]

START_SECONDS = 5
HEIMDALL = "/opt/native/app/heimdall/tools.py"
LOSE_A_TOOL = f"""
from pathlib import Path
tools = Path({HEIMDALL!r})
whole = tools.read_text()
start = whole.index('    "cancel_scan": _Tool(')
tools.write_text(whole[:start] + "}}" + whole[whole.index("  # fmt: skip", start):])
"""

Derive = Callable[..., Built]


@pytest.fixture
def derive(drill: Drill) -> Iterator[Derive]:
    """Makes an image out of a release's: altered by a command as root, or with another to start; removed at the end."""
    made: list[str] = []

    def derived(name: str, *altered: str, command: tuple[str, ...] = ()) -> Built:
        image = json.loads((drill.folder / "release.json").read_text())["images"][name]["reference"]
        kept = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))
        container = f"{drill.stack.name}-{secrets.token_hex(3)}"
        changes = (f"CMD {json.dumps(command or kept['Cmd'])}", f"USER {kept['User']}")
        reference = f"stepdown/{name}:{container}"
        try:
            docker("run", "--name", container, "--user", "0:0", "--network", "none", image, *(altered or ("true",)))
            docker("commit", *(word for line in changes for word in ("--change", line)), container, reference)
        finally:
            docker("rm", "--force", container)
        made.append(reference)
        return Built(name, reference, docker("image", "inspect", "--format", "{{.Id}}", reference).strip(), True)

    yield derived
    drill.bring("C")
    for reference in made:
        docker("image", "rm", "--force", reference)


def never_ready(drill: Drill, derive: Derive) -> str:
    """Its containers run, and nothing in them listens."""

    def hurry(compose: Path) -> None:
        for plan in compose.glob("plan_*/plan.json"):
            facts = json.loads(plan.read_text())
            for server in facts["servers"].values():
                server["start_seconds"] = START_SECONDS
            plan.write_text(json.dumps(facts))

    return drill.stage(images={"python": derive("python", command=("sleep", "infinity"))}, edit=hurry)


def lost_a_tool(drill: Drill, derive: Derive) -> str:
    """heimdall starts and answers, without one of the tools that it was agreed to have."""
    return drill.stage(images={"python": derive("python", "python3", "-c", LOSE_A_TOOL)})


def unknown_cluster(drill: Drill, _derive: Derive) -> str:
    """Its routes lead to a cluster that is not there."""

    def misroute(compose: Path) -> None:
        for plan in compose.glob("plan_*/gateway.json"):
            routes = plan.read_text()
            assert '"cluster": "heimdall"' in routes or plan.parent.name == "plan_d"
            plan.write_text(routes.replace('"cluster": "heimdall"', '"cluster": "nobody"'))

    return drill.stage(edit=misroute)


def broken_bootstrap(drill: Drill, _derive: Derive) -> str:
    """Envoy does not start with it."""

    def breaking(compose: Path) -> None:
        bootstrap = compose / "edge" / "gateway" / "bootstrap.json"
        bootstrap.write_text(json.dumps({**json.loads(bootstrap.read_text()), "no_such_field": 1}))
        edge = compose / "edge" / "compose.yml"
        label = next(line for line in edge.read_text().splitlines() if "stepdown.bootstrap" in line)
        edge.write_text(edge.read_text().replace(label, f"{label[: label.index(':')]}: {secrets.token_hex(6)}", 1))

    return drill.stage(edit=breaking)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (never_ready, "no handshake"),
        (lost_a_tool, "heimdall offers other tools"),
        (unknown_cluster, "unknown cluster"),
        (broken_bootstrap, "no_such_field"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or "-",
)
def test_a_broken_release_gets_no_call(drill: Drill, derive: Derive, broken: Any, words: str) -> None:
    """Exit 1 and a sentence that names it; marked bad; the old containers are the same, and no call failed."""
    good = drill.bring("C")
    drill.wait_for("proved", 0, release=good)
    before, since = drill.stack.containers(), drill.mark()
    bad = broken(drill, derive)
    assert bad != good
    with drill.load("C"):
        ended = drill.attempt("switch", "--release", bad, "--why", "it is broken")
    assert 1 == ended.code, ended.error
    assert words in ended.error
    assert before == drill.stack.containers()
    drill.require_whole("C", good)
    assert [bad] == [entry["release"] for entry in drill.entries("bad", since=since)]
    assert not drill.entries("outcome", since=since)[-1]["ok"]
    refused = drill.attempt("rollback", "--to", bad)
    assert (1, True) == (refused.code, "marked bad" in refused.error), refused.error
    assert bad not in drill.attempt("rollback", "--check").answer.get("release", "")
