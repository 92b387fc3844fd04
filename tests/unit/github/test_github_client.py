"""What github does when GitHub says no, says nothing, or says the same again; and who it says that it is."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from github_mcp import client as module
from github_mcp.answers import Response
from github_mcp.client import CACHE_BYTES, Cache, GitHub
from github_mcp.settings import from_environment
from mcp import Client

from tests.doubles.github_api import APP, INSTALLATION, Answer, GitHubApi, error
from tests.unit.github.conftest import Serve
from tests.unit.github.test_github_tools import HELLO, PULL, WRITING, ask, text_of

pytestmark = pytest.mark.anyio
AS_APP = {"GITHUB_APP_ID": APP, "GITHUB_APP_INSTALLATION_ID": INSTALLATION}
GRANT = f"POST /app/installations/{INSTALLATION}/access_tokens"
COMMITS = "GET /repos/octo-org/hello/commits"
LATER = str(int(time.time()) + 99_999)  # as seen by the slowest of runs too
USED_UP = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": LATER}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The product's pause before a second try, shorter: nobody looks at it here."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)


async def _refused(client: Client, tool: str = "list_commits", **arguments: Any) -> str:
    result = await client.call_tool(tool, {**HELLO, **arguments})
    assert result.is_error, text_of(result)
    return text_of(result)


FIELD = {"resource": "Issue", "field": "title", "code": "missing_field"}
TWICE = 2
ERRORS: list[tuple[str, list[Answer], str, int]] = [
    ("401", [error(401, "Bad credentials")], "GitHub refused the credentials (401: Bad credentials). Give github", 1),
    ("403", [error(403, "Resource not accessible", {"X-Accepted-GitHub-Permissions": "contents=read"})],
     "do not allow this (403: Resource not accessible). They would need: contents=read", 1),
    ("404", [error(404, "Not Found")], "is not there, or the credentials may not see it (404: Not Found)", 1),
    ("410", [error(410, "Issues are disabled")], "GitHub refused it (410: Issues are disabled)", 1),
    ("422", [error(422, "Validation Failed", errors=[FIELD, "all wrong"])],
     "not valid (422: Validation Failed): Issue/title: missing_field; all wrong", 1),
    ("429", [error(429, "Slow down", {"Retry-After": "61"})], "limit (core) is used up. Try again in 61 s, at 20", 1),
    ("429 without a time", [error(429, "Slow down")], "rate limit (core) is used up. Try again in 60 s, at 20", 1),
    ("primary limit", [error(403, "API rate limit exceeded", USED_UP)], "limit (core) is used up. Try again in 9", 1),
    ("secondary limit", [error(403, "You have exceeded a secondary rate limit")], "Try again in 60 s", 1),
    ("short limit twice", [error(429, "Slow", {"Retry-After": "0"}), error(429, "Slow", {"Retry-After": "3"})],
     "Try again in 3 s", TWICE),
    ("5xx twice", [error(502, "Bad gateway"), Answer(503, b"<html>")], "GitHub itself failed (503)", TWICE),
    ("no JSON", [Answer(200, b"<html>")], "GitHub answered 200 with something that is not JSON", 1),
    ("no list", [Answer(200, "text")], "GitHub answered something else than a list", 1),
    ("a cut connection", [Answer(silent_seconds=0)], "the connection broke (RemoteProtocolError)", 1),
    ("a redirect to elsewhere", [Answer(301, {"message": "Moved"}, {"Location": "https://elsewhere.example/"})],
     "has moved (301: Moved); ask for it by its new name", 1),
    ("a redirect without end", [Answer(302, {}, {"Location": "{url}/user"})] * 3, "has moved (302)", 3),
]  # fmt: skip


@pytest.mark.parametrize(("answers", "said", "asked"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
async def test_an_error_is_a_sentence(
    serve: Serve, api: GitHubApi, answers: list[Answer], said: str, asked: int
) -> None:
    """It names the request, says what is wrong and what to do, and never the token."""
    for answer in answers:
        headers = {name: value.replace("{url}", api.url) for name, value in answer.headers.items()}
        api.scripted.append(replace(answer, headers=headers))
    async with serve() as client:
        words = await _refused(client)
    assert said in words
    assert api.token not in words
    assert asked == len(api.requests)


async def test_what_should_be_an_object_and_is_none_is_told(serve: Serve, api: GitHubApi) -> None:
    """No traceback, whatever stands between this server and GitHub."""
    api.scripted.append(Answer(200, ["text"]))
    async with serve() as client:
        words = text_of(await client.call_tool("get_me", {}))
    assert "get_me: GitHub answered 200 with something that is no JSON object" == words


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (error(500, "Oops"), "GitHub itself failed (500: Oops); whether it took effect is unknown"),
        (Answer(silent_seconds=0), "the connection broke (RemoteProtocolError); whether it took effect is unknown"),
        (error(429, "Slow down", {"Retry-After": "1"}), "Try again in 1 s"),
    ],
)
async def test_a_write_is_sent_once(serve: Serve, api: GitHubApi, answer: Answer, said: str) -> None:
    """Nobody knows what the first one did."""
    api.scripted.append(answer)
    async with serve(**WRITING) as client:
        words = await _refused(client, "issue_write", method="create", title="T")
    assert said in words
    assert 1 == len(api.requests)


async def test_a_read_is_tried_again_after_a_failure(serve: Serve, api: GitHubApi) -> None:
    """Once, and the caller sees the answer."""
    api.scripted.append(error(502, "Bad gateway"))
    async with serve() as client:
        assert (await ask(client, "list_commits", HELLO))["items"]
    assert [COMMITS] * 2 == api.seen()


async def test_a_short_limit_is_waited_for(api: GitHubApi, secrets: Path) -> None:
    """As long as GitHub says."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    api.scripted.append(error(403, "You have exceeded a secondary rate limit", {"Retry-After": "5"}))
    github = GitHub(
        from_environment({"GITHUB_API_URL": api.url, "MCP_HOST_SECRETS_DIR": str(secrets.parent)}), sleep=sleep
    )
    async with github.running():
        assert 200 == (await github.get("/user")).status
    assert [5.0] == waited


