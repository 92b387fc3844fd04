"""Software bills of materials (CycloneDX JSON) of a tree and of images: what is in them, by name and version."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stepdown.errors import StepdownError, sentence
from stepdown.scan.coverage import Tracked, tracked_files
from stepdown.scan.execute import Limits, execute
from stepdown.scan.history import write_settings
from stepdown.scan.java_names import write_index
from stepdown.scan.judge import in_thread, remove
from stepdown.scan.programs import fill, program_of
from stepdown.scan.scanners import Catalogue, Scanner
from stepdown.scan.snapshot import REPOSITORY, TreeLimits, take_snapshot


async def tree_sbom(catalogue: Catalogue, source: Path, target: Path, *, scratch: Path, limit_seconds: float) -> int:
    """Write the bill of the folder `source` to the file `target`; how many components it names.

    Raises UsageError when the folder cannot be read, StepdownError when there is no bill that can be believed.
    """
    source = source.absolute()
    work = Path(tempfile.mkdtemp(prefix="sbom-", dir=scratch))
    try:
        write_settings(work)
        known = await tracked_files(source, work, limit_seconds) if (source / REPOSITORY).exists() else None
        ignored = known.ignored if isinstance(known, Tracked) else frozenset[str]()
        own_settings = {name for scanner in catalogue.scanners for name in scanner.own_settings}
        await in_thread(lambda: take_snapshot(source, work / "tree", own_settings, TreeLimits(), ignored))
        argv = catalogue.bill.tree if catalogue.bill else ()
        return await _write(catalogue, argv, {"source": "."}, work / "tree", target, work, limit_seconds)
    finally:
        await in_thread(lambda: remove(work))


async def image_sbom(catalogue: Catalogue, image: str, target: Path, *, scratch: Path, limit_seconds: float) -> int:
    """The same of an image on the engine, by its id."""
    work = Path(tempfile.mkdtemp(prefix="sbom-", dir=scratch))
    try:
        write_settings(work)
        argv = catalogue.bill.image if catalogue.bill else ()
        return await _write(catalogue, argv, {"image": image}, work, target, work, limit_seconds)
    finally:
        await in_thread(lambda: remove(work))


async def _write(
    catalogue: Catalogue,
    argv: Sequence[str],
    single: dict[str, str],
    cwd: Path,
    target: Path,
    work: Path,
    limit_seconds: float,
) -> int:
    row = _row(catalogue)
    await in_thread(lambda: write_index(work / "cache"))
    written = work / "bill.json"
    values = {**single, "report": str(written), "cache": str(work / "cache")}
    limits = Limits(limit_seconds, row.memory_mib, row.file_mib)
    more = {name: os.environ[name] for name in ("DOCKER_HOST",) if "image" in single and name in os.environ}
    full = (program_of(row), *fill(argv[1:], values, {}))
    ended = await execute(full, cwd=cwd, scratch=work, limits=limits, more=more)
    if ended.problem or ended.exit_code != 0:
        raise _failed(ended.problem or f"ended with exit code {ended.exit_code}: {ended.last_words}")
    try:
        text = written.read_bytes()
        document = json.loads(text)
        components = len(document.get("components", ()))
        if document["bomFormat"] != "CycloneDX":
            raise _failed("wrote no CycloneDX document")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _failed("wrote no CycloneDX document") from error
    target.write_bytes(text)
    return components


def _row(catalogue: Catalogue) -> Scanner:
    if catalogue.bill is None:
        raise _failed("catalog/scanners.yml says nothing about it")
    name = catalogue.bill.scanner
    return next(row for row in catalogue.scanners if row.name == name)


def _failed(why: str) -> StepdownError:
    return StepdownError(sentence("sbom", why))
