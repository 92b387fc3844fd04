"""What GitHub answered: limits and errors as sentences, pages, and documents without GitHub's links to itself.

Source: GitHub's REST documentation, "Rate limits", "Using pagination", "Troubleshooting".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from github_mcp.refused import RefusedError

MESSAGE_CHARACTERS = 500
NO_TIME_GIVEN_SECONDS = 60.0  # what GitHub asks for when it names no time
NEXT = re.compile(r'<([^>]*)>;\s*rel="next"')
USEFUL_LINKS = ("html_url", "target_url", "details_url")


@dataclass(frozen=True)
class Response:
    """One answer, whole. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self, what: str) -> Any:
        """Its JSON. Raises RefusedError when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise RefusedError(f"{what}: GitHub answered {self.status} with something that is not JSON") from None

    def record(self, what: str) -> dict[str, Any]:
        """Its JSON object. Raises RefusedError when it is none."""
        document = self.document(what)
        if not isinstance(document, dict):
            raise RefusedError(f"{what}: GitHub answered {self.status} with something that is no JSON object")
        return document

    @property
    def next_query(self) -> dict[str, str]:
        """`page` and `after` of the next page; empty on the last one."""
        link = NEXT.search(self.headers.get("link", ""))
        query = parse_qs(urlsplit(link[1]).query) if link else {}
        return {name: query[name][0] for name in ("page", "after") if name in query}

    @property
    def next_page(self) -> int | None:
        """Number of the next page; None on the last one."""
        page = self.next_query.get("page", "")
        return int(page) if page.isdecimal() else None


def seconds_to_wait(response: Response, now: float) -> float | None:
    """How long GitHub wants to be left alone; None when this is no refusal for a rate limit."""
    if response.status not in (403, 429):
        return None
    after, reset = response.headers.get("retry-after", ""), response.headers.get("x-ratelimit-reset", "")
    if after.isdecimal():
        return float(after)
    if response.headers.get("x-ratelimit-remaining") == "0" and reset.isdecimal():
        return max(0.0, int(reset) - now) + 1  # its clock has whole seconds
    if response.status == 429 or "rate limit" in _message(response)[0].lower():
        return NO_TIME_GIVEN_SECONDS
    return None


def limited(what: str, resource: str, until: float, now: float) -> str:
    """The sentence for a call that a rate limit forbids until `until`, seconds since 1970."""
    moment = datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds")
    when = f"in {max(1, round(until - now))} s, at {moment}"
    return f"{what}: GitHub's rate limit ({resource}) is used up. Try again {when}"


def refusal(response: Response, what: str) -> str:
    """The sentence for an answer that is an error and no rate limit."""
    message, fields = _message(response)
    said = f"{response.status}: {message}" if message else str(response.status)
    match response.status:
        case 401:
            return f"{what}: GitHub refused the credentials ({said}). Give github new ones. Run: ./run deploy"
        case 403:
            wanted = response.headers.get("x-accepted-github-permissions", "")
            known = f" They would need: {wanted}" if wanted else ""
            return f"{what}: the credentials do not allow this ({said}).{known}"
        case 404:
            return f"{what}: is not there, or the credentials may not see it ({said})"
        case 422:
            return f"{what}: GitHub found it not valid ({said})" + (f": {'; '.join(fields)}" if fields else "")
        case status if 300 <= status < 400:
            return f"{what}: has moved ({said}); ask for it by its new name"
        case status if status >= 500:
            return f"{what}: GitHub itself failed ({said})"
    return f"{what}: GitHub refused it ({said})"


def slim(document: Any) -> Any:
    """A document without GitHub's links to itself; people in it by login, repositories by full name, labels by name."""
    if isinstance(document, list):
        return [slim(item) for item in document]
    if isinstance(document, dict):
        return {key: _inner(value) for key, value in document.items() if not _noise(key)}
    return document


def _inner(value: Any) -> Any:
    if isinstance(value, list):
        return [_inner(item) for item in value]
    if isinstance(value, dict):
        if "login" in value:
            return value["login"]
        if "full_name" in value:
            return value["full_name"]
        if {"name", "color", "default"} <= value.keys():
            return value["name"]
        return slim(value)
    return value


def _noise(key: str) -> bool:
    return key in ("url", "node_id", "_links", "gravatar_id") or (key.endswith("_url") and key not in USEFUL_LINKS)


def _message(response: Response) -> tuple[str, list[str]]:
    """GitHub's own words and, for each field that it found wrong, where and why; empty when its answer is no JSON."""
    try:
        document = json.loads(response.body)
    except ValueError:
        return "", []
    if not isinstance(document, dict):
        return "", []
    errors = document.get("errors")
    fields = [_field(error) for error in errors] if isinstance(errors, list) else []
    return str(document.get("message", ""))[:MESSAGE_CHARACTERS], [text[:MESSAGE_CHARACTERS] for text in fields]


def _field(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)
    where = "/".join(str(error[key]) for key in ("resource", "field") if error.get(key))
    return ": ".join(text for text in (where, str(error.get("message") or error.get("code") or "")) if text)
