"""What a server keeps in memory for one client is not shown to another: a child for each token, bounded."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio
import pytest
from conftest import TOKEN, Host, Starter, token
from test_host_calls import typed
from test_host_lives import logged, until_gone

pytestmark = pytest.mark.anyio
NAMES = ("ada", "bob", "eve")
PATIENT = {"most": 2, "idle_seconds": 600}
SWEPT = {"client_interval": 0.02}


async def call(host: Host, client: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """One call with the client's token; the JSON-RPC answer."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    message: dict[str, Any] = (await host.post(body, Authorization=f"Bearer {client}")).json()
    return message


async def text(host: Host, client: str, tool: str, **arguments: Any) -> str:
    return str((await call(host, client, tool, **arguments))["result"]["content"][0]["text"])


def admit(host: Host, *names: str) -> None:
    host.write_tokens(token(TOKEN), *(token(name, name) for name in names))


async def until_ended(host: Host, count: int) -> None:
    """Wait until only so many clients have a child."""
    with anyio.fail_after(10):
        while f'mcp_host_client_children{{server="tiny"}} {count}.0' not in (await host.http.get("/metrics")).text:
            await anyio.sleep(0.01)


async def test_a_client_does_not_see_what_another_said(start: Starter) -> None:
    """Two tokens, two memories that begin empty; a token comes back to its own, whichever revision it speaks."""
    async with start(clients=PATIENT, probe={"tool": "remember", "arguments": {"text": "probe"}}) as host:
        admit(host, *NAMES)
        seen = []
        for name, mode, word in (
            ("ada", "legacy", "one"),
            ("bob", "2026-07-28", "two"),
            ("ada", "2026-07-28", "three"),
            ("bob", "auto", "four"),
        ):
            async with host.client(mode=mode, token=name) as client:
                seen.append((await client.call_tool("remember", {"text": word})).content[0].text)
    assert ["one", "two", "one three", "two four"] == seen


async def test_without_isolation_clients_share_one_child(start: Starter) -> None:
    """The memory is one: what the test above shows is the isolation's doing."""
    async with start() as host:
        admit(host, *NAMES)
        seen = [await text(host, name, "remember", text=name) for name in ("ada", "bob")]
    assert ["ada", "ada bob"] == seen


async def test_what_is_alike_for_all_starts_no_child(start: Starter) -> None:
    """Handshake and lists are answered by the child that shows readiness."""
    async with start(clients=PATIENT) as host:
        async with host.client() as client:
            assert "echo" in [tool.name for tool in (await client.list_tools()).tools]
        assert 'mcp_host_client_children{server="tiny"} 0.0' in (await host.http.get("/metrics")).text


async def test_the_child_idle_longest_gives_way(start: Starter, caplog: pytest.LogCaptureFixture) -> None:
    """A third client of two takes the place of the one whose last call is oldest; what that one said is gone."""
    async with start(clients=PATIENT) as host:
        admit(host, *NAMES)
        first = {name: int(await text(host, name, "pid")) for name in ("ada", "bob")}
        await text(host, "ada", "remember", text="kept")
        await text(host, "eve", "pid")
        await until_gone(first["bob"])
        await until_ended(host, 2)
        assert "kept too" == await text(host, "ada", "remember", text="too")
        assert first["bob"] != int(await text(host, "bob", "pid"))
        ends = logged(caplog, "client's child ends, and what it kept in memory with it")
    reason = "another client needs its place"
    assert [{"server": "tiny", "client": name, "reason": reason} for name in ("bob", "eve")] == ends


async def test_there_are_never_more_processes_than_places(start: Starter) -> None:
    """The next child starts when the one that gave way is gone, not when it was told to go."""
    async with start(clients={"most": 1, "idle_seconds": 600}) as host:
        admit(host, *NAMES)
        before = int(await text(host, "ada", "pid"))
        await text(host, "bob", "pid")
        with pytest.raises(ProcessLookupError):
            os.kill(before, 0)


async def test_a_child_that_holds_a_call_never_gives_way(start: Starter) -> None:
    """With both children at work a third client learns that its call was not sent."""
    async with start(clients=PATIENT) as host, anyio.create_task_group() as tasks:
        admit(host, *NAMES)
        for name in ("ada", "bob"):
            tasks.start_soon(partial(call, host, name, "slow", seconds=60))
        with anyio.fail_after(10):
            while len([*(host.root / "scratch").glob("tiny-*/slow")]) < 2:
                await anyio.sleep(0.01)
        answer = await call(host, "eve", "pid")
        assert (-32015, "stepdown.server_busy", "no") == typed(answer)
        assert "all 2 children for single clients hold calls" in answer["error"]["message"]
        tasks.cancel_scope.cancel()


