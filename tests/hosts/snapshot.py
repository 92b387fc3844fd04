#!/usr/bin/env python3
"""What a host is, as JSON: packages, units, accounts, links, firewall, sysctl values, containers, files and content.

Runs as root on the host, standard library only. What changes by itself or by looking (logs, caches, package lists,
the clock) is left out, each with its reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

LEFT_OUT = (
    "/proc",  # the kernel's, not files
    "/sys",
    "/dev",
    "/run",  # gone with the next boot
    "/tmp",
    "/var/tmp",  # private folders of systemd units
    "/var/log",  # what happened stays told
    "/var/cache",  # package caches
    "/var/backups",  # what a daily timer copies of the package database
    "/var/lib/apt",  # lists, and when they were fetched
    "/var/lib/dpkg",  # packages are compared by name and version
    "/var/lib/ucf",  # its history of configuration files
    "/var/lib/systemd",  # timers' stamps, random seed
    "/var/lib/docker",  # a running engine's; what it holds at the top is compared by itself
    "/etc/.pwd.lock",
    "/etc/ld.so.cache",  # rewritten by every package
    "/etc/mtab",
)
SYSCTL = ("net.core.somaxconn", "net.ipv4.ip_forward", "fs.inotify.max_user_instances", "fs.inotify.max_user_watches")
DOCKER = (
    ("ps", "--all", "--format", "container {{.Names}}"),
    ("image", "ls", "--format", "image {{.Repository}}:{{.Tag}}"),
    ("network", "ls", "--format", "network {{.Name}}"),
    ("volume", "ls", "--format", "volume {{.Name}}"),
)
OWN_BOOKS = "/var/lib/containerd/"  # a running engine's; the folder itself counts
BACKUPS = re.compile(r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$")  # of the account tools
CACHED = re.compile(r"/__pycache__(/|$)")  # Python's own


def said(*argv: str) -> str:
    """A program's output; empty where it is not installed."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def files() -> dict[str, str]:
    """Path to mode, owner and a digest of the content or the link's target."""
    found = {}
    for folder, names, leaves in os.walk("/"):
        prefix = folder.rstrip("/")
        names[:] = [name for name in names if _counts(f"{prefix}/{name}")]
        for path in (f"{prefix}/{name}" for name in (*names, *leaves)):
            if _counts(path):
                found[path] = _describe(path)
    return found


def _counts(path: str) -> bool:
    if path in LEFT_OUT or path.startswith(OWN_BOOKS) or path.endswith("/.ansible"):  # Ansible's workplace in a home
        return False
    return not BACKUPS.search(path) and not CACHED.search(path)


def _describe(path: str) -> str:
    status = os.lstat(path)
    text = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid}"
    if stat.S_ISLNK(status.st_mode):
        return f"{text} -> {Path(path).readlink()}"
    if stat.S_ISREG(status.st_mode):
        return f"{text} {hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]}"
    return text


def firewall() -> list[str]:
    """Rules of iptables without counters; its empty standard chains appear with the first look and do not count."""
    rules = said("iptables-save").splitlines() + said("ip6tables-save").splitlines()
    kept = [re.sub(r" ?\[\d+:\d+\]", "", rule) for rule in rules]
    return sorted(rule for rule in kept if rule.startswith("-A") or re.match(r":\S+ (?!ACCEPT)", rule))


def snapshot() -> dict[str, object]:
    """The whole description."""
    units = said("systemctl", "list-unit-files", "--no-legend", "--plain", "--no-pager").splitlines()
    active = said("systemctl", "list-units", "--type=service,socket,timer", "--state=active", "--plain", "--no-legend")
    return {
        "packages": sorted(
            said("dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package} ${Version}\n").splitlines()
        ),
        "units": sorted(" ".join(line.split()[:2]) for line in units),
        "active": sorted(
            {line.split()[0] for line in active.splitlines() if not line.startswith(("user@", "session-"))}
        ),
        "users": sorted(said("getent", "passwd").splitlines()),
        "groups": sorted(said("getent", "group").splitlines()),
        "links": sorted(re.findall(r"(?m)^\d+: ([^:@]+)", said("ip", "-o", "link"))),
        "tables": sorted(re.findall(r"(?m)^table .*", said("nft", "list", "tables"))),
        "firewall": firewall(),
        "sysctl": said("sysctl", *SYSCTL).splitlines(),
        "engine": sorted(path.name for path in Path("/var/lib/docker").glob("*")),
        "docker": sorted(line for words in DOCKER for line in said("docker", *words).splitlines()),
        "files": files(),
    }


if __name__ == "__main__":
    json.dump(snapshot(), sys.stdout, indent=0)
