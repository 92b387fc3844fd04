"""Every switch under load: each call sent ends in its own answer, and clients that were connected before stay so."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from mcp import Client

from stepdown.host import gateway
from tests.drills.drill import MODEL, Drill
from tests.integration.clients import REVISIONS
from tests.stack import until

pytestmark = [pytest.mark.engine, pytest.mark.mcp_integration]

PLANS = "ABCD"
FILES, LINES = 60, 2000  # ten seconds of work for the scanners, and few findings
CLIENTS = (
    "test_a_client_that_was_connected_before_is_answered_after",
    "test_a_call_that_began_before_ends_with_its_result_after",
    "test_a_stream_that_was_open_before_ends_whole_after",
)
PROMPT = {"prompt": "hi", "working_directory_absolute_path": "/tmp/zen", "model": MODEL}


def round_trip(plans: Sequence[str]) -> list[tuple[str, str]]:
    """Every ordered pair of plans once, each beginning where the one before it ended."""
    left = {plan: [other for other in plans if other != plan] for plan in plans}
    walk, trail = [plans[0]], list[str]()
    while walk:  # Hierholzer's: follow unused edges, back up where there are none
        if left[walk[-1]]:
            walk.append(left[walk[-1]].pop())
        else:
            trail.append(walk.pop())
    trail.reverse()
    return list(itertools.pairwise(trail))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All pairs of plans; of what is drilled on each plan, one in the gate."""
    chosen = random.Random(metafunc.config.getoption("seed"))
    whole = metafunc.config.getoption("all")
    if "pair" in metafunc.fixturenames:
        metafunc.parametrize("pair", round_trip(chosen.sample(PLANS, len(PLANS))), ids="".join)
    if "any_plan" in metafunc.fixturenames:
        # not D: there a new release ends the old one first, whose port it needs
        metafunc.parametrize("any_plan", "ABC" if whole else chosen.sample("ABC", 1))
    if "revision" in metafunc.fixturenames:
        # the tests of one seed take turns, so that each revision is among them
        turn = (metafunc.config.getoption("seed") + CLIENTS.index(metafunc.function.__name__)) % len(REVISIONS)
        metafunc.parametrize("revision", list(REVISIONS) if whole else [list(REVISIONS)[turn]])


def test_a_switch_loses_no_call(drill: Drill, pair: tuple[str, str]) -> None:
    """At 50 calls a second to all servers of both plans; containers of both are the same before and after."""
    here, there = pair
    release = drill.bring(here)
    before = drill.running()
    with drill.load(here, there) as load:
        moved = drill.agent("switch", "--to", there)
    drill.tell(f"{here} to {there}", load, moved["seconds"])
    drill.require_whole(there, release)
    shared = {name for name in drill.facts(here)["containers"] if name in drill.facts(there)["containers"]}
    assert {name: before[name] for name in shared} == {name: drill.running()[name] for name in shared}
    assert sorted(shared) == sorted(moved["kept"])


def test_a_release_takes_over_without_losing_a_call(drill: Drill, any_plan: str) -> None:
    """From one release to another and back by rollback, on one plan, all its servers called meanwhile."""
    good = drill.bring(any_plan)
    drill.wait_for("proved", 0, release=good)
    other = drill.stage(f"{MODEL},model-two")
    with drill.load(any_plan) as load:
        moved = drill.agent("switch", "--release", other)
    drill.tell(f"{any_plan} to another release", load, moved["seconds"])
    drill.require_whole(any_plan, other)
    with drill.load(any_plan) as load:
        back = drill.agent("rollback")
    drill.tell(f"{any_plan} back by rollback", load, back["seconds"])
    drill.require_whole(any_plan, good)


def test_the_way_down_and_back_loses_no_call(drill: Drill) -> None:
    """Three times one rung down, back up, into the emergency, and back up again."""
    release = drill.bring("A")
    with drill.load("A", "C") as load:
        for rung in "BCD":
            assert rung == drill.agent("fallback")["plan"]
        assert "A" == drill.agent("recover")["plan"]
    drill.require_whole("A", release)
    drill.tell("A to D by rungs, and back", load, 0)
    with drill.load("A", "D") as load:
        down = drill.agent("emergency", "--why", "a drill")
        up = drill.agent("recover")
    assert ("D", "A") == (down["plan"], up["plan"])
    drill.tell("A to D by emergency, and back", load, down["seconds"])
    drill.require_whole("A", release)