async def test_a_child_without_calls_ends(start: Starter, caplog: pytest.LogCaptureFixture) -> None:
    """After its idle time it is gone with its folder, and the next call finds a child that remembers nothing."""
    async with start(clients={"most": 2, "idle_seconds": 0.1}, timing=SWEPT) as host:
        admit(host, *NAMES)
        await text(host, "ada", "remember", text="old")
        await until_ended(host, 0)
        assert ["tiny"] == [path.name for path in (host.root / "scratch").iterdir()]
        assert "new" == await text(host, "ada", "remember", text="new")
        ends = logged(caplog, "client's child ends, and what it kept in memory with it")
    assert {"server": "tiny", "client": "ada", "reason": "no call for 0.1 s"} == ends[0]


async def test_a_call_longer_than_the_idle_time_is_answered(start: Starter) -> None:
    """Idle is the time without a call, not the time without a new one."""
    async with start(clients={"most": 2, "idle_seconds": 0.05}, timing=SWEPT) as host:
        admit(host, *NAMES)
        assert "done" == await text(host, "ada", "slow", seconds=0.3)


@pytest.mark.parametrize("left", [(), (token("ada", "ada", ("other",)),)], ids=["removed", "for another server"])
async def test_the_child_of_a_revoked_token_ends(start: Starter, left: tuple[Mapping[str, Any], ...]) -> None:
    """The others' children stay."""
    async with start(clients=PATIENT, timing=SWEPT) as host:
        admit(host, *NAMES)
        pids = {name: int(await text(host, name, "pid")) for name in ("ada", "bob")}
        host.write_tokens(token(TOKEN), token("bob", "bob"), *left)
        await until_gone(pids["ada"])
        assert pids["bob"] == int(await text(host, "bob", "pid"))


async def test_a_clients_child_that_dies_is_its_clients_trouble_alone(
    start: Starter, caplog: pytest.LogCaptureFixture
) -> None:
    """The call in hand is typed, another child takes over, the others and the readiness notice nothing."""
    async with start(clients=PATIENT, timing={"ready_wait": 2}) as host:
        admit(host, *NAMES)
        since = (await host.readyz())["servers"]["tiny"]["since"]
        other = await text(host, "bob", "pid")
        assert (-32012, "stepdown.server_restarted", "unknown") == typed(await call(host, "ada", "die"))
        body = await host.readyz()
        assert (True, since) == (body["ready"], body["servers"]["tiny"]["since"])
        assert "again" == await text(host, "ada", "remember", text="again")
        assert other == await text(host, "bob", "pid")
        restarts = logged(caplog, "server will be restarted")
    assert [("ada", "the server exited with code 7")] == [(line["client"], line["reason"]) for line in restarts]


async def test_a_clients_mute_child_is_killed_and_started_again(start: Starter) -> None:
    """The call over its time is the same typed error, and the ping goes to the child that held it."""
    async with start(clients=PATIENT, call_timeout_seconds=3, timing={"ready_wait": 1}) as host:
        admit(host, *NAMES)
        mute = int(await text(host, "ada", "pid"))
        assert (-32014, "stepdown.call_timeout", "unknown") == typed(await call(host, "ada", "mute"))
        await until_gone(mute)
        assert "back" == await text(host, "ada", "remember", text="back")
        assert (await host.readyz())["ready"]


async def test_a_clients_child_that_cannot_start_says_that_nothing_was_sent(start: Starter) -> None:
    """Only the first call waits for a start, and no longer than that start takes."""
    async with start(clients=PATIENT) as host:
        admit(host, *NAMES)
        (host.root / "scratch").rename(host.root / "elsewhere")
        answer = await call(host, "ada", "remember", text="never")
        assert (-32013, "stepdown.server_starting", "no") == typed(answer)


async def test_calls_of_all_children_share_the_servers_bound(start: Starter) -> None:
    """One slot and one place in the queue, whoever calls."""
    async with start(clients={"most": 3, "idle_seconds": 600}, max_concurrent_calls=1) as host:
        admit(host, *NAMES)
        answers = []

        async def slow(name: str) -> None:
            answers.append(await call(host, name, "slow", seconds=0.3))

        async with anyio.create_task_group() as tasks:
            for name in NAMES:
                tasks.start_soon(slow, name)
    assert [-32015] == [answer["error"]["code"] for answer in answers if "error" in answer]


async def test_every_child_has_a_folder_that_only_it_may_enter(start: Starter) -> None:
    """HOME and working directory, 0700: the server's own, and one for each client."""
    async with start(clients=PATIENT) as host:
        admit(host, *NAMES)
        homes = [host.state.parent / (await text(host, name, "variable", name="HOME")) for name in ("ada", "bob")]
        assert 3 == len({host.state, *homes})
        assert [0o700] * 2 == [stat.S_IMODE(home.stat().st_mode) for home in homes]
        assert all((home / "starts").exists() for home in (host.state, *homes))


async def test_leaving_the_host_ends_the_clients_children(start: Starter) -> None:
    """Child, grandchild and folder are gone when the host is."""
    async with start(clients=PATIENT) as host:
        admit(host, *NAMES)
        child, grandchild = int(await text(host, "ada", "pid")), int(await text(host, "ada", "spawn"))
    await until_gone(child)
    await until_gone(grandchild)
    assert ["tiny"] == [path.name for path in (host.root / "scratch").iterdir()]
