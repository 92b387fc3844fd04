"""github as MCP clients of both revisions see it, over GitHub's API as tests/doubles speaks it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp import Client
from mcp.shared.exceptions import MCPError

from tests.doubles.github_api import GitHubApi
from tests.doubles.github_repository import BIG, DIFF, HEAD
from tests.unit.github.conftest import Serve

pytestmark = pytest.mark.anyio
GOLDEN = Path(__file__).with_name("tools.golden.json")
UPSTREAM = yaml.safe_load(Path(__file__).with_name("upstream.yml").read_text())
HELLO = {"owner": "octo-org", "repo": "hello"}
PULL = {**HELLO, "pullNumber": 7}
WRITING = {"GITHUB_READ_ONLY": "false"}
OWN_TOOLS = {"get_server_status"}


def text_of(result: Any) -> str:
    return "".join(item.text for item in result.content if item.type == "text")


async def ask(client: Client, tool: str, arguments: Mapping[str, Any]) -> Any:
    """The document that a call answered."""
    result = await client.call_tool(tool, dict(arguments))
    assert not result.is_error, text_of(result)
    return json.loads(text_of(result))


async def _tools(client: Client) -> list[dict[str, Any]]:
    listed = (await client.list_tools()).tools
    return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("variables", [{}, WRITING], ids=["read-only", "writing"])
async def test_the_tools_are_those_that_are_written_down(serve: Serve, mode: str, variables: dict[str, str]) -> None:
    """Names and schemas change only on purpose: a switch compares them. To accept a change, write this file anew."""
    golden = json.loads(GOLDEN.read_text())
    expected = [tool for tool in golden if variables or tool["annotations"]["readOnlyHint"]]
    async with serve(mode, **variables) as client:
        assert expected == await _tools(client)


async def test_arguments_are_those_of_the_official_server_but_for_what_is_told(serve: Serve) -> None:
    """A call that is right there is right here, unless it names an argument that docs/github.md says is missing."""
    async with serve(**WRITING) as client:
        tools = {tool["name"]: tool["inputSchema"] for tool in await _tools(client) if tool["name"] not in OWN_TOOLS}
    assert set(UPSTREAM) == set(tools)
    for name, schema in tools.items():
        official = UPSTREAM[name] or {}
        takes = {*official.get("required", ()), *official.get("optional", ())}
        assert takes == set(schema["properties"]) | set(official.get("missing", ())), name
        assert sorted(official.get("required", ())) == sorted(schema.get("required", ())), name


def test_every_argument_that_is_missing_is_told(root: Path) -> None:
    """In the table of docs/github.md."""
    told = (root / "docs" / "github.md").read_text(encoding="utf-8")
    missing = {argument for tool in UPSTREAM.values() for argument in (tool or {}).get("missing", ())}
    assert missing
    assert [] == [argument for argument in missing if f"`{argument}`" not in told]


async def test_a_write_is_refused_while_it_only_reads(serve: Serve, api: GitHubApi) -> None:
    """With the setting that would allow it, and GitHub is not asked."""
    async with serve() as client:
        result = await client.call_tool("merge_pull_request", PULL)
    assert result.is_error
    assert "Set mcp_stack_github_read_only: false in the inventory, which is GITHUB_READ_ONLY=false" in text_of(result)
    assert [] == api.seen()


async def test_an_unknown_tool_is_a_protocol_error_that_lists_those_offered(serve: Serve) -> None:
    """Without those that write, while it only reads."""
    async with serve() as client:
        with pytest.raises(MCPError, match=r"nope: is no tool of github \(known: get_me, ") as refused:
            await client.call_tool("nope", {})
    assert "issue_write" not in str(refused.value)


READS: list[tuple[str, dict[str, Any], str, Any]] = [
    ("get_me", {}, "login", "octocat"),
    ("search_repositories", {"query": "hello"}, "items/0/full_name", "octo-org/hello"),
    ("search_repositories", {"query": "hello", "perPage": 2}, "next_page", 2),
    ("search_repositories", {"query": "hello", "perPage": 2, "page": 2}, "next_page", None),
    ("search_repositories", {"query": "hello"}, "total_count", 3),
    ("search_repositories", {"query": "hello", "minimal_output": False}, "items/0/owner", "octo-org"),
    ("search_code", {"query": "print", "fields": ["path", "repository"]}, "items/0",
     {"path": "src/hello.py", "repository": "octo-org/hello"}),
    ("list_branches", HELLO, "items/0", {"name": "main", "sha": HEAD, "protected": True}),
    ("list_commits", {**HELLO, "perPage": 2, "fields": ["sha"]}, "items", [{"sha": HEAD}, {"sha": f"{1:040x}"}]),
    ("list_commits", {**HELLO, "perPage": 2, "page": 3}, "next_page", None),
    ("list_commits", {**HELLO, "repo": "renamed"}, "items/0/author", "octocat"),
    ("get_commit", {**HELLO, "sha": "heads/main"}, "files/0/patch", "@@ -1 +1 @@"),
    ("get_commit", {**HELLO, "sha": HEAD, "include_diff": False}, "files", None),
    ("get_file_contents", {**HELLO, "path": "/src/"}, "items/0/path", "src/hello.py"),
    ("list_issues", {**HELLO, "fields": ["number"]}, "issues", [{"number": n} for n in (1, 2, 3, 4)]),
    ("list_issues", {**HELLO, "state": "CLOSED"}, "issues/0/labels", ["bug"]),
    ("list_issues", HELLO, "pageInfo", {"hasNextPage": False, "endCursor": None}),
    ("issue_read", {**HELLO, "issue_number": 1, "method": "get"}, "title", "Issue 1"),
    ("issue_read", {**HELLO, "issue_number": 1, "method": "get_comments"}, "items/0/body", "about 1"),
    ("issue_read", {**HELLO, "issue_number": 1, "method": "get_labels"}, "items/0/name", "bug"),
    ("issue_read", {**HELLO, "issue_number": 1, "method": "get_sub_issues"}, "items/0/number", 3),
    ("issue_read", {**HELLO, "issue_number": 3, "method": "get_parent"}, "number", 1),
    ("search_issues", {"query": "words", **HELLO}, "items/0/number", 1),
    ("list_pull_requests", {**HELLO, "fields": ["number"]}, "items", [{"number": 7}]),
    ("search_pull_requests", {"query": "words", "fields": ["title"]}, "items", [{"title": "Issue 1"}]),
    ("pull_request_read", {**PULL, "method": "get"}, "head/repo", "octo-org/hello"),
    ("pull_request_read", {**PULL, "method": "get_files"}, "items/0/filename", "README.md"),
    ("pull_request_read", {**PULL, "method": "get_status"}, "state", "success"),
    ("pull_request_read", {**PULL, "method": "get_check_runs"}, "items/0/conclusion", "success"),
    ("pull_request_read", {**PULL, "method": "get_reviews"}, "items/0/state", "APPROVED"),
    ("pull_request_read", {**PULL, "method": "get_comments"}, "items/0/body", "about 7"),
    ("pull_request_read", {**PULL, "method": "get_review_comments"}, "items/0/user", "octocat"),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "arguments", "place", "expected"), READS)
async def test_a_read_answers(serve: Serve, tool: str, arguments: dict[str, Any], place: str, expected: Any) -> None:
    """Every reading tool, every method of it, and pages."""
    async with serve() as client:
        found = await ask(client, tool, arguments)
    for step in place.split("/"):
        found = found[int(step)] if isinstance(found, list) else found.get(step)
    assert expected == found


async def test_links_to_the_api_are_left_out(serve: Serve) -> None:
    """They are most of what GitHub sends, and no client of a tool can follow them."""
    async with serve() as client:
        result = await client.call_tool("pull_request_read", {**PULL, "method": "get"})
    assert "html_url" in text_of(result)
    assert [] == [noise for noise in ("api.example", "node_id", "_links", "avatar") if noise in text_of(result)]


async def test_the_text_of_a_file_is_a_resource(serve: Serve, api: GitHubApi) -> None:
    """With what it is before it; names are escaped on their way."""
    async with serve() as client:
        about, file = (
            await client.call_tool("get_file_contents", {**HELLO, "path": "src/a file & more?.txt", "ref": "main"})
        ).content
    assert "src/a file & more?.txt" == json.loads(about.text)["path"]
    assert ("spaces\n", "text/plain") == (file.resource.text, file.resource.mime_type)
    assert ["GET /repos/octo-org/hello/contents/src/a%20file%20%26%20more%3F.txt"] == api.seen()


async def test_a_file_that_is_no_text_comes_in_base64(serve: Serve) -> None:
    """With its type."""
    async with serve() as client:
        _, file = (await client.call_tool("get_file_contents", {**HELLO, "path": "logo.png"})).content
    assert ("image/png", "iVBORw0KGgoA/w==") == (file.resource.mime_type, file.resource.blob)


async def test_a_large_file_is_refused_with_its_size(serve: Serve) -> None:
    """GitHub gives no more than 1 MiB in an answer."""
    async with serve() as client:
        result = await client.call_tool("get_file_contents", {**HELLO, "path": "big.bin"})
    assert result.is_error
    assert text_of(result).startswith(f"big.bin: has {BIG} bytes, more than the 1 MiB")


async def test_a_diff_is_text(serve: Serve) -> None:
    """As it is."""
    async with serve() as client:
        assert DIFF == text_of(await client.call_tool("pull_request_read", {**PULL, "method": "get_diff"}))


async def test_issues_are_walked_by_cursor(serve: Serve) -> None:
    """Page by page until there is none; pull requests among them are left out."""
    numbers, after = [], {}
    async with serve() as client:
        for _ in range(9):
            found = await ask(client, "list_issues", {**HELLO, "perPage": 2, **after})
            numbers += [issue["number"] for issue in found["issues"]]
            if not found["pageInfo"]["hasNextPage"]:
                break
            after = {"after": found["pageInfo"]["endCursor"]}
    assert [1, 2, 3, 4] == numbers


async def test_a_search_is_of_its_kind_and_repository(serve: Serve, api: GitHubApi) -> None:
    """In GitHub's own syntax."""
    async with serve() as client:
        await ask(client, "search_issues", {"query": "words", **HELLO})
        await ask(client, "search_pull_requests", {"query": "words"})
    assert ["words is:issue repo:octo-org/hello", "words is:pr"] == [asked.query["q"] for asked in api.requests]