async def test_github_is_left_alone_until_a_limit_ends(serve: Serve, api: GitHubApi) -> None:
    """It bans those who go on asking. Search has a limit of its own."""
    api.scripted.append(error(403, "API rate limit exceeded", USED_UP))
    async with serve() as client:
        first, second = [await _refused(client) for _ in range(2)]
        assert (await ask(client, "search_repositories", {"query": "hello"}))["items"]
    assert re.sub(r"\d+ s", "", first) == re.sub(r"\d+ s", "", second)
    assert [COMMITS, "GET /search/repositories"] == api.seen()


async def test_an_answer_that_takes_too_long_is_told(
    serve: Serve, api: GitHubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the time; of a write it is said that nobody knows."""
    monkeypatch.setattr(module, "TIMEOUT", module.httpx2.Timeout(0.2, connect=5))
    api.scripted.extend([Answer(silent_seconds=1)] * 2)
    async with serve(**WRITING) as client:
        assert f"{COMMITS}: no answer within 0.2 s" == await _refused(client)
        words = await _refused(client, "issue_write", method="create", title="T")
    assert words.endswith("no answer within 0.2 s; whether it took effect is unknown")


async def test_an_answer_that_is_too_large_is_refused(serve: Serve, api: GitHubApi) -> None:
    """On its way here; and a list that is too long on its way to the client."""
    api.scripted.append(Answer(200, b"[" + b" " * module.RESPONSE_BYTES + b"]"))
    api.scripted.append(Answer(200, [{"sha": "x" * 1_000_000}]))
    async with serve() as client:
        assert f"{COMMITS}: the answer has more than 8 MiB; ask for less of it" == await _refused(client)
        words = await _refused(client)
    assert re.match(r"list_commits: the answer has 10000\d\d characters, 1000000 are the most\. Ask for less", words)


async def test_where_nobody_listens_is_told(serve: Serve) -> None:
    """Nothing was sent, also of a write."""
    async with serve(GITHUB_API_URL="https://127.0.0.1:9/api/v3", **WRITING) as client:
        words = await _refused(client, "issue_write", method="create", title="T")
    assert words.startswith("https://127.0.0.1:9/api/v3: cannot be reached: ")
    assert words.endswith("; nothing was sent")


async def test_a_ca_that_is_not_known_is_told(serve: Serve, secrets: Path) -> None:
    """With the variable that takes it."""
    (secrets / "ca").unlink()
    async with serve() as client:
        assert (await _refused(client)).endswith("Put the CA into mcp_stack_github_ca")


async def test_an_egress_proxy_is_used(serve: Serve, api: GitHubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """As HTTPS_PROXY names it; where it does not answer, GitHub is not asked past it."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hidden@127.0.0.1:9")
    async with serve() as client:
        words = await _refused(client)
    assert words.startswith(f"{api.url}: ")
    assert "hidden" not in words
    assert [] == api.seen()


