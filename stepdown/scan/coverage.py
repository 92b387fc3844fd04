"""How much of a tree was judged: tracked text files that were parsed, over all tracked text files.

Tracked is what `git ls-files` names, in a folder without a repository every file. Text is what has no NUL in its first
8000 bytes or starts as UTF-16, and what a scanner tried to read as such and could not. Of these count what the scanners
that were asked are for: all of them, in a scan with the whole catalogue. A text file counts as parsed when a scanner
that ended well looked at it and none said that it could not read it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stepdown.scan.execute import Limits, execute
from stepdown.scan.findings import NotJudged
from stepdown.scan.judge import Judged
from stepdown.scan.snapshot import HEAD_BYTES, TOO_LARGE, Snapshot, is_text, read_plain

MEMORY_MIB = 1024
# The repository is hostile: its own config may name programs that git would run, and places it would fetch from.
GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false", "-c", "protocol.allow=never", "ls-files")
SUBMODULE = "160000"  # the mode of a commit of another repository
SPARSE = "S"  # the tag of a file that need not be in the work tree


@dataclass(frozen=True)
class Tracked:
    """Paths of a repository's index, and files and folders that git ignores there.

    `submodules` are no files of it; `sparse` are files that a sparse checkout need not hold.
    """

    files: frozenset[str]
    ignored: frozenset[str]
    submodules: frozenset[str] = frozenset()
    sparse: frozenset[str] = frozenset()

    def not_judged(self) -> list[NotJudged]:
        """What the index names and a copy of the files cannot hold."""
        absent = [NotJudged(name, "is not in the work tree, a sparse checkout", None) for name in sorted(self.sparse)]
        return absent + [
            NotJudged(name, "is a submodule: no more of it is judged than the files that are here", None)
            for name in sorted(self.submodules)
        ]


async def tracked_files(source: Path, scratch: Path, seconds: float) -> Tracked | str:
    """What git knows of the repository at `source`, or in words why it cannot tell."""
    named: list[list[str]] = []
    for words in (("-z", "-t", "--stage"), ("-z", "--others", "--ignored", "--exclude-standard", "--directory")):
        limits = Limits(seconds, MEMORY_MIB)
        ended = await execute((*GIT, *words), cwd=source, scratch=scratch, limits=limits)
        if ended.problem or ended.exit_code != 0:
            return f"git cannot list its files: {ended.problem or ended.last_words}"
        names = ended.stdout.decode("utf-8", "surrogateescape").split("\0")
        named.append([name.rstrip("/") for name in names if name])
    entries = [entry.partition("\t") for entry in named[0]]  # tag SP mode SP object SP stage TAB path
    submodules = frozenset(path for about, _, path in entries if about[2:].startswith(SUBMODULE))
    files = frozenset(path for _, _, path in entries) - submodules
    sparse = (path for about, _, path in entries if about.startswith(SPARSE) and path in files)
    absent = frozenset(path for path in sparse if not os.path.lexists(source / path))
    return Tracked(files, frozenset(named[1]), submodules, absent)


def text_files(source: Path, snapshot: Snapshot, tracked: Tracked | None) -> frozenset[str]:
    """The denominator. Blocks: reads the start of files that are meant and not in the snapshot.

    Files that were removed from the folder, links and devices are none: there is no text to judge. Of those that a
    sparse checkout leaves out nobody can tell; they count.
    """
    here = frozenset(snapshot.files)
    root = source.resolve()
    if tracked is None:
        meant = here | {place.path for place in snapshot.not_judged if place.reason == TOO_LARGE}
    else:
        meant = tracked.files
    left_out = meant - here
    heads = {name: read_plain(root, name, HEAD_BYTES) for name in left_out}
    more = {name for name, head in heads.items() if isinstance(head, bytes) and is_text(head)}
    return frozenset((here & meant) - snapshot.binary) | more | (tracked.sparse if tracked else frozenset())


def parsed_files(text: frozenset[str], judged: Sequence[Judged]) -> int:
    """The numerator: how many of `text` at least one scanner judged and none called unreadable.

    What only looks for secrets counts for files alone that no scanner which was started parses.
    """
    parsers = [one for one in judged if one.parses and one.outcome.outcome != "skipped"]
    wanted = frozenset[str]().union(*(one.expected for one in parsers))
    seen = frozenset[str]().union(*(one.seen if one.parses else one.seen - wanted for one in judged))
    return len((text & seen) - {path for one in judged for path, _ in one.report.unread})
