"""GitHub over HTTPS on this machine, and the server that asks it, as the MCP host makes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from github_mcp.server import create
from mcp import Client

from tests.doubles.github_api import GitHubApi

VARIABLES = ("GITHUB_READ_ONLY", "GITHUB_APP_ID", "GITHUB_APP_INSTALLATION_ID")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
Serve = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def only_api() -> Iterator[GitHubApi]:
    """One for all tests: its keys take longer to make than a test."""
    api = GitHubApi("127.0.0.1")
    yield api
    api.close()


@pytest.fixture
def api(only_api: GitHubApi) -> GitHubApi:
    """As new."""
    only_api.forget()
    return only_api


@pytest.fixture
def secrets(api: GitHubApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The container's variables, and the folder of github's secrets, which holds the CA and a token."""
    for name in (*VARIABLES, *PROXIES, *(proxy.lower() for proxy in PROXIES)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GITHUB_API_URL", api.url)
    monkeypatch.setenv("MCP_HOST_SECRETS_DIR", str(tmp_path))
    folder = tmp_path / "github"
    folder.mkdir()
    (folder / "ca").write_text(api.ca)
    (folder / "token").write_text(f"{api.token}\n")
    return folder


@pytest.fixture
def serve(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """A client of github under the variables given."""

    @asynccontextmanager
    async def serving(mode: Any = "auto", **variables: str) -> AsyncIterator[Client]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        native = create()
        assert native.lifespan is not None
        async with native.lifespan(), Client(native.server, mode=mode) as client:
            yield client

    return serving
