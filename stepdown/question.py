"""What hosts are asked before anything changes there: the part that is the same for every host of a deploy.

Owns: `.stepdown/dist/preflight.json`. Reads: plans, and sizes of images on this engine. Never: a host, a secret.
The role adds each host's settings; stepdown/host/preflight.py answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepdown import commands, release
from stepdown.catalog import Catalog, Image
from stepdown.host import engine
from stepdown.images import Built
from stepdown.render.agent import plan_facts
from stepdown.resolve import ResolvedPlan, deployable
from stepdown.run import run

IMAGE_MIB = 700  # disk to allow for an image that is not built yet; whole ones have 300 to 840, and share most of it
FILE = "preflight.json"


def unbuilt(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Images that are still to be made: no reference yet, and room for the largest."""
    return {name: {"reference": "", "id": "", "mib": IMAGE_MIB} for name in names}


def built(images: Mapping[str, Built]) -> dict[str, dict[str, Any]]:
    """Images on this engine, with their sizes."""
    shown = run(commands.image_sizes(engine.CLIENT, [image.reference for image in images.values()])).stdout.split()
    sizes = dict(zip(images, map(int, shown), strict=True))
    return {
        name: {"reference": image.reference, "id": image.id, "mib": -(-sizes[name] // 2**20)}
        for name, image in images.items()
    }


def plans(catalog: Catalog) -> dict[str, dict[str, Any]]:
    """The facts of every plan that can be deployed."""
    return {plan.name: plan_facts(plan) for plan in deployable(catalog)}


def imagined(plan: ResolvedPlan) -> ResolvedPlan:
    """The plan as if every container without an image had one of its own."""
    containers = (c if c.image else replace(c, image=Image(f"for {c.name}", "", ())) for c in plan.containers)
    return replace(plan, containers=tuple(containers))


def pack(root: Path, catalog: Catalog, images: Mapping[str, Mapping[str, Any]], archive: str = "") -> Path:
    """Write the question for the role; `archive` is the digest of the release's archive, once there is one."""
    text = json.dumps({"plans": plans(catalog), "images": images, "archive": archive}, sort_keys=True)
    return release.place(release.dist(root) / FILE, text.encode())
