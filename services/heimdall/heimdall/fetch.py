"""The one step that talks to a network: a repository of an allowed host becomes a folder, in bounds.

Everything that git could do beyond that is turned off: other protocols, redirects, credentials, submodules, filters
(and LFS with them), hooks, links. The proxy stands in the settings of these calls alone, so no scanner ever has it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from heimdall.settings import Settings
from stepdown.errors import UsageError, sentence
from stepdown.scan.execute import GIT_SETTINGS, Ended, Limits, execute
from stepdown.scan.judge import in_thread, remove
from stepdown.scan.snapshot import REPOSITORY

SECONDS = 120.0
MEMORY_MIB = 512
PACK_MIB = 64
OBJECTS = 500_000
FILES = 20_000  # of the repository without its work tree: a pack, its index, and one for each branch and tag
WATCH_SECONDS = 0.5
# git's word for all commits. With a depth it refuses hosts of plain files (dumb http), which may send any number of
# packs; the others send one.
WHOLE_DEPTH = 2**31 - 1
FOLDER = "fetched"
BRANCH = "refs/heads/scanned"
SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")
# The highest place for attributes, above those of the tree: text stays as it was committed.
ATTRIBUTES = "* -text !eol -ident -filter !working-tree-encoding\n"
GIT = """[safe]
	directory = *
[core]
	hooksPath = /dev/null
	fsmonitor = false
	symlinks = false
	protectNTFS = false
	bigFileThreshold = 4m
	askPass = ""
	logAllRefUpdates = false
[credential]
	helper = ""
[protocol]
	allow = never
[protocol "https"]
	allow = always
[http]
	followRedirects = false
	sslCAInfo = "{ca}"
	proxy = "{proxy}"
	lowSpeedLimit = 1000
	lowSpeedTime = 20
[fetch]
	unpackLimit = 1
	recurseSubmodules = false
[submodule]
	recurse = false
[pack]
	threads = 1
[gc]
	auto = 0
[maintenance]
	auto = false
[init]
	defaultBranch = nothing
