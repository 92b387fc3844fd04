"""What was typed for a scan, to what is to be done: a tree, scanners, advisory data, a baseline, a folder for reports.

Raises UsageError for all that is wrong use, before anything is scanned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from stepdown.errors import UsageError, sentence
from stepdown.host.home import Home
from stepdown.host.release import load
from stepdown.host.state import read_state, require_state
from stepdown.run import run
from stepdown.scan import write_files
from stepdown.scan.advisories import NONE, Advisories, from_folder, from_places
from stepdown.scan.assess import Request, choose_scanners, profile, severity
from stepdown.scan.baseline import Entry, load_baseline
from stepdown.scan.scanners import Catalogue, Scanner
from stepdown.scanners_environment import MIRROR, SERVICE, fetch_database

BASELINE = "config/scan-baseline.yaml"
GATEWAY = "gateway"  # its image, also the egress proxy's, is no container of a plan
CACHE = ".scanners.cache"  # below the checkout: the vulnerability database


@dataclass(frozen=True)
class Options:
    """What was typed; paths count from the checkout."""

    path: str = "."
    output: str = "reports"
    fail_on: str = "high"
    offline: bool = False
    advisories: str = ""
    only: str = ""
    diff: str = ""
    profile: str = "full"
    baseline: str = ""
    trust: bool = False


def request_of(
    root: Path,
    catalogue: Catalogue,
    category: str,
    options: Options,
    environment: Mapping[str, str],
    say: Callable[[str], None],
) -> Request:
    """The request, with the scanners of `category` (an empty one: all). `say` is told what a caller should know."""
    source = source_of(root, options.path)
    rows = choose_scanners([row for row in catalogue.scanners if _is_of(row, category)], options.only)
    return Request(
        source=source,
        scanners=rows,
        profile=profile(options.profile),
        gate=severity(options.fail_on),
        base=options.diff,
        offline=options.offline,
        advisories=advisories_of(root, catalogue, options, environment),
        baseline=baseline_of(root, catalogue, source, options.baseline, say),
        trust=options.trust or source == root,
    )


def _is_of(row: Scanner, category: str) -> bool:
    """Whether the task for a kind of scanners, or for all (an empty category), runs it; images have their own."""
    return not category or (row.category == category and row.subject != "image")


def source_of(root: Path, path: str) -> Path:
    """The folder that --path names."""
    source = (root / path).resolve()
    if not source.is_dir():
        raise UsageError(sentence("--path", f"{path} is no folder", run="./run scan --path=FOLDER"))
    return source


def advisories_of(root: Path, catalogue: Catalogue, options: Options, environment: Mapping[str, str]) -> Advisories:
    """The set that --advisories names; without it a service. Its database is `with_database`'s to fetch."""
    if options.offline and options.advisories:
        raise UsageError(sentence("--offline", "leaves out what --advisories is for; give one of them"))
    if options.offline:
        return NONE
    now = datetime.now(UTC)
    if options.advisories:
        folder = root / options.advisories
        if not folder.is_dir():
            raise UsageError(sentence("--advisories", f"{options.advisories} is no folder"))
        return from_folder(folder, catalogue.advice, now)
    return from_places(environment.get(SERVICE) or catalogue.advice.service, None, catalogue.advice, now)


def with_database(
    root: Path,
    catalogue: Catalogue,
    rows: Sequence[Scanner],
    options: Options,
    environment: Mapping[str, str],
    say: Callable[[str], None],
) -> Advisories:
    """The advisory data for `rows`, with the vulnerability database fetched where one of them needs it.

    Blocks. What cannot be had is said in the result of the scan. Wants the scanners' environment.
    """
    known = advisories_of(root, catalogue, options, environment)
    needy = next((row for row in rows if row.needs == "vulnerability-database"), None)
    if needy is None or options.offline or options.advisories:
        return known
    say("scan: fetching the vulnerability database")
    mirror = environment.get(MIRROR) or catalogue.advice.database
    found = fetch_database(needy, mirror, root / CACHE)
    return from_places(known.service or "", found, catalogue.advice, datetime.now(UTC))


def baseline_of(
    root: Path, catalogue: Catalogue, source: Path, given: str, say: Callable[[str], None]
) -> tuple[Entry, ...]:
    """This repository's own file when it is judged, of another tree only the one that was `given`.

    No tree may turn off its own scan.
    """
    own = source / BASELINE
    names = [row.name for row in catalogue.scanners]
    today = datetime.now(UTC).date()
    if given:
        return load_baseline(root / given, given, names, today)
    if source == root and own.exists():
        return load_baseline(own, BASELINE, names, today)
    if own.exists():
        say(f"scan: {BASELINE} of that tree accepts nothing here. To use it: --baseline={own}")
    return ()


def output_of(root: Path, given: str, source: Path) -> Path:
    """The folder of the reports; none that is a file, or holds what git tracks in the tree that is judged."""
    output = (root / given).resolve()
    write_files.check_output(output)
    if source.is_relative_to(output):
        raise UsageError(sentence("--output", f"{given} holds the tree that is judged; give a folder of its own"))
    if output.is_relative_to(source):
        # of the tree's own settings git believes none that could run a program
        settings = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")
        listed = run(("git", "-C", str(source), *settings, "ls-files", "-z", "--", str(output)), check=False)
        tracked = listed.stdout.split("\0")[0]
        if tracked:
            wrong = f"{given} holds files of the repository that is judged, such as {tracked}; give another folder"
            raise UsageError(sentence("--output", wrong))
    return output


def images_of(home: Path) -> dict[str, str]:
    """Reference and id of the images of the plan that is active on this machine, its gateway's too."""
    state = require_state(Home(home))
    release = load(Home(home), state["release"])
    carried = {container["image"] for container in release.facts(state["plan"])["containers"].values()}
    images = (release.images[name] for name in sorted({*carried, GATEWAY}))
    return {image["reference"]: image["id"] for image in images}


def with_images(root: Path, home: Path, request: Request) -> Request:
    """The request with the images of the active plan, where this whole repository is judged and a plan is active."""
    mine = request.source == root and not request.base and request.profile == "full"
    return replace(request, images=images_of(home)) if mine and read_state(Home(home)) else request
