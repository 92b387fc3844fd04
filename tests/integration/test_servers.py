"""What clients rely on, asked of the mocks and of the real servers: the same tests, so that neither drifts away.

`-m mcp_mock`: the mocks, as processes; seconds, needs nothing. `-m mcp_integration`: the real servers behind the real
gateway.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.shared.exceptions import MCPError

from tests.integration.clients import REVISIONS, request, tools_list, with_client
from tests.mocks.app import agreed_tools
from tests.mocks.local import Mock
from tests.stack import Stack, until

EITHER = [
    pytest.param("mock", marks=pytest.mark.mcp_mock),
    pytest.param("real", marks=[pytest.mark.engine, pytest.mark.mcp_integration]),
]
FOLDER = "findings"  # of the workspace: the mock has it, the real one gets it planted
DEFECT = "import subprocess\n\nsubprocess.call(input(), shell=True)\n"
NOWHERE = "0" * 32
SCAN_SECONDS = 180  # all scanners, on a machine that does other things too
NO_TOOL = -32602  # JSON-RPC: invalid params


@dataclass(frozen=True)
class Door:
    """Where clients find the servers: what `client.config` gives, and heimdall's REST surface."""

    config: dict[str, Any]
    rest: str
    token: str

    def call(self, server: str, tool: str, arguments: dict[str, Any], mode: str = "legacy") -> Any:
        """The result of one call."""
        return with_client(self.config, server, mode, _calling(tool, arguments))

    def scans(self, path: str = "", body: Any = None, method: str | None = None) -> tuple[int, dict[str, str], Any]:
        """Status, headers and document of a request to /scans."""
        status, headers, text = request(f"{self.rest}/scans{path}", self.token, body, method)
        return status, {name.lower(): value for name, value in headers.items()}, json.loads(text)


@pytest.fixture(scope="module")
def plain(stack: Stack) -> Door:
    """Plan C with nothing set: zen and heimdall."""
    done = stack.run("deploy", "--plan=C")
    assert done.returncode == 0, done.stdout + done.stderr
    return _door(stack)


@pytest.fixture(scope="module")
def furnished(stack: Stack, settings: dict[str, str], plain: Door) -> Iterator[Door]:
    """Plan B with a GitHub and a model: zen, heimdall and github; plan C again at the end."""
    done = stack.run("deploy", "--plan=B", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    yield _door(stack)
    back = stack.run("deploy", "--plan=C")
    assert back.returncode == 0, back.stdout + back.stderr


@pytest.fixture(scope="module", params=EITHER)
def door(request: pytest.FixtureRequest) -> Door:
    """zen and heimdall, to which nothing was given."""
    return _mocked(request) if request.param == "mock" else request.getfixturevalue("plain")


@pytest.fixture(scope="module", params=EITHER)
def outward(request: pytest.FixtureRequest) -> Door:
    """zen with a model, and github with a GitHub that has octo-org/hello."""
    return _mocked(request) if request.param == "mock" else request.getfixturevalue("furnished")


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("server", ["zen", "heimdall"])
def test_the_tools_are_those_that_were_agreed_on(door: Door, server: str, revision: str) -> None:
    """Names, descriptions, schemas and hints, as catalog/tools has them, in both protocol revisions."""
    assert agreed_tools(server) == with_client(door.config, server, REVISIONS[revision], list_tools)


def test_a_scan_lives_from_submission_to_findings(door: Door) -> None:
    """By MCP: an id at once, then queued or running, then completed with findings, each document of the agreed form.

    It is submitted in one protocol revision and asked for in the other: a scan belongs to no connection.
    """
    submitted = _scan(door.call("heimdall", "scan_repository", {"path": FOLDER, "profile": "quick"}))
    scan_id = submitted["scan_id"]
    assert submitted["status"] in ("queued", "running")
    assert ([], None) == (submitted["findings"], submitted["coverage"])
    mode = REVISIONS["stateless"]

    def get() -> dict[str, Any]:
        return _scan(door.call("heimdall", "get_scan_results", {"scan_id": scan_id}, mode))

    until(lambda: get()["status"] not in ("queued", "running"), "the scan ends", SCAN_SECONDS)
    document = get()
    assert ("completed", scan_id, FOLDER) == (document["status"], document["scan_id"], document["path"])
    assert document["findings_total"] == len(document["findings"]) == sum(document["severities"].values())
    assert "tool.py" in {finding["path"] for finding in document["findings"]}
    listed = door.call("heimdall", "list_scans", {"limit": 100}, mode).structured_content["scans"]
    assert scan_id in [scan["scan_id"] for scan in listed]


def test_rest_and_mcp_tell_the_same_of_a_scan(door: Door) -> None:
    """POST /scans, here of source text, gives an id and its place; GET becomes the document that MCP has too.

    The text is forgotten: no document holds it. A scan that has ended cannot be cancelled.
    """
    status, headers, queued = door.scans(body={"code": DEFECT, "filename": "findings.py", "profile": "quick"})
    assert (202, {"scan_id", "status"}) == (status, set(queued))
    assert headers["location"].endswith(f"/scans/{queued['scan_id']}")

    def shown() -> dict[str, Any]:
        answered, _, document = door.scans(f"/{queued['scan_id']}")
        assert 200 == answered
        return dict(document)

    until(lambda: shown()["status"] not in ("queued", "running"), "the scan ends", SCAN_SECONDS)
    document = shown()
    assert ("completed", "findings.py", None) == (document["status"], document["filename"], document["path"])
    assert document["findings"]
    assert {"max_score"} == document["cvss_summary"].keys()
    assert document == _scan(door.call("heimdall", "get_scan_results", {"scan_id": queued["scan_id"]}))
    assert "subprocess.call(input()" not in json.dumps(document)
    assert 409 == door.scans(f"/{queued['scan_id']}", method="DELETE")[0]
    assert queued["scan_id"] in [scan["scan_id"] for scan in door.scans("?limit=100")[2]["scans"]]


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("scan_repository", {}, "path"),
        ("scan_repository", {"path": FOLDER, "profile": "fast"}, "profile"),
        ("scan_repository", {"path": FOLDER, "wait_seconds": -1}, "wait_seconds"),
        ("scan_repository", {"path": FOLDER, "bogus": 1}, "bogus"),
        ("scan_repository", {"path": "../elsewhere"}, "path"),
        ("scan_repository", {"path": "no-such-folder"}, "no-such-folder"),
        ("get_scan_results", {"scan_id": "no id!"}, "scan_id"),
        ("get_scan_results", {"scan_id": NOWHERE}, NOWHERE),
        ("cancel_scan", {"scan_id": NOWHERE}, NOWHERE),
        ("list_scans", {"limit": 0}, "limit"),
    ],
)
def test_heimdall_says_what_is_wrong_with_a_call(door: Door, tool: str, arguments: dict[str, Any], told: str) -> None:
    """A tool error: one text, a sentence that names the culprit, and no document."""
    result = door.call("heimdall", tool, arguments)
    assert (True, None, ["text"]) == (
        result.is_error,
        result.structured_content,
        [part.type for part in result.content],
    )
    assert told in result.content[0].text


