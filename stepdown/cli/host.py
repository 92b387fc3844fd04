"""status, the moves, journal, why, doctor: doors to the host agent of this machine, or to those of an inventory."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from invoke.context import Context

from stepdown import doctor as health
from stepdown.cli import door, others
from stepdown.cli.others import LOCAL
from stepdown.errors import UsageError, sentence
from stepdown.host import app

JSON = "print JSON"
WHY = "reason, for the journal"
MOVING = {**others.HELP, "why": WHY, "json_": JSON}


def agent(*words: str) -> int:
    """Run a command of the host agent on this machine's <home>, in this process."""
    return app.main(["--home", str(door.home()), *words])


@door.command(help={"inventory": others.HELP["inventory"], "limit": others.HELP["limit"], "json_": JSON})
def status(_context: Context, inventory: str = LOCAL, limit: str = "", json_: bool = False) -> None:
    """Show plan, release, every server, the gateway and the last switch; exit 1 when something is not ready."""
    here = others.is_local(inventory)
    door.leave(agent("status", *_json(json_)) if here else others.status(inventory, limit, json_))


@door.command(help={"to": "A, B, C or D", **MOVING})
def switch(
    _context: Context,
    to: str = "",
    inventory: str = LOCAL,
    limit: str = "",
    why: str = "by hand",
    check: bool = False,
    yes: bool = False,
    json_: bool = False,
) -> None:
    """Bring this host, or an inventory's, to a plan of the current release, the old serving until the new is proved."""
    plans = door.catalog().plans
    if to not in plans:
        raise UsageError(sentence("switch", f"--to={to or '…'} names no plan", plans, "./run switch --to=C"))
    _move("switch", to, Asked(inventory, limit, why, check, yes, json_))


def _mover(command: str, to_means: str, promise: str) -> Any:
    """The task of a move that may be told where to go, with the options that all of them take."""

    def task(
        _context: Context,
        to: str = "",
        inventory: str = LOCAL,
        limit: str = "",
        why: str = f"{command} by hand",
        check: bool = False,
        yes: bool = False,
        json_: bool = False,
    ) -> None:
        _move(command, to, Asked(inventory, limit, why, check, yes, json_))

    task.__name__, task.__doc__ = command, promise
    return door.command(help={"to": to_means, **MOVING})(task)


fallback = _mover(
    "fallback",
    "A, B, C or D; without it one rung down",
    "Step down: one rung, or to the plan named; the old one serves until the new is proved.",
)
recover = _mover(
    "recover",
    "A, B, C or D; without it where the host was",
    "Go back up after a preflight, to the plan before the host stepped down; ends the break-glass.",
)
rollback = _mover(
    "rollback",
    "a release's id",
    "Go back to the last release that was proved good, on the plan that the host is on.",
)


@door.command(help={**MOVING, "hours": "for how long the break-glass is open"})
def emergency(
    _context: Context,
    inventory: str = LOCAL,
    limit: str = "",
    why: str = "emergency by hand",
    hours: float = 4,
    check: bool = False,
    yes: bool = False,
    json_: bool = False,
) -> None:
    """Go to plan D now, whoever is at work; needs no Ansible, registry, network or gateway. Opens a break-glass."""
    asked = Asked(inventory, limit, why, check, yes, json_)
    if others.is_local(inventory):
        door.leave(_here("emergency", "", asked, "--hours", str(hours)))
        return
    door.leave(others.emergency(inventory, why=why, hours=hours, limit=limit, check=check, yes=yes, json_=json_))


@door.command(help={"adopt": "take over a whole plan that was started by hand", "json_": JSON})
def converge(_context: Context, adopt: bool = False, json_: bool = False) -> None:
    """End in one whole plan after a crash, and say which and why."""
    door.leave(agent("converge", *(["--adopt"] if adopt else []), *_json(json_)))


@dataclass(frozen=True)
class Asked:
    """What every move takes from the command line."""

    inventory: str
    limit: str
    why: str
    check: bool
    yes: bool
    json: bool


def _move(command: str, to: str, asked: Asked) -> None:
    if others.is_local(asked.inventory):
        door.leave(_here(command, to, asked))
        return
    if asked.json:
        remedy = f"./run status{others.on(asked.inventory, asked.limit)} --json, after it"
        raise UsageError(sentence(command, "--json is for this machine; a playbook has words of its own", run=remedy))
    others.move(command, asked.inventory, to=to, why=asked.why, limit=asked.limit, check=asked.check, yes=asked.yes)


def _here(command: str, to: str, asked: Asked, *more: str) -> int:
    words = [command, "--why", asked.why, *(["--to", to] if to else []), *(["--check"] if asked.check else []), *more]
    return agent(*words, *_json(asked.json))


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
