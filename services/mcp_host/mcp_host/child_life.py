"""One life of a stdio server: its environment, its start until it is warm, its end."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from mcp_host.child import Child
from mcp_host.config import Probe, StdioServer, Surroundings
from mcp_host.errors import StartError, sentence
from mcp_host.hosted import remark
from mcp_host.link import Link
from mcp_host.log import redact

log = logging.getLogger(__name__)
_LINE_CHARACTERS = 2000
_EXIT_SEEN_SECONDS = 0.5


@dataclass(frozen=True)
class ChildEnvironment:
    """What a child gets to see, which of it is secret, and what to tell callers about what it lacks."""

    variables: Mapping[str, str]
    secrets: tuple[str, ...]
    lacks: tuple[str, ...]


def child_environment(
    server: StdioServer, inherited: Mapping[str, str], secrets_dir: Path, home: Path
) -> ChildEnvironment:
    """PATH, LANG, HOME, settings, the named variables that are not empty, and secrets. Raises StartError."""
    names = ("PATH", "LANG", *server.environment)
    variables = {name: inherited[name] for name in names if inherited.get(name)}
    variables |= {"HOME": str(home), **server.settings}
    secrets = {}
    for variable, file in server.secrets.items():
        try:
            value = (secrets_dir / file).read_text().strip()
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise StartError(f"{secrets_dir / file}: unreadable: {type(error).__name__}") from error
        if value:
            secrets[variable] = value
    variables |= secrets
    lacks = tuple(text for variable, text in server.needs.items() if variable not in variables)
    return ChildEnvironment(variables, tuple(secrets.values()), lacks)


@dataclass(frozen=True)
class ChildLife:
    """One warm child."""

    child: Child
    link: Link
    environment: ChildEnvironment
    identity: types.InitializeResult
    latency_seconds: float
    remark: str | None

    @property
    def tools(self) -> Mapping[str, Mapping[str, Any]]:
        return self.link.tools

    @property
    def closed(self) -> bool:
        return self.link.closed

    async def ping(self) -> None:
        await self.link.ping()

    def kill(self) -> None:
        self.child.kill()

    async def epitaph(self) -> str:
        return await epitaph(self.child)


async def epitaph(child: Child) -> str:
    """How a child ended, as a person would say it; its exit is seen a moment after its silence."""
    with anyio.move_on_after(_EXIT_SEEN_SECONDS):
        await child.exited.wait()
    if child.overflowed:
        return "the server wrote a message over 64 MiB and was killed"
    if child.returncode is None:
        return "the server closed its output"
    if child.returncode < 0:
        return f"the server was ended by signal {-child.returncode}"
    return f"the server exited with code {child.returncode}"


@contextmanager
def child_home(scratch_dir: Path, server: str, client: str | None) -> Iterator[Path]:
    """The child's HOME and working directory, mode 0700, in which no other server writes. Raises StartError.

    It is `scratch_dir`/`server`; a client's child has a fresh one beside it, which goes when the child has ended.
    """
    try:
        if client is None:
            path = scratch_dir / server
            path.mkdir(mode=0o700, exist_ok=True)
        else:
            path = Path(tempfile.mkdtemp(prefix=f"{server}-", dir=scratch_dir))
    except OSError as error:
        raise StartError(f"{scratch_dir}: no home for {server} can be made in it: {error.strerror}") from error
    try:
        yield path
    finally:
        if client is not None:
            shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def child_life(
    name: str,
    server: StdioServer,
    surroundings: Surroundings,
    on_closed: Callable[[], None],
    stop_grace_seconds: float,
    client: str | None = None,
) -> AsyncIterator[ChildLife]:
    """Start the program, warm it, and on leaving end it with all that it started. Raises StartError.

    A `client`'s child makes no probe call: what it keeps in memory is the client's alone.
    """
    who = {"server": name} if client is None else {"server": name, "client": client}
    probe = server.probe if client is None else None
    with child_home(surroundings.scratch_dir, name, client) as folder:
        environment = child_environment(server, os.environ, surroundings.secrets_dir, folder)

        def say(stream: str, text: str) -> None:
            line = redact(text, environment.secrets)[:_LINE_CHARACTERS]
            log.info("server output", extra={"fields": {**who, "stream": stream, "line": line}})

        try:
            child = await Child.spawn(
                server.command, environment.variables, str(folder), lambda text: say("stderr", text)
            )
        except (OSError, ValueError) as error:
            raise StartError(f"{server.command[0]}: cannot be started: {error}") from error
        link = Link(child, on_closed, lambda text: say("stdout", text))
        try:
            yield await _warm(name, server.bounds.start_timeout_seconds, probe, child, link, environment)
        finally:
            with anyio.CancelScope(shield=True):
                await link.stop()
                await child.stop(stop_grace_seconds)


async def _warm(
    name: str, seconds: float, probe: Probe | None, child: Child, link: Link, environment: ChildEnvironment
) -> ChildLife:
    """Shake hands, list the tools, make the probe call if there is one, all in `seconds`. Raises StartError."""
    try:
        with anyio.fail_after(seconds):
            identity = await link.start()
            began = time.perf_counter()
            await link.list_tools()
            latency, complaint = time.perf_counter() - began, None
            if probe is not None:
                latency, complaint = await _probe(link, probe)
    except TimeoutError:
        raise StartError(f"{name}: not ready within {seconds:g} s") from None
    except MCPError as error:
        if link.closed:
            raise StartError(f"{name}: {await epitaph(child)} before it was ready") from None
        raise StartError(redact(f"{name}: refused to start: {error}", environment.secrets)) from None
    except ValidationError as error:
        raise StartError(f"{name}: broke the protocol: {error.title}") from None
    redacted = None if complaint is None else redact(complaint, environment.secrets)
    return ChildLife(child, link, environment, identity, latency, redacted)


async def _probe(link: Link, probe: Probe) -> tuple[float, str | None]:
    if probe.tool not in link.tools:
        raise StartError(sentence(f"probe/{probe.tool}", "no such tool", sorted(link.tools)))
    began = time.perf_counter()
    result = await link.request("tools/call", {"name": probe.tool, "arguments": dict(probe.arguments)})
    return time.perf_counter() - began, remark(probe.tool, result)
