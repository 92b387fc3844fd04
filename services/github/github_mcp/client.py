"""One HTTP client to GitHub's REST API: credentials, revalidated answers, rate limits, bounded sizes and times."""

from __future__ import annotations

import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import anyio
import httpx2
from mcp_host.errors import StartError

from github_mcp import credentials
from github_mcp.answers import Response, limited, refusal, seconds_to_wait
from github_mcp.credentials import App, Token
from github_mcp.refused import RefusedError
from github_mcp.settings import Settings

JSON = "application/vnd.github+json"
DIFF = "application/vnd.github.diff"
TEXT_MATCHES = "application/vnd.github.text-match+json"
API_VERSION = "2022-11-28"
TIMEOUT = httpx2.Timeout(20, connect=5)  # twice this, and a wait, is below the 60 s that the host gives a call
LONGEST_WAIT_SECONDS = 5.0
RETRY_SECONDS = 0.5
RENEW_SECONDS = 300  # before an installation token expires
RESPONSE_BYTES = 8 * 1024 * 1024
CACHE_BYTES = 16 * 1024 * 1024
HOPS = 3  # a repository that was renamed twice
REDIRECTS = (301, 302, 307, 308)


@dataclass(frozen=True)
class Request:
    """One question to the API; `path` is below its URL, and escaped."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    accept: str = JSON

    @property
    def reads(self) -> bool:
        return self.method == "GET"

    @property
    def what(self) -> str:
        """How errors name it."""
        return f"{self.method} {self.path}"

    @property
    def doubt(self) -> str:
        """What errors add when GitHub may have done it all the same."""
        return "" if self.reads else "; whether it took effect is unknown"

    @property
    def resource(self) -> str:
        """Which of GitHub's rate limits counts it."""
        return "search" if self.path.startswith("/search/") else "core"


@dataclass(frozen=True)
class Installation:
    """A token of an App's installation; `expires` in seconds since 1970."""

    identity: str
    token: str = field(repr=False)
    expires: float


class Cache:
    """Answers with an ETag, the least used forgotten first; at most `limit_bytes` of bodies."""

    def __init__(self, limit_bytes: int = CACHE_BYTES) -> None:
        self._limit = limit_bytes
        self._held: OrderedDict[tuple[str, ...], Response] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[str, ...]) -> Response | None:
        response = self._held.get(key)
        if response is not None:
            self._held.move_to_end(key)
        return response

    def put(self, key: tuple[str, ...], response: Response) -> None:
        """Remember an answer; one without an ETag, or larger than a quarter of all, is not worth it."""
        self._bytes -= len(self._held.pop(key, Response(0, {}, b"")).body)
        if "etag" in response.headers and len(response.body) <= self._limit // 4:
            self._held[key] = response
            self._bytes += len(response.body)
        while self._bytes > self._limit:
            self._bytes -= len(self._held.popitem(last=False)[1].body)