REVIEW = {**PULL, "event": "APPROVE", "body": "Good"}
WRITES: list[tuple[str, dict[str, Any], str, Any]] = [
    ("issue_write", {**HELLO, "method": "create", "title": "New", "labels": ["bug"]},
     "POST /repos/octo-org/hello/issues", {"title": "New", "labels": ["bug"]}),
    ("issue_write", {**HELLO, "method": "update", "issue_number": 1, "state": "closed", "state_reason": "not_planned"},
     "PATCH /repos/octo-org/hello/issues/1", {"state": "closed", "state_reason": "not_planned"}),
    ("add_issue_comment", {**HELLO, "issue_number": 1, "body": "Hi"},
     "POST /repos/octo-org/hello/issues/1/comments", {"body": "Hi"}),
    ("add_issue_comment", {**HELLO, "issue_number": 1, "reaction": "+1"},
     "POST /repos/octo-org/hello/issues/1/reactions", {"content": "+1"}),
    ("create_pull_request", {**HELLO, "title": "T", "head": "topic", "base": "main", "draft": True},
     "POST /repos/octo-org/hello/pulls", {"title": "T", "head": "topic", "base": "main", "draft": True}),
    ("update_pull_request", {**PULL, "title": "U"}, "PATCH /repos/octo-org/hello/pulls/7", {"title": "U"}),
    ("update_pull_request", {**PULL, "reviewers": ["octocat", "octo-org/team"]},
     "POST /repos/octo-org/hello/pulls/7/requested_reviewers",
     {"reviewers": ["octocat"], "team_reviewers": ["team"]}),
    ("merge_pull_request", {**PULL, "merge_method": "squash"},
     "PUT /repos/octo-org/hello/pulls/7/merge", {"merge_method": "squash"}),
    ("pull_request_review_write", {**REVIEW, "method": "create", "commitID": HEAD},
     "POST /repos/octo-org/hello/pulls/7/reviews", {"event": "APPROVE", "body": "Good", "commit_id": HEAD}),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "arguments", "request_line", "body"), WRITES)
