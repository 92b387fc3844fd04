"""What an inventory says about the hosts of group stack, as Ansible itself evaluates it; no host is connected to.

Owns: how Ansible is asked. Reads: an inventory, through `ansible`. Never: prints a value, or repeats Ansible's own
account of a failure, which quotes lines of the inventory.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepdown import commands
from stepdown.errors import StepdownError, UsageError, sentence
from stepdown.run import Completed, run

GROUP = "stack"
UNLOCK = "export ANSIBLE_VAULT_PASSWORD_FILE=FILE"
ANSWER = re.compile(r"^(?P<host>\S+) \| (?P<outcome>SUCCESS|FAILED!) => (?=\{)", re.MULTILINE)
# what Ansible wraps around the reason; the reason alone is ours or a lookup's own sentence
WRAPPING = re.compile(r"^(?:Task failed: |Finalization of task args for '[^']*' failed: |Error while [^:]*: )+")


@dataclass(frozen=True)
class Answer:
    """What one host's variables evaluate to; `values` is empty where `error` says why they do not."""

    host: str
    values: Mapping[str, Any]
    error: str = ""


def ask(root: Path, inventory: str, expressions: Mapping[str, str], limit: str = "") -> tuple[Answer, ...]:
    """Evaluate Jinja expressions, name to expression, for each host of group stack, by name of the host.

    `limit` leaves some of them, as Ansible's --limit does.

    Refuses an inventory that is not there or has no such host (UsageError); StepdownError where Ansible cannot read it.
    Without the environment's callbacks, and without colour, so that the answer can be read.
    """
    if not (root / inventory).exists():
        known = sorted(str(path.relative_to(root)) for path in (root / "inventory").iterdir())
        raise UsageError(sentence(f"inventory {inventory!r}", "is not there", known))
    message = "{{ {" + ", ".join(f"{name!r}: {expression}" for name, expression in expressions.items()) + "} }}"
    argv = commands.ansible_debug(GROUP, inventory, message, limit)
    plain = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOAD_CALLBACK_PLUGINS": "0", "PYTHONDONTWRITEBYTECODE": ""}
    plain["ANSIBLE_LOG_PATH"] = os.devnull  # values are for this process alone
    done = run(argv, env=plain, cwd=str(root), timeout_seconds=120, check=False)
    answers = parse(done.stdout)
    if answers:
        return answers
    if limit and ("no hosts to target" in done.stderr or not done.returncode):
        raise UsageError(sentence(f"--limit={limit}", f"leaves no host of group {GROUP} in {inventory}"))
    if done.returncode:
        reason = reason_of(done)
        remedy = UNLOCK if "decrypt" in reason.lower() else ""
        raise StepdownError(sentence(f"inventory {inventory!r}", f"cannot be read: {reason}", run=remedy))
    raise UsageError(sentence(f"inventory {inventory!r}", f"has no host in group {GROUP}"))


def reason_of(done: Completed) -> str:
    """Why a program of Ansible failed, by its first error."""
    words = re.search(r"^\[?ERROR\]?[:!] *(.*)", done.stderr, re.MULTILINE)
    return words[1].rstrip(".") if words else f"ansible exits {done.returncode}"


def parse(output: str) -> tuple[Answer, ...]:
    """The answers in the output of `ansible … debug`, sorted by host."""
    found = []
    for match in ANSWER.finditer(output):
        document, _ = json.JSONDecoder().raw_decode(output, match.end())
        message = document["msg"]
        if match["outcome"] == "SUCCESS":
            found.append(Answer(match["host"], message))
        else:
            found.append(Answer(match["host"], {}, WRAPPING.sub("", message)))
    return tuple(sorted(found, key=lambda answer: answer.host))
