"""What a deploy needs: from the control machine, to build images, and from this machine as a host of its own.

Owns: the control machine's part; the host's is the agent's preflight. Reads: the machine. Never: changes it.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from stepdown import fit, images
from stepdown.catalog import Catalog
from stepdown.errors import StepdownError
from stepdown.host import engine, kernel, preflight
from stepdown.host.home import Home
from stepdown.host.survey import can_install


def facts() -> dict[str, str]:
    """What this machine is, for a report."""
    try:
        version = engine.require_engine()
    except StepdownError as error:
        version = str(error)
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "docker engine": version,
        "memory": f"{kernel.memory_available_mib()} MiB available",
        "cgroups": "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1",
    }


def examine(root: Path, catalog: Catalog, home: Path) -> list[str]:
    """Every problem that a deploy to this machine would meet, with its remedy."""
    asked = fit.ask(catalog, os.environ, to_build(root, catalog))
    return list(dict.fromkeys([*preflight.problems(Home(home), asked), *builder_problems()]))


def builder_problems() -> list[str]:
    """What keeps this machine from building images; a missing engine that deploy can install is no problem."""
    found = [] if shutil.which("git") else ["git is not on PATH. Run: apt-get install git"]
    said = engine.facts()
    if not said.rights:
        found.append(engine.NO_RIGHTS_SENTENCE)
    elif said.version:
        try:
            images.buildkit_client()
        except StepdownError as error:
            found.append(str(error))
    elif not can_install():
        found.append(preflight.NO_ENGINE)
    if (here := f"{platform.system()} {platform.machine()}") != preflight.PLATFORM:
        found.append(f"{here} is not supported (known: {preflight.PLATFORM})")
    return found


def to_build(root: Path, catalog: Catalog) -> list[str]:
    """Names of the images that a build would make here: all of them where no engine can tell."""
    try:
        return images.missing(root, catalog)
    except StepdownError:
        return list(images.recipes(root, catalog))
