"""heimdall as MCP clients of both revisions see it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, Literal

import pytest
from heimdall.service import ScanService
from heimdall.settings import Settings
from heimdall.tools import mcp_server
from mcp import Client
from mcp.shared.exceptions import MCPError

from stepdown.scan.scanners import Scanner

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("mode", ["legacy", "auto"])]
Mode = Literal["legacy", "auto"]
MakeScanner = Callable[..., Scanner]
GOLDEN = Path(__file__).with_name("tools.golden.json")


@asynccontextmanager
async def _client(settings: Settings, scanner: Scanner, mode: Mode) -> AsyncIterator[Client]:
    service = ScanService(settings, [scanner])
    async with service.running(), Client(mcp_server(service), mode=mode) as client:
        yield client


def _text(result: Any) -> str:
    return "".join(item.text for item in result.content)


async def test_the_tools_are_those_that_are_written_down(settings: Settings, scanner: MakeScanner, mode: Mode) -> None:
    """Names and schemas change only on purpose: a switch compares them. To accept a change, write this file anew."""
    async with _client(settings, scanner(), mode) as client:
        tools = [
            tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in (await client.list_tools()).tools
        ]
    assert json.loads(GOLDEN.read_text()) == tools


async def test_a_repository_is_scanned_while_the_caller_waits(
    settings: Settings, scanner: MakeScanner, mode: Mode
) -> None:
    """The structured answer and the text are the same document."""
    async with _client(settings, scanner(), mode) as client:
        result = await client.call_tool("scan_repository", {"path": "app", "wait_seconds": 20})
        scan = result.structured_content
        again = await client.call_tool("get_scan_results", {"scan_id": scan["scan_id"]})
        listed = await client.call_tool("list_scans", {})
    assert ("completed", "full", ["R1"]) == (scan["status"], scan["profile"], [f["rule"] for f in scan["findings"]])
    assert scan == json.loads(_text(result)) == again.structured_content
    assert [scan["scan_id"]] == [one["scan_id"] for one in listed.structured_content["scans"]]


async def test_a_repeated_call_is_one_scan(settings: Settings, blocked: tuple[Scanner, IO[str]], mode: Mode) -> None:
    """By its idempotency_key, for clients that send a call again."""
    arguments = {"path": "app", "idempotency_key": "k1"}
    async with _client(settings, blocked[0], mode) as client:
        first, second = [await client.call_tool("scan_repository", arguments) for _ in range(2)]
        other = await client.call_tool("scan_repository", {**arguments, "path": "."})
    assert first.structured_content["scan_id"] == second.structured_content["scan_id"]
    assert other.is_error and "was used for another request" in _text(other)


async def test_a_waiting_caller_sees_progress(settings: Settings, blocked: tuple[Scanner, IO[str]], mode: Mode) -> None:
    """If it asked for it, from the first step on."""
    seen: list[tuple[float, float | None]] = []

    async def note(progress: float, total: float | None, _message: str | None) -> None:
        seen.append((progress, total))

    async with _client(settings, blocked[0], mode) as client:
        await client.call_tool("scan_repository", {"path": "app", "wait_seconds": 2}, progress_callback=note)
    assert seen in ([(1, 2)], [(0, 2), (1, 2)])


async def test_code_is_scanned(settings: Settings, scanner: MakeScanner, mode: Mode) -> None:
    """And answered in one call."""
    async with _client(settings, scanner(), mode) as client:
        result = await client.call_tool("scan_code", {"code": "x = 1\n", "filename": "a.py"})
    assert ("completed", 1) == (result.structured_content["status"], result.structured_content["findings_total"])


async def test_a_scan_is_cancelled(settings: Settings, blocked: tuple[Scanner, IO[str]], mode: Mode) -> None:
    """Twice is as good as once."""
    async with _client(settings, blocked[0], mode) as client:
        queued = (await client.call_tool("scan_repository", {"path": "app"})).structured_content
        scan_id = {"scan_id": queued["scan_id"]}
        results = [await client.call_tool("cancel_scan", scan_id) for _ in range(2)]
    assert [("failed", "was cancelled")] * 2 == [
        (r.structured_content["status"], r.structured_content["error"]) for r in results
    ]


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("scan_repository", {}, "give either path or url"),
        ("scan_repository", {"path": "../x"}, "goes up with '..'"),
        ("scan_repository", {"path": "app", "speed": 1}, "speed: Extra inputs are not permitted"),
        ("scan_repository", {"path": "app", "wait_seconds": 1000}, "wait_seconds: Input should be less than"),
        ("scan_repository", {"path": "app", "profile": "best"}, "profile: Input should be 'quick' or 'full'"),
        ("scan_repository", {"path": "app", "url": "https://git.example/p"}, "give either path or url"),
        ("scan_repository", {"path": "app", "ref": "main"}, "ref is for a url"),
        ("scan_repository", {"url": "https://git.example/p"}, "List hosts in mcp_stack_heimdall_git_hosts"),
        ("scan_code", {"code": "x", "filename": "../a.py"}, "filename: String should match pattern"),
        ("get_scan_results", {"scan_id": "0" * 32}, "is not known; list_scans shows"),
    ],
)
async def test_a_wrong_call_is_an_error_to_act_on(
    settings: Settings, scanner: MakeScanner, mode: Mode, tool: str, arguments: dict[str, Any], said: str
) -> None:
    """A model can read it and do better."""
    async with _client(settings, scanner(), mode) as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error and said in _text(result)


async def test_an_unknown_tool_names_the_known(settings: Settings, scanner: MakeScanner, mode: Mode) -> None:
    """As a protocol error."""
    async with _client(settings, scanner(), mode) as client:
        with pytest.raises(MCPError, match=r"known: scan_repository, scan_code"):
            await client.call_tool("scan_everything", {})
