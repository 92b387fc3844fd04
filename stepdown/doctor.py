"""What a deploy needs from this machine: every problem at once, each with its remedy.

Owns: the list. Reads: the machine. Never: changes it.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from stepdown import fit, images
from stepdown.catalog import Catalog
from stepdown.errors import StepdownError
from stepdown.host import engine, preflight
from stepdown.resolve import resolve

PLATFORM = ("Linux", "x86_64")  # what the locks of the images are made for
NO_ENGINE = "no engine answers"


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
        "memory": f"{preflight.memory_available_mib()} MiB available",
        "cgroups": "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1",
    }


def examine(catalog: Catalog, plan: str, home: Path, instance: str) -> list[str]:
    """Every problem that a deploy of `plan` on this machine would meet."""
    found = engine_problems()
    if (platform.system(), platform.machine()) != PLATFORM:
        found.append(f"{platform.system()} {platform.machine()} is not supported (known: {' '.join(PLATFORM)})")
    if shutil.which("git") is None:
        found.append("git is not on PATH. Run: apt-get install git")
    return found + fit.judge(resolve(catalog, plan), fit.measure(home, instance))


def engine_problems() -> list[str]:
    """What is wrong with the Docker engine and its client; a missing engine that deploy can install is no problem."""
    try:
        engine.require_engine()
        images.buildkit_client()
    except StepdownError as error:
        if NO_ENGINE in str(error) or "no client" in str(error) or "no such program" in str(error):
            return [] if can_install() else [f"{error}, or as a user with sudo"]
        return [str(error)]
    return []


def can_install() -> bool:
    """Whether deploy could install an engine here: Debian's package manager, and root or sudo."""
    return shutil.which("apt-get") is not None and (os.geteuid() == 0 or shutil.which("sudo") is not None)
