"""Planted defects: a scanner counts only when, in the same run, it found the one that was planted for it.

Exit codes and reports can look well when a tool has lost its rules, its database or its nerve. So every scanner's
canary (catalog/scanners.yml) stands beside what is judged, in the private copy alone, and its finding is taken out of
the result. The folder's name is made anew for each scan: no tree can bring files that would be taken for canaries.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import string
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stepdown.scan.execute import Limits, execute
from stepdown.scan.history import MEMORY_MIB, History
from stepdown.scan.reports import Report
from stepdown.scan.scanners import Canary, Scanner

WHO = ("-c", "user.name=stepdown", "-c", "user.email=stepdown@localhost", "-c", "commit.gpgSign=false")


def _folder() -> str:
    return f"stepdown-canary-{secrets.token_hex(6)}"


def _token() -> str:
    return "gh" + "p_" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(36))


@dataclass(frozen=True)
class Canaries:
    """The canaries of one scan: the folder that holds them, and the secret that is in some."""

    folder: str = field(default_factory=_folder)
    token: str = field(default_factory=_token, repr=False)

    def path(self, scanner: Scanner, canary: Canary) -> str:
        """Where it stands, relative to the tree."""
        return f"{self.folder}/{scanner.name}/{canary.path}"

    def text(self, canary: Canary) -> str:
        """What stands there."""
        return canary.text.replace("{github_token}", self.token)

    def plant(self, root: Path, scanners: Iterable[Scanner]) -> None:
        """Write the canary of each scanner below `root`."""
        for scanner in scanners:
            if scanner.canary:
                target = root / self.path(scanner, scanner.canary)
                target.parent.mkdir(parents=True)
                target.write_text(self.text(scanner.canary), encoding="utf-8")

    def judge(self, scanner: Scanner, report: Report) -> Report | str:
        """`report` without what is in the canaries' folder; in words when the scanner's own canary is not in it."""
        canary = scanner.canary
        if canary is None:
            return report
        place = self.path(scanner, canary)
        if not any(result.path == place and canary.rule in (result.rule, *result.aliases) for result in report.results):
            return f"did not find its canary ({canary.rule} in a file of its kind), so its result says nothing"
        inside = f"{self.folder}/"
        return report.of_paths(lambda path: path, kept=lambda path: not path.startswith(inside))


async def commit_canaries(
    history: History, canaries: Canaries, scanners: Sequence[Scanner], scratch: Path, seconds: float
) -> str | None:
    """Add a commit without parents that holds the canaries, under a ref of their own. In words why not, if it fails."""
    tree = scratch / "canaries"
    tree.mkdir()
    canaries.plant(tree, scanners)
    git = ("git", f"--git-dir={history.mirror}", f"--work-tree={tree}", *WHO)
    steps = (
        (*git, "add", "--force", "--all", "."),
        (*git, "write-tree"),
        (*git, "commit-tree", "-m", "canaries", "{said}"),
        (*git, "update-ref", f"refs/heads/{canaries.folder}", "{said}"),
    )
    said = ""
    for step in steps:
        argv = tuple(said if part == "{said}" else part for part in step)
        ended = await execute(argv, cwd=tree, scratch=scratch, limits=Limits(seconds, MEMORY_MIB))
        if ended.problem or ended.exit_code != 0:
            return f"git cannot plant the canaries: {ended.problem or ended.last_words}"
        said = ended.stdout.decode().strip()
    return None


def write_image(path: Path, canaries: Canaries, scanner: Scanner) -> None:
    """An image with the scanner's canary as its only file, in the form of `docker save` (image-spec v1.2)."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as files:
        if scanner.canary:
            _add(files, canaries.path(scanner, scanner.canary), canaries.text(scanner.canary).encode())
    digest = f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest]}}
    manifest = [{"Config": "config.json", "RepoTags": ["stepdown-canary:latest"], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as image:
        _add(image, "layer.tar", layer.getvalue())
        _add(image, "config.json", json.dumps(config).encode())
        _add(image, "manifest.json", json.dumps(manifest).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
