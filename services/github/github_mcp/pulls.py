"""Tools about pull requests and their reviews."""

from __future__ import annotations

from typing import Any

from github_mcp.answers import slim
from github_mcp.arguments import (
    ListPullRequests,
    OnPull,
    PullRequestRead,
    SearchPullRequests,
)
from github_mcp.client import DIFF, GitHub
from github_mcp.refused import RefusedError
from github_mcp.repositories import page
from github_mcp.writing import CreatePullRequest, MergePullRequest, PullRequestReviewWrite, UpdatePullRequest

LISTS = {"get_files": "files", "get_review_comments": "comments", "get_reviews": "reviews"}
PENDING = "PENDING"


async def list_pull_requests(github: GitHub, asked: ListPullRequests) -> dict[str, Any]:
    query = {"state": asked.state, "head": asked.head, "base": asked.base}
    more = {"sort": asked.sort, "direction": asked.direction, **asked.paging}
    return page(await github.get(f"{asked.root}/pulls", query | more), "list_pull_requests", fields=asked.fields)


async def search_pull_requests(github: GitHub, asked: SearchPullRequests) -> dict[str, Any]:
    query = {"q": asked.scoped("pr"), "sort": asked.sort, "order": asked.order, **asked.paging}
    return page(await github.get("/search/issues", query), "search_pull_requests", fields=asked.fields)


async def pull_request_read(github: GitHub, asked: PullRequestRead) -> dict[str, Any] | str:
    method = asked.method
    if method in LISTS:
        return page(await github.get(f"{asked.at}/{LISTS[method]}", asked.paging), method)
    if method == "get_comments":
        return page(await github.get(f"{asked.root}/issues/{asked.pull_number}/comments", asked.paging), method)
    if method == "get_diff":
        return (await github.get(asked.at, accept=DIFF)).body.decode(errors="replace")
    pull = (await github.get(asked.at)).record(method)
    if method == "get":
        return dict(slim(pull))
    head = f"{asked.root}/commits/{pull['head']['sha']}"
    if method == "get_check_runs":
        return page(await github.get(f"{head}/check-runs", asked.paging), method, key="check_runs")
    return dict(slim((await github.get(f"{head}/status", asked.paging)).record(method)))


async def create_pull_request(github: GitHub, asked: CreatePullRequest) -> dict[str, Any]:
    body = asked.model_dump(exclude={"owner", "repo", "reviewers"})
    pull = (await github.write("POST", f"{asked.root}/pulls", body)).record("create_pull_request")
    path = f"{asked.root}/pulls/{pull['number']}"
    return await _with_reviewers(github, path, pull, asked.reviewers, f"pull request {pull['number']} is open")


async def update_pull_request(github: GitHub, asked: UpdatePullRequest) -> dict[str, Any]:
    body = asked.model_dump(exclude={"owner", "repo", "pull_number", "reviewers"}, exclude_none=True)
    if body:
        pull = (await github.write("PATCH", asked.at, body)).record("update_pull_request")
    else:
        pull = (await github.get(asked.at)).record("update_pull_request")
    return await _with_reviewers(github, asked.at, pull, asked.reviewers, "the rest of the change is made")


async def merge_pull_request(github: GitHub, asked: MergePullRequest) -> dict[str, Any]:
    body = asked.model_dump(exclude={"owner", "repo", "pull_number"})
    return dict(slim((await github.write("PUT", f"{asked.at}/merge", body)).record("merge_pull_request")))


async def pull_request_review_write(github: GitHub, asked: PullRequestReviewWrite) -> dict[str, Any]:
    said = {"event": asked.event, "body": asked.body}
    if asked.method == "create":
        response = await github.write("POST", f"{asked.at}/reviews", {**said, "commit_id": asked.commit_id})
    elif asked.method == "submit_pending":
        response = await github.write("POST", f"{asked.at}/reviews/{await _pending(github, asked)}/events", said)
    else:
        response = await github.write("DELETE", f"{asked.at}/reviews/{await _pending(github, asked)}", {})
    return dict(slim(response.record("pull_request_review_write")))


async def _pending(github: GitHub, asked: OnPull) -> int:
    """Id of the pending review. GitHub shows only one's own."""
    number: int | None = 1
    while number is not None:
        response = await github.get(f"{asked.at}/reviews", {"per_page": 100, "page": number})
        for review in response.document("pull_request_review_write"):
            if review["state"] == PENDING:
                return int(review["id"])
        number = response.next_page
    raise RefusedError(f"pull request {asked.pull_number}: has no pending review of yours; create one without event")


async def _with_reviewers(
    github: GitHub, path: str, pull: dict[str, Any], reviewers: list[str] | None, done: str
) -> dict[str, Any]:
    """The pull request, after its reviewers were asked. What was done before is told when that fails."""
    if reviewers:
        people = [name for name in reviewers if "/" not in name]
        teams = [name.partition("/")[2] for name in reviewers if "/" in name]
        body = {"reviewers": people, "team_reviewers": teams}
        try:
            pull = (await github.write("POST", f"{path}/requested_reviewers", body)).record(path)
        except RefusedError as error:
            raise RefusedError(f"{done}, but its reviewers are not asked: {error}") from error
    return dict(slim(pull))