@pytest.mark.parametrize(
    ("path", "body", "method", "status"),
    [
        (f"/{NOWHERE}", None, "GET", 404),
        (f"/{NOWHERE}", None, "DELETE", 404),
        ("", {"path": "no-such-folder"}, "POST", 404),
        ("", {"path": "../elsewhere"}, "POST", 400),
        ("", {}, "POST", 400),
        ("", {"path": FOLDER, "bogus": 1}, "POST", 400),
        ("", ["no object"], "POST", 400),
        ("?limit=none", None, "GET", 400),
    ],
)
def test_rest_says_what_is_wrong_with_a_request(door: Door, path: str, body: Any, method: str, status: int) -> None:
    """The status, and `{"error": sentence}`."""
    answered, _, document = door.scans(path, body, method)
    assert (status, ["error"]) == (answered, list(document))
    assert document["error"]


@pytest.mark.parametrize("path", ["/mcp/heimdall", "/scans"])
@pytest.mark.parametrize("token", [None, "not-the-token"])
def test_nobody_is_answered_without_the_token(door: Door, path: str, token: str | None) -> None:
    """401 with a challenge."""
    status, headers, _ = request(f"{door.rest}{path}", token, tools_list())
    assert (401, "Bearer") == (status, headers["www-authenticate"])


def test_a_tool_that_is_not_there_is_an_error_of_the_protocol(door: Door) -> None:
    """heimdall answers a JSON-RPC error that lists its tools."""

    async def call(client: Client) -> MCPError:
        with pytest.raises(MCPError) as refused:
            await client.call_tool("no_such_tool", {})
        return refused.value

    error = with_client(door.config, "heimdall", "legacy", call)
    assert NO_TOOL == error.code
    assert "known: scan_repository" in error.message


@pytest.mark.parametrize("revision", REVISIONS)
def test_zen_lists_its_models(outward: Door, revision: str) -> None:
    """A JSON document as text, with the models that it has."""
    result = outward.call("zen", "listmodels", {}, REVISIONS[revision])
    document = json.loads(result.content[0].text)
    assert (False, "success", "listmodels") == (result.is_error, document["status"], document["metadata"]["tool_name"])
    assert "`model-one`" in document["content"]


