"""What tools that read take, as types. Names, and which are required, are those of the official GitHub MCP server."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, quote

from mcp_host.schemas import Untitled
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def _name(text: str) -> str:
    """One segment of a URL that means itself."""
    if not text or set(text) - NAME_CHARACTERS or not text.strip("."):
        raise ValueError("should have letters, digits, '-', '_' and '.' only, as in octo-org/hello.world")
    return text


def _steps(text: str) -> str:
    """Segments of a URL that lead nowhere but down."""
    if not text.isprintable() or "\\" in text or any(part in ("", ".", "..") for part in text.split("/")):
        raise ValueError("should be names between single slashes, none of them '.' or '..'")
    return text


def _path(text: str) -> str:
    inner = text.strip("/")
    return _steps(inner) if inner else ""


def _cursor(text: str) -> str:
    """The part of a link to a page that moves on, as list_issues gave it: from here on it goes into a query."""
    if not text or set(cursor_query(text)) - {"page", "after"}:
        raise ValueError("should be pageInfo.endCursor of an answer of list_issues")
    return text


def cursor_query(text: str) -> dict[str, str]:
    """`page` and `after` of GitHub's own link to a page. Raises ValueError for what is no cursor."""
    return dict(parse_qsl(text, strict_parsing=True)) if text else {}


Owner = Annotated[str, AfterValidator(_name), Field(description="Owner of the repository: a user or an organization.")]
Repo = Annotated[str, AfterValidator(_name), Field(description="Name of the repository.")]
Number = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]


class Asked(BaseModel):
    """Unknown arguments are refused: one that is passed over in silence looks obeyed."""

    model_config = ConfigDict(extra="forbid")


class Nothing(Asked):
    pass


class _Paged(Asked):
    page: Annotated[Number | None, Field(description="Which page, from 1.")] = None
    per_page: Annotated[int | None, Field(alias="perPage", ge=1, le=100, description="Entries of a page.")] = None

    @property
    def paging(self) -> dict[str, Any]:
        """Their names in GitHub's API."""
        return {"page": self.page, "per_page": self.per_page}


class InRepository(Asked):
    owner: Owner
    repo: Repo

    @property
    def root(self) -> str:
        """The repository's path in the API."""
        return f"/repos/{self.owner}/{self.repo}"


class _Searched(_Paged):
    query: Annotated[Text, Field(description="In GitHub's search syntax, e.g. 'org:octo-org language:python'.")]
    order: Literal["asc", "desc"] | None = None


class SearchRepositories(_Searched):
    sort: Annotated[
        Literal["stars", "forks", "help-wanted-issues", "updated"] | None, Field(description="Best match if not given.")
    ] = None
    minimal_output: Annotated[bool, Field(description="Only what is mostly wanted of each repository.")] = True


class SearchCode(_Searched):
    sort: Annotated[str | None, Field(description="'indexed', or best match if not given.")] = None
    fields: Annotated[
        list[Literal["name", "path", "sha", "repository", "text_matches"]] | None,
        Field(description="Only these of each result."),
    ] = None


class SearchIssues(_Searched):
    owner: Annotated[Owner | None, Field(description="With repo: only in this repository.")] = None
    repo: Annotated[Repo | None, Field(description="With owner: only in this repository.")] = None
    sort: Annotated[
        Literal[
            "comments", "reactions", "reactions-+1", "reactions--1", "reactions-smile", "reactions-thinking_face",
            "reactions-heart", "reactions-tada", "interactions", "created", "updated",
        ] | None,
        Field(description="Best match if not given."),
    ] = None  # fmt: skip

    def scoped(self, kind: str) -> str:
        """The query, for things of this kind, in the repository if one is given."""
        repository = f" repo:{self.owner}/{self.repo}" if self.owner and self.repo else ""
        return f"{self.query} is:{kind}{repository}"


class SearchPullRequests(SearchIssues):
    fields: Annotated[
        list[
            Literal[
                "number", "title", "body", "state", "state_reason", "draft", "locked", "html_url", "user",
                "author_association", "labels", "assignee", "assignees", "milestone", "comments", "reactions",
                "created_at", "updated_at", "closed_at", "closed_by", "pull_request",
            ]
        ] | None,
        Field(description="Only these of each pull request; without 'body' the answer is much smaller."),
    ] = None  # fmt: skip


class GetFileContents(InRepository):
    path: Annotated[str, AfterValidator(_path), Field(description="A file, or a folder to list.")] = "/"
    ref: Annotated[str | None, Field(description="A branch, tag or refs/…; the default branch if not given.")] = None
    sha: Annotated[str | None, Field(description="A commit, instead of ref.")] = None

    @property
    def escaped(self) -> str:
        return quote(self.path.strip("/"))


