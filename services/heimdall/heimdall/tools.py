"""heimdall as MCP tools: five of them, each a row of types and a function."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp_host.schemas import problems
from pydantic import BaseModel, ValidationError

from heimdall.documents import (
    CancelScan,
    GetScanResults,
    ListScans,
    Scan,
    ScanCode,
    ScanList,
    ScanRepository,
    schema_of,
)
from heimdall.refused import RefusedError
from heimdall.service import ScanService
from heimdall.store import Request
from stepdown.errors import sentence

VERSION = "1.0.0"
CODE_WAIT_SECONDS = 60
INSTRUCTIONS = (
    "Scans code for credentials and dangerous constructs. scan_repository takes a folder of the workspace, or the URL "
    "of a Git repository, and answers at once unless wait_seconds is given; get_scan_results then has the findings. "
    "scan_code takes the text of one file and waits. A scan that is 'failed' proves nothing: its error says "
    "why, and not_judged lists what no scanner read. A scanner that is 'skipped' says why."
)


@dataclass(frozen=True)
class _Tool:
    takes: type[BaseModel]
    gives: type[BaseModel]
    title: str
    description: str
    read_only: bool
    destructive: bool
    idempotent: bool
    run: Callable[[ScanService, Any, ProgressFnT], Awaitable[dict[str, Any]]]


async def _scan_repository(service: ScanService, asked: ScanRepository, report: ProgressFnT) -> dict[str, Any]:
    request = Request(asked.profile, path=asked.path, url=asked.url, ref=asked.ref)
    queued = await service.submit(request, asked.idempotency_key)
    return await service.wait(queued["scan_id"], asked.wait_seconds, report)


async def _scan_code(service: ScanService, asked: ScanCode, report: ProgressFnT) -> dict[str, Any]:
    queued = await service.submit(Request("quick", filename=asked.filename, code=asked.code))
    return await service.wait(queued["scan_id"], CODE_WAIT_SECONDS, report)


async def _get_scan_results(service: ScanService, asked: GetScanResults, _: ProgressFnT) -> dict[str, Any]:
    return await service.get(asked.scan_id)


async def _list_scans(service: ScanService, asked: ListScans, _: ProgressFnT) -> dict[str, Any]:
    return await service.recent(asked.limit)


async def _cancel_scan(service: ScanService, asked: CancelScan, _: ProgressFnT) -> dict[str, Any]:
    return await service.cancel(asked.scan_id)


TOOLS = {
    "scan_repository": _Tool(
        ScanRepository, Scan, "Scan a folder of the workspace or a Git repository",
        "Queue a scan of a folder of the workspace, or of a Git repository at an allowed host, with all scanners. "
        "Answers its scan_id, and the findings too when it ends within wait_seconds.",
        False, False, False, _scan_repository,
    ),
    "scan_code": _Tool(
        ScanCode, Scan, "Scan the text of one file",
        "Scan source text as a file of the given name and wait for the findings (up to 60 s; then get_scan_results). "
        "The text is forgotten when the scan ends.",
        False, False, False, _scan_code,
    ),
    "get_scan_results": _Tool(
        GetScanResults, Scan, "Show a scan",
        "Status and findings of a scan.",
        True, False, True, _get_scan_results,
    ),
    "list_scans": _Tool(
        ListScans, ScanList, "List scans",
        "The newest scans, without their findings.",
        True, False, True, _list_scans,
    ),
    "cancel_scan": _Tool(
        CancelScan, Scan, "Cancel a scan",
        "Stop a scan that is queued or running; it ends as failed.",
        False, True, True, _cancel_scan,
    ),
}  # fmt: skip


def mcp_server(service: ScanService) -> Server[Any]:
    """The MCP server of `service`. Wrong arguments and refusals are tool errors with a sentence to act on."""

    # Once: making schemas takes longer than most calls, and the SDK wants one for each call.
    described = {name: _described(name, tool) for name, tool in TOOLS.items()}

    async def list_tools(_: Any, __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=list(described.values()))

    async def call_tool(ctx: ServerRequestContext, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, sentence(params.name, "is no tool of heimdall", TOOLS))
        try:
            asked = tool.takes.model_validate(params.arguments or {})
            answer = await tool.run(service, asked, ctx.session.report_progress)
        except ValidationError as error:
            return _failed("; ".join(problems(error)))
        except RefusedError as error:
            return _failed(str(error))
        text = json.dumps(answer, ensure_ascii=False)
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structured_content=answer)

    return Server(
        "heimdall",
        version=VERSION,
        title="heimdall security scans",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=lambda name: described[name].input_schema if name in described else None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _described(name: str, tool: _Tool) -> types.Tool:
    return types.Tool(
        name=name,
        title=tool.title,
        description=tool.description,
        input_schema=schema_of(tool.takes),
        output_schema=schema_of(tool.gives),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.read_only,
            destructive_hint=tool.destructive,
            idempotent_hint=tool.idempotent,
            open_world_hint=False,
        ),
    )


def _failed(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)
