"""Who may pass, and what is said about servers that are not here."""

from __future__ import annotations

import json
import logging

import httpx2
import pytest
from conftest import TOKEN, Host, Starter, token
from mcp.shared.exceptions import MCPError

pytestmark = pytest.mark.anyio
PING = {"jsonrpc": "2.0", "id": "seven", "method": "ping"}
LOST = {"plan": "C", "since": "2026-11-22T19:00:00Z", "lost": {"github": "use git in the runner"}}


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
async def test_without_a_known_token_everything_is_401(shared: Host, header: str) -> None:
    """MCP, metrics and native routes alike, with the challenge that clients look for."""
    async with httpx2.AsyncClient(base_url=shared.url, headers={"Authorization": header} if header else {}) as http:
        answers = [await http.post("/mcp/tiny", json=PING), await http.get("/metrics"), await http.get("/scans")]
    assert [(401, "Bearer", "unauthorized")] * 3 == [
        (answer.status_code, answer.headers["www-authenticate"], answer.json()["error"]) for answer in answers
    ]


async def test_health_needs_no_token(shared: Host) -> None:
    """Probes have none."""
    async with httpx2.AsyncClient(base_url=shared.url) as http:
        assert [200, 200] == [(await http.get(path)).status_code for path in ("/healthz", "/readyz")]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200),
        ("https://127.0.0.1", 200),
        ("http://[::1]:1", 200),
        ("https://console.example", 200),
        ("https://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
    ],
)
async def test_a_foreign_origin_is_refused(shared: Host, origin: str, status: int) -> None:
    """Loopback and the allowed origins pass."""
    assert status == (await shared.post(PING, Origin=origin)).status_code


async def test_a_token_opens_only_its_servers(shared: Host) -> None:
    """403 for another server, present or not, and for another server's own routes."""
    shared.write_tokens(token(TOKEN), token("only-tiny", "narrow", ("tiny",)))
    async with httpx2.AsyncClient(base_url=shared.url, headers={"Authorization": "Bearer only-tiny"}) as http:
        statuses = [(await http.post(f"/mcp/{name}", json=PING)).status_code for name in ("native", "nowhere")]
        statuses.append((await http.get("/scans")).status_code)
        headers = {"Accept": "application/json, text/event-stream"}
        statuses.append((await http.post("/mcp/tiny", json=PING, headers=headers)).status_code)
    assert [403, 403, 403, 200] == statuses


async def test_tokens_rotate_by_rename(start: Starter) -> None:
    """The new token passes and the old one does not, from the next request on; a broken file changes nothing."""
    async with start() as host:
        host.write_tokens(token("fresh"))
        assert 401 == (await host.post(PING)).status_code
        fresh = {"Authorization": "Bearer fresh"}
        assert 200 == (await host.post(PING, **fresh)).status_code
        for broken in ("{", '{"tokens": [{"name": "x", "sha256": "short", "servers": []}]}', '{"token": []}'):
            host.replace("auth/tokens.json", broken)
            assert 200 == (await host.post(PING, **fresh)).status_code
        (host.root / "auth/tokens.json").unlink()
        assert 200 == (await host.post(PING, **fresh)).status_code


REVISIONS = pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])


