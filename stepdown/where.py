"""Where the hosts of a run are, for people: a row for each, one table, and the exit code that says it all.

Owns: the words. Reads: Ansible's results of the host agent's `status` and of what this run asked of it. Never: a host.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stepdown import hosts
from stepdown.errors import ChangedError, StepdownError

HEAD = ("host", "plan", "release", "proof", "servers", "this run")
UNKNOWN = "?"
READY = "ready"


@dataclass(frozen=True)
class Row:
    """One host after a run. `code` is the agent's exit code, None where this run asked nothing of the host."""

    host: str
    plan: str
    release: str
    proof: str
    servers: str
    run: str
    code: int | None = None
    changed: bool = False
    failure: str = ""  # in full, where this run failed here

    @property
    def cells(self) -> tuple[str, ...]:
        """What the table shows of it."""
        return (self.host, self.plan, self.release, self.proof, self.servers, self.run)


def row(host: str, status: Mapping[str, Any], run: Mapping[str, Any]) -> Row:
    """One host's row. `status` is Ansible's result of `status --json`, whose exit code does not matter.

    `run` says what was asked of the host: {"answer": what the agent printed} where it was done, {"failed": a sentence,
    "rc": its exit code} where it was not, {"halted": true} where another host had failed before, {} where nothing was.
    """
    note, code, changed = _note(run)
    document = _document(status)
    if document is None:
        why = hosts.refusal(host, status, "status").partition("\n")[0].removeprefix(f"{host}: ").partition(". Run:")[0]
        note = f"{note}; " * bool(note) + f"not known: {why}"
        return Row(host, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, note, code, changed, run.get("failed", ""))
    servers = {**document["servers"], "gateway": document["gateway"]}
    ill = [f"{name} {it['state']}" for name, it in servers.items() if it["state"] not in (READY, "lost")]
    open_ = document.get("break_glass")
    notes = [note, f"emergency until {open_['until']}" if open_ else ""]
    return Row(
        host,
        document["plan"] or "none",
        document["release"] or "none",
        document.get("proof") or "-",
        ", ".join(ill) or (READY if document["plan"] else "-"),
        "; ".join(word for word in notes if word),
        code,
        changed,
        run.get("failed", ""),
    )


def _note(run: Mapping[str, Any]) -> tuple[str, int | None, bool]:
    """What this run did to a host, its exit code, and whether it changed something."""
    if run.get("failed"):
        code = int(run.get("rc") or StepdownError.exit_code)
        changed = code == ChangedError.exit_code
        return "failed, may have changed" if changed else "failed", code, changed
    if run.get("halted"):
        return "not tried", None, False
    answer = run.get("answer")
    if not answer:
        return "", None, False
    kept = "; emergency's plan kept" if answer.get("kept_emergency") else ""
    if run.get("check"):
        return f"would {'change' if answer['changed'] else 'stay as it is'}{kept}", 0, False
    if not answer["changed"]:
        return f"nothing to change{kept}", 0, False
    seconds = f" in {answer['seconds']:g} s" if answer.get("seconds") else ""
    return f"done{seconds}{kept}", 0, True


def _document(status: Mapping[str, Any]) -> dict[str, Any] | None:
    """The agent's status document; None where it printed none."""
    lines = [line for line in str(status.get("stdout") or "").splitlines() if line.startswith("{")]
    try:
        return dict(json.loads(lines[-1])) if lines else None
    except ValueError:
        return None


def table(rows: Iterable[Row]) -> str:
    """The rows in columns, under their head."""
    lines = [HEAD, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    return columns(lines, widths)


def columns(lines: Sequence[Sequence[str]], widths: Sequence[int]) -> str:
    """Cells side by side, two spaces between them, none at the end of a line."""
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def told(rows: Sequence[Row]) -> str:
    """Every failure in full, then the table."""
    failures = [row.failure for row in rows if row.failure]
    return "\n".join((*failures, "", table(rows))) if failures else table(rows)


def exit_code(rows: Sequence[Row]) -> int:
    """0 where nothing failed; 3 where something failed and something changed; else 1."""
    if not any(row.code for row in rows):
        return 0
    return ChangedError.exit_code if any(row.changed for row in rows) else StepdownError.exit_code


def packed(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows as plain data, as Ansible carries them."""
    return [asdict(row) for row in rows]


def unpacked(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The rows that `packed` made."""
    return [Row(**row) for row in rows]
