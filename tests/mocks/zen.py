"""zen-mock: the agreed tools of zen, answered from answers/zen.yml as a zen with two models does.

zen is a program of somebody else with an environment of its own, so that its code cannot run here. What it does with
arguments was seen at pal-mcp-server 11.8.2: unknown ones are passed over, `model` is its first one when none is given,
and what is wrong is a result with `isError` and a JSON document as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from mcp import types
from mcp.server.lowlevel import Server
from mcp_host.native import NativeServer

from stepdown.strict_yaml import load
from tests.mocks.app import agreed_tools

ANSWERS = Path(__file__).with_name("answers") / "zen.yml"


def create() -> NativeServer:
    """The server; its answers are read anew. Raises UsageError for answers that are no YAML."""
    answers = load(ANSWERS, "tests/mocks/answers/zen.yml").value
    tools = {tool["name"]: tool for tool in agreed_tools("zen")}
    listed = [types.Tool.model_validate(tool) for tool in tools.values()]

    async def list_tools(_: Any, __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def call_tool(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        if params.name not in tools:
            return _said(f"Unknown tool: {params.name}")
        given = {"model": answers["models"][0], **(params.arguments or {})}
        wrong = problem(params.name, tools[params.name]["inputSchema"], given)
        if wrong is None and given["model"] not in answers["models"]:
            known = ", ".join(answers["models"])
            wrong = f"Model '{given['model']}' is not available with current API keys. Available models: {known}."
        if wrong is not None:
            document = {"status": "error", "content": wrong, "content_type": "text", "metadata": {}}
            return _said(json.dumps({**document, "continuation_offer": None}), failed=True)
        answer = filled(answer_for(answers, params.name, given), given)
        return _said(json.dumps(answer, ensure_ascii=False), failed=answer["status"] == "error")

    info = answers["server"]
    server: Server[Any] = Server(
        info["name"],
        version=info["version"],
        instructions=info["instructions"],
        get_tool_input_schema=lambda name: tools.get(name, {}).get("inputSchema"),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    return NativeServer(server=server)


def answer_for(answers: Mapping[str, Any], tool: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The canned answer: of tools that work in steps, the one for more steps or for the last."""
    answer: dict[str, Any] = answers["tools"][tool]
    if "more" not in answer:
        return answer
    return dict(answer["more" if given.get("next_step_required") else "last"])


def problem(tool: str, schema: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """What is wrong with arguments, in one sentence; None when nothing is."""
    lenient = {key: value for key, value in schema.items() if key != "additionalProperties"}
    for wrong in Draft7Validator(lenient).iter_errors(given):
        place = "/".join(map(str, wrong.absolute_path))
        return f"Error in {tool}: {f'{place}: ' if place else ''}{wrong.message}"
    return None


def filled(answer: Any, given: Mapping[str, Any]) -> Any:
    """`{argument}` in the texts of an answer is that argument; a text that is nothing else keeps its type."""
    if isinstance(answer, dict):
        return {key: filled(value, given) for key, value in answer.items()}
    if isinstance(answer, list):
        return [filled(value, given) for value in answer]
    if isinstance(answer, str):
        for name, value in given.items():
            if answer == f"{{{name}}}":
                return value
            if isinstance(value, str | int | float):
                answer = answer.replace(f"{{{name}}}", str(value))
    return answer


def _said(text: str, *, failed: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=failed)
