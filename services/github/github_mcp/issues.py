"""Tools about issues. GitHub counts pull requests among them: they are left out of lists."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from github_mcp.answers import slim
from github_mcp.arguments import IssueRead, ListIssues, SearchIssues, cursor_query
from github_mcp.client import GitHub
from github_mcp.repositories import page, picked
from github_mcp.writing import AddIssueComment, IssueWrite

ORDERS = {"CREATED_AT": "created", "UPDATED_AT": "updated", "COMMENTS": "comments"}
LISTS = {"get_comments": "comments", "get_sub_issues": "sub_issues", "get_labels": "labels"}


async def list_issues(github: GitHub, asked: ListIssues) -> dict[str, Any]:
    """One page; its endCursor is the part of GitHub's link to the next page that moves on."""
    query = {
        "state": (asked.state or "all").lower(),
        "labels": ",".join(asked.labels) if asked.labels else None,
        "since": asked.since,
        "sort": ORDERS[asked.order_by] if asked.order_by else None,
        "direction": asked.direction.lower() if asked.direction else None,
        "per_page": asked.per_page,
        **cursor_query(asked.after or ""),
    }
    response = await github.get(f"{asked.root}/issues", query)
    issues = [item for item in page(response, "list_issues")["items"] if "pull_request" not in item]
    following = response.next_query
    info = {"hasNextPage": bool(following), "endCursor": urlencode(following) or None}
    return {"issues": [picked(issue, asked.fields) for issue in issues], "pageInfo": info}


async def search_issues(github: GitHub, asked: SearchIssues) -> dict[str, Any]:
    query = {"q": asked.scoped("issue"), "sort": asked.sort, "order": asked.order, **asked.paging}
    return page(await github.get("/search/issues", query), "search_issues")


async def issue_read(github: GitHub, asked: IssueRead) -> dict[str, Any]:
    if asked.method in LISTS:
        return page(await github.get(f"{asked.at}/{LISTS[asked.method]}", asked.paging), asked.method)
    path = f"{asked.at}/parent" if asked.method == "get_parent" else asked.at
    return dict(slim((await github.get(path)).record("issue_read")))


async def issue_write(github: GitHub, asked: IssueWrite) -> dict[str, Any]:
    body = asked.model_dump(include=set(IssueWrite.model_fields) - {"owner", "repo", "method", "issue_number"})
    method, path = ("POST", "") if asked.method == "create" else ("PATCH", f"/{asked.issue_number}")
    return dict(slim((await github.write(method, f"{asked.root}/issues{path}", body)).record("issue_write")))


async def add_issue_comment(github: GitHub, asked: AddIssueComment) -> dict[str, Any]:
    at, done = f"{asked.root}/issues/{asked.issue_number}", {}
    if asked.body:
        done["comment"] = slim((await github.write("POST", f"{at}/comments", {"body": asked.body})).record(at))
    if asked.reaction:
        reacted = await github.write("POST", f"{at}/reactions", {"content": asked.reaction})
        done["reaction"] = slim(reacted.record(at))
    return done
