"""What the kernel of this host gives containers, as far as it shows without being root; in doubt it gives it.

Owns: the reading of /proc, /sys and /lib/modules. Never: loads a module, mounts, or asks an engine.
Formats: proc(5), cgroups(7), modules.dep(5), the kernel's admin-guide on cgroup v1 memory and cgroup v2.
"""

from __future__ import annotations

import platform
import re
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
        used = _number(folder / "memory.usage_in_bytes") or _number(folder / "memory.current")
        if limit and used is not None and limit < UNLIMITED:
            rooms.append(max(0, limit - used + _file_cache(folder)) // 2**20)
    return min(rooms)


def _memory_cgroups(root: Path) -> list[Path]:
    """The memory cgroup of PID 1 and all above it, as far as they are mounted here."""
    mounts = root / "sys" / "fs" / "cgroup"
    folders = []
    for line in _text(root / "proc" / "1" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            base = mounts / "memory"
        elif not controllers:
            base = mounts
        else:
            continue
        below = base / path.lstrip("/")
        folders += [base, *(folder for folder in (below, *below.parents) if base in folder.parents)]
    return folders


def _file_cache(folder: Path) -> int:
    """Bytes of page cache that the kernel gives back when memory runs short, as in MemAvailable."""
    stat = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
    names = ("total_inactive_file", "total_active_file") if "total_cache" in stat else ("inactive_file", "active_file")
    return sum(int(stat.get(name, 0)) for name in names)


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
