"""Who may pass: bearer tokens by hash, Origin against DNS rebinding, and which servers a token opens."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Set

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_host.metrics import Metrics, Operation
from mcp_host.watched import Token, WatchedFile

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_LOOPBACK = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?")


class Doorkeeper:
    """ASGI middleware: 403 for a foreign Origin, 401 without a known token; the open paths pass.

    Puts the token into `scope["state"]` as `token`, and its name as `token_name` for the servers behind.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: WatchedFile[tuple[Token, ...]],
        allowed_origins: Set[str],
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._allowed_origins = allowed_origins
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and not (_LOOPBACK.fullmatch(origin) or origin in self._allowed_origins):
                await forbidden("this Origin may not call this host")(scope, receive, send)
                return
            token = find_token(headers.get("authorization", ""), self._tokens.value())
            if token is None:
                self._metrics.unauthorised.inc()
                await _UNAUTHORISED(scope, receive, send)
                return
            operation: Operation = scope["state"]["operation"]
            operation.token = token.name
            scope["state"] |= {"token": token, "token_name": token.name}
        await self._app(scope, receive, send)


def find_token(authorization: str, tokens: Iterable[Token]) -> Token | None:
    """The token of an Authorization header; every hash is compared, each in constant time."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "bearer" or not value.strip():
        return None
    digest = hashlib.sha256(value.strip().encode()).hexdigest()
    found = None
    for token in tokens:
        if hmac.compare_digest(digest, token.sha256):
            found = token
    return found


def forbidden(message: str) -> Response:
    """403 with a JSON body."""
    return JSONResponse({"error": "forbidden", "message": message}, 403)


def refuse_server(scope: Scope, server: str) -> Response | None:
    """403 when the request's token does not open the server."""
    token: Token = scope["state"]["token"]
    return None if token.allows(server) else forbidden(f"token {token.name!r} does not open the server {server!r}")


_UNAUTHORISED = JSONResponse(
    {"error": "unauthorized", "message": "a known bearer token is needed: Authorization: Bearer <token>"},
    401,
    {"WWW-Authenticate": "Bearer"},
)
