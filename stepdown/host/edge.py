"""The containers of the edge, gateway and egress proxy: as the release has them, made anew only when one differs."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepdown.errors import CommandError, StepdownError, sentence
from stepdown.host import engine
from stepdown.host.envoy import Envoy, RefusedError
from stepdown.host.home import Home
from stepdown.host.release import Release, load, staged
from stepdown.host.target import Target
from stepdown.run import run
from stepdown.shared import EDGE_FOLDERS, ENVOY_CONFIG

MUTE_SECONDS = 2.0  # one that Docker is just restarting has answered by then
NOT_RUN = 125  # docker's own exit codes begin here: the container did not come to run
DIGEST_DIGITS = 12  # as bundle.py gives it to render/compose.py for the label


def differing(goal: Target, running: tuple[engine.Container, ...]) -> tuple[str, ...]:
    """Those that are missing, or run with another image, port or start-up configuration."""
    return tuple(name for name in EDGE_FOLDERS if _differs(goal, running, name))


def mute(goal: Target, running: tuple[engine.Container, ...], name: str) -> bool:
    """Whether one runs and its Envoy says nothing, not even after a moment: it hangs."""
    found = [c for c in running if c.name == name and not c.release]
    if any(c.state == "paused" for c in found):
        return True
    if not any(c.running for c in found):
        return False
    try:
        Envoy(goal.home, name).wait_until_up(MUTE_SECONDS)
    except StepdownError:
        return True
    return False


def end(running: tuple[engine.Container, ...], name: str) -> None:
    """Remove one that hangs, so that `renew` makes another."""
    engine.remove([c.id for c in running if c.name == name and not c.release])


def renew(goal: Target, name: str) -> None:
    """Make one as this release has it; Envoy checks a new start-up configuration before it replaces anything.

    RefusedError with Envoy's words where it refuses that.
    """
    source, home = goal.release.path / "edge", goal.home
    uid, gid = home.owner()
    mounts = (
        "--volume",
        f"{source / name}:/etc/envoy:ro",
        "--volume",
        f"{home.envoy_config(name)}:{ENVOY_CONFIG}:ro",
    )
    check = ("/usr/local/bin/envoy", "--mode", "validate", "--config-path", "/etc/envoy/bootstrap.json")
    image = goal.release.images["gateway"]["reference"]
    argv = (engine.CLIENT, "run", "--rm", "--network", "none", "--user", f"{uid}:{gid}", *mounts, image, *check)
    checked = run(argv, check=False)
    if checked.returncode >= NOT_RUN:
        raise CommandError(f"{name}: its start-up configuration could not be checked: {checked.stderr.strip()}")
    if checked.returncode:
        said = checked.stderr.strip().splitlines() or [f"exit {checked.returncode}"]
        raise RefusedError(sentence(name, f"Envoy refused its start-up configuration: {said[-1]}"))
    _up(home, goal.release, name)
    Envoy(home, name).wait_until_up()


def restore(home: Home, old: Mapping[str, Any], renewed: Sequence[str]) -> None:
    """Give the old release back what a switch that failed has made anew of its edge."""
    release_id = old.get("release")
    if release_id is not None and release_id in staged(home):
        release = load(home, release_id)
        for name in renewed:
            if _files(release, name):
                _up(home, release, name)


@contextlib.contextmanager
def in_its_own_words(goal: Target, name: str) -> Iterator[None]:
    """A refusal is told with the line of the container's log that says why."""
    try:
        yield
    except RefusedError as error:
        found = [c for c in engine.containers(goal.instance.name) if c.name == name]
        lines = engine.last_words(found[0].id).splitlines() if found else []
        said = [line for line in lines if "rejected" in line]
        raise RefusedError(f"{error}. {said[-1] if said else ''}") from error


def _differs(goal: Target, running: tuple[engine.Container, ...], name: str) -> bool:
    files = _files(goal.release, name)
    if not files:
        return False  # a release that was staged by an older version has no such container
    found = [c for c in running if c.name == name and not c.release and c.running]
    if not found or found[0].image != goal.release.images["gateway"]["reference"]:
        return True
    if name == "gateway" and f"127.0.0.1:{goal.instance.port}->" not in found[0].ports:
        return True
    compose, bootstrap = files
    # what the container was made with, not what lies on disk: a crash can come between the two
    digest = hashlib.sha256((goal.release.path / "edge" / bootstrap).read_bytes()).hexdigest()[:DIGEST_DIGITS]
    same_compose = _same(goal.home.edge / compose, goal.release.path / "edge" / compose)
    return found[0].bootstrap != digest or not same_compose


def _files(release: Release, name: str) -> tuple[str, ...]:
    """What makes a container, below `edge/`; nothing where the release does not have it."""
    bootstrap = f"{name}/bootstrap.json"
    return ("compose.yml", bootstrap) if (release.path / "edge" / bootstrap).is_file() else ()


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


def _up(home: Home, release: Release, name: str) -> None:
    for file in _files(release, name):
        home.write(home.edge / file, (release.path / "edge" / file).read_text(encoding="utf-8"))
    engine.up_edge(home, release.env_file, name)
