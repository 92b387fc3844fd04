"""A real host on a real port, with the tiny stdio server behind it."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_host.app import create_app
from mcp_host.config import Surroundings, parse
from mcp_host.supervisor import Timing

TINY = Path(__file__).with_name("tiny_server.py")
TOKEN = "open-sesame"
# The product's clocks, faster: what a test waits for is an event, but some events are clocks running out.
QUICK = Timing(
    ready_wait=0.3, ping_timeout=0.4, slow_ping=0.2, check_interval=60, fresh=0, first_delay=0.02, longest_delay=0.1
)


@dataclass(frozen=True)
class Host:
    """A host that runs; `state` is where its tiny servers leave traces."""

    url: str
    root: Path
    http: httpx2.AsyncClient

    @property
    def state(self) -> Path:
        """Where the server "tiny" leaves its traces, its home; others do so in theirs beside it."""
        return self.root / "scratch/tiny"

    @asynccontextmanager
    async def client(self, server: str = "tiny", mode: str = "legacy", token: str = TOKEN) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            transport = streamable_http_client(f"{self.url}/mcp/{server}", http_client=http)
            async with Client(transport, mode=mode) as client:
                yield client

    async def post(self, body: Any, server: str = "tiny", **headers: str) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        base = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        return await self.http.post(f"/mcp/{server}", content=content, headers=base | headers)

    async def call(self, tool: str, server: str = "tiny", **arguments: Any) -> dict[str, Any]:
        """One tools/call as a bare POST; the JSON-RPC answer."""
        params = {"name": tool, "arguments": arguments}
        answer = await self.post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, server)
        message: dict[str, Any] = answer.json()
        return message

    async def text(self, tool: str, server: str = "tiny", **arguments: Any) -> str:
        """The first text of a call that must have a result."""
        return str((await self.call(tool, server, **arguments))["result"]["content"][0]["text"])

    async def readyz(self) -> dict[str, Any]:
        body: dict[str, Any] = (await self.http.get("/readyz")).json()
        return body

    async def until_ready(self) -> dict[str, Any]:
        return await self.until(lambda body: bool(body["ready"]))

    async def until_state(self, server: str, *states: str) -> dict[str, Any]:
        """What /readyz says of the server as soon as it is in one of the states."""
        body = await self.until(lambda body: body["servers"][server]["state"] in states)
        server_state: dict[str, Any] = body["servers"][server]
        return server_state

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask /readyz until the condition holds."""
        with anyio.fail_after(20):
            while not holds(body := await self.readyz()):
                await anyio.sleep(0.01)
        return body

    def write_tokens(self, *tokens: Mapping[str, Any]) -> None:
        self.replace("auth/tokens.json", json.dumps({"tokens": tokens}))

    def replace(self, name: str, text: str) -> None:
        """Replace a file as operators' tools do: by atomic rename."""
        fresh = self.root / f"{name}.new"
        fresh.write_text(text)
        fresh.rename(self.root / name)


def token(value: str, name: str = "default", servers: tuple[str, ...] = ("*",)) -> dict[str, Any]:
    return {"name": name, "sha256": hashlib.sha256(value.encode()).hexdigest(), "servers": servers}


def tiny(root: Path, name: str = "tiny", **changes: Any) -> dict[str, Any]:
    """The configuration of a tiny server, and the home that it works in."""
    (root / "scratch" / name).mkdir(parents=True, exist_ok=True)
    return {
        "kind": "stdio",
        "command": [sys.executable, str(TINY)],
        "start_timeout_seconds": 20,
        "call_timeout_seconds": 10,
        "max_concurrent_calls": 4,
        "probe": {"tool": "echo", "arguments": {"text": "probe"}},
    } | changes


Starter = Callable[..., AbstractAsyncContextManager[Host]]


