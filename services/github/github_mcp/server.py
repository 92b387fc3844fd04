"""github for the MCP host: `github_mcp.server:create`."""

from __future__ import annotations

import os

from mcp_host.native import NativeServer

from github_mcp.client import GitHub
from github_mcp.settings import from_environment
from github_mcp.tools import mcp_server


def create() -> NativeServer:
    """The server and its lifetime. Opens nothing and asks GitHub nothing; raises ConfigError for a wrong variable."""
    github = GitHub(from_environment(os.environ))
    return NativeServer(server=mcp_server(github), lifespan=github.running)