async def test_a_write_sends_what_was_given_and_no_more(
    serve: Serve, api: GitHubApi, tool: str, arguments: dict[str, Any], request_line: str, body: Any
) -> None:
    """What was left out is not sent: GitHub would take it for a change."""
    async with serve(**WRITING) as client:
        await ask(client, tool, arguments)
    last = api.requests[-1]
    assert (request_line, body) == (f"{last.method} {last.path}", last.body)


async def test_a_pending_review_is_submitted_or_deleted(serve: Serve, api: GitHubApi) -> None:
    """It is found among the reviews; without one it is said that there is none."""
    async with serve(**WRITING) as client:
        for method in ("submit_pending", "delete_pending"):
            made = await ask(client, "pull_request_review_write", {**PULL, "method": "create"})
            done = await ask(client, "pull_request_review_write", {**REVIEW, "method": method})
            assert ("PENDING", made["id"]) == (made["state"], done["id"])
        missing = await client.call_tool("pull_request_review_write", {**PULL, "method": "delete_pending"})
    assert "pull request 7: has no pending review of yours" in text_of(missing)
    assert "POST /repos/octo-org/hello/pulls/7/reviews/40/events" in api.seen()
    assert "DELETE /repos/octo-org/hello/pulls/7/reviews/41" in api.seen()


