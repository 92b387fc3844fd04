"""Calls that a container has under way, in its own word: clients of a direct port are not the gateway's to count."""

from __future__ import annotations

import http.client
import re

from stepdown.host import engine, tokens
from stepdown.host.release import load, staged
from stepdown.host.target import Target
from stepdown.shared import CONTAINER_PORT

ASK_SECONDS = 3.0
SAMPLE = re.compile(r"^mcp_host_calls_in_flight\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)


def calls(goal: Target, container: engine.Container) -> int:
    """How many calls a container of any staged release serves or queues; 0 where its release is gone.

    OSError, HTTPException or ValueError where it does not answer.
    """
    if container.release not in staged(goal.home):
        return 0
    release = load(goal.home, container.release)
    index = next(
        f["containers"][container.name]["index"]
        for plan in release.plans
        if container.name in (f := release.facts(plan))["containers"]
    )
    connection = http.client.HTTPConnection(release.address(goal.instance, index), CONTAINER_PORT, timeout=ASK_SECONDS)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {tokens.read(goal.home.agent_token)}"})
        response = connection.getresponse()
        text = response.read().decode()
        if response.status != http.client.OK:
            raise ValueError(f"/metrics answered {response.status}")
    finally:
        connection.close()
    return int(sum(float(value) for value in SAMPLE.findall(text)))
