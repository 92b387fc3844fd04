"""What hosts answered to the preflight of a deploy, for people: which host, what is wrong, what to type.

Owns: the words. Reads: what the role mcp_stack handed over of Ansible's results. Never: a host.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepdown.errors import sentence
from stepdown.host.preflight import listed

REMARK = re.compile(r"(Shared c|C)onnection to \S+ closed\.|Warning: Permanently added")  # OpenSSH's
ANSIBLES = re.compile(r".*(?:via|over) ssh: ")  # what it puts before SSH's own words
NO_AGENT = re.compile(r"can't open file '(?P<home>\S*)/stepdown\.pyz'")
NOT_FOUND = (126, 127)  # of a shell that cannot run a program


def refusals(folder: Path) -> dict[str, str]:
    """Host to what it, or the way to it, said against the deploy."""
    found = sorted(folder.glob("*.json"))
    return {path.stem: refusal(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in found}


def refusal(host: str, answer: Mapping[str, Any], asked: str = "the preflight") -> str:
    """One host's answer, Ansible's result of what the agent was `asked`, as a sentence or a list of problems."""
    settings = [f"{host}: {answer['settings']}"] if answer.get("settings") else []
    if settings and answer.get("rc") == 0:
        return settings[0]
    return "\n".join((*settings, _answer(host, answer, asked)))


def _answer(host: str, answer: Mapping[str, Any], asked: str) -> str:
    message = _lines(answer.get("msg", "").removeprefix("Task failed: "))
    if answer.get("unreachable"):
        why = ANSIBLES.sub("", message[-1]).rstrip(".") if message else "no answer"
        return sentence(host, f"cannot be reached: {why}", run=_ssh(answer["reach"]))
    if any("password" in line for line in message):
        remedy = "ANSIBLE_BECOME_ASK_PASS=true ./run deploy …, or set ansible_become_password from a vault"
        return sentence(host, f"sudo: {message[-1]}", run=remedy)
    said = _lines(answer.get("stdout", "")) + _lines(answer.get("stderr", ""))
    if answer.get("rc") in NOT_FOUND:
        wrong = f"no Python to run there, 3.11 or newer is needed ({said[-1] if said else 'not found'})"
        return sentence(host, wrong, run="apt-get install python3, there; or set ansible_python_interpreter")
    if said and (match := NO_AGENT.search(said[-1])):
        return sentence(host, f"nothing is deployed below {match['home']}", run="./run deploy --inventory=…")
    return f"{host}: " + ("\n".join(said or message) or f"{asked} ended with {answer.get('rc')} and said nothing")


def told(answers: Mapping[str, str], here: Sequence[str]) -> str:
    """All of it: this machine's own problems first, then every host's."""
    mine = [f"this machine: {listed(here)}"] if here else []
    return "\n".join(("nothing was changed, since not all is ready:", *mine, *answers.values()))


def _ssh(reach: Mapping[str, Any]) -> str:
    user = f"{reach['user']}@" if reach.get("user") else ""
    port = f"-p {reach['port']} " if reach.get("port") else ""
    return f"ssh {port}{user}{reach['host']} true, with the inventory's key"


def _lines(text: str) -> list[str]:
    """Lines that say something: a terminal's line ends and OpenSSH's remarks are none."""
    lines = (line.rstrip() for line in text.replace("\r", "").split("\n"))
    return [line for line in lines if line and not REMARK.match(line)]
