"""What must hold before anything changes; every problem at once, each with its remedy."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

from stepdown.host import engine
from stepdown.host.home import Home
from stepdown.host.instance import Instance
from stepdown.host.release import Release

DISK_MIB = 200  # room for journal, state, logs and results


def problems(
    home: Home, instance: Instance, release: Release, plan: str, running: Iterable[engine.Container]
) -> list[str]:
    """What stands against `plan` of `release` on this host; empty when nothing does."""
    facts = release.facts(plan)
    there = {container.name for container in running if container.running and container.release == release.id}
    found = []
    for image in (*(facts["containers"][name]["image"] for name in facts["containers"]), "gateway"):
        wanted = release.images[image]
        if not engine.image_present(wanted["reference"], wanted["id"]):
            found.append(f"image {wanted['reference']} is not on this host as the release has it. Run: ./run deploy")
    need = sum(container["memory_mib"] for name, container in facts["containers"].items() if name not in there)
    available = memory_available_mib()
    if need > available:
        found.append(f"{need} MiB of memory are needed, {available} MiB are available. Run: ./run plan.fit")
    free = shutil.disk_usage(home.path).free // 2**20
    if free < DISK_MIB:
        found.append(f"{free} MiB are free below {home.path}, {DISK_MIB} MiB are needed. Run: docker system df")
    published = published_ports(running)
    if instance.port not in published:
        found += port_taken(instance.port, "STEPDOWN_PORT")
    if facts["direct_port"] and instance.direct_port not in published:
        found += port_taken(instance.direct_port, "STEPDOWN_DIRECT_PORT")
    cpus = max(container["cpus"] for container in facts["containers"].values())
    found += cpus_lacking(cpus)
    default = home.data / "workspace"
    if instance.workspace != str(default) and not Path(instance.workspace).is_dir():
        found.append(f"the workspace {instance.workspace} is not there. Run: mkdir -p {instance.workspace}")
    return found


def published_ports(running: Iterable[engine.Container]) -> frozenset[int]:
    """Ports of 127.0.0.1 that the instance's own running containers hold."""
    texts = (container.ports for container in running if container.running)
    return frozenset(int(port) for text in texts for port in re.findall(r"127\.0\.0\.1:(\d+)->", text))


def cpus_lacking(needed: float) -> list[str]:
    """One problem when a container may use more CPUs than this host has (Docker refuses such a limit), else none."""
    have = os.cpu_count() or 1
    return (
        [f"a container is to have {needed:g} CPUs, this host has {have}. Lower cpus in the catalogue"]
        if needed > have
        else []
    )


def port_taken(port: int, variable: str) -> list[str]:
    """One problem when 127.0.0.1:port cannot be bound, else none."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            see = f"ss -ltnp 'sport = :{port}'"
            return [f"127.0.0.1:{port} cannot be had ({error.strerror}). Set {variable} to another port, or run: {see}"]
    return []


def memory_available_mib() -> int:
    """MemAvailable of /proc/meminfo, in MiB (proc(5))."""
    with Path("/proc/meminfo").open(encoding="ascii") as stream:
        for line in stream:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    return 0
