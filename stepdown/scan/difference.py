"""What a change adds: the tree as it was before, under the names that its files have now, and the change's commits.

All questions go to a mirror with settings of its own (see stepdown.scan.history): the work tree is added to an index
beside that mirror, so neither the repository's settings nor its index are believed, or touched.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stepdown.errors import StepdownError, UsageError, sentence
from stepdown.scan.execute import Ended, Limits, execute
from stepdown.scan.findings import Finding, NotJudged, ScanResult, worst_first
from stepdown.scan.history import MEMORY_MIB, mirror_argv, write_settings
from stepdown.scan.snapshot import DEEPEST, FILE_BYTES, REPOSITORY

SECONDS = 120.0
FILE_MIB = 4096  # a work tree may hold large files that nobody judges
SETTINGS = (
    "-c", "diff.ignoreSubmodules=all", "-c", "submodule.recurse=false", "-c", "core.autocrlf=false",
    "-c", "core.quotePath=false", "-c", "core.bigFileThreshold=8m", "-c", "advice.addEmbeddedRepo=false",
)  # fmt: skip
SUBMODULE = "160000"  # modes are those of git-ls-tree(1)
LINK_MODES = ("120000", SUBMODULE)
MOVED = "is a repository of its own that the change brought or moved: what that changes was not compared"
KEPT = "is a repository of its own that stands where it stood: uncommitted work in it was not judged"

Place = tuple[str | None, str | None]  # a file's path before and now; None: it was not there


@dataclass(frozen=True)
class Difference:
    """A change. `before` is a folder that holds the tree as it was; `commits` the range of those that made it."""

    base: str
    files: int  # that it touched, in commits or in the work tree
    before: Path
    commits: str  # none are in it when the change is in the work tree alone
    # Repositories inside the tree: brought or moved to another commit, and those that stand where they stood.
    moved: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()

    def keeps(self, finding: Finding) -> bool:
        """Whether it stands in a repository that the change left as it was."""
        return finding.commit is None and any(finding.path.startswith(f"{path}/") for path in self.kept)

    def not_judged(self) -> list[NotJudged]:
        """What of the change nobody looked at."""
        reasons = dict.fromkeys(self.moved, MOVED) | dict.fromkeys(self.kept, KEPT)
        return [NotJudged(path, reason, None) for path, reason in sorted(reasons.items())]


async def difference(source: Path, base: str, scratch: Path) -> Difference:
    """How `source` (the top folder of a repository, with what is not committed) differs from where it left `base`.

    Raises UsageError when it is no such folder or has no such revision, or none of the commits that both come from;
    StepdownError when git cannot tell.
    """
    folder = scratch / "difference"
    folder.mkdir()
    git, fork, head = await _forked(source, base, folder)
    recorded, here = await git.add_work_tree()
    places = await git.changes(fork)
    before = folder / "before"
    was = await git.restore(places, fork, before)
    # one that is not checked out is as it was recorded
    moved = frozenset(path for path, commit in (recorded | here).items() if was.get(path) != commit)
    kept = frozenset(here) - moved
    return Difference(fork, len(places), before, f"{fork}..{head}", moved, kept)


async def check_base(source: Path, base: str, scratch: Path) -> None:
    """Raise what `difference` would for a folder or a revision that is none; it is quick, and leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="base-", dir=scratch) as name:
        await _forked(source, base, Path(name))


async def _forked(source: Path, base: str, folder: Path) -> tuple[_Git, str, str]:
    """git on a mirror in `folder`, and the commits where `source` left `base` and where it is now."""
    if not (source / REPOSITORY).exists():
        raise UsageError(sentence("--diff", f"{source} is not the top folder of a git repository"))
    write_settings(folder)
    git = _Git(folder, source.resolve())
    await git.mirror()
    return git, *await git.fork_of(base)


def added(head: ScanResult, before: ScanResult | None, change: Difference) -> tuple[Finding, ...]:
    """Findings of `head` that were not there before, worst first.

    Whatever the file: a value in one file may make another one wrong, and so may a file that is gone. Only what stands
    in a repository that was kept is as old as its commit.
    """
    known = {finding.fingerprint for finding in before.findings} if before else set()
    return worst_first(f for f in head.findings if f.fingerprint not in known and not change.keeps(f))


def narrowed(head: ScanResult, findings: tuple[Finding, ...], change: Difference) -> ScanResult:
    """`head` with these findings alone, the numbers of its scanners to match, and what could not be compared."""
    scanners = tuple(
        replace(one, findings=sum(one.name in finding.scanners for finding in findings)) for one in head.scanners
    )
    more = change.not_judged()
    known = {place.path for place in head.not_judged}
    count = head.coverage.files_not_judged + sum(place.path not in known for place in more)
    return replace(
        head,
        findings=findings,
        scanners=scanners,
        not_judged=(*more, *head.not_judged),
        coverage=replace(head.coverage, files_not_judged=count),
    )


