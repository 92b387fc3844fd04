"""A call that asks for progress is answered by an event stream; it is the call's own, and ends with its answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from conftest import TOKEN, Host, Starter, token
from mcp import Client
from mcp_host.answer import MAX_EVENT_BYTES, MAX_EVENTS
from mcp_types.version import LATEST_HANDSHAKE_VERSION
from test_host_calls import lines, typed, until_line

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
EITHER = "application/json, text/event-stream"
STREAM = "text/event-stream"


def call(tool: str, progress_token: Any, revision: str = LATEST_HANDSHAKE_VERSION, **arguments: Any) -> dict[str, Any]:
    """A tools/call as httpx2 sends it."""
    meta: dict[str, Any] = {"progressToken": progress_token}
    headers = {
        "Accept": EITHER,
        "Authorization": f"Bearer {TOKEN}",
        "Mcp-Protocol-Version": revision,
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    if revision != LATEST_HANDSHAKE_VERSION:
        meta["io.modelcontextprotocol/protocolVersion"] = revision
        meta["io.modelcontextprotocol/clientCapabilities"] = {}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return {"json": {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}, "headers": headers}


def messages(text: str) -> list[dict[str, Any]]:
    """The JSON-RPC messages of an event stream that holds nothing else."""
    *events, rest = text.split("\r\n\r\n")
    assert "" == rest
    split = [event.split("\r\n") for event in events]
    assert all(first == "event: message" and second.startswith("data: ") for first, second in split)
    return [json.loads(data.removeprefix("data: ")) for _, data in split]


def steps(found: list[dict[str, Any]], *more: str) -> list[Any]:
    """What the progress notifications among the messages say."""
    assert {"notifications/progress"} == {message["method"] for message in found}
    keys = ("progressToken", "progress", *more)
    return [tuple(message["params"][key] for key in keys) for message in found]


@asynccontextmanager
async def opened(host: Host, server: str = "tiny", **request: Any) -> AsyncIterator[tuple[httpx2.Response, Any]]:
    """A call's answer while it comes, and its text in pieces; on a connection of its own."""
    async with (
        httpx2.AsyncClient(base_url=host.url, timeout=30) as http,
        http.stream("POST", f"/mcp/{server}", **request) as response,
    ):
        yield response, response.aiter_text()


async def in_flight(host: Host, server: str = "tiny") -> float:
    text = (await host.http.get("/metrics")).text
    return float(text.split(f'mcp_host_calls_in_flight{{server="{server}"}} ')[1].split()[0])


async def until_in_flight(host: Host, count: int) -> None:
    with anyio.fail_after(10):
        while await in_flight(host) != count:
            await anyio.sleep(0.005)


@BOTH
@pytest.mark.parametrize("server", ["tiny", "native"])
async def test_progress_reaches_the_official_client(shared: Host, server: str, mode: str) -> None:
    """Every step in its order, with total and message, then the result: of a child and of a native server."""
    seen: list[Any] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    async with shared.client(server, mode) as client:
        result = await client.call_tool("steps", {"count": 5}, progress_callback=note)
    assert [(step, 5, "step") for step in range(1, 6)] == seen
    assert "done" == result.content[0].text.strip()


@pytest.mark.parametrize("revision", [LATEST_HANDSHAKE_VERSION, "2026-07-28"])
async def test_the_stream_holds_progress_and_then_the_answer(shared: Host, revision: str) -> None:
    """The client's own token, no event ids, nothing after the answer, and no buffering on the way."""
    async with opened(shared, **call("steps", "mine", revision, count=2)) as (response, pieces):
        *progress, answer = messages("".join([piece async for piece in pieces]))
        headers = response.headers
    assert [("mine", 1, 2), ("mine", 2, 2)] == steps(progress, "total")
    assert (7, "done\u2028\n") == (answer["id"], answer["result"]["content"][0]["text"])
    assert (200, STREAM, "no-cache, no-transform", "no") == (
        response.status_code,
        *(headers[name] for name in ("content-type", "cache-control", "x-accel-buffering")),
    )


