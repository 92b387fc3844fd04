"""Secrets of servers, as an inventory hands them over."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepdown.errors import UsageError
from stepdown.host import server_secrets
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