@dataclass(frozen=True)
class _Git:
    """git on the mirror of one repository."""

    folder: Path
    source: Path

    async def mirror(self) -> None:
        # the same as the core's: objects are borrowed, settings are ours
        cloned = await self._run(mirror_argv(self.source, self.folder / "history.git"))
        if cloned.exit_code != 0:
            raise self._failed("read the repository", cloned)

    async def fork_of(self, base: str) -> tuple[str, str]:
        """The commits where the change left `base` and where it is now."""
        head = await self._git("rev-parse", "--verify", "--quiet", "--end-of-options", "HEAD^{commit}")
        if head.exit_code != 0:
            raise UsageError(sentence("--diff", "the repository has no commit"))
        found = await self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}")
        shallow = (self.folder / "history.git" / "shallow").exists()
        if found.exit_code != 0:
            hint = "git fetch --unshallow" if shallow else "git log --oneline --all"
            why = "; this clone is shallow" if shallow else ""
            raise UsageError(sentence("--diff", f"{base!r} names no commit here{why}", run=hint))
        forks = await self._git("merge-base", _word(found), _word(head))
        if forks.exit_code == 0:
            return _word(forks), _word(head)
        if shallow:
            wrong = f"this shallow clone does not reach back to where the change left {base!r}"
            raise UsageError(sentence("--diff", wrong, run="git fetch --unshallow"))
        return _word(found), _word(head)

    async def add_work_tree(self) -> tuple[dict[str, str], dict[str, str]]:
        """Fill the index with the work tree. Commits of repositories inside it by path: of HEAD, and of those here."""
        doing = "compare the work tree"
        await self._must(doing, "read-tree", "HEAD")
        # `git add` asks `git status` of each submodule that it knows, which believes that repository's own settings
        recorded = await self._repositories()
        names = b"".join(os.fsencode(path) + b"\0" for path in recorded)
        await self._must(doing, "update-index", "--force-remove", "-z", "--stdin", stdin=names)
        done = await self._git("add", "--all", "--ignore-errors", "--", ".")
        if done.problem:  # a file that cannot be read ends in 1, and the scan says so itself
            raise self._failed(doing, done)
        return recorded, await self._repositories()

    async def _repositories(self) -> dict[str, str]:
        listed = await self._must("list the index", "ls-files", "--stage", "-z")
        entries = [entry.partition("\t") for entry in os.fsdecode(listed.stdout).split("\0") if entry]
        return {path: header.split(" ")[1] for header, _, path in entries if header.startswith(SUBMODULE)}

    async def changes(self, fork: str) -> list[Place]:
        """What the index has other than `fork`."""
        words = ("diff", "--cached", "--raw", "-z", "-M", "--no-abbrev", "--no-ext-diff", fork)
        raw = await self._must("compare the work tree", *words)
        return raw_changes(raw.stdout)

    async def restore(self, places: Sequence[Place], fork: str, before: Path) -> dict[str, str]:
        """All plain files of `fork`, renamed ones at the paths that they have now. The submodules of it, by path.

        Without what a snapshot leaves out by its size or depth: there is no need to write it.
        """
        doing = "show the files before the change"
        listed = await self._must(doing, "ls-tree", "-r", "-z", "--long", "--full-tree", fork)
        entries = [entry.partition("\t") for entry in os.fsdecode(listed.stdout).split("\0") if entry]
        tree = {path: header.split() for header, _, path in entries}  # mode, type, id, size
        plain = {
            path
            for path, (mode, _, _, size) in tree.items()
            if mode not in LINK_MODES and int(size) <= FILE_BYTES and path.count("/") <= DEEPEST
        }
        moved = [(old, new) for old, new in places if old in plain and old is not None and old != new]
        await self._must(doing, "read-tree", fork)
        await self._write(doing, plain - {old for old, _ in moved}, before)
        await self._write(doing, {old for old, _ in moved}, self.folder / "old")
        # those that are gone come last: their place may be another file's now, or a folder
        for old, new in sorted(moved, key=lambda place: place[1] is None):
            target = before / (old if new is None else new)
            if not any(place.is_file() for place in target.parents) and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                (self.folder / "old" / old).rename(target)
        return {path: id_ for path, (mode, _, id_, _) in tree.items() if mode == SUBMODULE}

    async def _write(self, doing: str, paths: Collection[str], folder: Path) -> None:
        folder.mkdir()
        names = b"".join(os.fsencode(path) + b"\0" for path in sorted(paths))
        await self._must(doing, "checkout-index", "--force", f"--prefix={folder}/", "-z", "--stdin", stdin=names)

    async def _must(self, doing: str, *words: str, stdin: bytes = b"") -> Ended:
        ended = await self._git(*words, stdin=stdin)
        if ended.problem or ended.exit_code != 0:
            raise self._failed(doing, ended)
        return ended

    async def _git(self, *words: str, stdin: bytes = b"") -> Ended:
        where = (f"--git-dir={self.folder / 'history.git'}", f"--work-tree={self.source}")
        return await self._run(("git", *where, *SETTINGS, "-c", "core.bare=false", *words), stdin)

    async def _run(self, argv: Sequence[str], stdin: bytes = b"") -> Ended:
        limits = Limits(SECONDS, MEMORY_MIB, FILE_MIB)
        return await execute(argv, cwd=self.source, scratch=self.folder, limits=limits, stdin=stdin)

    def _failed(self, what: str, ended: Ended) -> StepdownError:
        return StepdownError(sentence("--diff", f"git cannot {what}: {ended.problem or ended.last_words}"))


def raw_changes(output: bytes) -> list[Place]:
    """`git diff --raw -z` (git-diff-tree(1)): `:mode mode id id status NUL path NUL`, two paths for a rename."""
    words = iter(os.fsdecode(output).split("\0"))
    places: list[Place] = []
    for header in words:
        if not header:
            continue
        status = header.split(" ")[4]
        old = next(words)
        new = next(words) if status[0] in "RC" else old
        places.append((None if status[0] == "A" else old, None if status[0] == "D" else new))
    return places


def _word(ended: Ended) -> str:
    return ended.stdout.decode("ascii", "replace").split()[0]
