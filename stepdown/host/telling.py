"""What the agent says of a host: status, journal, why; as text for people, or as JSON."""

from __future__ import annotations

import argparse
import json
from typing import Any

from stepdown.host import break_glass, journal, status, verdicts
from stepdown.host.home import Home
from stepdown.host.state import require_state

SHOWN = ("time", "event", "by", "why", "kind", "ok", "from", "to", "release")  # told in words; all else as it is


def say(options: argparse.Namespace, data: Any, text: str) -> None:
    """Print JSON where it was asked for, else the text."""
    print(json.dumps(data) if options.json else text)


def status_command(home: Home, options: argparse.Namespace) -> int:
    """Exit code 1 when something that the plan carries is not ready."""
    document = status.status(home)
    say(options, document, status.table(document, status.egress(home)))
    return 0 if status.healthy(document) else 1


def journal_command(home: Home, options: argparse.Namespace) -> int:
    """The last entries, and the numbers of lines that are torn or altered."""
    reading = journal.read(home.journal)
    entries = reading.entries[-options.last :]
    lines = [entry_line(entry) for entry in entries]
    lines += [f"line {number} is torn or altered" for number in reading.damaged]
    say(options, {"entries": entries, "damaged": reading.damaged}, "\n".join(lines) or "the journal is empty")
    return 0


def why_command(home: Home, options: argparse.Namespace) -> int:
    """How the host came to its plan, what that cost, and what is known of its release."""
    state = require_state(home)
    last = state["last_switch"] or {}
    glass = break_glass.read(home)
    lines = [f"plan {state['plan']} since {state['since']} by {state['by']}: {state['why']}"]
    if last:
        lines.append(f"by {state['kind']} from {last['from'] or 'nothing'}, in {last['seconds']:g} s")
    lines += [f"{each['server']} lost: {each['detail']}" for each in _dropped(home)]
    lines.append(f"release {state['release']}: {status.PROOFS[verdicts.proof(home, state['release'])]}")
    if glass:
        lines.append(f"break-glass until {glass['until']}, by {glass['by']}: {glass['why']}")
    document = {key: state[key] for key in ("plan", "release", "since", "by", "why", "kind")}
    say(options, {**document, "dropped": _dropped(home), "break_glass": glass}, "\n".join(lines))
    return 0


def entry_line(entry: dict[str, Any]) -> str:
    """One entry of the journal as a line for people."""
    words = [entry["time"], f"{entry['event']:<11}"]
    if "kind" in entry:
        words.append(f"{entry['kind']:<9}")
    if "ok" in entry:
        words.append("ok    " if entry["ok"] else "FAILED")
    if entry.get("to") and "kind" in entry:
        words.append(f"{entry.get('from') or '-'} to {entry['to']}")
    if entry.get("release"):
        words.append(f"release {entry['release']}")
    if "by" in entry:
        words.append(f"by {entry['by']}")
    if "why" in entry:
        words.append(f"({entry['why']})")
    rest = {key: value for key, value in entry.items() if key not in SHOWN and value not in (None, [], {})}
    return " ".join([*words, *(f"{key}={_plain(value)}" for key, value in rest.items())])


def _plain(value: Any) -> str:
    return (
        ",".join(map(str, value)) if isinstance(value, list) and all(isinstance(v, str) for v in value) else f"{value}"
    )


def _dropped(home: Home) -> list[dict[str, str]]:
    """What was lost when the host last came to its plan."""
    outcomes = [e for e in journal.read(home.journal).entries if e["event"] == "outcome" and e["ok"] and e.get("to")]
    return list(outcomes[-1].get("dropped", [])) if outcomes else []
