"""`python -m mcp_host describe`: the tools of every configured server as JSON, then the end.

Every server is really started and warmed, as when it serves; nothing listens. What the control machine compares with
the tool lists that were agreed on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio

from mcp_host.app import host_servers
from mcp_host.config import HostConfig, Surroundings
from mcp_host.errors import StartError
from mcp_host.hosted import Hosted
from mcp_host.metrics import Metrics
from mcp_host.supervisor import Timing

Tools = Mapping[str, list[Mapping[str, Any]]]


async def describe(config: HostConfig, surroundings: Surroundings) -> Tools:
    """Server to its tools, sorted by name. Raises StartError for a server that its first start did not bring up."""
    servers = host_servers(config, surroundings, tuple, Metrics(), replace(Timing(), ready_wait=0))
    failure = ""
    async with anyio.create_task_group() as keeping:
        for server in servers.values():
            keeping.start_soon(server.run)
        for server in servers.values():
            if await server.supervisor.life(first_wait=math.inf) is None:  # a start has a bound of its own
                failure = server.readiness.error or f"{server.name}: did not start"
                break
        tools = {name: _sorted(server) for name, server in servers.items()}
        keeping.cancel_scope.cancel()
    if failure:
        raise StartError(failure)  # outside of the task group, which would wrap it in a group
    return tools


def _sorted(server: Hosted[Any]) -> list[Mapping[str, Any]]:
    return sorted(server.supervisor.tools.values(), key=lambda tool: str(tool["name"]))
