"""Locked requirements: which packages in which versions, and where they stand.

pip-audit reads requirements for the Python that it runs on and refuses two versions of one package; a lock may hold
several, by marker. So it gets files of plain pins that are made here, each with the canary, as many as are needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

PIN = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*==\s*(?P<version>[A-Za-z0-9.!+_-]+)"
    r"\s*(?:;[^#]*?)?(?:\s+--hash=\S+)*\s*"
)
Place = tuple[str, int]  # path, line
Pin = tuple[str, str]  # normalised name, version


@dataclass(frozen=True)
class Pins:
    """Pins to where they stand, and those that one run has to answer for."""

    where: Mapping[Pin, tuple[Place, ...]] = field(default_factory=dict)
    wanted: frozenset[Pin] = frozenset()

    def places(self, name: str, version: str) -> tuple[Place, ...]:
        """Where the pin stands; none for one that was not asked about."""
        return self.where.get((name, version), ())


def normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(text: str) -> list[tuple[Pin, int]] | str:
    """Every pin of a requirements file with its line; in words, with the line, when it is not locked."""
    pins: list[tuple[Pin, int]] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        start = at
        logical = lines[at]
        while logical.endswith("\\") and at + 1 < len(lines):
            at += 1
            logical = f"{logical[:-1]} {lines[at]}"
        at += 1
        logical = re.sub(r"(^|\s)#.*$", "", logical).strip()
        if not logical:
            continue
        match = PIN.fullmatch(logical)
        if match is None:
            return f"is not locked: line {start + 1} is no exact pin"
        pins.append(((normal(match["name"]), match["version"]), start + 1))
    return pins


def runs(pins: Iterable[Pin], always: Pin | None) -> list[list[Pin]]:
    """The pins in as few lists as hold no package twice, `always` in each. Other versions of it are in none."""
    lists: list[dict[str, str]] = []
    for name, version in sorted(pins):
        if always and name == always[0]:
            continue
        target = next((one for one in lists if name not in one), None)
        if target is None:
            target = dict([always]) if always else {}
            lists.append(target)
        target[name] = version
    return [sorted(one.items()) for one in lists] or ([[always]] if always else [])
