"""GitHub's REST API over HTTPS, as far as github asks it: octo-org/hello, a token, an App; every request is kept.

Source: GitHub's REST reference; "Using pagination" (Link), "Best practices" (ETag), "Rate limits", "Authenticating as a
GitHub App installation". Its CA is made at run time and is of this object alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.doubles import github_repository as there
from tests.doubles.github_repository import (
    CHANGED,
    CHECK,
    COMMIT,
    COMMITS,
    DIFF,
    FILES,
    HEAD,
    HELLO,
    ISSUES,
    LABEL,
    PERSON,
    REPOSITORY,
    STATES,
)
from tests.doubles.tls import certificate

APP, INSTALLATION = "424242", "77"


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    body: Any


@dataclass(frozen=True)
class Answer:
    """One answer; `body` is sent as it is when it is bytes, else as JSON."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    silent_seconds: float | None = None  # say nothing for so long, then end the connection


def error(status: int, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
    """An error in GitHub's form."""
    return Answer(
        status, {"message": message, "documentation_url": "https://docs.github.com/rest", **more}, headers or {}
    )


class GitHubApi:
    """Serves on `address`:`port` (0 picks one) until closed, under a certificate for `names` (hosts or addresses).

    `ca` is its CA as PEM, `token` the access token that it takes, `app_key` the private key of the App as PEM. Answers
    put into `scripted` go out first, one for each request.
    """

    def __init__(self, address: str, port: int = 0, names: tuple[str, ...] = ("localhost", "127.0.0.1")) -> None:
        self.token = f"github_pat_{secrets_like('token')}"
        self.requests: list[Asked] = []
        self.scripted: deque[Answer] = deque()
        self.installation_seconds = 3600
        self.remaining = 5000
        self._app = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._installation_tokens: set[str] = set()
        self._made_reviews: list[dict[str, Any]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, parts.path, query, headers, json.loads(body) if body else None)
                api.requests.append(asked)
                answer = api.scripted.popleft() if api.scripted else api.answer(asked)
                if answer.silent_seconds is None:
                    self._send(asked, answer)
                else:
                    time.sleep(answer.silent_seconds)
                    self.close_connection = True

            do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815 - names of the base class

            def _send(self, asked: Asked, answer: Answer) -> None:
                text = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                etag = f'W/"{hashlib.sha256(text).hexdigest()}"'
                fresh = answer.status == 200 and asked.method == "GET"
                if fresh and asked.headers.get("if-none-match") == etag:
                    answer, text = Answer(304, b"", answer.headers), b""
                elif not 300 <= answer.status < 400:
                    api.remaining -= 1  # what was not modified does not count
                self.send_response(answer.status)
                reset = str(int(time.time()) + 3600)
                limits = {"limit": "5000", "remaining": str(api.remaining), "reset": reset, "resource": "core"}
                told = {f"X-RateLimit-{name.title()}": value for name, value in limits.items()}
                told |= {"Content-Type": "application/json; charset=utf-8"} | ({"ETag": etag} if fresh else {})
                for name, value in (told | dict(answer.headers) | {"Content-Length": str(len(text))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_words: object) -> None:
                """Keep the test's output to the test."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Clients that trust no such CA, or wait no longer, are what tests want."""

        self._server = Server((address, port), Handler)
        self.port = int(self._server.server_address[1])
        self.url = f"https://{names[0]}:{self.port}"
        self.ca, chain = certificate(names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(chain)
            file.flush()
            context.load_cert_chain(file.name)
        # The handshake is done by the thread of the connection: one client that stalls stops no other.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def app_key(self) -> str:
        """The App's private key, as GitHub hands it out."""
        form = serialization.PrivateFormat.TraditionalOpenSSL
        return self._app.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()

    def seen(self) -> list[str]:
        """Method and path of each request."""
        return [f"{asked.method} {asked.path}" for asked in self.requests]

    def forget(self) -> None:
        """Be as new, with the same names, keys and token."""
        self.requests.clear()
        self.scripted.clear()
        self.remaining, self.installation_seconds = 5000, 3600
        self._made_reviews.clear()
        self.revoke()

    def revoke(self) -> None:
        """Take back every token of the installation."""
        self._installation_tokens.clear()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, asked: Asked) -> Answer:
        """What GitHub would say."""
        if asked.path == f"/app/installations/{INSTALLATION}/access_tokens":
            return self._grant(asked)
        bearer = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if bearer != self.token and bearer not in self._installation_tokens:
            return error(401, "Bad credentials")
        if asked.path == "/user" and bearer != self.token:
            return error(403, "Resource not accessible by integration", {"X-Accepted-GitHub-Permissions": "none"})
        for pattern, route in ROUTES:
            if match := re.fullmatch(pattern, asked.path):
                answer = route(self, asked, *map(unquote, match.groups()))
                return _paged(self.url, asked, answer)
        return error(404, "Not Found")

    def _grant(self, asked: Asked) -> Answer:
        """An installation's token, for a JWT that the App signed; GitHub takes none that lives over ten minutes."""
        statement = asked.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            claims = jwt.decode(
                statement, self._app.public_key(), algorithms=["RS256"], options={"require": ["exp", "iat", "iss"]}
            )
        except jwt.PyJWTError:
            return error(401, "A JSON web token could not be decoded")
        if claims["iss"] != APP or claims["exp"] - time.time() > 600:
            return error(401, "'Expiration time' claim ('exp') is too far in the future")
        token = f"ghs_{secrets_like(str(len(self.requests)))}"
        self._installation_tokens.add(token)
        expires = datetime.now(UTC) + timedelta(seconds=self.installation_seconds)
        return Answer(201, {"token": token, "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%SZ")})

    def _contents(self, asked: Asked, path: str) -> Answer:
        if asked.query.get("ref") not in (None, "main", "refs/heads/main", HEAD):
            return error(404, f"No commit found for the ref {asked.query['ref']}")
        if path in FILES:
            return Answer(body=there.file(self.url, path))
        entries = [there.entry(self.url, name) for name in FILES if name.startswith(f"{path}/" if path else "")]
        return Answer(body=entries) if entries else error(404, "Not Found")

    def _pull(self, asked: Asked, number: str) -> Answer:
        if number != "7":
            return error(404, "Not Found")
        if asked.headers["accept"].endswith(".diff"):
            return Answer(body=DIFF.encode(), headers={"Content-Type": "text/plain"})
        return Answer(body={**there.pull(7), **(asked.body or {})})

    def _opened(self, asked: Asked) -> Answer:
        if asked.method == "GET":
            return Answer(body=[there.pull(7)])
        if asked.body["head"] == asked.body["base"]:
            wrong = {"resource": "PullRequest", "code": "custom", "message": "No commits between main and main"}
            return error(422, "Validation Failed", errors=[wrong])
        return Answer(201, {**there.pull(8), **asked.body})

    def _issues(self, asked: Asked) -> Answer:
        if asked.method == "POST":
            return Answer(201, {**there.issue(9), **asked.body})
        states = {"open": ("open",), "closed": ("closed",)}.get(asked.query.get("state", "open"), ("open", "closed"))
        return Answer(body=[issue for issue in ISSUES if issue["state"] in states])

    def _issue(self, asked: Asked, number: str) -> Answer:
        found = [issue for issue in ISSUES if str(issue["number"]) == number]
        return Answer(body={**found[0], **(asked.body or {})}) if found else error(404, "Not Found")

    def _comments(self, asked: Asked, number: str) -> Answer:
        comment = {"id": 1, "user": PERSON, "body": f"about {number}"}
        return Answer(201, {**comment, **asked.body}) if asked.method == "POST" else Answer(body=[comment])

    def _reviews(self, asked: Asked, _number: str, review: str = "") -> Answer:
        reviews = self._made_reviews
        if asked.method == "GET":
            return Answer(body=[{"id": 1, "state": "APPROVED", "user": PERSON}, *reviews])
        if asked.method == "POST" and not review:
            reviews.append({"id": 40 + len(reviews), "state": STATES.get((asked.body or {}).get("event"), "PENDING")})
            return Answer(body=reviews[-1])
        (found,) = (one for one in reviews if str(one["id"]) == review)
        if asked.method == "DELETE":
            reviews.remove(found)
        else:
            found["state"] = STATES[asked.body["event"]]
        return Answer(body=found)

    def _reviewers(self, asked: Asked, number: str) -> Answer:
        if "nobody" in asked.body["reviewers"]:
            return error(422, "Reviews may only be requested from collaborators.")
        people = [{**PERSON, "login": name} for name in asked.body["reviewers"]]
        return Answer(201, {**there.pull(int(number)), "requested_reviewers": people})


def secrets_like(text: str) -> str:
    """Letters and digits, as many as a token has, always the same for one text."""
    return hashlib.sha256(text.encode()).hexdigest()[:36]


def _paged(url: str, asked: Asked, answer: Answer) -> Answer:
    """One page of a list, with links to others."""
    document = answer.body
    key = next((name for name in ("items", "check_runs") if isinstance(document, dict) and name in document), None)
    whole = document if isinstance(document, list) else document[key] if key else None
    if whole is None or answer.status != 200 or "/contents/" in asked.path:
        return answer
    size, page = int(asked.query.get("per_page", 30)), int(asked.query.get("page", 1))
    part = whole[(page - 1) * size : page * size]
    links = {}
    if page * size < len(whole):
        following = urlencode({**asked.query, "page": page + 1})
        last = urlencode({**asked.query, "page": -(-len(whole) // size)})
        where = f"{url}{asked.path}"
        links = {"Link": f'<{where}?{following}>; rel="next", <{where}?{last}>; rel="last"'}
    return Answer(200, {**document, key: part} if key else part, {**answer.headers, **links})


def _same(document: Any) -> Callable[..., Answer]:
    return lambda *_: Answer(body=document)


def _found(*items: Any) -> Callable[..., Answer]:
    return _same({"total_count": len(items), "incomplete_results": False, "items": list(items)})


ROUTES: tuple[tuple[str, Callable[..., Answer]], ...] = (
    (r"/user", _same(PERSON | {"name": "Octo Cat", "public_repos": 2})),
    (r"/search/repositories", _found(HELLO, {**HELLO, "name": "hello2"}, {**HELLO, "name": "hello3"})),
    (r"/search/code", _found({"name": "hello.py", "path": "src/hello.py", "sha": "1", "repository": HELLO})),
    (r"/search/issues", _found(ISSUES[0])),
    (rf"{REPOSITORY}/contents/?(.*)", GitHubApi._contents),
    (rf"{REPOSITORY}/branches", _same([{"name": "main", "commit": {"sha": HEAD}, "protected": True}])),
    (rf"{REPOSITORY}/commits", _same(COMMITS)),
    (rf"{REPOSITORY}/commits/[^/]+/status", _same({"state": "success", "statuses": [], "repository": HELLO})),
    (rf"{REPOSITORY}/commits/[^/]+/check-runs", _same({"total_count": 1, "check_runs": [CHECK]})),
    (rf"{REPOSITORY}/commits/(?:.+)", _same({**COMMIT, "files": [CHANGED], "stats": {"total": 1}})),
    (rf"{REPOSITORY}/issues", GitHubApi._issues),
    (rf"{REPOSITORY}/issues/(\d+)", GitHubApi._issue),
    (rf"{REPOSITORY}/issues/(\d+)/comments", GitHubApi._comments),
    (rf"{REPOSITORY}/issues/\d+/labels", _same([LABEL])),
    (rf"{REPOSITORY}/issues/\d+/sub_issues", _same([ISSUES[3]])),
    (rf"{REPOSITORY}/issues/\d+/parent", _same(ISSUES[0])),
    (rf"{REPOSITORY}/issues/\d+/reactions", _same({"id": 6, "content": "+1", "user": PERSON})),
    (rf"{REPOSITORY}/pulls", GitHubApi._opened),
    (rf"{REPOSITORY}/pulls/(\d+)", GitHubApi._pull),
    (rf"{REPOSITORY}/pulls/\d+/files", _same([CHANGED])),
    (rf"{REPOSITORY}/pulls/(\d+)/comments", GitHubApi._comments),
    (rf"{REPOSITORY}/pulls/(\d+)/reviews", GitHubApi._reviews),
    (rf"{REPOSITORY}/pulls/(\d+)/reviews/(\d+)(?:/events)?", GitHubApi._reviews),
    (rf"{REPOSITORY}/pulls/(\d+)/requested_reviewers", GitHubApi._reviewers),
    (rf"{REPOSITORY}/pulls/7/merge", _same({"sha": HEAD, "merged": True, "message": "merged"})),
    (r"/repos/octo-org/renamed", lambda api, *_: Answer(301, {}, {"Location": f"{api.url}{REPOSITORY}/commits"})),
    (
        r"/repos/octo-org/renamed/commits",
        lambda api, *_: Answer(301, {}, {"Location": f"{api.url}{REPOSITORY}/commits"}),
    ),
    (r"/repos/octo-org/away/commits", lambda *_: Answer(301, {}, {"Location": "https://elsewhere.example/"})),
)
