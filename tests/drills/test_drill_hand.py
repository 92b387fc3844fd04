"""With no agent at all: one compose command brings the last resort up, and the agent takes it over afterwards."""

from __future__ import annotations

import json
import subprocess

import pytest

from stepdown.catalog import Catalog
from tests.drills.drill import Drill
from tests.integration.clients import request, tools_list
from tests.stack import docker, until

pytestmark = [pytest.mark.engine, pytest.mark.mcp_integration]


def test_the_agent_adopts_a_plan_that_was_started_by_hand(drill: Drill, catalog: Catalog) -> None:
    """From plan C with everything dead: D in full by compose on its port; `converge --adopt` keeps its container."""
    release = drill.bring("C")
    docker("rm", "--force", *drill.stack.containers().values())
    current = drill.home.current
    plugin = drill.home.compose_plugin
    compose = [str(plugin)] if plugin.exists() else ["docker", "compose"]
    files = ("--env-file", str(current / "compose.env"), "--file", str(current / "plan_d" / "compose.yml"))
    subprocess.run([*compose, *files, "up", "--detach"], check=True, capture_output=True, cwd="/")
    direct = f"http://127.0.0.1:{drill.stack.environment['STEPDOWN_DIRECT_PORT']}"

    def answers(server: str) -> bool:
        try:
            status, _, text = request(f"{direct}/mcp/{server}", drill.stack.token, tools_list())
        except OSError:
            return False
        return status == 200 and "result" in json.loads(text)

    until(lambda: all(answers(server) for server in catalog.servers), "all six answer on the direct port")
    by_hand = drill.running()
    answer = drill.agent("converge", "--adopt")
    assert ("D", True) == (answer["plan"], "by hand" in answer["reason"]), answer
    assert by_hand == drill.running()
    drill.require_whole("D", release)


def test_without_adopt_the_plan_on_record_comes_back(drill: Drill) -> None:
    """What somebody started by hand and nobody adopted gives way to what the last switch left."""
    release = drill.bring("C")
    docker("start", drill.containers()["monolith"][2])
    answer = drill.agent("converge")
    assert ("C", "as the last switch left it") == (answer["plan"], answer["reason"])
    drill.require_whole("C", release)
