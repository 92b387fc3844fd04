"""What tasks do on the hosts of an inventory: ask before, run a playbook, and say where every host is after it."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepdown import commands, hosts, remote, where
from stepdown.cli import door
from stepdown.errors import ChangedError, StepdownError, UsageError, sentence
from stepdown.inventory import reason_of
from stepdown.run import passthrough, run
from stepdown.where import Row

LOCAL = "inventory/local"
HELP = {
    "inventory": "the hosts; inventory/local is this machine",
    "limit": "only these hosts of the inventory, as Ansible's --limit has them",
    "check": "say what would change, change nothing",
    "yes": "do not ask before changing other machines",
}
PLAIN = {"PYTHONDONTWRITEBYTECODE": ""}  # so that Ansible may keep its own modules compiled


@dataclass(frozen=True)
class Ended:
    """How a playbook ended: Ansible's exit code, what hosts said against it before any change, where they are."""

    code: int
    refused: Mapping[str, str]
    rows: Sequence[Row]


def is_local(inventory: str) -> bool:
    """Whether an inventory is the one of this machine."""
    return (door.ROOT / inventory).resolve() == door.ROOT / LOCAL


def on(inventory: str, limit: str = "") -> str:
    """The options that a remedy needs, so that what is typed meets the same hosts."""
    chosen = "" if is_local(inventory) else f" --inventory={inventory}"
    return f"{chosen} --limit={limit}" if limit else chosen


def confirm(inventory: str, *, agreed: bool) -> None:
    """Refuse an inventory that is not there, and ask before other machines are changed."""
    if not (door.ROOT / inventory).exists():
        known = sorted(str(path.relative_to(door.ROOT)) for path in (door.ROOT / "inventory").iterdir())
        raise UsageError(
            sentence(f"inventory {inventory!r}", "is not there", known, f"./run deploy --inventory={LOCAL}")
        )
    if agreed:
        return
    if not sys.stdin.isatty():
        raise UsageError(sentence(f"inventory {inventory!r}", "changes other machines; say so with --yes"))
    if input(f"This changes the hosts of {inventory}. Type yes to go on: ") != "yes":
        raise UsageError(sentence(f"inventory {inventory!r}", "not confirmed; nothing changed"))


def playbook(
    name: str, extra: Mapping[str, Any], inventory: str = LOCAL, *, check: bool = False, limit: str = ""
) -> int:
    """Run a playbook on an inventory, its output as it comes; returns Ansible's exit code."""
    argv = commands.ansible_playbook(f"playbooks/{name}.yml", inventory, json.dumps(extra), check=check, limit=limit)
    return passthrough(argv, env=PLAIN, cwd=str(door.ROOT))


def play(name: str, extra: Mapping[str, Any], inventory: str, *, check: bool = False, limit: str = "") -> Ended:
    """Run a playbook that asks every host first and says at its end where they are."""
    with tempfile.TemporaryDirectory() as folder:
        refusals, told = Path(folder, "refusals"), Path(folder, "told.json")
        refusals.mkdir()
        more = {"mcp_stack_refusals": str(refusals), "mcp_stack_told": str(told)}
        code = playbook(name, {**extra, **more}, inventory, check=check, limit=limit)
        refused = hosts.refusals(refusals)
        rows = where.unpacked(json.loads(told.read_text(encoding="utf-8"))) if told.is_file() else []
    return Ended(code, refused, rows)


def whereabouts(inventory: str, limit: str = "") -> list[Row]:
    """Where every host is, asked now and without a word of Ansible's. StepdownError where that cannot be found out."""
    if not (door.ROOT / inventory).exists():
        confirm(inventory, agreed=True)
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "told.json")
        extra = json.dumps({"mcp_stack_told": str(told)})
        argv = commands.ansible_playbook("playbooks/where.yml", inventory, extra, limit=limit)
        done = run(argv, env=PLAIN, cwd=str(door.ROOT), check=False)
        if not told.is_file():
            wrong = f"its hosts cannot be asked: {reason_of(done)}"
            raise StepdownError(sentence(f"inventory {inventory!r}", wrong))
        return where.unpacked(json.loads(told.read_text(encoding="utf-8")))


def status(inventory: str, limit: str, json_: bool) -> int:
    """Print where every host is; 1 where something is not ready or not known."""
    rows = whereabouts(inventory, limit)
    print(json.dumps(where.packed(rows)) if json_ else where.table(rows))
    return 0 if all(row.servers == where.READY for row in rows) else 1


def move(
    verb: str, inventory: str, *, to: str = "", why: str = "", limit: str = "", check: bool = False, yes: bool = False
) -> None:
    """Move the hosts of an inventory by the playbook of that name, and print where they are.

    StepdownError where a host refused or failed and nothing was changed, ChangedError where something was.
    """
    confirm(inventory, agreed=check or yes)
    ended = play(verb, {"mcp_stack_to": to, "mcp_stack_why": why}, inventory, check=check, limit=limit)
    if ended.refused:
        raise StepdownError(f"{verb}: {hosts.told(ended.refused, [])}")
    tell(verb + (f" --to={to}" if to else ""), ended, inventory, limit)


def tell(words: str, ended: Ended, inventory: str, limit: str, *, ships: bool = False) -> None:
    """Print where every host is, or raise the failure with that at its end; a run that was cut off is asked about.

    A run that `ships` has changed something when it fails.
    """
    rows = ended.rows or (whereabouts(inventory, limit) if ended.code else [])
    if not ended.code:
        print(where.table(rows))
        return
    again = f"./run {words}{on(inventory, limit)}"
    untouched = not ships and where.exit_code(rows) == StepdownError.exit_code
    kind = StepdownError if untouched else ChangedError
    wrong = "failed, and something changed" if kind is ChangedError else "failed; nothing was changed"
    remedy = f"Run: {again}, when that is put right; hosts that are done have nothing to change"
    raise kind(f"{words.partition(' ')[0]}: {wrong}\n{where.told(rows)}\n{remedy}")


def emergency(
    inventory: str,
    *,
    why: str,
    hours: float,
    limit: str = "",
    check: bool = False,
    yes: bool = False,
    json_: bool = False,
) -> int:
    """`emergency` on every host at once, by SSH alone; prints the table, and returns the exit code of all."""
    confirm(inventory, agreed=check or yes)
    words = ("--why", why, "--hours", f"{hours:g}", *(("--check",) if check else ()))
    rows = remote.emergency(remote.find(door.ROOT, inventory, limit), words, door.say)
    print(json.dumps(where.packed(rows)) if json_ else where.table(rows))
    for row in rows:
        if row.failure:
            print(row.failure, file=sys.stderr)
    return where.exit_code(rows)
