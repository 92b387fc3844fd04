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
from stepdown.errors import StepdownError, UsageError, sentence
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
    running: frozenset[str]  # the instance's own containers, whose memory is counted already
    published: frozenset[int]  # ports that they hold


def measure(home: Path, instance: str) -> Host:
    """This host, now."""
    existing = next(path for path in (home, *home.parents) if path.exists())
    try:
        known = load_instance(Home(home))
        port, direct_port = known.port, known.direct_port
    except StepdownError:
        port, direct_port = DEFAULT_PORT, DEFAULT_DIRECT_PORT
    port = _port("STEPDOWN_PORT", port)
    direct_port = _port("STEPDOWN_DIRECT_PORT", direct_port)
    try:
        containers = tuple(c for c in engine.containers(instance) if c.running)
    except StepdownError:
        containers = ()  # no engine yet: nothing of ours can run
    running = frozenset(container.name for container in containers)
    disk = shutil.disk_usage(existing).free // 2**20
    published = preflight.published_ports(containers)
    return Host(preflight.memory_available_mib(), disk, port, direct_port, running, published)


def _port(variable: str, known: int) -> int:
    text = os.environ.get(variable) or str(known)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise UsageError(sentence(variable, f"should be a port from 1 to 65535, is {text!r}"))
    return int(text)


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
    if host.port not in host.published:
        found += preflight.port_taken(host.port, "STEPDOWN_PORT")
    found += preflight.cpus_lacking(max(container.cpus for container in plan.containers))
    if plan.plan.direct_port and host.direct_port not in host.published:
        found += preflight.port_taken(host.direct_port, "STEPDOWN_DIRECT_PORT")
    return found


def largest(verdicts: Mapping[str, list[str]]) -> str | None:
    """The first plan, from A down, with nothing against it."""
    return next((name for name in PLAN_NAMES if not verdicts[name]), None)
