"""A call is sent once or not at all, and its caller learns which."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from conftest import TOKEN, Host, Starter

pytestmark = pytest.mark.anyio


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


async def until_line(file: Path, line: str, times: int = 1) -> None:
    """Wait until the tiny server has noted this."""
    with anyio.fail_after(10):
        while lines(file).count(line) < times:
            await anyio.sleep(0.005)


def typed(message: dict[str, Any]) -> tuple[int, str, str | None]:
    error = message["error"]
    return error["code"], error["data"]["type"], error["data"].get("executed")


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_call_whose_server_dies_is_never_sent_again(start: Starter, mode: str) -> None:
    """The counter says one although the call failed; the error says that nobody knows; the next call works."""
    async with start(timing={"ready_wait": 10}) as host, host.client(mode=mode) as client:
        with pytest.raises(Exception, match="restarted while this call ran") as caught:
            await client.call_tool("count", {"text": "a", "die": True})
        assert {"type": "stepdown.server_restarted", "server": "tiny", "executed": "unknown"} == caught.value.data
        assert "2" == (await client.call_tool("count", {"text": "b"})).content[0].text
    assert ["a", "b"] == lines(host.state / "count")


async def test_calls_in_flight_all_learn_of_the_death(start: Starter) -> None:
    """Every caller gets one typed answer, and each call ran once."""
    answers: list[dict[str, Any]] = []
    async with start() as host:

        async def slow() -> None:
            answers.append(await host.call("slow", seconds=60))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(slow)
            await until_line(host.state / "slow", "began", 3)
            answers.append(await host.call("die"))
        assert [(-32012, "stepdown.server_restarted", "unknown")] * 4 == [typed(answer) for answer in answers]
        assert ["began"] * 3 == lines(host.state / "slow")


async def test_a_call_while_the_server_is_down_says_that_it_was_not_sent(start: Starter) -> None:
    """The server refuses to start again, so the call waits its moment and learns when to come back."""
    async with start() as host:
        (host.state / "refuse-starts").write_text("1000")
        await host.call("die")
        answer = await host.call("count", text="never")
        assert (-32013, "stepdown.server_starting", "no") == typed(answer)
        assert answer["error"]["data"]["retry_after_seconds"] >= 1
    assert [] == lines(host.state / "count")


async def test_a_call_waits_for_a_server_that_is_about_to_be_ready(start: Starter) -> None:
    """A call right after a death is answered by the next child."""
    async with start(timing={"ready_wait": 10}) as host:
        await host.call("die")
        assert "hi" == (await host.call("echo", text="hi"))["result"]["content"][0]["text"]


async def test_a_handshake_works_while_the_server_is_down(start: Starter) -> None:
    """Clients can connect; only what needs the child is refused."""
    async with start() as host:
        (host.state / "refuse-starts").write_text("1000")
        await host.call("die")
        async with host.client() as client:
            assert "tiny" == client.server_info.name


async def test_a_slow_call_times_out_and_the_server_is_kept(various: Host) -> None:
    """The caller learns the limit, the child is told to stop working, and is not killed since it answers pings."""
    await various.until_state("brief", "ready")
    traces = various.root / "scratch/brief"
    answer = await various.call("slow", "brief", seconds=60)
    assert (-32014, "stepdown.call_timeout", "unknown") == typed(answer)
    assert 0.3 == answer["error"]["data"]["timeout_seconds"]
    await until_line(traces / "slow", "cancelled")
    assert "still here" == await various.text("echo", "brief", text="still here")
    assert 1 == len(lines(traces / "starts"))


async def test_a_mute_server_is_killed_and_started_again(start: Starter) -> None:
    """A call over its time and no answer to a ping: another child takes over, and the call was sent once."""
    async with start(call_timeout_seconds=0.3) as host:
        first = await host.text("pid")
        assert (-32014, "stepdown.call_timeout", "unknown") == typed(await host.call("mute"))
        await host.until(lambda body: not body["ready"])
        await host.until_ready()
        assert first != await host.text("pid")
        with pytest.raises(ProcessLookupError):
            os.kill(int(first), 0)
    assert ["began"] == lines(host.state / "mute")


async def test_too_many_calls_are_refused_at_once(various: Host) -> None:
    """One runs, one waits, the third is told that it was not sent."""
    await various.until_state("single", "ready")
    traces, before = various.root / "scratch/single/slow", len(lines(various.root / "scratch/single/slow"))
    answers: list[dict[str, Any]] = []

    async def slow() -> None:
        answers.append(await various.call("slow", "single", seconds=0.3))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(slow)
    refused = [answer for answer in answers if "error" in answer]
    assert [(-32015, "stepdown.server_busy", "no")] == [typed(answer) for answer in refused]
    assert ["began", "began"] == lines(traces)[before:]


async def test_time_in_the_queue_counts_and_such_a_call_was_not_sent(various: Host) -> None:
    """The second call is given the slot when the first runs out of time, or is told that it was never sent."""
    await various.until_state("hasty", "ready")
    answers: list[dict[str, Any]] = []

    async def slow() -> None:
        answers.append(await various.call("slow", "hasty", seconds=60))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slow)
        await until_line(various.root / "scratch/hasty/slow", "began")
        tasks.start_soon(slow)
        await anyio.sleep(0)
        tasks.start_soon(slow)
    sent = [answer for answer in answers if typed(answer)[0] == -32014]
    not_sent = [answer for answer in answers if typed(answer)[0] == -32015]
    assert 3 == len(sent) + len(not_sent)
    assert not_sent
    assert len(sent) == lines(various.root / "scratch/hasty/slow").count("began")


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_a_client_that_leaves_cancels_its_call(various: Host, revision: str) -> None:
    """The closed connection reaches the child as a cancellation, and the slot is free again."""
    await various.until_state("single", "ready")
    traces = various.root / "scratch/single/slow"
    began, cancelled = lines(traces).count("began"), lines(traces).count("cancelled")
    meta = {
        "io.modelcontextprotocol/protocolVersion": revision,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    }
    params = {"name": "slow", "arguments": {"seconds": 60}, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {TOKEN}",
        "Mcp-Protocol-Version": revision,
        "Mcp-Method": "tools/call",
        "Mcp-Name": "slow",
    }
    async with httpx2.AsyncClient(base_url=various.url) as http, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: http.post("/mcp/single", json=body, headers=headers))
        await until_line(traces, "began", began + 1)
        tasks.cancel_scope.cancel()
    await until_line(traces, "cancelled", cancelled + 1)
    assert "free" == await various.text("echo", "single", text="free")