class ListBranches(InRepository, _Paged):
    fields: Annotated[
        list[Literal["name", "sha", "protected"]] | None, Field(description="Only these of each branch.")
    ] = None


class ListCommits(InRepository, _Paged):
    sha: Annotated[str | None, Field(description="Branch, tag or commit to start from.")] = None
    path: Annotated[str | None, Field(description="Only commits that touch this file or folder.")] = None
    author: Annotated[str | None, Field(description="Login or email address.")] = None
    since: Annotated[str | None, Field(description="Only later ones; ISO 8601.")] = None
    until: Annotated[str | None, Field(description="Only earlier ones; ISO 8601.")] = None
    fields: Annotated[
        list[Literal["sha", "html_url", "commit", "author", "committer"]] | None,
        Field(description="Only these of each commit."),
    ] = None


class GetCommit(InRepository, _Paged):
    sha: Annotated[str, AfterValidator(_steps), Field(description="A commit, branch or tag.")]
    include_diff: Annotated[bool, Field(description="With files, their patches and statistics.")] = True

    @property
    def escaped(self) -> str:
        return quote(self.sha)


class ListIssues(InRepository):
    state: Annotated[Literal["OPEN", "CLOSED"] | None, Field(description="Both if not given.")] = None
    labels: Annotated[list[str] | None, Field(description="Only issues with all of these.")] = None
    since: Annotated[str | None, Field(description="Only those updated later; ISO 8601.")] = None
    order_by: Annotated[Literal["CREATED_AT", "UPDATED_AT", "COMMENTS"] | None, Field(alias="orderBy")] = None
    direction: Literal["ASC", "DESC"] | None = None
    after: Annotated[
        str | None,
        AfterValidator(_cursor),
        Field(description="pageInfo.endCursor of the page before the wanted one."),
    ] = None
    per_page: Annotated[int | None, Field(alias="perPage", ge=1, le=100, description="Entries of a page.")] = None
    fields: Annotated[
        list[
            Literal[
                "number", "title", "body", "state", "user", "labels", "assignees", "comments", "created_at",
                "updated_at",
            ]
        ] | None,
        Field(description="Only these of each issue; without 'body' the answer is much smaller."),
    ] = None  # fmt: skip


class IssueRead(InRepository, _Paged):
    method: Annotated[
        Literal["get", "get_comments", "get_sub_issues", "get_parent", "get_labels"],
        Field(description="What to read of the issue: itself, its comments, sub-issues, parent or labels."),
    ]
    issue_number: Number

    @property
    def at(self) -> str:
        return f"{self.root}/issues/{self.issue_number}"


class ListPullRequests(InRepository, _Paged):
    state: Annotated[Literal["open", "closed", "all"] | None, Field(description="open if not given.")] = None
    head: Annotated[str | None, Field(description="Only from this branch: owner:branch.")] = None
    base: Annotated[str | None, Field(description="Only into this branch.")] = None
    sort: Literal["created", "updated", "popularity", "long-running"] | None = None
    direction: Literal["asc", "desc"] | None = None
    fields: Annotated[
        list[
            Literal[
                "number", "title", "body", "state", "draft", "html_url", "user", "labels", "assignees",
                "requested_reviewers", "head", "base", "created_at", "updated_at", "closed_at", "merged_at",
                "milestone",
            ]
        ] | None,
        Field(description="Only these of each pull request; without 'body' the answer is much smaller."),
    ] = None  # fmt: skip


class OnPull(InRepository):
    pull_number: Annotated[Number, Field(alias="pullNumber", description="Number of the pull request.")]

    @property
    def at(self) -> str:
        return f"{self.root}/pulls/{self.pull_number}"


class PullRequestRead(OnPull, _Paged):
    method: Annotated[
        Literal[
            "get", "get_diff", "get_status", "get_files", "get_review_comments", "get_reviews", "get_comments",
            "get_check_runs",
        ],
        Field(
            description="What to read: itself, its diff, the combined status or the check runs of its head, its "
            "files, comments on lines, reviews, or the conversation."
        ),
    ]  # fmt: skip


class _Plain(Untitled):
    """What may be left out may also be null, as some clients send it; the schema says only that it may be left out."""

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> dict[str, Any]:
        described = super().default_schema(schema)
        return {key: value for key, value in described.items() if (key, value) != ("default", None)}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema of a tool's arguments; the names of our types are nobody's business."""
    schema = model.model_json_schema(schema_generator=_Plain)
    return {key: value for key, value in schema.items() if key != "title"}
