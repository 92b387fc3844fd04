"""Every error that the host raises or answers on purpose.

    HostError
    ├── ConfigError   the configuration is refused; the process ends with exit 2
    ├── FileError     a watched file is broken; the last good value stays in use
    └── StartError    one attempt to start a server failed; the supervisor tries again

What a client sees are JSON-RPC errors with a `data.type` of `stepdown.…`; `executed` in the data says whether a call
may have had effects: "no" (it was never handed to the server) or "unknown" (it was, and nobody saw the end).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from mcp.shared.exceptions import MCPError

SERVER_LOST = -32010
SERVER_UNKNOWN = -32011
SERVER_RESTARTED = -32012
SERVER_STARTING = -32013
CALL_TIMEOUT = -32014
SERVER_BUSY = -32015


class HostError(Exception):
    """A message of the form `<where>: <what is wrong> (known: …). Run: …`, never with a secret in it."""


class ConfigError(HostError):
    """The configuration is refused."""


class FileError(HostError):
    """A watched file cannot be used."""


class StartError(HostError):
    """One attempt to start a server failed."""


def sentence(where: str, wrong: str, known: Iterable[str] = ()) -> str:
    """One error line in the house form; `known` lists what is valid."""
    listed = ", ".join(known)
    return f"{where}: {wrong}" + (f" (known: {listed})" if listed else "")


def outcome_of(error: MCPError) -> str:
    """The metric label of a JSON-RPC error: the last part of our own types, "error" for a server's own errors."""
    kind = error.data.get("type", "") if isinstance(error.data, dict) else ""
    return kind.removeprefix("stepdown.") if kind.startswith("stepdown.") else "error"


def server_lost(server: str, plan: str, since: str, alternative: str) -> MCPError:
    """The plan in force does not run this server."""
    return MCPError(
        SERVER_LOST,
        f"{server}: not running in plan {plan} since {since}. Instead: {alternative}",
        {"type": "stepdown.server_lost", "server": server, "plan": plan, "since": since, "alternative": alternative},
    )


def server_unknown(server: str, known: Iterable[str]) -> MCPError:
    """No server of this name is carried here or known to the plan."""
    names = sorted(known)
    return MCPError(
        SERVER_UNKNOWN,
        sentence(f"/mcp/{server}", "no such server", names),
        {"type": "stepdown.server_unknown", "server": server, "known": names},
    )


def server_restarted(server: str) -> MCPError:
    """The server died while it held the call."""
    return MCPError(
        SERVER_RESTARTED,
        f"{server}: restarted while this call ran; whether the call took effect is unknown",
        {"type": "stepdown.server_restarted", "server": server, "executed": "unknown"},
    )


def server_starting(server: str, retry_after_seconds: float) -> MCPError:
    """The server is not up yet, or not up again."""
    seconds = max(1, math.ceil(retry_after_seconds))
    return MCPError(
        SERVER_STARTING,
        f"{server}: starting; the call was not sent. Try again in {seconds} s",
        {"type": "stepdown.server_starting", "server": server, "executed": "no", "retry_after_seconds": seconds},
    )


def call_timeout(server: str, timeout_seconds: float) -> MCPError:
    """The server had the call and did not answer in time."""
    return MCPError(
        CALL_TIMEOUT,
        f"{server}: no answer within {timeout_seconds:g} s; whether the call took effect is unknown",
        {
            "type": "stepdown.call_timeout",
            "server": server,
            "executed": "unknown",
            "timeout_seconds": timeout_seconds,
        },
    )


def server_busy(server: str, how: str) -> MCPError:
    """All slots are taken and the queue is full, the call's time ran out in the queue, or no child is free."""
    return MCPError(
        SERVER_BUSY,
        f"{server}: busy: {how}; the call was not sent. Try again later",
        {"type": "stepdown.server_busy", "server": server, "executed": "no"},
    )
