"""A mock as an application: mcp_host with one native server, the scripted door before it, and /mock."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcp_host import app
from mcp_host.config import HostConfig, Surroundings
from mcp_host.supervisor import Timing
from starlette.applications import Starlette
from starlette.middleware import Middleware

from tests.mocks.calls import Calls
from tests.mocks.control import control
from tests.mocks.door import Door
from tests.mocks.script import Script

NAMES = ("zen", "heimdall", "github")
AGREED = Path(__file__).resolve().parents[2] / "catalog" / "tools"


def agreed_tools(server: str) -> list[dict[str, Any]]:
    """The tools that the real server is agreed to offer, as tools/list gives them."""
    return list(json.loads((AGREED / f"{server}.json").read_text(encoding="utf-8")))


def create_app(
    server: str, config: HostConfig, surroundings: Surroundings, on_failure: Callable[[], None]
) -> Starlette:
    """The application. Raises ConfigError."""
    script, calls = Script({tool["name"]: tool for tool in agreed_tools(server)}), Calls()
    made = app.create_app(config, surroundings, Timing(), on_failure)
    made.user_middleware.append(Middleware(Door, script=script, calls=calls))  # the innermost: behind the token
    made.router.routes.insert(0, control(script, calls))
    return made


def write_token(folder: Path, token: str) -> None:
    """The file from which mcp_host knows the one token, which opens all."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    tokens = {"tokens": [{"name": "mock", "sha256": digest, "servers": ["*"]}]}
    (folder / "tokens.json").write_text(json.dumps(tokens), encoding="utf-8")