def test_a_client_that_was_connected_before_is_answered_after(drill: Drill, revision: str) -> None:
    """One client object of the official SDK for each server, over plans and releases."""
    drill.bring("A")

    async def use(client: Client) -> list[bool]:
        answered = []
        for plan, models in (("A", MODEL), ("D", MODEL), ("C", MODEL), ("C", f"{MODEL},model-two"), ("A", MODEL)):
            release = drill.stage(models)
            await asyncio.to_thread(drill.agent, "switch", "--to", plan, "--release", release)
            listed = await client.list_tools()
            result = await client.call_tool("chat", PROMPT)
            answered.append(bool(listed.tools) and "answer of model-one" in str(result.content))
        return answered

    assert [True] * 5 == drill.client("zen", revision, use)


def test_a_call_that_began_before_ends_with_its_result_after(drill: Drill, revision: str) -> None:
    """zen waits for its model while the container that holds the call gives way to another; the model is asked once."""
    drill.bring("A")
    with slow_model(drill):
        result = drill.client("zen", revision, lambda client: _across(drill, client, let_go=True))
    assert "answer of model-one" in str(result.content)
    assert 1 == len(drill.models.requests)


def test_a_stream_that_was_open_before_ends_whole_after(drill: Drill, revision: str) -> None:
    """heimdall tells how far a scan is while the next one takes over; the stream ends with the findings."""
    drill.bring("A")
    project = drill.home.data / "workspace" / "scanned"
    project.mkdir(exist_ok=True)
    for number in range(FILES):
        (project / f"tool{number}.py").write_text("exec(input())\n" + "value = compute(1, 2)\n" * LINES)
    routes = gateway.version(drill.state()["release"], "D")
    steps: list[float] = []
    begun = asyncio.Event()

    async def note(progress: float, _total: float | None, _message: str | None) -> None:
        steps.append(progress)
        begun.set()

    async def use(client: Client) -> Any:
        words = {"path": project.name, "profile": "quick", "wait_seconds": 50}
        scan = asyncio.ensure_future(client.call_tool("scan_repository", words, progress_callback=note))
        await asyncio.wait({scan, asyncio.ensure_future(begun.wait())}, return_when=asyncio.FIRST_COMPLETED)
        assert not scan.done()
        switching = asyncio.create_task(asyncio.to_thread(drill.agent, "switch", "--to", "D"))
        await asyncio.to_thread(until, lambda: routes == gateway.routes_version(drill.home), "the traffic has moved")
        assert not scan.done()
        return await switching, await scan

    moved, result = drill.client("heimdall", revision, use)
    assert ("D", "completed") == (moved["plan"], result.structured_content["status"]), result.structured_content[
        "error"
    ]
    assert result.structured_content["findings"]
    assert steps == sorted(set(steps))


def test_no_call_holds_a_switch_up_for_ever(drill: Drill) -> None:
    """Past the policy's drain deadline the old container ends all the same, and the call with it, in one error."""
    hasty = drill.stage(policy={"drain_seconds": 2})
    drill.bring("A", hasty)
    with slow_model(drill):
        began = time.monotonic()
        failed = drill.client("zen", "handshake", lambda client: _across(drill, client, let_go=False))
    assert isinstance(failed, Exception), failed
    assert time.monotonic() - began < 60, "call_seconds is 120: it was not waited for"
    drill.require_whole("D", hasty)


@contextmanager
def slow_model(drill: Drill) -> Iterator[None]:
    """A model that thinks until it is told to answer."""
    drill.models.requests.clear()
    drill.models.ready.clear()
    try:
        yield
    finally:
        drill.models.ready.set()


async def _across(drill: Drill, client: Client, *, let_go: bool) -> Any:
    """What a chat ends in that begins before a switch to D, and whose model answers after the traffic has moved."""
    routes = gateway.version(drill.state()["release"], "D")
    chat = asyncio.ensure_future(client.call_tool("chat", PROMPT))
    await asyncio.to_thread(until, lambda: drill.models.requests, "the model is asked")
    switching = asyncio.create_task(asyncio.to_thread(drill.agent, "switch", "--to", "D"))
    await asyncio.to_thread(until, lambda: routes == gateway.routes_version(drill.home), "the traffic has moved")
    assert not chat.done()
    if let_go:
        drill.models.ready.set()
        result = await chat
        assert not switching.done() or "D" == switching.result()["plan"]
        await switching
        return result
    await switching
    (ended,) = await asyncio.gather(chat, return_exceptions=True)
    return ended
