"""The scan core's only door to other programs: bounded in time, memory, output, and gone as a group when told.

A scanner reads hostile files, so it gets a scrubbed environment, a session of its own and limits; what it says on
stdout and stderr is bounded and never part of a result but for its last words, with long tokens struck out.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LAST_WORDS = 4096  # characters
GIT_SETTINGS = "gitconfig"
# For programs that have nobody to ask: a tree may name places to fetch from, as Terraform's modules are. git takes no
# protocol, and nothing listens at the proxy. What Go programs ask of a loopback address passes by any proxy.
NO_WAY_OUT = {
    "GIT_ALLOW_PROTOCOL": "none",
    **dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9"),
    "NO_PROXY": "",
    "no_proxy": "",
}
TOKEN = re.compile(r"[A-Za-z0-9+=_-]{20,}")


@dataclass(frozen=True)
class Limits:
    """What a program may use: wall seconds, MiB of memory of each of its processes, and MiB of each file it writes."""

    seconds: float
    memory_mib: int
    file_mib: int = 64  # also of stdout and stderr


@dataclass(frozen=True)
class Ended:
    """How a program ended. `problem` says in words why its answer cannot count; it is None after a normal exit."""

    exit_code: int | None
    problem: str | None
    seconds: float
    stdout: bytes
    last_words: str
    complaints: str = ""  # all of its stderr


async def execute(
    argv: Sequence[str],
    *,
    cwd: Path,
    scratch: Path,
    limits: Limits,
    stdin: bytes = b"",
    more: Mapping[str, str] | None = None,
) -> Ended:
    """Run `argv` in `cwd` to its end; its home and temporary folder are `scratch`, `more` its further variables.

    Never raises for what the program does. Cancelling the caller kills the program's whole group first.
    """
    started = time.monotonic()
    # Files and not pipes: the kernel bounds them, and no pipe that is left open can keep us waiting.
    with ExitStack() as files:
        given, said, complained = (files.enter_context(tempfile.TemporaryFile(dir=scratch)) for _ in range(3))
        given.write(stdin)
        given.seek(0)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=cwd,
                env={**environment(scratch), **(more or {})},
                stdin=given,
                stdout=said,
                stderr=complained,
                start_new_session=True,
            )
        except OSError as error:
            return Ended(None, f"cannot be started: {error.strerror}", 0.0, b"", "")
        try:
            _bound(process.pid, limits)
            async with asyncio.timeout(limits.seconds):
                code = await process.wait()
        except TimeoutError:
            problem = f"outlived its limit of {limits.seconds:g} s"
            return Ended(None, problem, time.monotonic() - started, b"", "")
        finally:
            # Also after a good end: a scanner that left children behind leaves none here.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
        killed = f"was ended by {signal.Signals(-code).name}" if code < 0 else None
        return Ended(code, killed, time.monotonic() - started, _all_of(said), *_words(complained))


def environment(scratch: Path) -> dict[str, str]:
    """All that a program inherits: no secret of ours, no setting of the user, and git that asks nobody."""
    return {
        # Absolute entries only: the working folder is the hostile tree.
        "PATH": os.pathsep.join(p for p in os.environ.get("PATH", os.defpath).split(os.pathsep) if p.startswith("/")),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(scratch / GIT_SETTINGS),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",  # a repository could show another commit in the place of one
    }


def _bound(pid: int, limits: Limits) -> None:
    """Set limits from outside: code between fork and exec is not safe in a program with threads.

    RLIMIT_DATA and not RLIMIT_AS: Go reserves far more address space than it uses.
    """
    cpu = int(limits.seconds) * (os.cpu_count() or 1) + 1
    memory = limits.memory_mib * 2**20
    with suppress(ProcessLookupError):  # it ended already; how is read from its exit code
        for kind, value in (
            (resource.RLIMIT_DATA, memory),
            (resource.RLIMIT_CPU, cpu),
            (resource.RLIMIT_FSIZE, limits.file_mib * 2**20),
            (resource.RLIMIT_CORE, 0),
        ):
            _, hard = resource.prlimit(pid, kind)
            allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.prlimit(pid, kind, (allowed, allowed))


def _all_of(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _words(file: IO[bytes]) -> tuple[str, str]:
    """The last line, safe to show, and all of them."""
    words = _all_of(file).decode("utf-8", "replace")
    lines = [line for line in words[-LAST_WORDS:].splitlines() if line.strip()]
    text = re.sub(r"[^\x20-\x7e]", "", lines[-1]) if lines else ""
    return TOKEN.sub("REDACTED", text)[:200], words
