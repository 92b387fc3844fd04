"""The documents that cross the wire, as types: every schema (MCP tools, OpenAPI) is derived from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mcp_host.schemas import Untitled
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stepdown.scan.findings import Coverage, Finding, NotJudged, ScannerOutcome
from stepdown.scan.scanners import Profile

CODE_CHARACTERS = 1_000_000
URL_CHARACTERS = 2000
PATH_CHARACTERS = 1024
KEY_CHARACTERS = 200
REF = r"^[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}$"
WAIT_SECONDS = 240  # below the 300 s that the host gives a call
LIST_LIMIT = 100

ScanId = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="The id that the scan was given; its form means nothing.")
]
Path = Annotated[
    str,
    Field(
        min_length=1, max_length=PATH_CHARACTERS, description="A folder of the workspace, e.g. '.' or 'services/api'."
    ),
]
Status = Literal["queued", "running", "completed", "failed"]
Told = Literal["waiting", "delivered", "given_up"]
FINISHED: tuple[Status, ...] = ("completed", "failed")
ProfileField = Annotated[
    Profile, Field(description="quick: the files as they stand. full: also every commit of the history.")
]
Code = Annotated[str, Field(min_length=1, max_length=CODE_CHARACTERS, description="Source text of one file.")]
Filename = Annotated[
    str,
    Field(
        pattern=r"^\.?[A-Za-z0-9_-][A-Za-z0-9._-]{0,126}$",
        description="Name of that file; its ending says which scanners judge it. No settings file of git or a scanner.",
    ),
]


Url = Annotated[
    str,
    Field(
        max_length=URL_CHARACTERS,
        description="A Git repository, as https://HOST/PATH, at a host that this instance allows. Without credentials.",
    ),
]
Ref = Annotated[
    str, Field(pattern=REF, description="Branch, tag or commit of the repository; where its HEAD is when not given.")
]
Key = Annotated[
    str,
    Field(
        min_length=1,
        max_length=KEY_CHARACTERS,
        description="The same key with the same arguments is the same scan, however often it is sent.",
    ),
]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ScanRepository(_Closed):
    path: Annotated[Path | None, Field(description="A folder of the workspace, e.g. '.'; or give url.")] = None
    url: Url | None = None
    ref: Ref | None = None
    profile: ProfileField = "full"
    wait_seconds: Annotated[
        int, Field(ge=0, le=WAIT_SECONDS, description="Answer when the scan ends, but after this many seconds anyway.")
    ] = 0
    idempotency_key: Key | None = None

    @model_validator(mode="after")
    def _one_subject(self) -> ScanRepository:
        if (self.path is None) == (self.url is None):
            raise ValueError("give either path or url")
        if self.ref is not None and self.url is None:
            raise ValueError("ref is for a url; a folder of the workspace is scanned as it stands")
        return self


class ScanCode(_Closed):
    code: Code
    filename: Filename


class GetScanResults(_Closed):
    scan_id: ScanId


class ListScans(_Closed):
    limit: Annotated[int, Field(ge=1, le=LIST_LIMIT, description="As many at most, newest first.")] = 20


class CancelScan(_Closed):
    scan_id: ScanId


Callback = Annotated[
    str,
    Field(
        max_length=URL_CHARACTERS,
        description="A URL at a host that this instance allows; it gets the scan's summary by POST when the scan ends.",
    ),
]


class PathRequest(_Closed):
    """Body of POST /scans for a folder of the workspace."""

    path: Path
    profile: ProfileField = "full"
    callback_url: Callback | None = None


class UrlRequest(_Closed):
    """Body of POST /scans for a Git repository."""

    url: Url
    ref: Ref | None = None
    profile: ProfileField = "full"
    callback_url: Callback | None = None


class CodeRequest(_Closed):
    """Body of POST /scans for the text of one file."""

    code: Code
    filename: Filename
    profile: ProfileField = "full"
    callback_url: Callback | None = None


class CvssSummary(BaseModel):
    max_score: Annotated[float | None, Field(description="Highest CVSS score that a scanner gave; null when none did.")]


class ScanSummary(BaseModel):
    """One scan without its findings. Times are UTC, ISO 8601."""

    scan_id: ScanId
    status: Annotated[
        Status,
        Field(description="failed: a scanner failed, none looked at anything, or it was stopped; `error` says which."),
    ]
    path: Annotated[str | None, Field(description="The folder, when one was scanned.")]
    url: Annotated[str | None, Field(description="The repository, when one was fetched.")]
    ref: Annotated[str | None, Field(description="Its branch, tag or commit, when one was given.")]
    commit: Annotated[str | None, Field(description="The commit of it that was scanned; null until it ends.")]
    filename: Annotated[str | None, Field(description="The name of the file, when its text was sent.")]
    profile: Profile
    submitted_at: str
    started_at: str | None
    finished_at: str | None
    error: str | None
    findings_total: int
    severities: Annotated[dict[str, int], Field(description="Number of findings by severity; empty until it ends.")]
    cvss_summary: CvssSummary
    callback: Annotated[Told | None, Field(description="Whether the callback was told; null when none was asked for.")]


class Scan(ScanSummary):
    """One scan. Lists are empty and coverage is null until it ends."""

    findings: Annotated[list[Finding], Field(description="Worst first, 5000 at most; findings_total is the number.")]
    scanners: list[ScannerOutcome]
    not_judged: Annotated[list[NotJudged], Field(description="200 at most; coverage.files_not_judged is the number.")]
    coverage: Coverage | None


class ScanList(BaseModel):
    scans: list[ScanSummary]


class Problem(BaseModel):
    """Every error: one sentence that says where, what, and what would be right."""

    error: str


def schema_of(model: type[BaseModel], reference: str = "#/$defs/{model}") -> dict[str, Any]:
    """JSON Schema 2020-12 of a document as it is sent."""
    return model.model_json_schema(
        ref_template=reference,
        schema_generator=Untitled,
        mode="validation" if issubclass(model, _Closed) else "serialization",
    )
