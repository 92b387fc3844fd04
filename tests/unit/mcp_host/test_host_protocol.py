"""What clients see of a healthy host, in both protocol revisions."""

from __future__ import annotations

import anyio
import pytest
from conftest import Host

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("mode", ["legacy", "2026-07-28", "auto"])


@BOTH
async def test_a_call_is_answered_in_every_revision(shared: Host, mode: str) -> None:
    """The handshake revision, the stateless one, and a client that finds out by itself get the same answer."""
    async with shared.client(mode=mode) as client:
        result = await client.call_tool("echo", {"text": "hello"})
    assert "hello" == result.content[0].text


@BOTH
async def test_the_childs_identity_passes_through(shared: Host, mode: str) -> None:
    """Name, version and instructions are the child's own."""
    async with shared.client(mode=mode) as client:
        await client.list_tools()
        info, instructions = client.server_info, client.instructions
    assert info is None or ("tiny", "1.2.3") == (info.name, info.version)
    assert mode == "2026-07-28" or "be tiny" == instructions


@BOTH
async def test_all_pages_of_tools_pass_through_unchanged(shared: Host, mode: str) -> None:
    """Both pages, schemas with unknown keys, annotations."""
    async with shared.client(mode=mode) as client:
        first = await client.list_tools()
        second = await client.list_tools(cursor=first.next_cursor)
    assert ("second", None) == (first.next_cursor, second.next_cursor)
    tools = {tool.name: tool for tool in (*first.tools, *second.tools)}
    assert 15 == len(tools)
    assert "echo" == tools["echo"].input_schema["x-kept"]
    assert True is tools["echo"].annotations.read_only_hint


@BOTH
async def test_results_pass_through_unchanged(shared: Host, mode: str) -> None:
    """Structured content, _meta and is_error arrive as the child wrote them."""
    async with shared.client(mode=mode) as client:
        good = await client.call_tool("structured")
        bad = await client.call_tool("fail")
    assert ({"answer": 42}, True) == (good.structured_content, good.meta["tiny/seen"])
    assert (True, ["it failed"]) == (bad.is_error, [item.text for item in bad.content])


@BOTH
async def test_prompts_pass_through_and_what_is_not_announced_is_refused(shared: Host, mode: str) -> None:
    """The tiny server announces prompts and no resources."""
    async with shared.client(mode=mode) as client:
        prompts = await client.list_prompts()
        prompt = await client.get_prompt("greet", {"who": "you"})
        with pytest.raises(Exception, match="Method not found"):
            await client.list_resources()
    assert ["greet"] == [prompt.name for prompt in prompts.prompts]
    assert "greet {'who': 'you'}" == prompt.messages[0].content.text


async def test_no_session_is_kept(shared: Host) -> None:
    """A handshake gives no session id, and a call needs no handshake."""
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    hello = await shared.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    assert (200, "application/json") == (hello.status_code, hello.headers["content-type"])
    assert "mcp-session-id" not in hello.headers
    assert "x" == (await shared.call("echo", text="x"))["result"]["content"][0]["text"]


async def test_streams_are_refused(shared: Host) -> None:
    """GET and DELETE belong to sessions, which this host has none of."""
    answers = [await shared.http.get("/mcp/tiny"), await shared.http.delete("/mcp/tiny")]
    assert [(405, "POST")] * 2 == [(answer.status_code, answer.headers["allow"]) for answer in answers]


async def test_calls_run_side_by_side(shared: Host) -> None:
    """Four slow calls take the time of one."""
    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(lambda: shared.call("slow", seconds=0.3))
    assert anyio.current_time() - began < 0.9


async def test_a_body_over_the_limit_is_refused(shared: Host) -> None:
    """4 MiB pass to the server, one byte more does not."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    assert 200 == (await shared.post(body.ljust(4 * 1024 * 1024))).status_code
    assert 413 == (await shared.post(body.ljust(4 * 1024 * 1024 + 1))).status_code


async def test_an_unreadable_body_is_a_parse_error(shared: Host) -> None:
    """JSON-RPC's -32700 with HTTP 400, for a server that is here and for one that is not."""
    for server, request_id in (("tiny", "server-error"), ("nowhere", None)):
        answer = await shared.post(b"{not json", server)
        assert (400, -32700) == (answer.status_code, answer.json()["error"]["code"]), server
        assert answer.json().get("id") in (request_id, None)


async def test_a_native_server_answers_like_the_others(shared: Host) -> None:
    """Tools, its own route with the caller's token name, and its lifespan entered once."""
    async with shared.client("native", "auto") as client:
        result = await client.call_tool("add", {"a": 20, "b": 22})
    answer = await shared.http.get("/scans")
    assert {"result": 42} == result.structured_content
    assert {"token": "default", "lifespan": ["in"]} == answer.json()


async def test_a_native_call_has_the_same_clock(shared: Host) -> None:
    """A call over its time is the same typed error as for a child."""
    error = (await shared.call("sleep", "native", seconds=5))["error"]
    assert (-32014, "stepdown.call_timeout", 0.5) == (
        error["code"],
        error["data"]["type"],
        error["data"]["timeout_seconds"],
    )


async def test_an_unknown_path_is_404(shared: Host) -> None:
    """Neither the host nor a native server knows it."""
    assert 404 == (await shared.http.get("/nothing/here")).status_code