@pytest.mark.parametrize("revision", REVISIONS)
def test_zen_chats_and_offers_to_go_on(outward: Door, revision: str) -> None:
    """The model's own words, who said them, and a thread to continue; its first model where none is named."""
    prompt = {"prompt": "hi", "working_directory_absolute_path": "/tmp/zen"}
    for model in ({"model": "model-one"}, {}):
        result = outward.call("zen", "chat", prompt | model, REVISIONS[revision])
        document = json.loads(result.content[0].text)
        assert (False, "continuation_available") == (result.is_error, document["status"])
        assert document["content"].startswith("answer of model-one\n")
        assert ("chat", "model-one") == tuple(document["metadata"][key] for key in ("tool_name", "model_used"))
        assert {"continuation_id", "note", "remaining_turns"} == document["continuation_offer"].keys()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"prompt": 5, "working_directory_absolute_path": "/tmp/zen"}, "prompt"),
        ({"prompt": "hi"}, "working_directory_absolute_path"),
        ({"prompt": "hi", "working_directory_absolute_path": "/tmp/zen", "model": "no-such"}, "no-such"),
    ],
)
def test_zen_says_what_is_wrong_with_a_call(outward: Door, arguments: dict[str, Any], told: str) -> None:
    """A tool error whose text is a JSON document with status `error`."""
    result = outward.call("zen", "chat", arguments)
    document = json.loads(result.content[0].text)
    assert (True, "error") == (result.is_error, document["status"])
    assert told in document["content"]


@pytest.mark.parametrize("revision", REVISIONS)
def test_github_offers_what_was_agreed_and_says_how_it_is_set_up(outward: Door, revision: str) -> None:
    """The tools of catalog/tools; get_server_status without asking GitHub."""
    mode = REVISIONS[revision]
    assert agreed_tools("github") == with_client(outward.config, "github", mode, list_tools)
    status = json.loads(outward.call("github", "get_server_status", {}, mode).content[0].text)
    assert {"api_url", "read_only", "credentials", "rate_limits"} == status.keys()
    assert (True, "token") == (status["read_only"], status["credentials"])


@pytest.mark.parametrize("revision", REVISIONS)
def test_github_reads_a_file_and_the_issues(outward: Door, revision: str) -> None:
    """The file as a resource beside what GitHub says of it; issues in pages."""
    mode, hello = REVISIONS[revision], {"owner": "octo-org", "repo": "hello"}
    said, file = outward.call("github", "get_file_contents", {**hello, "path": "README.md"}, mode).content
    assert ("README.md", "file") == tuple(json.loads(said.text)[key] for key in ("path", "type"))
    assert ("text/markdown", "# hello") == (file.resource.mime_type, file.resource.text.splitlines()[0])
    issues = json.loads(outward.call("github", "list_issues", hello, mode).content[0].text)
    assert "Issue 1" in [issue["title"] for issue in issues["issues"]]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"owner": "octo-org"}, "repo: Field required"),
        ({"owner": "octo-org", "repo": "hello", "path": "../up"}, "path"),
        ({"owner": "octo-org", "repo": "hello", "bogus": 1}, "bogus"),
        ({"owner": "octo-org", "repo": "hello", "path": "nowhere.txt"}, "404"),
    ],
)
def test_github_says_what_is_wrong_with_a_call(outward: Door, arguments: dict[str, Any], told: str) -> None:
    """A tool error with one sentence, also for what GitHub itself refuses."""
    result = outward.call("github", "get_file_contents", arguments)
    assert (True, 1) == (result.is_error, len(result.content))
    assert told in result.content[0].text


def _mocked(request: pytest.FixtureRequest) -> Door:
    mocks: dict[str, Mock] = request.getfixturevalue("mocks")
    config = {"mcpServers": {name: mock.entry for name, mock in mocks.items()}}
    return Door(config, mocks["heimdall"].url, mocks["heimdall"].token)


def _door(stack: Stack) -> Door:
    """The gateway's, with the defect in the workspace."""
    folder = stack.home / "data" / "workspace" / FOLDER
    folder.mkdir(exist_ok=True)
    (folder / "tool.py").write_text(DEFECT)
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    return Door(json.loads(stack.run("client.config").stdout), stack.url, stack.token)


def _scan(result: Any) -> dict[str, Any]:
    """The document of a result, which has the form that was agreed on, as text too."""
    assert not result.is_error, result.content
    document = dict(result.structured_content)
    schema = next(tool["outputSchema"] for tool in agreed_tools("heimdall") if tool["name"] == "get_scan_results")
    assert [] == [error.message for error in Draft202012Validator(schema).iter_errors(document)]
    assert document == json.loads(result.content[0].text)
    return document


async def list_tools(client: Client) -> list[dict[str, Any]]:
    listed = (await client.list_tools()).tools
    return sorted(
        (tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in listed),
        key=lambda tool: str(tool["name"]),
    )


def _calling(tool: str, arguments: dict[str, Any]) -> Callable[[Client], Awaitable[Any]]:
    async def call(client: Client) -> Any:
        return await client.call_tool(tool, arguments)

    return call
