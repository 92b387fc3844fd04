"""Tokens: made once, kept by their owner, given to containers as hashes only."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

from stepdown.host import tokens
from stepdown.host.home import Home


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_tokens_are_made_once(home: Home) -> None:
    """A second deploy writes nothing, so clients keep theirs."""
    assert True is tokens.ensure(home)
    files = (home.client_token, home.agent_token, home.auth / "tokens.json")
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    assert False is tokens.ensure(home)
    assert before == [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]


def test_only_the_owner_reads_them(home: Home) -> None:
    """The client's token is 0600, so that people may change it; the rest is 0400."""
    tokens.ensure(home)
    files = (home.client_token, home.agent_token, home.auth / "tokens.json")
    assert [0o600, 0o400, 0o400] == [_mode(path) for path in files]


def test_containers_get_hashes_only(home: Home) -> None:
    """In the folder that is mounted into them no token stands in clear."""
    tokens.ensure(home)
    client, agent = tokens.read(home.client_token), tokens.read(home.agent_token)
    assert client != agent
    texts = [path.read_text() for path in home.auth.rglob("*") if path.is_file()]
    assert [] == [text for text in texts if client in text or agent in text]
    entries = json.loads((home.auth / "tokens.json").read_text())["tokens"]
    expected = [hashlib.sha256(token.encode()).hexdigest() for token in (client, agent)]
    assert expected == [entry["sha256"] for entry in entries]
    assert ["default", "agent"] == [entry["name"] for entry in entries]


def test_a_changed_token_is_hashed_anew(home: Home) -> None:
    """An operator who writes another token into the file has it after the next deploy."""
    tokens.ensure(home)
    home.write(home.client_token, "another-token\n", 0o600)
    assert True is tokens.ensure(home)
    entries = json.loads((home.auth / "tokens.json").read_text())["tokens"]
    assert hashlib.sha256(b"another-token").hexdigest() == entries[0]["sha256"]
    assert "another-token" == tokens.read(home.client_token)


def test_an_empty_token_file_is_no_token(home: Home) -> None:
    """The hash of nothing would let everybody in who sends nothing."""
    home.write(home.client_token, "\n", 0o600)
    tokens.ensure(home)
    assert 40 < len(tokens.read(home.client_token))


def test_tokens_of_two_hosts_differ(tmp_path: Path) -> None:
    """They are drawn, not derived."""
    homes = [Home(tmp_path / name) for name in ("one", "two")]
    for home in homes:
        home.prepare()
        tokens.ensure(home)
    assert 4 == len({tokens.read(path) for home in homes for path in (home.client_token, home.agent_token)})
