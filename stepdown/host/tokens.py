"""The tokens of clients and of the agent itself: made once, kept as files, given to containers as hashes only."""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path

from stepdown.host.home import Home, read_json

TOKEN_BYTES = 32


def ensure(home: Home) -> bool:
    """Make missing tokens and the file of hashes; whether anything was written."""
    client, made_client = _token(home, home.client_token, 0o600)
    agent, made_agent = _token(home, home.agent_token, 0o400)
    hashes = home.auth / "tokens.json"
    wanted = {"tokens": [entry("default", client), entry("agent", agent)]}
    if not hashes.is_file() or read_json(hashes) != wanted:
        home.write(hashes, json.dumps(wanted, indent=2) + "\n", 0o400)
        return True
    return made_client or made_agent


def lacking(home: Home) -> bool:
    """Whether `ensure` would make a token."""
    return not all(path.is_file() and read(path) for path in (home.client_token, home.agent_token))


def read(path: Path) -> str:
    """The token in `path`, without its end of line."""
    return path.read_text(encoding="utf-8").strip()


def _token(home: Home, path: Path, mode: int) -> tuple[str, bool]:
    if path.is_file() and read(path):
        return read(path), False
    token = secrets.token_urlsafe(TOKEN_BYTES)
    home.write(path, token + "\n", mode)
    return token, True


def entry(name: str, token: str) -> dict[str, object]:
    """What containers are given of a token that opens every server."""
    return {"name": name, "sha256": hashlib.sha256(token.encode()).hexdigest(), "servers": ["*"]}
