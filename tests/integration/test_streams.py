"""A call that reports progress, through the gateway of a real stack."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from mcp import Client

from stepdown.host.gateway import active_requests
from stepdown.host.home import Home
from stepdown.scan.scanners import load_scanners
from tests.integration.clients import REVISIONS, with_client
from tests.stack import Stack, until

pytestmark = [pytest.mark.engine, pytest.mark.mcp_integration]
FILES, LINES = 20, 500  # a second of work for the scanners, and few findings


@pytest.mark.parametrize("revision", REVISIONS)
def test_progress_passes_the_gateway_as_it_comes(stack: Stack, revision: str) -> None:
    """The first step arrives while the scan runs; the open stream is a request under way, which draining waits for."""
    folder = stack.home / "data" / "workspace" / f"streamed-{revision}"
    folder.mkdir(parents=True)
    for number in range(FILES):
        (folder / f"file{number}.py").write_text("exec(input())\n" + "value = compute(1, 2)\n" * LINES)
    cluster = f"{stack.status()['release']}.heimdall"
    home = Home(stack.home)
    seen: list[tuple[float, float | None, int, float]] = []

    async def note(progress: float, total: float | None, _message: str | None) -> None:
        seen.append((progress, total, active_requests(home, {cluster}), time.monotonic()))

    async def scan(client: Client) -> Any:
        arguments = {"path": folder.name, "profile": "quick", "wait_seconds": 50}
        result = await client.call_tool("scan_repository", arguments, progress_callback=note)
        return result.structured_content, time.monotonic()

    config = json.loads(stack.run("client.config").stdout)
    result, ended = with_client(config, "heimdall", REVISIONS[revision], scan)
    assert "completed" == result["status"], result
    steps = [progress for progress, *_ in seen]
    assert steps == sorted(set(steps))
    mine = [scanner for scanner in load_scanners() if scanner.command_line_only is None]
    assert {1.0 + len(mine)} == {total for _, total, _, _ in seen}
    assert {1} == {active for _, _, active, _ in seen}
    assert seen[0][3] < ended - 0.5
    until(lambda: active_requests(home, {cluster}) == 0, "the gateway has no request under way")
