"""Secrets: files of mode 0400 below <home>/secrets; those of servers are in the release id by a keyed hash."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path

from stepdown.errors import UsageError, sentence
from stepdown.host import journal, tokens
from stepdown.host.home import Home

NOTIFY = "notify/slack_webhook"


def require_text(given: Mapping[str, object]) -> None:
    """Refuse a secret that an inventory gives as a list, a number or a mapping, without a word of it."""
    for name, value in given.items():
        if not isinstance(value, str):
            raise UsageError(sentence(f"secret {name}", "should be text; put its value in quotes"))


def put(home: Home, name: str, value: str) -> bool:
    """Write the secret `name` (zen/api_key); whether it differed. Its value is told to nobody."""
    path = path_of(home, name)
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
    of_servers = {path_of(home, name): value.encode() for name, value in given.items()}
    values |= {str(p.relative_to(folder)): value for p, value in of_servers.items() if p.is_relative_to(folder)}
    key = tokens.read(home.agent_token).encode() if home.agent_token.is_file() else b""
    return {name: hmac.digest(key, values[name], "sha256") for name in sorted(values)}


def path_of(home: Home, name: str) -> Path:
    """Where a secret lies: of a server, or, under notify/, of the agent itself, which no release is made of."""
    if name == NOTIFY:
        return home.slack_webhook
    server, _, leaf = name.partition("/")
    if not leaf.isidentifier() or not server.replace("-", "_").isidentifier():
        raise UsageError(sentence(f"secret {name!r}", "should be SERVER/NAME", run="… secret zen/api_key"))
    return home.secrets / "servers" / server / leaf