@REVISIONS
@pytest.mark.parametrize("method", ["initialize", "server/discover", "tools/list", "tools/call"])
async def test_a_lost_server_says_which_plan_since_when_and_what_instead(
    shared: Host, revision: str, method: str
) -> None:
    """A typed JSON-RPC error under HTTP 200 that echoes the request's id, whatever is asked in whichever revision."""
    shared.replace("plan/plan.json", json.dumps(LOST))
    request = {"jsonrpc": "2.0", "id": "seven", "method": method, "params": {"name": "get_me"}}
    headers = {"Mcp-Protocol-Version": revision, "Mcp-Method": method, "Mcp-Name": "get_me"}
    answer = await shared.post(request, "github", **headers)
    assert (200, "seven", -32010) == (answer.status_code, answer.json()["id"], answer.json()["error"]["code"])
    assert {
        "type": "stepdown.server_lost",
        "server": "github",
        "plan": "C",
        "since": "2026-11-22T19:00:00Z",
        "alternative": "use git in the runner",
    } == answer.json()["error"]["data"]


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28", "auto"])
async def test_a_client_of_a_lost_server_is_told_in_a_sentence(shared: Host, mode: str) -> None:
    """The official client raises the error with its data: when it connects, or, without a handshake, at the call."""
    shared.replace("plan/plan.json", json.dumps(LOST))
    with pytest.raises(ExceptionGroup) as caught:
        async with shared.client("github", mode) as client:
            await client.call_tool("get_me")
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, MCPError)
    assert "github: not running in plan C since 2026-11-22T19:00:00Z. Instead: use git in the runner" == str(error)
    assert ("stepdown.server_lost", "use git in the runner") == (error.data["type"], error.data["alternative"])


@REVISIONS
@pytest.mark.parametrize("message", [{"method": "notifications/initialized"}, {"id": 5, "result": {}}])
async def test_what_awaits_no_answer_is_accepted_for_a_lost_server(
    shared: Host, message: dict[str, object], revision: str
) -> None:
    """202 without a body, for a notification and for an answer."""
    shared.replace("plan/plan.json", json.dumps(LOST))
    answer = await shared.post({"jsonrpc": "2.0", **message}, "github", **{"Mcp-Protocol-Version": revision})
    assert (202, b"") == (answer.status_code, answer.content)


@REVISIONS
@pytest.mark.parametrize("body", [[PING], [], 5, {"id": 5}])
async def test_whoever_sends_a_lost_server_nonsense_learns_that_it_is_lost(
    shared: Host, body: object, revision: str
) -> None:
    """A batch, which neither revision has, or no message at all: the same error, with no id to echo."""
    shared.replace("plan/plan.json", json.dumps(LOST))
    answer = await shared.post(body, "github", **{"Mcp-Protocol-Version": revision})
    assert (200, None, -32010) == (answer.status_code, answer.json()["id"], answer.json()["error"]["code"])


async def test_a_server_comes_back_when_the_plan_file_goes(shared: Host) -> None:
    """Without a plan file nothing is lost, so the name is merely unknown."""
    shared.replace("plan/plan.json", json.dumps(LOST))
    await shared.post(PING, "github")
    (shared.root / "plan/plan.json").unlink()
    assert 404 == (await shared.post(PING, "github")).status_code


async def test_a_carried_server_is_never_lost(shared: Host) -> None:
    """What runs here answers, whatever the plan file says."""
    shared.replace("plan/plan.json", json.dumps(LOST | {"lost": {"tiny": "nothing"}}))
    assert {} == (await shared.post(PING)).json()["result"]


async def test_an_unknown_server_lists_the_known_ones(shared: Host) -> None:
    """404 with a typed error, carried and lost servers named."""
    shared.replace("plan/plan.json", json.dumps(LOST))
    answer = await shared.post(PING, "gihtub")
    error = answer.json()["error"]
    assert (404, -32011, "seven") == (answer.status_code, error["code"], answer.json()["id"])
    assert {"type": "stepdown.server_unknown", "server": "gihtub", "known": ["github", "native", "tiny"]} == error[
        "data"
    ]


async def test_every_request_is_one_log_line_without_token_or_arguments(
    shared: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """Who, what, how long; never what was said."""
    await shared.call("echo", text="private words")
    lines = [record for record in caplog.records if record.name == "mcp_host.access"]
    assert 1 == len(lines)
    fields = lines[0].fields
    assert ("default", "tiny", "tools/call", "echo", "ok", 200) == tuple(
        fields[key] for key in ("token", "server", "method", "tool", "outcome", "status")
    )
    assert fields["duration_ms"] > 0
    everything = " ".join(str(vars(record)) for record in caplog.records if record.levelno >= logging.INFO)
    assert "private words" not in everything
    assert TOKEN not in everything
