"""Scans as callers see them: a row of the store becomes a document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from heimdall.store import Request, Row
from stepdown.scan.findings import Coverage, Finding, NotJudged, ScannerOutcome, ScanResult

D = TypeVar("D", Finding, ScannerOutcome, NotJudged, Coverage)


def summary(row: Row) -> dict[str, Any]:
    """A row as documents.ScanSummary."""
    result = row.result or {}
    return {
        "scan_id": row.scan_id,
        "status": row.status,
        "path": row.request.path,
        "url": row.request.url,
        "ref": row.request.ref,
        "commit": result.get("commit"),
        "filename": row.request.filename,
        "profile": row.request.profile,
        "submitted_at": _moment(row.submitted_at),
        "started_at": _moment(row.started_at),
        "finished_at": _moment(row.finished_at),
        "error": row.error,
        "findings_total": result.get("findings_total", 0),
        "severities": result.get("severities", {}),
        "cvss_summary": result.get("cvss_summary", {"max_score": None}),
        "callback": row.callback_state,
    }


def document(row: Row) -> dict[str, Any]:
    """A row as documents.Scan."""
    result = row.result or {}
    return {
        **summary(row),
        "findings": result.get("findings", []),
        "scanners": result.get("scanners", []),
        "not_judged": result.get("not_judged", []),
        "coverage": result.get("coverage"),
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def result_of(stored: dict[str, Any]) -> ScanResult:
    """A stored result as the scan core gave it (but for findings beyond those that are kept)."""
    return ScanResult(
        status=stored["status"],
        error=stored["error"],
        findings=tuple(_made(Finding, row) for row in stored["findings"]),
        scanners=tuple(_made(ScannerOutcome, row) for row in stored["scanners"]),
        not_judged=tuple(_made(NotJudged, row) for row in stored["not_judged"]),
        coverage=_made(Coverage, stored["coverage"]),
    )


def name_of(request: Request) -> str:
    """What metrics call the subject of a scan."""
    if request.code is not None or request.filename is not None:
        return "code"
    path = (request.path or "").strip("./")
    return request.url or path or "workspace"


def _made(kind: type[D], row: dict[str, Any]) -> D:
    """A field that an older release did not store is None."""
    values = {field.name: row.get(field.name) for field in fields(kind)}
    make: Callable[..., D] = kind
    return make(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
