"""A repository's history as scanners see it: a mirror with a configuration of its own.

A scanner never gets the repository itself. `git log -p` runs what the repository's own config calls a text converter,
so a hostile `.git/config` would run commands here; `git clone` only reads objects, which git promises is safe on an
untrusted repository. The mirror borrows the objects and copies none.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from stepdown.scan.execute import GIT_SETTINGS, Limits, execute

MEMORY_MIB = 1024
# A file and not GIT_CONFIG_COUNT: git drops that variable before it starts the other end of a local clone. The tree
# may belong to another user than the one who scans it.
SETTINGS = "[safe]\n\tdirectory = *\n[core]\n\tfsmonitor = false\n\thooksPath = /dev/null\n"


@dataclass(frozen=True)
class History:
    """The mirror, how many commits it holds, and whether older ones are missing (a shallow clone)."""

    mirror: Path
    commits: int
    shallow: bool


def write_settings(scratch: Path) -> None:
    """What git believes in every program that the scan core starts with this scratch folder."""
    (scratch / GIT_SETTINGS).write_text(SETTINGS, encoding="utf-8")


def mirror_argv(source: Path, target: Path) -> tuple[str, ...]:
    """All refs: branches, tags, stashes, what was fetched."""
    return ("git", "clone", "--quiet", "--mirror", "--shared", "--", str(source), str(target))


async def mirror_history(source: Path, scratch: Path, seconds: float) -> History | str:
    """The history of the repository at `source`, or in words why it cannot be read."""
    target = scratch / "history.git"
    limits = Limits(seconds, MEMORY_MIB)
    cloned = await execute(mirror_argv(source, target), cwd=scratch, scratch=scratch, limits=limits)
    if cloned.problem or cloned.exit_code != 0:
        return f"git cannot read the history: {cloned.problem or cloned.last_words}"
    count = ("git", "rev-list", "--all", "--count")
    counted = await execute(count, cwd=target, scratch=scratch, limits=limits)
    if counted.problem or counted.exit_code != 0:
        return f"git cannot count the commits: {counted.problem or counted.last_words}"
    # git log stops at a missing object and gitleaks then says "no leaks": a history with holes is not judged
    names = ("git", "rev-list", "--all", "--objects", "--missing=print")
    listed = await execute(names, cwd=target, scratch=scratch, limits=limits)
    if listed.problem or listed.exit_code != 0:
        return f"git cannot list the history's objects: {listed.problem or listed.last_words}"
    missing = sum(line.startswith(b"?") for line in listed.stdout.splitlines())
    if missing:
        return f"the history is not whole: {missing} object(s) are missing"
    return History(target, int(counted.stdout), (target / "shallow").exists())


async def blobs(
    history: History, places: Collection[tuple[str, str]], scratch: Path, seconds: float
) -> dict[tuple[str, str], bytes] | str:
    """Content of (commit, path) pairs in one call of git; a missing one has no entry. In words why not, if it fails."""
    wanted = [place for place in sorted(set(places)) if "\n" not in place[1]]
    if not wanted:
        return {}
    names = "".join(f"{commit}:{path}\n" for commit, path in wanted)
    answer = await execute(
        ("git", "cat-file", "--batch"),
        cwd=history.mirror,
        scratch=scratch,
        limits=Limits(seconds, MEMORY_MIB),
        stdin=names.encode(),
    )
    if answer.problem or answer.exit_code != 0:
        return f"git cannot show the lines found: {answer.problem or answer.last_words}"
    return _batch(wanted, answer.stdout)


def _batch(wanted: list[tuple[str, str]], output: bytes) -> dict[tuple[str, str], bytes]:
    """git-cat-file(1), BATCH OUTPUT: `<oid> SP <type> SP <size> LF <content> LF`, or `<name> SP missing LF`."""
    found: dict[tuple[str, str], bytes] = {}
    at = 0
    for place in wanted:
        end = output.index(b"\n", at)
        header = output[at:end]
        at = end + 1
        if header.endswith(b" missing"):
            continue
        size = int(header.rsplit(b" ", 1)[1])
        found[place] = output[at : at + size]
        at += size + 1
    return found
