"""heimdall as REST: /scans. Every error is `{"error": sentence}`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from mcp_host.schemas import problems
from pydantic import ValidationError
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from heimdall.documents import KEY_CHARACTERS, CodeRequest, ListScans, PathRequest, UrlRequest
from heimdall.openapi import BODY_BYTES, SARIF, openapi
from heimdall.refused import RefusedError
from heimdall.service import ScanService
from heimdall.store import Request
from stepdown.errors import sentence

Handler = Callable[[ScanService, HttpRequest], Awaitable[Response]]


def routes(service: ScanService) -> tuple[Route, ...]:
    """The routes, to be mounted at the root behind authentication."""
    return (
        _route(service, "/scans", POST=_submit, GET=_list),
        _route(service, "/scans/openapi.json", GET=_openapi),
        _route(service, "/scans/{scan_id}", GET=_get, DELETE=_cancel),
        _route(service, "/scans/{scan_id}/sarif", GET=_sarif),
    )


def _route(service: ScanService, path: str, **handlers: Handler) -> Route:
    """One route for all methods of a path, so that its 405 lists them all."""

    async def endpoint(http: HttpRequest) -> Response:
        try:
            return await handlers["GET" if http.method == "HEAD" else http.method](service, http)
        except RefusedError as error:
            headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
            return JSONResponse({"error": str(error)}, error.status, headers)
        except ValidationError as error:
            return JSONResponse({"error": "; ".join(problems(error))}, 400)

    return Route(path, endpoint, methods=list(handlers))


async def _submit(service: ScanService, http: HttpRequest) -> Response:
    body = await _json_body(http)
    request = _request(body)
    queued = await service.submit(request, _key(http))
    answer = {key: queued[key] for key in ("scan_id", "status")}
    return JSONResponse(answer, 202, {"Location": f"/scans/{queued['scan_id']}"})


async def _list(service: ScanService, http: HttpRequest) -> Response:
    text = http.query_params.get("limit", "20")
    limit = ListScans.model_validate({"limit": int(text) if text.isascii() and text.isdecimal() else text}).limit
    return JSONResponse(await service.recent(limit))


async def _get(service: ScanService, http: HttpRequest) -> Response:
    return JSONResponse(await service.get(http.path_params["scan_id"]))


async def _sarif(service: ScanService, http: HttpRequest) -> Response:
    return Response(await service.sarif(http.path_params["scan_id"]), media_type=SARIF)


async def _cancel(service: ScanService, http: HttpRequest) -> Response:
    return JSONResponse(await service.cancel(http.path_params["scan_id"]))


async def _openapi(_: ScanService, __: HttpRequest) -> Response:
    return JSONResponse(openapi())


async def _json_body(http: HttpRequest) -> dict[str, Any]:
    content = b""
    async for chunk in http.stream():
        content += chunk
        if len(content) > BODY_BYTES:
            raise RefusedError(
                sentence("body", f"is larger than {BODY_BYTES} bytes; scan a folder of the workspace"), 413
            )
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RefusedError(sentence("body", "is no JSON")) from error
    if not isinstance(body, dict):
        raise RefusedError(
            sentence("body", "should be an object with 'path', with 'url', or with 'code' and 'filename'")
        )
    return body


def _request(body: dict[str, Any]) -> Request:
    if "code" in body:
        code = CodeRequest.model_validate(body)
        return Request(code.profile, filename=code.filename, code=code.code, callback=code.callback_url)
    if "url" in body:
        url = UrlRequest.model_validate(body)
        return Request(url.profile, url=url.url, ref=url.ref, callback=url.callback_url)
    path = PathRequest.model_validate(body)
    return Request(path.profile, path=path.path, callback=path.callback_url)


def _key(http: HttpRequest) -> str | None:
    key = http.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= KEY_CHARACTERS and key.isprintable()):
        raise RefusedError(sentence("Idempotency-Key", f"should be 1 to {KEY_CHARACTERS} printable characters"))
    return key