"""


@dataclass(frozen=True)
class Fetched:
    """A work tree with its history (of one commit where only the files were wanted), and the commit it stands at."""

    folder: Path
    commit: str


@asynccontextmanager
async def fetched(
    url: str, ref: str | None, history: bool, settings: Settings, places: asyncio.Semaphore
) -> AsyncIterator[Fetched]:
    """The repository at `url`, which was checked, until the block ends. Raises UsageError in a sentence for the caller.

    A lock on its folder says that it is in use: what a killed heimdall left is swept by the next.
    """
    parent = settings.data / FOLDER
    await asyncio.to_thread(parent.mkdir, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=parent))
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        async with places:
            repository = await _fetch(url, ref, history, place, settings)
        yield repository
    finally:
        try:
            await in_thread(lambda: remove(place))
        finally:
            os.close(descriptor)


def sweep(data: Path) -> None:
    """Remove what nobody holds. Blocks."""
    for place in (data / FOLDER).glob("*"):
        with suppress(OSError):  # in use, or swept by another just now
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(place)
            finally:
                os.close(descriptor)


async def _fetch(url: str, ref: str | None, history: bool, place: Path, settings: Settings) -> Fetched:
    ends = asyncio.get_running_loop().time() + min(SECONDS, settings.scan_seconds)
    tree = place / "repository"
    await asyncio.to_thread(_write_settings, place, settings)

    async def git(*words: str, cwd: Path = tree) -> Ended:
        left = max(0.1, ends - asyncio.get_running_loop().time())
        limits = Limits(left, MEMORY_MIB, PACK_MIB)
        run = asyncio.create_task(execute(("git", *words), cwd=cwd, scratch=place, limits=limits))
        try:
            while not (await asyncio.wait({run}, timeout=WATCH_SECONDS))[0]:
                await in_thread(lambda: _check_size(tree / REPOSITORY))
            ended = run.result()
        finally:
            run.cancel()
            await asyncio.wait({run})
        if ended.problem or ended.exit_code != 0:
            raise UsageError(sentence("url", _failure(ended)))
        return ended

    await git("init", "--quiet", "--template=", str(tree), cwd=place)
    (tree / REPOSITORY / "info").mkdir(exist_ok=True)
    (tree / REPOSITORY / "info" / "attributes").write_text(ATTRIBUTES)
    specs = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*") if history else ()
    depth = WHOLE_DEPTH if history else 1
    await git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", f"--depth={depth}", "--", url, *specs,
              f"+{ref or 'HEAD'}:{BRANCH}")  # fmt: skip
    await in_thread(lambda: _check_size(tree / REPOSITORY))
    _check_objects((await git("count-objects", "-v")).stdout)
    _check_tree((await git("ls-tree", "-r", "-l", "-z", BRANCH)).stdout, settings)
    await git("checkout", "--quiet", "--force", BRANCH.rpartition("/")[2])
    return Fetched(tree, (await git("rev-parse", "HEAD")).stdout.decode().strip())


def _write_settings(place: Path, settings: Settings) -> None:
    authorities = place / "authorities.pem"
    known = [path for path in (SYSTEM_CA, settings.ca) if path.is_file()]
    authorities.write_bytes(b"\n".join(path.read_bytes() for path in known))
    text = GIT.format(ca=authorities, proxy=settings.proxy or "")
    (place / GIT_SETTINGS).write_text(text, encoding="utf-8")


def _check_size(repository: Path) -> None:
    """Limits of git's processes hold each file, this all of them together. Blocks; git may be writing meanwhile."""
    files = size = 0
    for folder, _, names in os.walk(repository):
        for name in names:
            files += 1
            with suppress(OSError):  # renamed since
                size += Path(folder, name).lstat().st_size
            if files > FILES or size > 2 * PACK_MIB * 2**20:
                most = f"{FILES} files or {2 * PACK_MIB} MiB"
                raise UsageError(sentence("url", f"the repository's history takes more than {most}; it is too large"))


def _check_objects(counted: bytes) -> None:
    """git-count-objects(1): `in-pack: N`."""
    numbers = dict(re.findall(r"^([a-z-]+): (\d+)$", counted.decode(), re.MULTILINE))
    if int(numbers["in-pack"]) > OBJECTS:
        raise UsageError(sentence("url", f"the repository has more than {OBJECTS} objects; it is too large"))


def _check_tree(listed: bytes, settings: Settings) -> None:
    """Before a byte is written: git-ls-tree(1), `<mode> SP <type> SP <object> SP+ <size> TAB <file> NUL`."""
    rows = [row.split(b"\t", 1)[0].split() for row in listed.split(b"\0") if row]
    size = sum(int(row[3]) for row in rows if row[1] == b"blob")
    limits = settings.tree
    if len(rows) > limits.files or size > limits.bytes:
        most = f"{limits.files} files or {limits.bytes // 2**20} MiB"
        raise UsageError(sentence("url", f"the repository's files are more than {most}; it is too large"))


def _failure(ended: Ended) -> str:
    words = ended.last_words
    if "File too large" in words or "signal 25" in words or "SIGXFSZ" in (ended.problem or ""):
        return f"the repository's pack is larger than {PACK_MIB} MiB; it is too large"
    if "outlived" in (ended.problem or ""):
        return f"it took longer than the {SECONDS:g} s of a fetch"
    if "terminal prompts disabled" in words:
        return "the host wants credentials for it, and heimdall has none; only public repositories can be fetched"
    if "dumb http" in words:
        return "the host offers its files and not git's protocol (smart HTTP), so that a fetch would have no bounds"
    if "invalid index-pack output" in words or "early EOF" in words:
        return f"the repository cannot be fetched whole within its bounds ({PACK_MIB} MiB, {SECONDS:g} s)"
    return f"git cannot fetch it: {ended.problem or words or f'exit code {ended.exit_code}'}"
