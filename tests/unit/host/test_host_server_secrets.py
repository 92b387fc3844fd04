"""Secrets of servers, as an inventory hands them over."""

from __future__ import annotations

import pytest

from stepdown.errors import UsageError
from stepdown.host import server_secrets


@pytest.mark.parametrize("value", [["hidden-value"], {"key": "hidden-value"}, 12345678])
def test_a_secret_that_is_no_text_is_refused_without_a_word_of_it(value: object) -> None:
    """Ansible's own check of types would let a list pass, and print what it refuses."""
    with pytest.raises(UsageError) as refused:
        server_secrets.require_text({"zen/api_key": value})
    assert "secret zen/api_key: should be text; put its value in quotes" == str(refused.value)


def test_text_passes() -> None:
    """Also the empty one, which keeps the key that is there."""
    server_secrets.require_text({"zen/api_key": "a", "other/key": ""})