@pytest.mark.parametrize(
    ("tool", "accept", "progress_token"),
    [("steps", EITHER, None), ("steps", "application/json", 1), ("steps", EITHER, True), ("echo", EITHER, 1)],
    ids=["no token", "no stream accepted", "token of a wrong type", "no progress"],
)
async def test_otherwise_the_answer_is_one_json_body(shared: Host, tool: str, accept: str, progress_token: Any) -> None:
    """As without this part of the protocol; the child is not asked for progress that nobody would get."""
    before = len(lines(shared.state / "tokens"))
    request = call(tool, progress_token, count=1)
    request["headers"]["Accept"] = accept
    answer = await shared.http.post("/mcp/tiny", **request)
    assert (200, "application/json", 7) == (answer.status_code, answer.headers["content-type"], answer.json()["id"])
    assert set(lines(shared.state / "tokens")[before:]) <= {"None"}


async def test_equal_tokens_of_two_clients_do_not_meet(shared: Host) -> None:
    """The child sees two tokens, neither of them the clients', and each client gets its own progress only."""
    before = len(lines(shared.state / "tokens"))
    found: dict[str, list[dict[str, Any]]] = {}

    async def ask(text: str) -> None:
        async with opened(shared, **call("steps", "same", count=3, seconds=0.2, text=text)) as (_, pieces):
            found[text] = messages("".join([piece async for piece in pieces]))

    async with anyio.create_task_group() as tasks:
        for text in ("one", "two"):
            tasks.start_soon(ask, text)
    for text, (*progress, _) in found.items():
        assert [("same", step, text) for step in (1, 2, 3)] == steps(progress, "message")
    given = lines(shared.state / "tokens")[before:]
    assert 2 == len({*given} - {"same"})


async def test_progress_for_a_call_that_ended_reaches_nobody(shared: Host) -> None:
    """Nor does progress under a client's token, or one that was made up."""
    await shared.http.post("/mcp/tiny", **call("steps", "gone", count=1))
    ended = int(lines(shared.state / "tokens")[-1])
    async with opened(shared, **call("slow", "waits", seconds=0.3)) as (response, pieces):
        await shared.call("stray", tokens=[ended, "gone", "waits", 10**6])
        text = "".join([piece async for piece in pieces])
    assert ("application/json", "done") == (
        response.headers["content-type"],
        json.loads(text)["result"]["content"][0]["text"],
    )


async def test_progress_comes_while_the_call_runs(start: Starter) -> None:
    """The stream is open before there is an answer, and counts as in flight until it has ended."""
    async with start() as host:
        async with opened(host, **call("steps", 1, count=1, seconds=0.5)) as (_, pieces):
            assert [(1, 1)] == steps(messages(await anext(pieces)))
            assert 1 == await in_flight(host)
            assert "result" in messages("".join([piece async for piece in pieces]))[0]
        await until_in_flight(host, 0)


async def test_calls_that_wait_are_in_flight_too(start: Starter) -> None:
    """One runs, one is queued: two."""
    async with start(max_concurrent_calls=1) as host, anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(lambda: host.call("slow", seconds=60))
        await until_in_flight(host, 2)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("server", ["tiny", "native"])
async def test_a_timeout_ends_the_stream_with_the_typed_error(shared: Host, start: Starter, server: str) -> None:
    """After the progress that there was."""
    async with start(call_timeout_seconds=0.5) as host:
        chosen = shared if server == "native" else host
        async with opened(chosen, server, **call("steps", 1, count=1, seconds=60)) as (_, pieces):
            *progress, answer = messages("".join([piece async for piece in pieces]))
    assert [(1, 1)] == steps(progress)
    assert (7, (-32014, "stepdown.call_timeout", "unknown")) == (answer["id"], typed(answer))


