"""What a program is started on: once for a tree, several times for many files, pins that collide, or images."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stepdown.scan.advisories import NONE, Advisories
from stepdown.scan.canary import Canaries, write_image
from stepdown.scan.history import History
from stepdown.scan.pins import Pin, Pins, Place, read_pins, runs
from stepdown.scan.reports import Report
from stepdown.scan.scanners import Scanner
from stepdown.scan.snapshot import Snapshot

FILES_AT_ONCE = 500  # paths of one argv


@dataclass(frozen=True)
class Subject:
    """What the scanners of one scan share. `history` is None without a repository, a text when it cannot be read."""

    scratch: Path
    snapshot: Snapshot
    canaries: Canaries
    history: History | str | None
    ends: float  # on the event loop's clock
    limit_seconds: float
    images: Mapping[str, str] = field(default_factory=dict)  # name to id on the engine
    advisories: Advisories = NONE
    offline: bool = False
    alone: bool = False  # only the canaries are judged
    trust: bool = False  # code of the tree may run here
    repository_above: Path | None = None  # the next one around the tree

    def seconds_left(self) -> float:
        """Until the limit of the whole scan."""
        return self.ends - asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Start:
    """One start of the program: where, what fills its argv, and what the report is about."""

    cwd: Path
    single: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pins: Pins | None = None
    image: str | None = None  # its name; the canary's image has none
    has_canary: bool = True
    inside: str = ""  # the tree's folder below `cwd`, where that is not the tree itself

    def in_tree(self, report: Report) -> Report:
        """The report with paths of the tree."""
        return report.of_paths(lambda path: path.removeprefix(self.inside))

    def named(self, path: str) -> str:
        """The path of a result in an image: below the image's name; that alone for what is of the image as a whole."""
        whole = path.partition(" (")[0] in {part for parts in self.lists.values() for part in parts}
        return f"{self.image}" if whole else f"{self.image}/{path}"


def starts_of(
    scanner: Scanner, subject: Subject, expected: frozenset[str], home: Path
) -> tuple[list[Start], dict[str, str]]:
    """How often the program starts and on what, and the files that it cannot be given, with the reason. Blocks."""
    root = subject.snapshot.root
    if scanner.runs_the_tree and scanner.subject in ("tree", "files"):
        # Against accidents, no wall: what runs here can reach every file of this user. So it also starts last.
        root = Path(shutil.copytree(root, home / "tree"))
    if scanner.subject == "history" and isinstance(subject.history, History):
        seen = subject.history.revisions
        revisions = seen if seen == "--all" else f"{seen} refs/heads/{subject.canaries.folder}"
        return [Start(subject.history.mirror, {"source": ".", "revisions": revisions})], {}
    if scanner.subject == "image":
        canary = home / "canary.tar"
        write_image(canary, subject.canaries, scanner)
        first = Start(home, lists={"image": [f"--input={canary}"]})
        named = [Start(home, lists={"image": [i]}, image=n, has_canary=False) for n, i in subject.images.items()]
        return [first, *named], {}
    if scanner.subject == "files":
        canary_path = subject.canaries.path(scanner, scanner.canary) if scanner.canary else None
        # No path may look like an option.
        paths = [f"./{path}" for path in sorted(expected)]
        parts = [paths[at : at + FILES_AT_ONCE] for at in range(0, len(paths), FILES_AT_ONCE)] or [[]]
        own = [f"./{canary_path}"] if canary_path else []
        return [Start(root, {"source": "."}, {"files": [*part, *own]}) for part in parts], {}
    if scanner.subject == "pins":
        return _pin_starts(scanner, subject, expected, home)
    if scanner.report == "trivy":
        # It passes over folders dev, proc and sys at the top of what it is started on, as of a machine's root.
        return [Start(root.parent, {"source": "."}, inside=f"{root.name}/")], {}
    return [Start(root, {"source": "."})], {}


def _pin_starts(
    scanner: Scanner, subject: Subject, expected: frozenset[str], home: Path
) -> tuple[list[Start], dict[str, str]]:
    where: dict[Pin, list[Place]] = {}
    unread: dict[str, str] = {}
    root = subject.snapshot.root
    always = None
    if scanner.canary:
        name, _, version = subject.canaries.text(scanner.canary).strip().partition("==")
        always = (name, version)
        where[always] = [(subject.canaries.path(scanner, scanner.canary), 1)]
    for path in sorted(expected):
        pins = read_pins((root / path).read_text(encoding="utf-8", errors="replace"))
        if isinstance(pins, str):
            unread[path] = pins
            continue
        for pin, line in pins:
            if always and pin[0] == always[0] and pin != always:
                unread[path] = f"line {line} pins {pin[0]}, which the canary needs"
            where.setdefault(pin, []).append((path, line))
    starts = []
    for number, wanted in enumerate(runs(where, always)):
        file = home / f"pins-{number}.txt"
        file.write_text("".join(f"{name}=={version}\n" for name, version in wanted), encoding="utf-8")
        pins_of_run = Pins({pin: tuple(where[pin]) for pin in wanted}, frozenset(wanted))
        starts.append(Start(home, lists={"pins": [str(file)]}, pins=pins_of_run))
    return starts, unread
