"""What a deploy needs from this machine: every problem at once, each with its remedy.

Owns: the list. Reads: the machine. Never: changes it.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from stepdown import fit, images
from stepdown.errors import StepdownError
from stepdown.host import engine, preflight

MEMORY_MIB = 2048  # plan C's limits and the gateway
DISK_MIB = 5120  # base, images and BuildKit's cache, measured
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


def examine(root: Path, home: Path, instance: str) -> list[str]:
    """Every problem that a deploy on this machine would meet."""
    host = fit.measure(home, instance)
    found = engine_problems()
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        found.append(f"{platform.system()} {platform.machine()} is not supported (known: Linux x86_64, Linux aarch64)")
    if shutil.which("git") is None:
        found.append("git is not on PATH. Run: apt-get install git")
    if not host.running and host.memory_mib < MEMORY_MIB:
        found.append(f"{host.memory_mib} MiB of memory are available, plan C needs {MEMORY_MIB} MiB")
    free = shutil.disk_usage(root).free // 2**20
    if not host.running and free < DISK_MIB:
        found.append(f"{free} MiB are free below {root}, {DISK_MIB} MiB are needed. Run: docker system df")
    if "gateway" not in host.running:
        found += preflight.port_taken(int(os.environ.get("STEPDOWN_PORT") or host.port), "STEPDOWN_PORT")
    return found


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