@asynccontextmanager
async def run_host(
    root: Path, servers: Mapping[str, Any], timing: Timing = QUICK, origins: frozenset[str] = frozenset()
) -> AsyncIterator[Host]:
    """Serve these servers on a free port of 127.0.0.1 until left."""
    for name in ("auth", "plan", "secrets"):
        (root / name).mkdir(exist_ok=True)
    config = parse(json.dumps({"container": "test", "port": 0, "servers": servers}))
    places = Surroundings(
        auth_dir=root / "auth",
        plan_dir=root / "plan",
        secrets_dir=root / "secrets",
        scratch_dir=root / "scratch",
        allowed_origins=origins,
    )

    def broke() -> None:
        raise AssertionError("the host broke; its log says how")

    app = create_app(config, places, timing, broke)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=2))
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it on, every answer takes 40 ms
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with (
            httpx2.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as http,
            anyio.create_task_group() as tasks,
        ):
            host = Host(url, root, http)
            host.write_tokens(token(TOKEN))
            tasks.start_soon(server.serve, [listener])
            try:
                yield host
            finally:
                server.should_exit = True


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _all_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="mcp_host")


@pytest.fixture
def start(tmp_path: Path) -> Starter:
    """Start a host of one's own with `tiny` changed as told, ready unless `ready=False`."""

    @asynccontextmanager
    async def starter(*, ready: bool = True, timing: Mapping[str, float] | None = None, **changes: Any) -> Any:
        async with run_host(tmp_path, {"tiny": tiny(tmp_path, **changes)}, replace(QUICK, **(timing or {}))) as host:
            if ready:
                await host.until_ready()
            yield host

    return starter


@pytest.fixture(scope="session")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Host]:
    """One ready host for the tests that leave no trace in it."""
    root = tmp_path_factory.mktemp("shared")
    native = {
        "kind": "native",
        "factory": "native_for_tests:create",
        "start_timeout_seconds": 10,
        "call_timeout_seconds": 0.5,
        "max_concurrent_calls": 2,
        "probe": {"tool": "add", "arguments": {"a": 1, "b": 2}},
    }
    origins = frozenset({"https://console.example"})
    async with run_host(root, {"tiny": tiny(root), "native": native}, origins=origins) as host:
        await host.until_ready()
        yield host


@pytest.fixture(scope="session")
async def various(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Host]:
    """One host whose servers differ in their bounds and in what they are given, each for a few tests."""
    root = tmp_path_factory.mktemp("various")
    (root / "secrets/furnished").mkdir(parents=True)
    (root / "secrets/furnished/key").write_text("s3cr3t-value\n")
    (root / "secrets/furnished/empty").write_text("\n")
    hint = {"ENDPOINT": "no endpoint is set. Run: invoke deploy"}
    changes: dict[str, dict[str, Any]] = {
        "brief": {"call_timeout_seconds": 0.3},
        "single": {"max_concurrent_calls": 1},
        "hasty": {"max_concurrent_calls": 1, "call_timeout_seconds": 0.4},
        "furnished": {
            "environment": ["ENDPOINT", "EMPTY", "ABSENT"],
            "settings": {"REPORTING": "false"},
            "secrets": {"API_KEY": "furnished/key", "EMPTY_KEY": "furnished/empty", "ABSENT_KEY": "furnished/absent"},
            "needs": hint,
        },
        "lacking": {
            "environment": ["ENDPOINT_2"],
            "needs": {"ENDPOINT_2": hint["ENDPOINT"]},
            "probe": {"tool": "fail"},
        },
        "misprobed": {"probe": {"tool": "ecko"}},
        "missing": {"command": ["/nowhere/at/all"]},
        "silent": {"command": [sys.executable, "-c", "import time; time.sleep(600)"], "start_timeout_seconds": 0.2},
    }
    servers = {name: tiny(root, name, **change) for name, change in changes.items()}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "LANG": "C.UTF-8",
            "ENDPOINT": "http://model",
            "EMPTY": "",
            "MCP_HOST_CONFIG": "{}",
        }.items():
            environment.setenv(name, value)
        # servers that can never start try again seldom here: each try takes time from the others
        async with run_host(root, servers, replace(QUICK, stop_grace=0.05, first_delay=5, longest_delay=10)) as host:
            yield host
