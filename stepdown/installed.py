"""The record of what Stepdown installed on this machine, so that `down --purge` removes that and nothing else.

Owns: /var/lib/stepdown/build.json (the role docker_engine keeps its own record beside it). Never: lists what was found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from stepdown.errors import StepdownError, sentence
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
    """Purge the recorded packages and forget them; returns their names.

    Raises StepdownError and removes nothing when packages of others would go with them.
    """
    packages = recorded()
    if packages:
        plan = run(("apt-get", "--simulate", "--quiet", "purge", *packages)).stdout
        others = sorted(set(re.findall(r"^Purg (\S+)", plan, re.MULTILINE)) - set(packages))
        if others:
            wrong = f"{', '.join(others)} came later and need {', '.join(packages)}, so they stay"
            raise StepdownError(sentence(str(RECORD), wrong))
        run(("apt-get", "purge", "-y", "-qq", *packages), env={"DEBIAN_FRONTEND": "noninteractive"})
        RECORD.unlink()
    return packages
