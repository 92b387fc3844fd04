"""Makes the repository, its history and the advisories about it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from tests.planted import advisories, filler
from tests.planted.defects import DEFECTS, NO_KEY, Expected, expected, text_of

SEED = 6
COMMITS = 50
FIRST_COMMIT = 1_767_225_600  # 2026-01-01, in seconds; one commit a day
AUTHOR = "Planter <planter@example.org>"
Change = tuple[str, Mapping[str, str]]  # subject, path to text


@dataclass(frozen=True)
class Planted:
    """Where the repository is, the folder for `--advisories`, and what must be found."""

    root: Path
    advisories: Path
    files: int
    commits: int
    expected: tuple[Expected, ...]


def plant(folder: Path, *, seed: int = SEED, dated: datetime | None = None) -> Planted:
    """Make `repository` and `advisories` in the new or empty `folder`; advisories of now, or `dated`.

    The same seed gives the same commits. Takes about half a second.
    """
    random = Random(seed)
    plain = list(filler.files(random))
    random.shuffle(plain)
    bad = {defect.path: text_of(defect, random) for defect in DEFECTS}
    root = folder / "repository"
    root.mkdir(parents=True)
    _git(root, "init", "--quiet", "--initial-branch=main")
    _git(root, "fast-import", "--quiet", stdin=b"".join(_stream(_changes(plain, bad))))
    _git(root, "reset", "--quiet", "--hard", "main")
    advisories.write(folder / "advisories", dated or datetime.now(UTC))
    found = tuple(each for defect in DEFECTS for each in expected(defect))
    return Planted(root, folder / "advisories", len(plain) + len(bad), COMMITS, found)


def _changes(plain: list[tuple[str, str]], bad: Mapping[str, str]) -> list[Change]:
    """What each commit brings: an equal share of the plain files, and now and then one that is bad."""
    shares = [dict(plain[number::COMMITS]) for number in range(COMMITS)]
    for number, (path, text) in enumerate(bad.items()):
        shares[3 + 4 * number][path] = text
    for defect in DEFECTS:
        if defect.removed:
            shares[-2][defect.path] = NO_KEY
    return [(f"Bring share {number} of the shop", share) for number, share in enumerate(shares, 1)]


def _stream(changes: Iterable[Change]) -> Iterator[bytes]:
    """What git fast-import reads."""
    for number, (subject, texts) in enumerate(changes):
        yield b"commit refs/heads/main\ncommitter %s %d +0000\n" % (AUTHOR.encode(), FIRST_COMMIT + 86_400 * number)
        yield _data(subject)
        for path, text in texts.items():
            yield b"M 100644 inline %s\n" % path.encode() + _data(text)


def _data(text: str) -> bytes:
    content = text.encode()
    return b"data %d\n%s\n" % (len(content), content)


def _git(root: Path, *words: str, stdin: bytes = b"") -> None:
    subprocess.run(("git", "-C", str(root), *words), input=stdin, check=True, capture_output=True, timeout=60)