async def test_what_did_not_change_is_not_sent_again(serve: Serve, api: GitHubApi) -> None:
    """GitHub answers 304, which costs no rate limit; the caller sees the same."""
    async with serve() as client:
        first, second = [await ask(client, "list_commits", {**HELLO, "perPage": 2}) for _ in range(2)]
    assert first == second
    assert 2 == first["next_page"] == second["next_page"]
    assert [False, True] == ["if-none-match" in asked.headers for asked in api.requests]
    assert 4999 == api.remaining


async def test_what_one_token_saw_is_not_shown_to_another(serve: Serve, api: GitHubApi, secrets: Path) -> None:
    """The ETag is not even offered."""
    async with serve() as client:
        await ask(client, "get_me", {})
        (secrets / "token").write_text("github_pat_other")
        assert "Bad credentials" in await _refused(client)
        await client.call_tool("get_me", {})
    assert [False] * 3 == ["if-none-match" in asked.headers for asked in api.requests]


def test_the_cache_forgets_what_was_not_used_for_longest() -> None:
    """By size; what has no ETag, or is large, is not kept."""
    cache, body = Cache(100), b"x" * 25
    for name in ("a", "b", "c", "d"):
        cache.put((name,), Response(200, {"etag": name}, body))
    assert cache.get(("a",))
    cache.put(("e",), Response(200, {"etag": "e"}, body))
    cache.put(("f",), Response(200, {}, body))
    cache.put(("g",), Response(200, {"etag": "g"}, body * 2))
    cache.put(("e",), Response(200, {"etag": "new"}, body))
    assert ["a", "c", "d", "e"] == [name for name in "abcdefg" if cache.get((name,))]
    assert CACHE_BYTES < 32 * 2**20


async def test_every_request_says_which_api_it_speaks(serve: Serve, api: GitHubApi) -> None:
    """And who it is."""
    async with serve() as client:
        await ask(client, "get_me", {})
    (asked,) = api.requests
    expected = {"x-github-api-version": "2022-11-28", "accept": "application/vnd.github+json"}
    assert expected == {name: asked.headers[name] for name in expected}
    assert f"Bearer {api.token}" == asked.headers["authorization"]


async def test_without_credentials_it_says_what_to_set(serve: Serve, secrets: Path, api: GitHubApi) -> None:
    """It lists its tools all the same; GitHub is not asked."""
    (secrets / "token").unlink()
    async with serve() as client:
        assert (await client.list_tools()).tools
        words = await _refused(client)
    assert words.startswith("github has no credentials. Set mcp_stack_github_token in the inventory, or mcp_stack_")
    assert words.endswith("Run: ./run deploy")
    assert [] == api.seen()


async def test_a_new_token_is_taken_at_once(serve: Serve, api: GitHubApi, secrets: Path) -> None:
    """From its file, without a restart."""
    (secrets / "token").write_text("github_pat_old")
    async with serve() as client:
        assert "Bad credentials" in await _refused(client)
        (secrets / "token").write_text(api.token)
        assert (await ask(client, "list_commits", HELLO))["items"]