async def test_the_death_of_the_server_ends_the_stream_with_the_typed_error(start: Starter) -> None:
    """Outcome in metrics and log as for a JSON answer."""
    async with start() as host:
        async with opened(host, **call("steps", 1, count=1, seconds=60)) as (_, pieces):
            first = await anext(pieces)
            await host.call("die")
            *progress, answer = messages(first + "".join([piece async for piece in pieces]))
        metrics = (await host.http.get("/metrics")).text
    assert [(1, 1)] == steps(progress)
    assert (-32012, "stepdown.server_restarted", "unknown") == typed(answer)
    labels = 'method="tools/call",outcome="server_restarted",server="tiny",tool="steps"'
    assert f"mcp_server_operation_duration_seconds_count{{{labels}}} 1.0" in metrics


async def test_a_refusal_before_any_progress_keeps_its_status(shared: Host) -> None:
    """Headers that contradict the body are 400 in 2026-07-28, with a token or without."""
    request = call("steps", 1, "2026-07-28", count=1)
    request["headers"]["Mcp-Name"] = "other"
    answer = await shared.http.post("/mcp/tiny", **request)
    assert (400, "application/json") == (answer.status_code, answer.headers["content-type"])


async def test_a_client_that_leaves_the_stream_cancels_the_call(various: Host) -> None:
    """The slot is free again, and the child was told."""
    await various.until_state("single", "ready")
    async with opened(various, "single", **call("steps", 1, count=1, seconds=60)) as (_, pieces):
        await anext(pieces)
    assert "free" == await various.text("echo", "single", text="free")


async def test_a_client_that_does_not_read_holds_up_nobody(start: Starter) -> None:
    """A thousand large steps: the child is through with its call, others are served, and little was kept for it."""
    count, text = 1000, "x" * (MAX_EVENT_BYTES - 300)
    async with start(max_concurrent_calls=1) as host:
        async with opened(host, **call("steps", 1, count=count, text=text)) as (_, pieces):
            await until_line(host.state / "steps", "reported")
            assert "served" == await host.text("echo", text="served")
            assert 1 == await in_flight(host)
            *progress, answer = messages("".join([piece async for piece in pieces]))
        await until_in_flight(host, 0)
    numbers = [step for _, step in steps(progress)]
    assert sorted(numbers) == numbers
    assert [*range(count - MAX_EVENTS + 1, count + 1)] == numbers[-MAX_EVENTS:]
    assert len(numbers) < count
    assert "done" == answer["result"]["content"][0]["text"].strip()


async def test_progress_too_large_to_keep_is_dropped(shared: Host) -> None:
    """A stream of large messages is none, and the answer comes."""
    answer = await shared.http.post("/mcp/tiny", **call("steps", 1, count=3, text="x" * MAX_EVENT_BYTES))
    assert ("application/json", 7) == (answer.headers["content-type"], answer.json()["id"])


async def test_a_stream_that_began_before_the_end_is_finished(start: Starter) -> None:
    """The host is told to end; the open stream gets its answer first."""
    async with anyio.create_task_group() as tasks:
        begun = anyio.Event()
        found: list[dict[str, Any]] = []

        async def ask(host: Host) -> None:
            async with opened(host, **call("steps", 1, count=1, seconds=0.5)) as (_, pieces):
                text = await anext(pieces)
                begun.set()
                found.extend(messages(text + "".join([piece async for piece in pieces])))

        async with start() as host:
            tasks.start_soon(ask, host)
            await begun.wait()
    assert "done" == found[-1]["result"]["content"][0]["text"].strip()


async def test_a_clients_own_child_reports_to_its_client(start: Starter) -> None:
    """Two tokens at once, each with a child of its own whose request ids are the same."""
    found: dict[str, list[Any]] = {"ada": [], "bob": []}

    async def ask(client: Client, name: str) -> None:
        async def note(progress: float, _total: float | None, message: str | None) -> None:
            found[name].append((progress, message))

        await client.call_tool("steps", {"count": 2, "text": name, "seconds": 0.2}, progress_callback=note)

    async with start(clients={"most": 2, "idle_seconds": 600}) as host:
        host.write_tokens(token(TOKEN), *(token(name, name) for name in found))
        async with (
            host.client(token="ada") as ada,
            host.client(token="bob") as bob,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(ask, ada, "ada")
            tasks.start_soon(ask, bob, "bob")
    assert {name: [(1, name), (2, name)] for name in found} == found
