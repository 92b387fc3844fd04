"""How a server's process is started, watched, restarted and ended."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import anyio
import pytest
from conftest import Host, Starter
from mcp_host.supervisor import Timing, backoff_seconds

pytestmark = pytest.mark.anyio


async def until_gone(pid: int) -> None:
    """Wait until no process has this id, or only its unreaped rest does."""
    with anyio.fail_after(10):
        while (status := Path(f"/proc/{pid}/stat")).exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z":
            await anyio.sleep(0.01)


async def pid_of(host: Host, tool: str = "pid") -> int:
    return int(await host.text(tool))


def logged(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, object]]:
    """The fields of such log lines about "tiny"; other hosts of this process log too."""
    return [
        record.fields for record in caplog.records if record.getMessage() == event and record.fields["server"] == "tiny"
    ]


def test_backoff_doubles_to_a_cap_with_jitter() -> None:
    """From 0.2 s to 30 s, each halved at most."""
    timing = Timing()
    assert [0.2, 0.4, 0.8] == [backoff_seconds(n, timing, 1.0) for n in (1, 2, 3)]
    assert 0.1 == backoff_seconds(1, timing, 0.0)
    assert [30.0, 30.0] == [backoff_seconds(n, timing, 1.0) for n in (9, 5000)]


async def test_ready_means_that_the_probe_was_answered(shared: Host) -> None:
    """State, tools of both pages, latency, since; native servers alike."""
    body = await shared.readyz()
    for name, tools in (("tiny", 15), ("native", 3)):
        state = body["servers"][name]
        assert ("ready", tools, None) == (state["state"], state["tools"], state["error"])
        assert state["latency_ms"] > 0
        assert state["since"].endswith("Z")


async def test_a_probe_that_names_no_tool_is_never_ready(various: Host) -> None:
    """The error lists what there is."""
    state = await various.until_state("misprobed", "degraded")
    assert state["error"].startswith("probe/ecko: no such tool (known: count, die, echo,")


async def test_a_probe_answered_with_an_error_is_ready_and_remarked(various: Host) -> None:
    """A server that lacks its settings still serves the tools that need none."""
    state = await various.until_state("lacking", "ready")
    assert "fail answered with an error: it failed" == state["error"]


async def test_a_program_that_does_not_exist_degrades_only_itself(various: Host) -> None:
    """The host serves health and answers, and says why."""
    state = await various.until_state("missing", "degraded")
    assert state["error"].startswith("/nowhere/at/all: cannot be started")
    assert [200, 503] == [(await various.http.get(path)).status_code for path in ("/healthz", "/readyz")]
    assert -32013 == (await various.call("echo", "missing"))["error"]["code"]


async def test_a_start_that_takes_too_long_is_ended(various: Host) -> None:
    """A program that says nothing is killed at the start timeout."""
    assert "silent: not ready within 0.2 s" == (await various.until_state("silent", "degraded"))["error"]


async def test_failed_starts_are_repeated_until_one_works(start: Starter) -> None:
    """Two refusals, then ready; the restarts are counted."""
    async with start(ready=False) as host:
        (host.state / "refuse-starts").write_text("2")
        await host.until_ready()
        metrics = (await host.http.get("/metrics")).text
    assert 3 == len((host.state / "starts").read_text().splitlines())
    assert 'mcp_host_server_restarts_total{server="tiny"} 2.0' in metrics


async def test_a_dead_server_is_started_again(start: Starter, caplog: pytest.LogCaptureFixture) -> None:
    """Killed from outside, refused twice: another process serves, and the log says why each start was needed."""
    async with start() as host:
        first = await pid_of(host)
        (host.state / "refuse-starts").write_text("3")
        os.kill(first, 9)
        await host.until_state("tiny", "degraded")
        await host.until_ready()
        assert first != await pid_of(host)
        reasons = [fields["reason"] for fields in logged(caplog, "server will be restarted")]
    refusals = ["tiny: the server exited with code 9 before it was ready"] * 2
    assert ["the server was ended by signal 9", *refusals] == reasons


async def test_what_a_server_started_dies_with_it(start: Starter) -> None:
    """A grandchild does not outlive the child that died."""
    async with start() as host:
        grandchild = await pid_of(host, "spawn")
        await host.call("die")
        await until_gone(grandchild)


async def test_leaving_the_host_ends_its_servers(start: Starter) -> None:
    """Child and grandchild are gone when the host is."""
    async with start() as host:
        child, grandchild = await pid_of(host), await pid_of(host, "spawn")
    await until_gone(child)
    await until_gone(grandchild)


async def test_an_idle_server_that_stops_answering_is_degraded_then_killed(start: Starter) -> None:
    """Stopped by a signal: /readyz notices by asking, and another process takes over."""
    async with start() as host:
        first = await pid_of(host)
        os.kill(first, 19)
        body = await host.until(lambda body: not body["ready"])
        assert body["servers"]["tiny"]["state"] in ("degraded", "starting")
        await host.until_ready()
        assert first != await pid_of(host)


async def test_the_child_sees_its_variables_and_nothing_else(various: Host) -> None:
    """PATH, HOME, LANG, its settings, the named ones that are not empty; not the host's own."""
    await various.until_state("furnished", "ready")
    names = ast.literal_eval(await various.text("environment", "furnished"))
    # Python itself sets LC_CTYPE in a child whose LANG does not say enough
    assert ["API_KEY", "ENDPOINT", "HOME", "LANG", "PATH", "REPORTING"] == sorted(set(names) - {"LC_CTYPE"})


async def test_secrets_arrive_as_variables_and_leave_no_trace(
    start: Starter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Read from files, trimmed; blanked out of all that the server says; a missing or empty file sets nothing."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/key").write_text("s3cr3t-value\n")
    async with start(secrets={"API_KEY": "key", "EMPTY_KEY": "empty"}) as host:
        values = [await host.text("variable", name=name) for name in ("API_KEY", "EMPTY_KEY")]
        await host.call("say", text="the key is s3cr3t-value indeed")
        await host.until(lambda _: "indeed" in str([vars(record) for record in caplog.records]))
        said = logged(caplog, "server output")
    assert ["s3cr3t-value", "<unset>"] == values
    assert [
        {"server": "tiny", "stream": "stdout", "line": "tiny starts with the key [secret]"},
        {"server": "tiny", "stream": "stderr", "line": "the key is [secret] indeed"},
    ] == said
    assert not any("s3cr3t-value" in str(vars(record)) for record in caplog.records)


async def test_an_error_of_a_server_that_lacks_something_says_what(various: Host) -> None:
    """The hint is one more text; a good result carries none, and neither does a server that lacks nothing."""
    await various.until_state("lacking", "ready")
    await various.until_state("furnished", "ready")
    answers = {
        (server, tool): await various.call(tool, server, text="fine")
        for server in ("lacking", "furnished")
        for tool in ("fail", "echo")
    }
    texts = {key: [item["text"] for item in answer["result"]["content"]] for key, answer in answers.items()}
    assert {
        ("lacking", "fail"): ["it failed", "no endpoint is set. Run: invoke deploy"],
        ("lacking", "echo"): ["fine"],
        ("furnished", "fail"): ["it failed"],
        ("furnished", "echo"): ["fine"],
    } == texts