async def test_a_token_of_two_lines_is_refused(serve: Serve, secrets: Path, api: GitHubApi) -> None:
    """It would be a header of two lines; and no word of it is told."""
    (secrets / "token").write_text("github_pat_one\ngithub_pat_two")
    async with serve() as client:
        words = await _refused(client)
    assert "token: holds more than one line of plain characters. Set mcp_stack_github_token anew" == words
    assert [] == api.seen()


async def test_an_app_gets_a_token_for_its_installation_once(serve: Serve, api: GitHubApi, secrets: Path) -> None:
    """GitHub verifies its signature; the token serves until shortly before its end. It comes before a token file."""
    (secrets / "app_private_key").write_text(api.app_key)
    async with serve(**AS_APP) as client:
        for _ in range(2):
            assert (await ask(client, "list_commits", HELLO))["items"]
        words = text_of(await client.call_tool("get_me", {}))
    assert "the credentials do not allow this (403: Resource not accessible by integration)" in words
    assert [GRANT, COMMITS, COMMITS, "GET /user"] == api.seen()
    assert "ghs_" in api.requests[1].headers["authorization"]


async def test_a_token_that_ends_soon_is_renewed_before(serve: Serve, api: GitHubApi, secrets: Path) -> None:
    """Here each ends in less than the five minutes that it has to last."""
    (secrets / "app_private_key").write_text(api.app_key)
    api.installation_seconds = 299
    async with serve(**AS_APP) as client:
        for _ in range(2):
            await ask(client, "list_commits", HELLO)
    assert [GRANT, COMMITS] * 2 == api.seen()


async def test_a_token_that_was_taken_back_is_renewed_once(serve: Serve, api: GitHubApi, secrets: Path) -> None:
    """Also for a write: GitHub did nothing. A second refusal is told."""
    (secrets / "app_private_key").write_text(api.app_key)
    async with serve(**AS_APP, **WRITING) as client:
        await ask(client, "list_commits", HELLO)
        api.revoke()
        assert "merged" == (await ask(client, "merge_pull_request", PULL))["message"]
        api.scripted.extend([error(401, "No"), api.answer(api.requests[0]), error(401, "No")])
        assert "GitHub refused the credentials (401: No)" in await _refused(client)
    merge = "PUT /repos/octo-org/hello/pulls/7/merge"
    assert [GRANT, COMMITS, merge, GRANT, merge, COMMITS, GRANT, COMMITS] == api.seen()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (None, f"github has no private key for its App {APP}. Put it into mcp_stack_github_app_private_key"),
        ("no key", "app_private_key: is no RSA key in PEM form"),
    ],
)
async def test_an_app_without_its_key_says_so(
    serve: Serve, api: GitHubApi, secrets: Path, key: str | None, said: str
) -> None:
    """And GitHub is not asked, nor the token used in its place."""
    if key:
        (secrets / "app_private_key").write_text(key)
    async with serve(**AS_APP) as client:
        assert (await _refused(client)).startswith(said)
    assert [] == api.seen()


async def test_an_app_that_github_does_not_know_is_told(serve: Serve, api: GitHubApi, secrets: Path) -> None:
    """By its numbers."""
    (secrets / "app_private_key").write_text(api.app_key)
    async with serve(**{**AS_APP, "GITHUB_APP_ID": "1"}) as client:
        words = await _refused(client)
    assert words.startswith(f"GitHub App 1, installation {INSTALLATION}: GitHub refused the credentials (401: ")


async def test_the_status_tells_limits_as_github_told_them(serve: Serve, api: GitHubApi) -> None:
    """And asks for nothing itself."""
    async with serve() as client:
        before = await ask(client, "get_server_status", {})
        await ask(client, "get_me", {})
        after = await ask(client, "get_server_status", {})
    expected = {"api_url": api.url, "read_only": True, "credentials": "token", "rate_limits": {}}
    assert expected == before
    assert (5000, 4999) == tuple(after["rate_limits"]["core"][name] for name in ("limit", "remaining"))
    assert ["GET /user"] == api.seen()
    assert api.token not in json.dumps(after)
