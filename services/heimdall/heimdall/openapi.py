"""What /scans promises, as OpenAPI 3.1; its schemas are those of the documents that are sent."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from heimdall.documents import (
    KEY_CHARACTERS,
    LIST_LIMIT,
    CodeRequest,
    PathRequest,
    Problem,
    Scan,
    ScanList,
    ScanSummary,
    UrlRequest,
    schema_of,
)

BODY_BYTES = 2 * 1024 * 1024
SARIF = "application/sarif+json"
COMPONENT = "#/components/schemas/{model}"


def openapi() -> dict[str, Any]:
    """The document, served at /scans/openapi.json."""
    scan_id = {"name": "scan_id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "heimdall", "version": "1.0.0", "description": "Security scans of repositories and code."},
        "security": [{"token": []}],
        "paths": {
            "/scans": {"post": _submit(), "get": _list()},
            "/scans/{scan_id}": {
                "parameters": [scan_id],
                "get": {
                    "operationId": "getScan",
                    "summary": "Status and findings of a scan",
                    "responses": {"200": _json("The scan", Scan), **_problems("404")},
                },
                "delete": {
                    "operationId": "cancelScan",
                    "summary": "Stop a scan that has not ended; it stays in the list as failed",
                    "responses": {"200": _json("The scan, stopped", Scan), **_problems("404", "409")},
                },
            },
            "/scans/{scan_id}/sarif": {
                "parameters": [scan_id],
                "get": {
                    "operationId": "getSarif",
                    "summary": "The findings of a scan that has ended, as SARIF 2.1.0",
                    "responses": {
                        "200": {"description": "SARIF", "content": {SARIF: {"schema": {"type": "object"}}}},
                        **_problems("404", "409"),
                    },
                },
            },
            "/scans/openapi.json": {
                "get": {
                    "operationId": "getOpenapi",
                    "summary": "This document",
                    "responses": {"200": {"description": "OpenAPI", "content": {"application/json": {"schema": {}}}}},
                }
            },
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _components(Scan, ScanList, ScanSummary, PathRequest, UrlRequest, CodeRequest, Problem),
        },
    }


def _submit() -> dict[str, Any]:
    key = {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS}
    either = [{"$ref": COMPONENT.format(model=model.__name__)} for model in (PathRequest, UrlRequest, CodeRequest)]
    link = {"description": "Where the scan is shown", "required": True, "schema": {"type": "string"}}
    queued = {
        "type": "object",
        "required": ["scan_id", "status"],
        "properties": {"scan_id": {"type": "string"}, "status": {"type": "string"}},
    }
    return {
        "operationId": "submitScan",
        "summary": "Queue a scan; the same Idempotency-Key with the same body is the same scan",
        "parameters": [{"name": "Idempotency-Key", "in": "header", "required": False, "schema": key}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"oneOf": either}}}},
        "responses": {
            "202": {
                "description": "Queued",
                "headers": {"Location": link},
                "content": {"application/json": {"schema": queued}},
                "links": {name: _link(name) for name in ("getScan", "getSarif", "cancelScan")},
            },
            **_problems("400", "404", "409", "413", "429"),
        },
        "callbacks": {"ended": {"{$request.body#/callback_url}": {"post": _callback()}}},
    }


def _link(operation: str) -> dict[str, Any]:
    return {"operationId": operation, "parameters": {"scan_id": "$response.body#/scan_id"}}


def _callback() -> dict[str, Any]:
    schema = {"$ref": COMPONENT.format(model=ScanSummary.__name__)}
    return {
        "summary": "The scan has ended; tried up to 8 times in half an hour until it is answered with 2xx",
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"2XX": {"description": "Taken; its body is not read"}},
    }


def _list() -> dict[str, Any]:
    limit = {"type": "integer", "minimum": 1, "maximum": LIST_LIMIT, "default": 20}
    return {
        "operationId": "listScans",
        "summary": "The newest scans, without their findings",
        "parameters": [{"name": "limit", "in": "query", "required": False, "schema": limit}],
        "responses": {"200": _json("Newest first", ScanList), **_problems("400")},
    }


PROBLEMS = {
    "400": "The request is wrong",
    "401": "No known token",
    "403": "The token, the origin, or the host of a URL is not allowed",
    "404": "There is no such scan or folder",
    "409": "The scan has ended, or has not yet, or the key was used for another request",
    "413": "The body is too large",
    "429": "The queue is full; Retry-After says when to try again",
}


def _problems(*statuses: str) -> dict[str, Any]:
    return {status: _json(PROBLEMS[status], Problem) for status in sorted({"401", "403", *statuses})}


def _json(description: str, model: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": COMPONENT.format(model=model.__name__)}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _components(*models: type[BaseModel]) -> dict[str, Any]:
    """Each model and all that it refers to, flat."""
    schemas: dict[str, Any] = {}
    for model in models:
        schema = schema_of(model, COMPONENT)
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    return dict(sorted(schemas.items()))
