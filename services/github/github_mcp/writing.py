"""What tools that write take, as types; those that read and what both share are in arguments.py."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from github_mcp.arguments import InRepository, Number, OnPull, Text


class IssueWrite(InRepository):
    method: Annotated[Literal["create", "update"], Field(description="create wants title; update wants issue_number.")]
    issue_number: Number | None = None
    title: Text | None = None
    body: Annotated[str | None, Field(description="Markdown.")] = None
    assignees: Annotated[list[str] | None, Field(description="Logins.")] = None
    labels: Annotated[list[str] | None, Field(description="Replaces those that are there.")] = None
    milestone: Number | None = None
    type: Annotated[str | None, Field(description="Type of the issue, where the organization has types.")] = None
    state: Annotated[Literal["open", "closed"] | None, Field(description="For update.")] = None
    state_reason: Annotated[
        Literal["completed", "not_planned", "duplicate"] | None, Field(description="Why it is closed.")
    ] = None

    @model_validator(mode="after")
    def _whole(self) -> IssueWrite:
        if self.method == "create" and not self.title:
            raise ValueError("create wants title")
        if self.method == "update" and not self.issue_number:
            raise ValueError("update wants issue_number")
        if self.method == "create" and (self.state or self.state_reason or self.issue_number):
            raise ValueError("issue_number, state and state_reason are for update; a new issue is open")
        return self


class AddIssueComment(InRepository):
    issue_number: Annotated[Number, Field(description="Number of an issue or a pull request.")]
    body: Annotated[Text | None, Field(description="Markdown. Wanted if there is no reaction.")] = None
    reaction: Annotated[
        Literal["+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"] | None,
        Field(description="Wanted if there is no body."),
    ] = None

    @model_validator(mode="after")
    def _something(self) -> AddIssueComment:
        if not self.body and not self.reaction:
            raise ValueError("wants body, reaction or both")
        return self


Reviewers = Annotated[list[str] | None, Field(description="Logins, and teams as ORG/TEAM.")]


class CreatePullRequest(InRepository):
    title: Text
    head: Annotated[Text, Field(description="Branch with the changes; owner:branch from a fork.")]
    base: Annotated[Text, Field(description="Branch to merge into.")]
    body: Annotated[str | None, Field(description="Markdown.")] = None
    draft: bool | None = None
    maintainer_can_modify: bool | None = None
    reviewers: Reviewers = None


class UpdatePullRequest(OnPull):
    title: Text | None = None
    body: Annotated[str | None, Field(description="Markdown.")] = None
    state: Literal["open", "closed"] | None = None
    base: Text | None = None
    maintainer_can_modify: bool | None = None
    reviewers: Reviewers = None

    @model_validator(mode="after")
    def _something(self) -> UpdatePullRequest:
        if self.model_fields_set <= {"owner", "repo", "pull_number"}:
            raise ValueError("names nothing to change")
        return self


class MergePullRequest(OnPull):
    merge_method: Literal["merge", "squash", "rebase"] | None = None
    commit_title: str | None = None
    commit_message: str | None = None


class PullRequestReviewWrite(OnPull):
    method: Annotated[
        Literal["create", "submit_pending", "delete_pending"],
        Field(description="create without event leaves the review pending: only you see it until it is submitted."),
    ]
    event: Literal["APPROVE", "REQUEST_CHANGES", "COMMENT"] | None = None
    body: Annotated[str | None, Field(description="Markdown.")] = None
    commit_id: Annotated[str | None, Field(alias="commitID", description="Commit to review, instead of the head.")] = (
        None
    )

    @model_validator(mode="after")
    def _whole(self) -> PullRequestReviewWrite:
        if self.method == "submit_pending" and not self.event:
            raise ValueError("submit_pending wants event")
        return self
