"""The standard load: the same for every plan, so that figures can be compared. docs/catalogue.md says what it is."""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stepdown.errors import StepdownError, sentence
from stepdown.host import tokens
from stepdown.host.handshake import HandshakeError, call, handshake
from stepdown.host.target import Target
from stepdown.shared import CONTAINER_PORT

CLIENTS = 4  # at once, each with a token of its own
HANDSHAKES = 5  # of each client with each server, one after another
REPOSITORY = "sample"  # below the workspace
MODULES = 40  # of Python in it
MODULE = '''"""Part {number} of a sample."""

import subprocess


class Part{number}:
    """Knows its number and the part before it."""

    number = {number}

    def before(self) -> int:
        """The number of the part before."""
        return self.number - 1

    def listed(self, folder: str) -> str:
        """A listing, made in a way that scanners warn of."""
        return subprocess.check_output(f"ls {{folder}}", shell=True, text=True)
'''
# The heaviest thing that a server does with the repository: tool and arguments, for those whose probe shows little.
WORK: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "heimdall": ("scan_repository", {"path": REPOSITORY, "profile": "full", "wait_seconds": 120}),
    "serena": ("find_symbol", {"name_path_pattern": f"Part{MODULES}"}),
}
UNFINISHED = ("queued", "running", "failed")  # a scan that ended otherwise was no load


def write_repository(workspace: Path) -> None:
    """The repository that the load works on; the same bytes each time."""
    folder = workspace / REPOSITORY
    folder.mkdir(parents=True)
    for number in range(1, MODULES + 1):
        (folder / f"part_{number}.py").write_text(MODULE.format(number=number), encoding="utf-8")
    (folder / "Dockerfile").write_text("FROM debian:latest\nCOPY . /sample\n", encoding="utf-8")
    (folder / "requirements.txt").write_text("requests\n", encoding="utf-8")


def put(goal: Target) -> None:
    """The load on each server of an active plan, one after another; StepdownError when one does not bear it."""
    clients = {f"load-{number}": secrets.token_urlsafe(tokens.TOKEN_BYTES) for number in range(CLIENTS)}
    known = [tokens.entry("agent", tokens.read(goal.home.agent_token))]
    hashes = json.dumps({"tokens": known + [tokens.entry(name, token) for name, token in clients.items()]})
    goal.home.write(goal.home.auth / "tokens.json", hashes, 0o400)
    addresses = goal.release.addresses(goal.instance, goal.plan)
    with ThreadPoolExecutor(max_workers=CLIENTS) as pool:
        for server, facts in goal.facts["servers"].items():
            address = addresses[facts["container"]]

            def greet(token: str, at: str = address, name: str = server, probe: Any = facts["probe"]) -> None:
                for _ in range(HANDSHAKES):
                    handshake(at, CONTAINER_PORT, name, token, probe)

            list(pool.map(greet, clients.values()))
            if server in WORK:
                _work(address, server, next(iter(clients.values())), facts["call_seconds"])


def _work(address: str, server: str, token: str, seconds: float) -> None:
    tool, arguments = WORK[server]
    connection = http.client.HTTPConnection(address, CONTAINER_PORT, timeout=seconds)
    try:
        result = call(connection, server, token, 1, "tools/call", {"name": tool, "arguments": dict(arguments)})
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise HandshakeError(f"server {server}: {tool} did not answer: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    status = (result.get("structuredContent") or {}).get("status")
    if result.get("isError") or status in UNFINISHED:
        wrong = f"{tool} ended as {status or 'an error'}, so that nothing was measured"
        raise StepdownError(sentence(f"server {server}", wrong))
