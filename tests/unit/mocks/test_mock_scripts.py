"""What clients see when a script makes a mock slow, wrong, deaf or mute, and what the mock remembers of them."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from tests.integration.clients import REVISIONS, request, with_client
from tests.mocks.local import Mock
from tests.stack import until

pytestmark = pytest.mark.mcp_mock

SCANS = {"match": {"tool": "list_scans"}}


def _list_scans(mock: Mock, mode: str = "legacy") -> Any:
    """The result of a call of list_scans, or the error of the protocol that came instead."""

    async def call(client: Client) -> Any:
        try:
            return await client.call_tool("list_scans", {})
        except MCPError as error:
            return error

    return with_client({"mcpServers": {"heimdall": mock.entry}}, "heimdall", mode, call)


def _get(mock: Mock, path: str, seconds: float = 30) -> tuple[int, dict[str, str], Any]:
    """Status, headers and document; raises TimeoutError when the answer does not begin in time."""
    call = urllib.request.Request(f"{mock.url}{path}", headers=mock.entry["headers"])
    try:
        with urllib.request.urlopen(call, timeout=seconds) as response:
            return response.status, dict(response.headers), json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), json.loads(error.read())


def test_latency_delays_and_changes_nothing_else(heimdall: Mock) -> None:
    """The answer is the usual one, and never comes before its time; other tools are as quick as ever."""
    heimdall.script({**SCANS, "latency_ms": 300})
    began = time.monotonic()
    result = _list_scans(heimdall)
    assert time.monotonic() - began >= 0.3
    assert (False, {"scans"}) == (result.is_error, result.structured_content.keys())
    assert [1] == heimdall.used()
    assert 200 == _get(heimdall, "/scans")[0]
    assert [1] == heimdall.used()


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_error_of_the_protocol_is_what_the_client_gets(heimdall: Mock, revision: str) -> None:
    """Code, message and data as scripted, for the next two calls and no more."""
    error = {"code": -32015, "message": "busy", "data": {"type": "stepdown.server_busy"}}
    heimdall.script({**SCANS, "times": 2, "error": error})
    for _ in range(2):
        seen = _list_scans(heimdall, REVISIONS[revision])
        assert isinstance(seen, MCPError)
        assert error == {"code": seen.code, "message": seen.message, "data": seen.data}
    assert not _list_scans(heimdall, REVISIONS[revision]).is_error
    assert [2] == heimdall.used()


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_result_of_the_script_is_taken_by_the_client(heimdall: Mock, revision: str) -> None:
    """In both revisions, with the structure that its schema asks for; and a tool error has a text alone."""
    heimdall.script(
        {**SCANS, "times": 1, "result": {"structured": {"scans": []}}},
        {**SCANS, "times": 1, "result": {"text": "the store is gone", "is_error": True}},
    )
    result = _list_scans(heimdall, REVISIONS[revision])
    assert ({"scans": []}, '{"scans": []}') == (result.structured_content, result.content[0].text)
    failed = _list_scans(heimdall, REVISIONS[revision])
    assert (True, "the store is gone") == (failed.is_error, failed.content[0].text)


def test_http_answers_are_given_as_they_stand(heimdall: Mock) -> None:
    """Status, headers and body in the place of REST's own answer, by pattern and method."""
    full = {"status": 429, "headers": {"Retry-After": "7"}, "body": {"error": "queue: is full"}}
    heimdall.script({"match": {"route": "GET /scans/*"}, "http": full})
    status, headers, document = _get(heimdall, "/scans/abc123")
    assert (429, "7", {"error": "queue: is full"}) == (status, headers["retry-after"], document)
    assert 200 == _get(heimdall, "/scans")[0]


def test_a_hang_ends_with_the_clients_patience(heimdall: Mock) -> None:
    """Nothing comes, the client gives up, and the mock notes that it left without an answer."""
    heimdall.script({"match": {"route": "GET /scans"}, "hang_seconds": 60})
    with pytest.raises(TimeoutError):
        _get(heimdall, "/scans", seconds=0.3)
    until(lambda: heimdall.calls()[0]["outcome"] == "left", "the mock sees that the client left")
    assert [None] == [call["status"] for call in heimdall.calls()]


def test_an_mcp_client_gives_up_on_a_tool_that_hangs(zen: Mock) -> None:
    """The SDK's own time-out; the next call on the same connection is answered."""

    async def call(client: Client) -> Any:
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.3):
                await client.call_tool("version", {})
        return await client.call_tool("listmodels", {})

    zen.script({"match": {"tool": "version"}, "hang_seconds": 60})
    assert not with_client({"mcpServers": {"zen": zen.entry}}, "zen", "legacy", call).is_error
    until(lambda: [call["outcome"] for call in zen.calls("version")] == ["left"], "the mock sees it")


