"""status, switch, journal, why, doctor: doors to the host agent of this machine."""

from __future__ import annotations

import sys

from invoke.context import Context

from stepdown import doctor as health
from stepdown.cli import door
from stepdown.errors import UsageError, sentence
from stepdown.host import app

JSON = "print JSON"


def agent(*words: str) -> int:
    """Run a command of the host agent on this machine's <home>, in this process."""
    return app.main(["--home", str(door.home()), *words])


@door.command(help={"json_": JSON})
def status(_context: Context, json_: bool = False) -> None:
    """Show plan, release, every server, the gateway and the last switch; exit 1 when something is not ready."""
    door.leave(agent("status", *_json(json_)))


@door.command(help={"to": "A, B, C or D", "why": "reason, for the journal", "check": "say what would change"})
def switch(_context: Context, to: str = "", why: str = "by hand", check: bool = False) -> None:
    """Bring this host to a plan of its current release, the old one serving until the new is proved."""
    plans = door.catalog().plans
    if to not in plans:
        raise UsageError(sentence("switch", f"--to={to or '…'} names no plan", plans, "./run switch --to=C"))
    door.leave(agent("switch", "--to", to, "--why", why, *(["--check"] if check else [])))


@door.command(help={"last": "entries to print", "json_": JSON})
def journal(_context: Context, last: int = 20, json_: bool = False) -> None:
    """Show who did what on this host, when, why, and how it ended."""
    door.leave(agent("journal", "--last", str(last), *_json(json_)))


@door.command(help={"json_": JSON})
def why(_context: Context, json_: bool = False) -> None:
    """Show why this host is on its plan."""
    door.leave(agent("why", *_json(json_)))


@door.command()
def doctor(_context: Context) -> None:
    """Check this machine for everything that a deploy needs; every problem with its remedy."""
    problems = health.examine(door.ROOT, door.catalog(), door.home())
    for name, detail in health.facts().items():
        print(f"{name:<16} {detail}")
    for problem in problems:
        print(f"- {problem}", file=sys.stderr)
    print(f"{len(problems)} problem(s)")
    door.leave(1 if problems else 0)


def _json(wanted: bool) -> list[str]:
    return ["--json"] if wanted else []
