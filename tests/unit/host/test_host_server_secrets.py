"""Secrets of servers, as an inventory hands them over."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepdown.errors import UsageError
from stepdown.host import journal, server_secrets, tokens
from stepdown.host.home import Home


@pytest.mark.parametrize("value", [["hidden-value"], {"key": "hidden-value"}, 12345678])
def test_a_secret_that_is_no_text_is_refused_without_a_word_of_it(value: object) -> None:
    """Ansible's own check of types would let a list pass, and print what it refuses."""
    with pytest.raises(UsageError) as refused:
        server_secrets.require_text({"zen/api_key": value})
    assert "secret zen/api_key: should be text; put its value in quotes" == str(refused.value)


def test_text_passes() -> None:
    """Also the empty one, which keeps the key that is there."""
    server_secrets.require_text({"zen/api_key": "a", "other/key": ""})


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_key_of_many_lines_is_kept_as_it_is(tmp_path: Path, end: str) -> None:
    """Whatever ends its lines; and a second time it is the same."""
    home = Home(tmp_path)
    home.prepare()
    key = end.join(["-----BEGIN RSA PRIVATE KEY-----", "AAAA", "-----END RSA PRIVATE KEY-----", ""])
    assert [True, False] == [server_secrets.put(home, "github/app_private_key", key) for _ in range(2)]
    assert key.encode() == (home.secrets / "servers/github/app_private_key").read_bytes()


def test_the_webhook_of_notices_is_the_agents_own(home: Home) -> None:
    """Another one makes no new release, written or given, and the journal names it without its value."""
    tokens.ensure(home)
    server_secrets.put(home, "zen/api_key", "one")
    before = server_secrets.digests(home, {})
    assert ["zen/api_key"] == list(before)
    assert True is server_secrets.put(home, server_secrets.NOTIFY, "https://hooks.example/hidden-value")
    assert before == server_secrets.digests(home, {})
    assert before == server_secrets.digests(home, {server_secrets.NOTIFY: "https://hooks.example/other"})
    assert before != server_secrets.digests(home, {"zen/api_key": "two"})
    assert (0o400, "https://hooks.example/hidden-value") == (
        home.slack_webhook.stat().st_mode & 0o777,
        home.slack_webhook.read_text(),
    )
    assert "notify/slack_webhook" == journal.read(home.journal).entries[-1]["name"]
    assert "hidden-value" not in home.journal.read_text()


@pytest.mark.parametrize("name", ["notify/../auth/tokens", "../client_token", "zen", "zen/", "/zen", "zen/a/b", ""])
def test_a_secret_lies_in_its_servers_folder_or_nowhere(home: Home, name: str) -> None:
    """No name leads out of it."""
    with pytest.raises(UsageError, match=r"should be SERVER/NAME\. Run: … secret zen/api_key"):
        server_secrets.path_of(home, name)