def test_a_hang_is_bounded(heimdall: Mock) -> None:
    """Whoever waits on is told, as by a gateway that gave up."""
    heimdall.script({"match": {"route": "GET /scans"}, "hang_seconds": 0.2})
    status, _, document = _get(heimdall, "/scans")
    assert (504, "mock: hung for 0.2 s, as its script says") == (status, document["error"])


def test_the_first_rule_that_fits_is_followed_until_it_is_used_up(heimdall: Mock) -> None:
    """One call, then the next rule's, then the answer as ever."""
    route = {"route": "GET /scans"}
    heimdall.script(
        {"match": route, "times": 1, "http": {"status": 503, "body": {}}},
        {"match": route, "times": 1, "http": {"status": 500, "body": {}}},
    )
    assert [503, 500, 200] == [_get(heimdall, "/scans")[0] for _ in range(3)]
    assert [1, 1] == heimdall.used()


def test_calls_are_noted_in_order_with_all_that_was_sent(heimdall: Mock) -> None:
    """Method, path, tool, arguments, body, status; the token by name, its value never."""
    body = {"path": "clean", "profile": "quick"}
    headers = {"Idempotency-Key": "once"}
    request(f"{heimdall.url}/scans", heimdall.token, body, headers=headers)
    _list_scans(heimdall)
    _get(heimdall, "/scans/no-such?x=1")
    request(f"{heimdall.url}/scans", "not-the-token")
    calls = heimdall.calls()
    assert list(range(1, len(calls) + 1)) == [call["number"] for call in calls]
    first, last = calls[0], calls[-1]
    assert ("POST", "/scans", body, 202, "mock") == tuple(
        first[key] for key in ("http_method", "path", "body", "status", "token")
    )
    assert "once" == first["headers"]["idempotency-key"]
    assert "authorization" not in first["headers"]
    assert ("GET", "/scans/no-such", "x=1", 404) == tuple(
        last[key] for key in ("http_method", "path", "query", "status")
    )
    (called,) = heimdall.calls("list_scans")
    assert ("tools/call", {}, 200, "answered", False) == tuple(
        called[key] for key in ("method", "arguments", "status", "outcome", "rule")
    )
    methods = [call["method"] for call in calls if call["path"] == "/mcp/heimdall"]
    assert ["initialize", "notifications/initialized", "tools/call"] == methods[:3]


def test_a_call_is_noted_before_it_is_answered(heimdall: Mock) -> None:
    """A test can wait until its client has asked, and then act while the answer is out."""
    heimdall.script({"match": {"route": "GET /scans"}, "hang_seconds": 60})
    with pytest.raises(TimeoutError):
        asking = threading.Thread(target=lambda: _swallow(heimdall))
        asking.start()
        until(lambda: [call["outcome"] for call in heimdall.calls()] == ["open"], "the call is there")
        asking.join()
        raise TimeoutError


def test_a_repository_is_scanned_by_its_url(heimdall: Mock) -> None:
    """Of the one host that the mock allows; the last part of the URL names the result."""
    queued = json.loads(
        request(f"{heimdall.url}/scans", heimdall.token, {"url": "https://git.example/team/broken.git"})[2]
    )
    until(lambda: _get(heimdall, f"/scans/{queued['scan_id']}")[2]["status"] == "failed", "the scan ends")
    assert 403 == request(f"{heimdall.url}/scans", heimdall.token, {"url": "https://other.example/x"})[0]


def test_reset_forgets_rules_and_calls(heimdall: Mock) -> None:
    """And counts from 1 again."""
    heimdall.script({**SCANS, "latency_ms": 1})
    _get(heimdall, "/scans")
    heimdall.reset()
    assert ([], []) == (heimdall.used(), heimdall.calls())
    _get(heimdall, "/scans")
    assert [1] == [call["number"] for call in heimdall.calls()]


def test_one_mocks_script_is_not_anothers(heimdall: Mock, zen: Mock) -> None:
    """Each has rules and calls of its own."""
    heimdall.script({"match": {"method": "tools/list"}, "error": {"code": -1, "message": "no"}})
    assert ([0], []) == (heimdall.used(), zen.used())


@pytest.mark.parametrize("path", ["/mock/script", "/mock/calls"])
def test_nobody_steers_a_mock_without_the_token(heimdall: Mock, path: str) -> None:
    """As every other door of it."""
    assert 401 == request(f"{heimdall.url}{path}")[0]


def test_a_script_that_is_refused_changes_nothing(heimdall: Mock) -> None:
    """All or none: the rules before stay in force."""
    heimdall.script({**SCANS, "latency_ms": 1})
    with pytest.raises(AssertionError, match="script/1/match/tool: 'list_scan' is no tool of this mock"):
        heimdall.script({**SCANS, "latency_ms": 2}, {"match": {"tool": "list_scan"}, "latency_ms": 2})
    assert [0] == heimdall.used()


def _swallow(mock: Mock) -> None:
    try:
        _get(mock, "/scans", seconds=1)
    except TimeoutError:
        return
