"""The record of what Stepdown installed on this machine, so that `down --purge` removes that and nothing else.

Owns: /var/lib/stepdown/build.json (the role docker_engine keeps its own record beside it). Never: lists what was found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from stepdown.run import run

RECORD = Path("/var/lib/stepdown/build.json")


def record(packages: Iterable[str]) -> None:
    """Add Debian packages that a build installed."""
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps({"packages": sorted({*recorded(), *packages})}) + "\n", encoding="utf-8")


def recorded() -> list[str]:
    """Debian packages that builds installed."""
    return list(json.loads(RECORD.read_text(encoding="utf-8"))["packages"]) if RECORD.is_file() else []


def remove() -> list[str]:
    """Purge the recorded packages and forget them; returns their names."""
    packages = recorded()
    if packages:
        run(("apt-get", "purge", "-y", "-qq", *packages), env={"DEBIAN_FRONTEND": "noninteractive"})
        RECORD.unlink()
    return packages
