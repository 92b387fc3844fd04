"""A small real MCP server over stdio for the host's tests: well-behaved tools, and ways to misbehave."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

STATE = Path.cwd()
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}}
TOOLS = (
    *("echo", "slow", "die", "mute", "count", "fail"),
    *("variable", "environment", "structured", "say", "spawn", "pid", "remember", "steps", "stray"),
)
REMEMBERED: list[str] = []


def text(value: object) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=str(value))])


def note(name: str, line: str) -> None:
    with (STATE / name).open("a") as file:
        file.write(line + "\n")


async def call(ctx: ServerRequestContext, params: types.CallToolRequestParams) -> types.CallToolResult:
    arguments = params.arguments or {}
    match params.name:
        case "echo":
            return text(arguments.get("text", ""))
        case "slow":
            note("slow", "began")
            try:
                await anyio.sleep(arguments["seconds"])
            except BaseException:
                note("slow", "cancelled")
                raise
            return text("done")
        case "count":
            note("count", str(arguments.get("text", "")))
            if arguments.get("die"):
                os._exit(3)
            return text(len((STATE / "count").read_text().splitlines()))
        case "die":
            os._exit(arguments.get("code", 7))
        case "mute":
            note("mute", "began")
            time.sleep(600)  # blocks its own loop, as bad servers do
        case "fail":
            return types.CallToolResult(content=[types.TextContent(text="it failed")], is_error=True)
        case "variable":
            return text(os.environ.get(arguments["name"], "<unset>"))
        case "environment":
            return text(sorted(os.environ))
        case "structured":
            return types.CallToolResult(
                content=[types.TextContent(text="42")], structured_content={"answer": 42}, _meta={"tiny/seen": True}
            )
        case "say":
            print(arguments["text"], file=sys.stderr, flush=True)
            return text("said")
        case "spawn":
            return text(subprocess.Popen(["sleep", "600"]).pid)
        case "pid":
            return text(os.getpid())
        case "remember":
            REMEMBERED.append(arguments["text"])
            return text(" ".join(REMEMBERED))
        case "steps":
            note("tokens", str((ctx.meta or {}).get("progress_token")))
            for step in range(arguments["count"]):
                await ctx.session.report_progress(step + 1, arguments["count"], arguments.get("text", "step"))
            note("steps", "reported")
            await anyio.sleep(arguments.get("seconds", 0))
            return text("done\u2028\n")
        case "stray":
            for token in arguments["tokens"]:
                await ctx.session.send_progress_notification(token, 1, message="stray")
            return text("strayed")
    return types.CallToolResult(content=[types.TextContent(text=f"Unknown tool: {params.name}")], is_error=True)


async def list_tools(_ctx: object, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    """Two pages, so that whoever reads only the first misses half."""
    tools = [
        types.Tool(
            name=name,
            description=f"the {name} tool",
            input_schema=TEXT | {"x-kept": name},
            annotations=types.ToolAnnotations(read_only_hint=name == "echo"),
        )
        for name in TOOLS
    ]
    half = len(tools) // 2
    if params is not None and params.cursor == "second":
        return types.ListToolsResult(tools=tools[half:])
    return types.ListToolsResult(tools=tools[:half], next_cursor="second")


async def list_prompts(_ctx: object, _params: object) -> types.ListPromptsResult:
    return types.ListPromptsResult(prompts=[types.Prompt(name="greet")])


async def get_prompt(_ctx: object, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    message = types.PromptMessage(role="user", content=types.TextContent(text=f"greet {params.arguments}"))
    return types.GetPromptResult(messages=[message])


async def main() -> None:
    print(f"tiny starts with the key {os.environ.get('API_KEY')}", flush=True)  # a banner where none belongs
    starts = STATE / "starts"
    note("starts", str(os.getpid()))
    refused = STATE / "refuse-starts"
    if refused.exists() and len(starts.read_text().splitlines()) <= int(refused.read_text()):
        sys.exit(9)
    server = Server(
        "tiny",
        version="1.2.3",
        instructions="be tiny",
        on_list_tools=list_tools,
        on_call_tool=call,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
    )
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


anyio.run(main)
