"""client.config."""

from __future__ import annotations

import json

from invoke.context import Context

from stepdown.cli import door
from stepdown.host import tokens
from stepdown.host.home import Home
from stepdown.host.instance import load_instance
from stepdown.host.release import load
from stepdown.host.state import read_state


@door.command()
def config(_context: Context) -> None:
    """Print the JSON that MCP clients take: every server that the plan carries, its URL and the token."""
    home = Home(door.home())
    instance = load_instance(home)
    state = read_state(home)
    carried = load(home, state["release"]).facts(state["plan"])["servers"] if state else {}
    headers = {"Authorization": f"Bearer {tokens.read(home.client_token)}"}
    url = f"http://127.0.0.1:{instance.port}/mcp"
    servers = {name: {"type": "http", "url": f"{url}/{name}", "headers": headers} for name in carried}
    print(json.dumps({"mcpServers": servers}, indent=2))
