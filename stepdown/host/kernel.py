"""What the kernel of this host gives containers, as far as it shows without being root; in doubt it gives it.

Owns: the reading of /proc, /sys and /lib/modules. Never: loads a module, mounts, or asks an engine.
Formats: proc(5), cgroups(7), modules.dep(5), the kernel's admin-guide on cgroup v1 memory and cgroup v2.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

CONTROLLERS = ("memory", "cpu", "pids")  # the limits that every container has
FEATURES = {  # what a Docker engine cannot do without: any one of these modules
    "the overlay filesystem": ("overlay",),
    "bridges": ("bridge",),
    "virtual Ethernet pairs (veth)": ("veth",),
    "a packet filter (iptables or nf_tables)": ("ip_tables", "nf_tables"),
}
UNLIMITED = 2**60  # cgroup v1 writes "no limit" as the largest number of pages


def features_lacking(root: Path = Path("/"), release: str = platform.release()) -> list[str]:
    """Features that this kernel has neither at work nor among its modules; empty where its modules cannot be listed.

    A container that plays a host has no list of modules: the kernel of the machine around it loads them on demand.
    """
    listed = _modules(root / "lib" / "modules" / release)
    if listed is None:
        return []
    filesystems = _text(root / "proc" / "filesystems").split()

    def possible(name: str) -> bool:
        return name in listed or name in filesystems or (root / "sys" / "module" / name).exists()

    return [words for words, names in FEATURES.items() if not any(possible(name) for name in names)]


def controllers_lacking(root: Path = Path("/")) -> list[str]:
    """Controllers that are switched off (v1) or not given to this host (v2); empty where neither shows."""
    unified = _text(root / "sys" / "fs" / "cgroup" / "cgroup.controllers").split()
    if unified:
        return [name for name in CONTROLLERS if name not in unified]
    rows = [line.split() for line in _text(root / "proc" / "cgroups").splitlines() if not line.startswith("#")]
    enabled = {row[0]: row[3] == "1" for row in rows if len(row) == 4}
    return [name for name in CONTROLLERS if not enabled.get(name, True)]


def memory_available_mib(root: Path = Path("/")) -> int:
    """MiB that a container can have: MemAvailable, or what the cgroup limits of the whole host leave, if that is less.

    The cgroup of PID 1 is the host's: a machine has no limit there, and a container that plays a host has its own.
    """
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", _text(root / "proc" / "meminfo"), re.MULTILINE)
    rooms = [int(found[1]) // 1024 if found else 0]
    for folder in _memory_cgroups(root):
        limit = _number(folder / "memory.limit_in_bytes") or _number(folder / "memory.max")
        used = _used(folder)
        if limit and used is not None and limit < UNLIMITED:
            cache = _file_cache(folder, ("inactive_file", "active_file"))  # given back when memory runs short
            rooms.append(max(0, limit - used + cache) // 2**20)
    return min(rooms)


def working_set_bytes(container_id: str, pid: int, root: Path = Path("/")) -> int | None:
    """Memory of a container that the kernel cannot take back at once, `pid` its first process; None where not shown.

    Usage less the file cache that was not used lately, as the kubelet defines the working set:
    https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
    """
    for base, below in _memory_cgroup(root, pid):
        # a process is not in its cgroup at first, and after its end its number may be another's: only the id tells
        for folder in (below, *below.parents):
            used = _used(folder) if base in folder.parents and container_id in folder.name else None
            if used is not None:
                return max(0, used - _file_cache(folder, ("inactive_file",)))
    return None


def _memory_cgroups(root: Path) -> list[Path]:
    """The memory cgroup of PID 1 and all above it, as far as they are mounted here."""
    folders = []
    for base, below in _memory_cgroup(root, 1):
        folders += [base, *(folder for folder in (below, *below.parents) if base in folder.parents)]
    return folders


def _memory_cgroup(root: Path, pid: int) -> Iterator[tuple[Path, Path]]:
    """Where the memory cgroup of a process may be: its mount and its folder, for v1 and for v2."""
    mounts = root / "sys" / "fs" / "cgroup"
    for line in _text(root / "proc" / str(pid) / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield mounts / "memory", mounts / "memory" / path.lstrip("/")
        elif not controllers:
            yield mounts, mounts / path.lstrip("/")


def _used(folder: Path) -> int | None:
    usage = _number(folder / "memory.usage_in_bytes")
    return _number(folder / "memory.current") if usage is None else usage


def _file_cache(folder: Path, kinds: Sequence[str]) -> int:
    """Bytes of these kinds of page cache, of the cgroup and all below it."""
    stat = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
    prefix = "total_" if "total_cache" in stat else ""  # v1 has a sum for the hierarchy beside the cgroup's own
    return sum(int(stat.get(f"{prefix}{kind}", 0)) for kind in kinds)


def _modules(folder: Path) -> set[str] | None:
    """Names of the modules that are built in or can be loaded; None where they are not listed."""
    lists = [folder / "modules.dep", folder / "modules.builtin"]
    if not all(path.is_file() for path in lists):
        return None
    paths = re.findall(r"^([^\s:]+?)\.ko\b", "\n".join(_text(path) for path in lists), re.MULTILINE)
    return {path.rpartition("/")[2].replace("-", "_") for path in paths}


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    """The text of a file of the kernel; empty where it is not there, or not shown to this user."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