async def test_what_was_done_is_told_when_the_second_step_fails(serve: Serve) -> None:
    """Else a client would open the pull request again."""
    wanted = {**HELLO, "title": "T", "head": "topic", "base": "main", "reviewers": ["nobody"]}
    async with serve(**WRITING) as client:
        result = await client.call_tool("create_pull_request", wanted)
    assert result.is_error
    assert text_of(result).startswith("pull request 8 is open, but its reviewers are not asked: ")


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("list_commits", {"owner": "..", "repo": "hello"}, "owner: Value error, should have letters"),
        ("list_commits", {"owner": "octo-org", "repo": "hello/../x"}, "repo: Value error, should have letters"),
        ("list_commits", {"owner": "octo-org"}, "repo: Field required"),
        ("list_commits", {**HELLO, "surprise": 1}, "surprise: Extra inputs are not permitted"),
        ("list_commits", {**HELLO, "perPage": 101}, "perPage: Input should be less than or equal to 100"),
        ("get_file_contents", {**HELLO, "path": "a/../../b"}, "path: Value error, should be names between"),
        ("get_file_contents", {**HELLO, "path": "a//b"}, "path: Value error, should be names between"),
        ("get_commit", {**HELLO, "sha": "../x"}, "sha: Value error, should be names between"),
        ("list_issues", {**HELLO, "after": "per_page=1"}, "after: Value error, should be pageInfo.endCursor"),
        ("issue_write", {**HELLO, "method": "create"}, "request: Value error, create wants title"),
        ("issue_write", {**HELLO, "method": "update"}, "request: Value error, update wants issue_number"),
        ("issue_write", {**HELLO, "method": "create", "title": "T", "state": "closed"}, "are for update"),
        ("add_issue_comment", {**HELLO, "issue_number": 1}, "wants body, reaction or both"),
        ("update_pull_request", PULL, "names nothing to change"),
        ("pull_request_review_write", {**PULL, "method": "submit_pending"}, "submit_pending wants event"),
    ],
)
async def test_wrong_arguments_are_told_and_not_sent(
    serve: Serve, api: GitHubApi, tool: str, arguments: dict[str, Any], said: str
) -> None:
    """The place first, then what would be right."""
    async with serve(**WRITING) as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert said in text_of(result)
    assert [] == api.seen()


async def test_what_may_be_left_out_may_be_null(serve: Serve) -> None:
    """Some clients send every argument."""
    async with serve() as client:
        assert (await ask(client, "list_commits", {**HELLO, "sha": None, "perPage": None}))["items"]
