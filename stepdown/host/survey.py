"""What this host is now, as far as a plan's chances depend on it: measured, not judged.

Reads: the kernel, disks, ports, the engine, <home>. Never: changes anything; the verdict is preflight's.
"""

from __future__ import annotations

import os
import platform
import pwd
import shutil
import socket
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stepdown.errors import StepdownError
from stepdown.host import engine, kernel, subnets
from stepdown.host.engine import Container, Facts
from stepdown.host.home import Home, read_json
from stepdown.host.instance import Instance, recorded_instance, valid_port

Read = TypeVar("Read")


@dataclass(frozen=True)
class Disk:
    """Room on the file system of a folder, in MiB; `device` tells whether two folders share one."""

    folder: str
    free_mib: int
    device: int


@dataclass(frozen=True)
class Host:
    """A host, its instance as recorded and what runs of it."""

    platform: str
    cpus: int
    memory_mib: int
    clock: float  # seconds since the epoch
    kernel_lacks: tuple[str, ...]
    limits_lacking: tuple[str, ...]  # of memory, cpu, pids: what containers cannot be limited in
    engine: Facts
    can_install: bool  # an engine, where none answers
    blind: (
        bool  # an instance is on record and no engine tells what runs of it, and which ports and networks are its own
    )
    home: Disk
    home_refused: str  # why this folder cannot be <home>, and what to do; empty when it can
    images_disk: Disk
    instance: Instance | None
    plan: str  # the plan that it is on, or empty
    broken: tuple[str, ...]  # what <home> has on record and cannot be read, as sentences
    running: tuple[Container, ...]  # the instance's own containers that run
    elsewhere: str  # compose file of a container that bears the instance's name and is not of this <home>; or empty
    ports: Mapping[int, str]  # those of the asked ones that cannot be had, and why; not the instance's own
    taken: tuple[subnets.Taken, ...]
    images: Mapping[str, str]  # those of the asked references that are here, and their ids
    secrets: frozenset[str] | None  # server/name of each; None when this user may not look
    workspace_there: bool


def survey(home: Home, wanted: Mapping[str, Any], references: Collection[str]) -> Host:
    """Measure this host for an instance with the settings `wanted`, and look for images."""
    said = engine.facts()
    there = engine.containers(str(wanted["name"])) if said.version else ()
    running = tuple(c for c in there if c.running)
    own = own_ports(there, wanted)
    asked = {int(wanted[key]) for key in ("port", "direct_port") if valid_port(wanted[key])}
    publishers = engine.publishers() if said.version and asked - own else {}
    refused = {port: port_refused(port, publishers) for port in asked - own}
    broken: list[str] = []
    return Host(
        platform=f"{platform.system()} {platform.machine()}",
        cpus=said.cpus or len(os.sched_getaffinity(0)),
        memory_mib=kernel.memory_available_mib(),
        clock=time.time(),
        # an engine that answers has what it needs, and knows best what it can limit
        kernel_lacks=() if said.version else tuple(kernel.features_lacking()),
        limits_lacking=said.unlimited if said.version else tuple(kernel.controllers_lacking()),
        engine=said,
        can_install=can_install(),
        blind=not said.version and _seen(home.instance),
        home=_disk(home.path),
        home_refused=_home_refused(home),
        images_disk=_disk(Path(said.folder)),
        instance=_record(home.instance, lambda: recorded_instance(home), broken),
        plan=_record(home.state, lambda: str(read_json(home.state)["plan"]), broken) or "",
        broken=tuple(broken),
        running=running,
        elsewhere=next((c.file for c in there if c.file and not Path(c.file).is_relative_to(home.path)), ""),
        ports={port: why for port, why in refused.items() if why},
        taken=subnets.taken(),
        images=engine.image_ids(sorted(references)) if said.version else {},
        secrets=_secrets(home),
        workspace_there=_workspace_there(wanted.get("workspace") or ""),
    )


def can_install() -> bool:
    """Whether deploy could install an engine here: Debian's package manager, and root or sudo."""
    return shutil.which("apt-get") is not None and (os.geteuid() == 0 or shutil.which("sudo") is not None)


def own_ports(there: Collection[Container], wanted: Mapping[str, Any]) -> frozenset[int]:
    """Ports of 127.0.0.1 that the instance's own containers hold.

    The engine shows no ports of one that it is just restarting, which may hold its own all the same.
    """
    shown = {port for container in there if container.lives for port in engine.ports_of(container.ports)}
    restarting = [container for container in there if container.state == "restarting"]
    keys = {"port" if container.name == "gateway" else "direct_port" for container in restarting}
    return frozenset(shown | {int(wanted[key]) for key in keys if valid_port(wanted[key])})


def port_refused(port: int, publishers: Mapping[int, str]) -> str:
    """Why 127.0.0.1:port cannot be had, and who has it if a container does; empty when it is free."""
    holder = f"container {publishers[port]} has it" if port in publishers else ""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            return holder or _listened_on(port)  # a low port: not for this user, but the engine may bind it
        except OSError as error:
            return holder or str(error.strerror)
    return holder  # an engine without its proxy process holds a port in the packet filter only


def _listened_on(port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return "something listens there" if probe.connect_ex(("127.0.0.1", port)) == 0 else ""


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if _seen(folder))


def _seen(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False  # in a folder that this user may not enter


def _disk(path: Path) -> Disk:
    there = _existing(path)
    return Disk(str(path), shutil.disk_usage(there).free // 2**20, there.stat().st_dev)


def _home_refused(home: Home) -> str:
    there = _existing(home.path)
    if not there.is_dir():
        return f"{there} is no directory; name another folder"
    if os.access(there, os.W_OK | os.X_OK):
        return home.refused()
    user, owner = _name(os.geteuid()), _name(there.stat().st_uid)
    wrong = f"user {user} may not write to it, {owner} owns {there}"
    return f"{wrong}; deploy as the user who deployed first, or as root"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _record(path: Path, read: Callable[[], Read], broken: list[str]) -> Read | None:
    """What is on record, or None where nothing is; what cannot be read is told in `broken`."""
    try:
        return read() if _seen(path) else None
    except StepdownError as error:
        broken.append(str(error))
        return None


def _secrets(home: Home) -> frozenset[str] | None:
    folder = home.secrets / "servers"
    if not _seen(home.secrets):
        return frozenset() if os.access(_existing(home.path), os.X_OK) else None
    if not os.access(home.secrets, os.R_OK | os.X_OK):
        return None
    return frozenset(str(path.relative_to(folder)) for path in folder.glob("*/*") if path.is_file())


def _workspace_there(workspace: str) -> bool:
    """Whether a folder of the operator's choice is there; one that this user may not look for counts as there."""
    if not workspace:
        return True  # the default is made by the agent
    try:
        return Path(workspace).is_dir()
    except PermissionError:
        return True
