"""Stands for the host agent where only the order of hosts matters: answers as <home>/stub.json says, and keeps a log.

stub.json: {"plan", "release", "says": {"VERB" or "VERB --check": [exit code, sentence]}}. The log is ../log.jsonl, one
line when a call begins and one when it ends.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

LADDER = "ABCD"


def main(words: list[str]) -> int:
    """One call."""
    home, verb = Path(words[words.index("--home") + 1]), words[words.index("--home") + 2]
    stub = json.loads((home / "stub.json").read_text())
    check = "--check" in words
    called = verb + (" --check" if check else "")
    log(home, "begins", called, words)
    if verb not in ("status", "preflight"):
        time.sleep(stub.get("seconds", 0))
    code, sentence = stub.get("says", {}).get(called, [0, ""])
    if code:
        print(sentence, file=sys.stderr)
    else:
        print(json.dumps(answer(home, stub, verb, words, check)))
    log(home, "ends", called, words)
    return code


def answer(home: Path, stub: dict, verb: str, words: list[str], check: bool) -> dict:
    """What the agent prints; a move is kept in stub.json."""
    if verb == "status":
        return {
            "plan": stub["plan"], "release": stub["release"], "proof": "proved", "break_glass": stub.get("break_glass"),
            "servers": {"zen": {"container": "zen", "state": stub.get("zen", "ready")}},
            "gateway": {"url": "", "state": "ready"},
        }  # fmt: skip
    if verb == "preflight":
        return {"problems": []}
    if verb == "stage":
        return {"changed": False, "release": "r2"}
    if verb == "images":
        return {"changed": False, "missing": []}
    if verb == "emergency":
        (home / "stub.json").write_text(json.dumps({**stub, "plan": "D"}))
        told = {"changed": True, "plan": "D", "release": stub["release"], "seconds": 2.5}
        return {**told, "gateway": stub.get("gateway", ""), "until": "2026-11-25T18:00:00Z"}
    to = words[words.index("--to") + 1] if "--to" in words else LADDER[LADDER.index(stub["plan"]) + 1]
    changed = to != stub["plan"]
    if not check:
        (home / "stub.json").write_text(json.dumps({**stub, "plan": to}))
    return {"changed": changed, "plan": to, "release": stub["release"], "seconds": 1.5}


def log(home: Path, event: str, called: str, words: list[str]) -> None:
    """One line; appended in one write, so that lines of several agents do not mix."""
    with (home.parent / "log.jsonl").open("a") as stream:
        stream.write(json.dumps({"host": home.name, "event": event, "called": called, "words": words}) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
