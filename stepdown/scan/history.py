"""A repository's history as scanners see it: a mirror with a configuration of its own.

A scanner never gets the repository itself. `git log -p` runs what the repository's own config calls a text converter,
so a hostile `.git/config` would run commands here; `git clone` only reads objects, which git promises is safe on an
untrusted repository. The mirror borrows the objects and copies none.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from stepdown.scan.execute import GIT_SETTINGS, Limits, execute

MEMORY_MIB = 1024
OBJECT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
# A file and not GIT_CONFIG_COUNT: git drops that variable before it starts the other end of a local clone. The tree
# may belong to another user than the one who scans it.
SETTINGS = "[safe]\n\tdirectory = *\n[core]\n\tfsmonitor = false\n\thooksPath = /dev/null\n"


@dataclass(frozen=True)
class History:
    """The mirror, how many commits are to be judged, and whether older ones are missing (a shallow clone).

    `revisions` are arguments of git log: all refs, or the range that was asked for.
    """

    mirror: Path
    commits: int
    shallow: bool
    revisions: str = "--all"


def write_settings(scratch: Path) -> None:
    """What git believes in every program that the scan core starts with this scratch folder."""
    (scratch / GIT_SETTINGS).write_text(SETTINGS, encoding="utf-8")


def mirror_argv(source: Path, target: Path) -> tuple[str, ...]:
    """All refs that the source shows: branches, tags, the newest stash, what was fetched."""
    return ("git", "clone", "--quiet", "--mirror", "--shared", "--", str(source), str(target))


async def mirror_history(source: Path, scratch: Path, seconds: float, commits: str | None = None) -> History | str:
    """The history of the repository at `source`, of it only `commits` ("BASE..HEAD") where given.

    In words why not when it cannot be read, or has no such commits.
    """
    target = scratch / "history.git"
    limits = Limits(seconds, MEMORY_MIB)
    cloned = await execute(mirror_argv(source, target), cwd=scratch, scratch=scratch, limits=limits)
    if cloned.problem or cloned.exit_code != 0:
        return f"git cannot read the history: {cloned.problem or cloned.last_words}"
    unnamed = await _name_the_rest(source, target, scratch, limits)
    if unnamed:
        return unnamed
    revisions: tuple[str, ...] = ("--all",)
    if commits:
        named = await _range(commits, target, scratch, limits)
        if isinstance(named, str):
            return named
        revisions = named
    count = ("git", "rev-list", *revisions, "--count")
    counted = await execute(count, cwd=target, scratch=scratch, limits=limits)
    if counted.problem or counted.exit_code != 0:
        return f"git cannot count the commits: {counted.problem or counted.last_words}"
    # git log stops at a missing object and gitleaks then says "no leaks": a history with holes is not judged
    names = ("git", "rev-list", *revisions, "--objects", "--missing=print")
    listed = await execute(names, cwd=target, scratch=scratch, limits=limits)
    if listed.problem or listed.exit_code != 0:
        return f"git cannot list the history's objects: {listed.problem or listed.last_words}"
    missing = sum(line.startswith(b"?") for line in listed.stdout.splitlines())
    if missing:
        return f"the history is not whole: {missing} object(s) are missing"
    return History(target, int(counted.stdout), (target / "shallow").exists(), " ".join(revisions))


async def _name_the_rest(source: Path, mirror: Path, scratch: Path, limits: Limits) -> str | None:
    """Refs of the mirror for what a clone leaves out: what the source's config hides, and HEADs without a branch.

    In words why not, if it fails. Older stashes and what only a reflog names are no part of the history.
    """
    named: list[set[str]] = []
    for folder, words in (
        (source, ("for-each-ref", "--format=%(objectname)")),
        (source, ("worktree", "list", "--porcelain")),
        (mirror, ("for-each-ref", "--format=%(objectname)")),
    ):
        listed = await execute(("git", *words), cwd=folder, scratch=scratch, limits=limits)
        if listed.problem or listed.exit_code != 0:
            return f"git cannot list what the history consists of: {listed.problem or listed.last_words}"
        lines = (line.removeprefix("HEAD ") for line in listed.stdout.decode("utf-8", "replace").splitlines())
        named.append({line for line in lines if OBJECT.fullmatch(line) and line.strip("0")})
    missing = sorted((named[0] | named[1]) - named[2])
    if not missing:
        return None
    orders = "".join(f"create refs/stepdown/{name} {name}\n" for name in missing)
    update = ("git", "update-ref", "--stdin")
    updated = await execute(update, cwd=mirror, scratch=scratch, limits=limits, stdin=orders.encode())
    if updated.problem or updated.exit_code != 0:
        return f"the history is not whole: git cannot add what is not shown: {updated.problem or updated.last_words}"
    return None


async def _range(commits: str, mirror: Path, scratch: Path, limits: Limits) -> tuple[str, ...] | str:
    """ "BASE..HEAD" as two hashes for git, so that no name is taken for an option; in words why there is no such."""
    base, dots, head = commits.partition("..")
    if not (base and dots and head):
        return f"{commits!r} should be a range BASE..HEAD"
    found = []
    for name in (base, head):
        ask = ("git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        ended = await execute(ask, cwd=mirror, scratch=scratch, limits=limits)
        if ended.problem or ended.exit_code != 0:
            return f"the history has no commit {name!r}: {ended.problem or 'fetch it first'}"
        found.append(ended.stdout.decode().strip())
    return f"^{found[0]}", found[1]


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


async def empty_history(scratch: Path, seconds: float) -> History | str:
    """A history without a commit, or in words why there is none."""
    target = scratch / "history.git"
    argv = ("git", "init", "--quiet", "--bare", str(target))
    made = await execute(argv, cwd=scratch, scratch=scratch, limits=Limits(seconds, MEMORY_MIB))
    if made.problem or made.exit_code != 0:
        return f"git cannot make a history: {made.problem or made.last_words}"
    return History(target, 0, False)
