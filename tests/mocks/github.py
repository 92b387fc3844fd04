"""github-mock: the real github server over a GitHub that is inside this process (tests/doubles)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from github_mcp.client import GitHub
from github_mcp.settings import from_environment
from github_mcp.tools import mcp_server
from mcp_host.native import NativeServer

from tests.doubles.github_api import GitHubApi


def create() -> NativeServer:
    """The server, and its GitHub: octo-org/hello, as tests/doubles/github_repository.py has it."""
    folder = Path(tempfile.mkdtemp(prefix="github-mock-"))
    api = GitHubApi("127.0.0.1")
    github = GitHub(from_environment({"GITHUB_API_URL": api.url, "MCP_HOST_SECRETS_DIR": str(folder)}))
    (folder / "github").mkdir()
    for name, secret in (("token", api.token), ("ca", api.ca)):
        (folder / "github" / name).write_text(secret, encoding="utf-8")

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        try:
            async with github.running():
                yield
        finally:
            api.close()
            shutil.rmtree(folder)

    return NativeServer(server=mcp_server(github), lifespan=running)
