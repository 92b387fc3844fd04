"""Does a plan fit a host: memory, disk and ports against the plan's limits.

Owns: the verdict. Reads: /proc, the disk, the ports and the instance's own containers. Never: changes anything.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stepdown.catalog import PLAN_NAMES
from stepdown.errors import StepdownError
from stepdown.host import engine, preflight
from stepdown.host.home import Home
from stepdown.host.instance import load_instance
from stepdown.resolve import DEFAULT_DIRECT_PORT, DEFAULT_PORT, GATEWAY_MEMORY_MIB, ResolvedPlan

IMAGE_MIB = 700  # disk that the image of one container takes at the most, measured on plan C's


@dataclass(frozen=True)
class Host:
    """What a plan has to fit into."""

    memory_mib: int
    disk_mib: int
    port: int
    direct_port: int
    running: frozenset[str]  # the instance's own containers, whose memory and ports are counted already


def measure(home: Path, instance: str) -> Host:
    """This host, now."""
    existing = next(path for path in (home, *home.parents) if path.exists())
    try:
        known = load_instance(Home(home))
        port, direct_port = known.port, known.direct_port
    except StepdownError:
        port, direct_port = DEFAULT_PORT, DEFAULT_DIRECT_PORT
    port = int(os.environ.get("STEPDOWN_PORT") or port)
    direct_port = int(os.environ.get("STEPDOWN_DIRECT_PORT") or direct_port)
    try:
        running = frozenset(c.name for c in engine.containers(instance) if c.running)
    except StepdownError:
        running = frozenset()  # no engine yet: nothing of ours can run
    disk = shutil.disk_usage(existing).free // 2**20
    return Host(preflight.memory_available_mib(), disk, port, direct_port, running)


def judge(plan: ResolvedPlan, host: Host) -> list[str]:
    """What stands against the plan; empty when it fits."""
    missing = [container for container in plan.containers if container.name not in host.running]
    found = [f"no image carries container {container.name} yet" for container in plan.missing]
    memory = sum(container.memory_mib for container in missing)
    if "gateway" not in host.running:
        memory += GATEWAY_MEMORY_MIB
    if memory > host.memory_mib:
        found.append(f"needs {memory} MiB more memory, {host.memory_mib} MiB are available")
    disk = IMAGE_MIB * len(missing)
    if disk > host.disk_mib:
        found.append(f"needs up to {disk} MiB of disk, {host.disk_mib} MiB are free")
    if "gateway" not in host.running:
        found += preflight.port_taken(host.port, "STEPDOWN_PORT")
    if plan.plan.direct_port and missing:
        found += preflight.port_taken(host.direct_port, "STEPDOWN_DIRECT_PORT")
    return found


def largest(verdicts: Mapping[str, list[str]]) -> str | None:
    """The first plan, from A down, with nothing against it."""
    return next((name for name in PLAN_NAMES if not verdicts[name]), None)