class GitHub:
    """The API as this server's credentials see it. Every method raises RefusedError with a sentence for the caller."""

    def __init__(
        self,
        settings: Settings,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.settings = settings
        self.limits: dict[str, dict[str, int]] = {}  # by resource, as GitHub last told them
        self._now, self._sleep = now, sleep
        self._cache = Cache()
        self._installation: Installation | None = None
        self._renewing = anyio.Lock()
        self._limited_until: dict[tuple[str, str], float] = {}  # by identity and resource
        self._http: httpx2.AsyncClient

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold the connections. Raises StartError for a CA file that is none."""
        async with httpx2.AsyncClient(verify=_trust(self.settings), timeout=TIMEOUT) as self._http:
            yield

    async def get(self, path: str, query: Mapping[str, Any] | None = None, accept: str = JSON) -> Response:
        """Read; values of `query` that are None are left out."""
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        return await self._answer(Request("GET", path, given, accept=accept))

    async def write(self, method: str, path: str, body: Mapping[str, Any]) -> Response:
        """Change something, at most once; values of `body` that are None are left out."""
        given = {name: value for name, value in body.items() if value is not None}
        return await self._answer(Request(method, path, body=given or None))

    async def _answer(self, request: Request) -> Response:
        for _ in range(HOPS):
            response = await self._tried(request)
            target = response.headers.get("location", "").removeprefix(self.settings.api_url)
            if not (response.status in REDIRECTS and request.reads and target.startswith("/")):
                break
            path, _, query = target.partition("?")
            request = replace(request, path=path, query=dict(httpx2.QueryParams(query)))
        if not 200 <= response.status < 300:
            raise RefusedError(refusal(response, request.what) + (request.doubt if response.status >= 500 else ""))
        return response

    async def _tried(self, request: Request) -> Response:
        """What GitHub answered, at the second try if the first had no effect and a second is likely to go better."""
        for last in (False, True):
            who = credentials.read(self.settings)
            until = self._limited_until.get((who.identity, request.resource), 0)
            if until > self._now():  # GitHub bans those who go on asking
                raise RefusedError(limited(request.what, request.resource, until, self._now()))
            response = await self._as(who, request)
            wait = seconds_to_wait(response, self._now())
            if wait is not None:
                if last or not request.reads or wait > LONGEST_WAIT_SECONDS:
                    until = self._limited_until[who.identity, request.resource] = self._now() + wait
                    raise RefusedError(limited(request.what, request.resource, until, self._now()))
                await self._sleep(wait)
            elif response.status == 401 and isinstance(who, App):
                self._installation = None
            elif response.status >= 500 and request.reads and not last:
                await self._sleep(RETRY_SECONDS)
            else:
                break
        return response

    async def _as(self, who: Token | App, request: Request) -> Response:
        token = who.value if isinstance(who, Token) else await self._installation_token(who)
        if not request.reads:
            return await self._send(request, token)
        key = (who.identity, request.accept, request.path, str(httpx2.QueryParams(dict(request.query))))
        known = self._cache.get(key)
        response = await self._send(request, token, known.headers["etag"] if known else "")
        if response.status == 304 and known:
            return known
        if response.status == 200:
            self._cache.put(key, response)
        return response

    async def _installation_token(self, app: App) -> str:
        async with self._renewing:
            held = self._installation
            if held and held.identity == app.identity and held.expires - self._now() > RENEW_SECONDS:
                return held.token
            request = Request("POST", f"/app/installations/{app.installation}/access_tokens")
            response = await self._send(request, app.statement(self._now()))
            if response.status != 201:
                raise RefusedError(refusal(response, f"GitHub App {app.id}, installation {app.installation}"))
            granted = response.record(request.what)
            try:
                token, expires = str(granted["token"]), datetime.fromisoformat(granted["expires_at"]).timestamp()
            except (KeyError, TypeError, ValueError):
                raise RefusedError(f"{request.what}: GitHub answered no token and time of its end") from None
            self._installation = Installation(app.identity, token, expires)
            return token

    async def _send(self, request: Request, token: str, etag: str = "") -> Response:
        """One exchange, whole, within RESPONSE_BYTES."""
        headers = {"Accept": request.accept, "Authorization": f"Bearer {token}", "X-GitHub-Api-Version": API_VERSION}
        headers |= {"User-Agent": "stepdown-github-mcp"} | ({"If-None-Match": etag} if etag else {})
        url, query = self.settings.api_url, dict(request.query) or None
        try:
            async with self._http.stream(
                request.method, url + request.path, params=query, headers=headers, json=request.body
            ) as answer:
                body = bytearray()
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > RESPONSE_BYTES:
                        most = RESPONSE_BYTES // 2**20
                        raise RefusedError(f"{request.what}: the answer has more than {most} MiB; ask for less of it")
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise RefusedError(_no_connection(url, error)) from None
        except httpx2.TimeoutException:
            raise RefusedError(f"{request.what}: no answer within {TIMEOUT.read:g} s{request.doubt}") from None
        except httpx2.TransportError as error:
            broke = f"the connection broke ({type(error).__name__})"
            raise RefusedError(f"{request.what}: {broke}{request.doubt}") from None
        self._remember_limit(answer.headers)
        return Response(answer.status_code, dict(answer.headers.items()), bytes(body))

    def _remember_limit(self, headers: Mapping[str, str]) -> None:
        told = {name: headers.get(f"x-ratelimit-{name}", "") for name in ("limit", "remaining", "reset")}
        if all(value.isdecimal() for value in told.values()):
            resource = headers.get("x-ratelimit-resource", "core")
            self.limits[resource] = {name: int(value) for name, value in told.items()}


def _no_connection(url: str, error: httpx2.TransportError) -> str:
    if isinstance(error, httpx2.ConnectTimeout):
        return f"{url}: no connection within {TIMEOUT.connect:g} s; nothing was sent"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"{url}: its certificate is of no CA that is known here. Put the CA into mcp_stack_github_ca"
    through = "through the proxy" if isinstance(error, httpx2.ProxyError) else "cannot be reached"
    return f"{url}: {through}: {error or type(error).__name__}; nothing was sent"


def _trust(settings: Settings) -> ssl.SSLContext:
    """The system's CAs, and those of the file `ca`."""
    context, file = ssl.create_default_context(), settings.secrets / "ca"
    try:
        if file.exists():
            context.load_verify_locations(cadata=file.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise StartError(f"{file}: holds no certificates in PEM form ({type(error).__name__})") from error
    return context
