"""Secrets of servers: files of mode 0400 below <home>/secrets/servers, in the release id by a keyed hash."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path

from stepdown.errors import UsageError, sentence
from stepdown.host import journal, tokens
from stepdown.host.home import Home


def require_text(given: Mapping[str, object]) -> None:
    """Refuse a secret that an inventory gives as a list, a number or a mapping, without a word of it."""
    for name, value in given.items():
        if not isinstance(value, str):
            raise UsageError(sentence(f"secret {name}", "should be text; put its value in quotes"))


def put(home: Home, name: str, value: str) -> bool:
    """Write the secret `name` (zen/api_key); whether it differed. Its value is told to nobody."""
    path = _path(home, name)
    if path.is_file() and path.read_bytes() == value.encode():  # a text's line ends would be made alike
        return False
    home.make_directory(path.parent, 0o700)
    home.write(path, value, 0o400)
    journal.append(home.journal, "secret", by=journal.caller(), name=name)
    return True


def digests(home: Home, given: Mapping[str, str]) -> dict[str, bytes]:
    """Name to keyed hash of every secret on this host, as it will be once `given` ones are written."""
    folder = home.secrets / "servers"
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    values = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    values |= {str(_path(home, name).relative_to(folder)): value.encode() for name, value in given.items()}
    key = tokens.read(home.agent_token).encode() if home.agent_token.is_file() else b""
    return {name: hmac.digest(key, values[name], "sha256") for name in sorted(values)}


def _path(home: Home, name: str) -> Path:
    server, _, leaf = name.partition("/")
    if not leaf.isidentifier() or not server.replace("-", "_").isidentifier():
        raise UsageError(sentence(f"secret {name!r}", "should be SERVER/NAME", run="… secret zen/api_key"))
    return home.secrets / "servers" / server / leaf
