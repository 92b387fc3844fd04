"""What Prometheus sees."""

from __future__ import annotations

import re

import pytest
from conftest import Host, Starter

pytestmark = pytest.mark.anyio


async def test_operations_are_counted_by_server_method_tool_and_outcome(start: Starter) -> None:
    """One series for each way that a call ended."""
    async with start() as host:
        await host.call("echo")
        await host.call("fail")
        await host.call("die")
        await host.until_ready()
        await host.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, "nowhere")
        text = (await host.http.get("/metrics")).text
    counted = re.findall(r"mcp_server_operation_duration_seconds_count\{([^}]*)\} (\S+)", text)
    seen = {}
    for labels, count in counted:
        named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        seen[tuple(named[name] for name in ("server", "method", "tool", "outcome"))] = float(count)
    assert {
        ("tiny", "tools/call", "echo", "ok"): 1,
        ("tiny", "tools/call", "fail", "tool_error"): 1,
        ("tiny", "tools/call", "die", "server_restarted"): 1,
        ("other", "ping", "", "server_unknown"): 1,
    } == seen
    assert 'mcp_host_calls_in_flight{server="tiny"} 0.0' in text
    assert 'mcp_host_server_ready{server="tiny"} 1.0' in text


async def test_names_that_clients_make_up_share_one_label(shared: Host) -> None:
    """A hundred unknown tools and methods add one series each."""
    for number in range(100):
        await shared.call(f"made-up-{number}")
        await shared.post({"jsonrpc": "2.0", "id": 1, "method": f"made/up-{number}"})
        await shared.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, f"made-up-{number}")
    text = (await shared.http.get("/metrics")).text
    assert "made" not in text
    assert 'tool="other"' in text
    assert 'method="other"' in text
    assert 'server="other"' in text


async def test_requests_without_a_token_are_counted(start: Starter) -> None:
    """Two refusals, two counted."""
    async with start() as host:
        for _ in range(2):
            await host.http.get("/metrics", headers={"Authorization": "Bearer no"})
        assert "mcp_host_unauthorised_requests_total 2.0" in (await host.http.get("/metrics")).text
