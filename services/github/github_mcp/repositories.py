"""Tools about repositories: who asks, search, files, branches, commits."""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mcp import types

from github_mcp import credentials
from github_mcp.answers import Response, slim
from github_mcp.arguments import (
    GetCommit,
    GetFileContents,
    ListBranches,
    ListCommits,
    Nothing,
    SearchCode,
    SearchRepositories,
)
from github_mcp.client import TEXT_MATCHES, GitHub
from github_mcp.refused import RefusedError

FILE_MIB = 1  # GitHub gives larger ones in no JSON
MINIMAL = (
    "id", "name", "full_name", "description", "html_url", "language", "topics", "default_branch", "stargazers_count",
    "forks_count", "open_issues_count", "private", "fork", "archived", "created_at", "updated_at", "pushed_at",
)  # fmt: skip


def page(response: Response, what: str, key: str = "items", fields: Iterable[str] | None = None) -> dict[str, Any]:
    """One page of a list: `items`, the number of the next page or null, and totals where GitHub tells them."""
    document = response.document(what)
    totals = {}
    if isinstance(document, dict):
        totals = {name: document[name] for name in ("total_count", "incomplete_results") if name in document}
        document = document.get(key)
    if not isinstance(document, list):
        raise RefusedError(f"{what}: GitHub answered something else than a list")
    return {**totals, "items": [picked(item, fields) for item in slim(document)], "next_page": response.next_page}


def picked(item: Mapping[str, Any], fields: Iterable[str] | None) -> dict[str, Any]:
    """Only these fields of a document, all without any."""
    return dict(item) if fields is None else {name: item[name] for name in fields if name in item}


async def get_me(github: GitHub, _: Nothing) -> dict[str, Any]:
    return dict(slim((await github.get("/user")).record("get_me")))


async def get_server_status(github: GitHub, _: Nothing) -> dict[str, Any]:
    """Asks GitHub nothing: it is the probe, and has to be answered while GitHub cannot be reached."""
    settings = github.settings
    return {
        "api_url": settings.api_url,
        "read_only": settings.read_only,
        "credentials": credentials.kind(settings),
        "rate_limits": github.limits,
    }


async def search_repositories(github: GitHub, asked: SearchRepositories) -> dict[str, Any]:
    query = {"q": asked.query, "sort": asked.sort, "order": asked.order, **asked.paging}
    answered = await github.get("/search/repositories", query)
    return page(answered, "search_repositories", fields=MINIMAL if asked.minimal_output else None)


async def search_code(github: GitHub, asked: SearchCode) -> dict[str, Any]:
    query = {"q": asked.query, "sort": asked.sort, "order": asked.order, **asked.paging}
    return page(await github.get("/search/code", query, TEXT_MATCHES), "search_code", fields=asked.fields)


async def get_file_contents(github: GitHub, asked: GetFileContents) -> dict[str, Any] | Sequence[types.ContentBlock]:
    """A folder's entries; or what a file is, and then the file as a resource: text, or base64 of what is none."""
    ref = asked.sha or asked.ref
    response = await github.get(f"{asked.root}/contents/{asked.escaped}", {"ref": ref})
    document = response.document("get_file_contents")
    if isinstance(document, list):
        return {"items": slim(document)}
    document = response.record("get_file_contents")
    if document.get("type") != "file":  # a submodule, or a symbolic link out of the repository
        return dict(slim(document))
    if document.get("encoding") != "base64":
        raise RefusedError(
            f"{asked.path}: has {document.get('size')} bytes, more than the {FILE_MIB} MiB that GitHub gives in an "
            f"answer. Clone the repository, or see {document.get('html_url')}"
        )
    content = base64.b64decode(document["content"])
    about = {key: value for key, value in slim(document).items() if key not in ("content", "encoding")}
    uri = f"repo://{asked.owner}/{asked.repo}/{f'ref/{ref}/' if ref else ''}contents/{asked.escaped}"
    return [types.TextContent(type="text", text=json.dumps(about)), _resource(uri, str(document["name"]), content)]


async def list_branches(github: GitHub, asked: ListBranches) -> dict[str, Any]:
    listed = page(await github.get(f"{asked.root}/branches", asked.paging), "list_branches")
    branches = [
        {"name": item["name"], "sha": item["commit"]["sha"], "protected": item["protected"]} for item in listed["items"]
    ]
    return {**listed, "items": [picked(branch, asked.fields) for branch in branches]}


async def list_commits(github: GitHub, asked: ListCommits) -> dict[str, Any]:
    query = {"sha": asked.sha, "path": asked.path, "author": asked.author, "since": asked.since, "until": asked.until}
    answered = await github.get(f"{asked.root}/commits", query | asked.paging)
    return page(answered, "list_commits", fields=asked.fields)


async def get_commit(github: GitHub, asked: GetCommit) -> dict[str, Any]:
    answered = await github.get(f"{asked.root}/commits/{asked.escaped}", asked.paging)
    commit = dict(slim(answered.record("get_commit")))
    if not asked.include_diff:
        return {key: value for key, value in commit.items() if key not in ("files", "stats")}
    return {**commit, "next_page": answered.next_page}  # of its files


def _resource(uri: str, name: str, content: bytes) -> types.EmbeddedResource:
    guessed = mimetypes.guess_type(name)[0]
    try:
        text = content.decode()
    except UnicodeDecodeError:
        blob = base64.b64encode(content).decode()
        kind = guessed or "application/octet-stream"
        return types.EmbeddedResource(
            type="resource", resource=types.BlobResourceContents(uri=uri, mime_type=kind, blob=blob)
        )
    kind = guessed if guessed and guessed.startswith("text/") else "text/plain"
    return types.EmbeddedResource(
        type="resource", resource=types.TextResourceContents(uri=uri, mime_type=kind, text=text)
    )
