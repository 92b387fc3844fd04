"""The tools that each server is agreed to offer, and whether an image offers just them.

Owns: catalog/tools/<server>.json. Reads: what every image says of itself, started without a network or a secret.
Never: a host; what a server lists there may depend on its settings.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepdown import commands, release
from stepdown.catalog import Catalog, Image
from stepdown.errors import CommandError, StepdownError, sentence
from stepdown.host.handshake import schema_hash
from stepdown.images import Built
from stepdown.render.compose import host_config
from stepdown.resolve import Container
from stepdown.run import run

Tools = list[dict[str, Any]]
DESCRIBE_SECONDS = 180
REMEMBERED = "tools-{}.json"  # what an image said, below .stepdown/dist
SHOWN_LINES = 60  # of a difference, in the message


def agreed(root: Path, server: str) -> Tools:
    """The agreed list of a server's tools; StepdownError when there is none."""
    path = _path(root, server)
    if not path.is_file():
        raise StepdownError(sentence(str(path.relative_to(root)), "is not there", run="./run build --accept-tools"))
    return list(json.loads(path.read_text(encoding="utf-8")))


def hashes(root: Path, catalog: Catalog) -> dict[str, str]:
    """Server that an image carries to the hash of its agreed tools, as a handshake computes it."""
    carried = {server for image in catalog.images.values() for server in image.carries}
    return {server: schema_hash(agreed(root, server)) for server in sorted(carried)}


def check(root: Path, catalog: Catalog, built: Mapping[str, Built]) -> None:
    """Refuse images that offer other tools than agreed: StepdownError with the difference, server by server."""
    differences: list[str] = []
    for image in catalog.images.values():
        for server, found in offered(root, catalog, image, built[image.name]).items():
            wanted = _text(agreed(root, server)).splitlines()
            names = (f"agreed: {server}", f"image {image.name}")
            differences += difflib.unified_diff(wanted, _text(found).splitlines(), *names, lineterm="")
    if differences:
        shown = "\n".join(differences[:SHOWN_LINES])
        more = len(differences) - SHOWN_LINES
        wrong = f"an image offers other tools:\n{shown}" + (f"\n… {more} lines more" if more > 0 else "")
        raise StepdownError(f"catalog/tools: {wrong}\nIf clients may see that, run: ./run build --accept-tools")


def accept(root: Path, catalog: Catalog, built: Mapping[str, Built]) -> list[str]:
    """Agree on what the images offer; the paths that changed. StepdownError when two images differ on one server."""
    texts: dict[str, str] = {}
    for image in catalog.images.values():
        for server, found in offered(root, catalog, image, built[image.name]).items():
            if texts.setdefault(server, _text(found)) != _text(found):
                wrong = f"image {image.name} offers other tools of {server} than the images before it"
                raise StepdownError(sentence("catalog/tools", wrong))
    changed = []
    for server, text in texts.items():
        path = _path(root, server)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(str(path.relative_to(root)))
    return changed


def offered(root: Path, catalog: Catalog, image: Image, built: Built) -> dict[str, Tools]:
    """What an image says of each server that it carries; asked once for each id, then remembered in .stepdown/dist."""
    servers = tuple(catalog.servers[name] for name in image.carries)
    config = json.dumps(host_config(Container(image.name, 0, servers, image, direct_port=False)))
    remembered = release.dist(root) / REMEMBERED.format(image.name)
    key = {"id": built.id, "config": config}
    if remembered.is_file():
        known = json.loads(remembered.read_text(encoding="utf-8"))
        if known["key"] == key:
            return dict(known["tools"])
    folders = ["/workspace", *(f"/data/{server.name}" for server in servers if server.data)]
    argv = commands.describe_tools("docker", built.reference, config, folders)
    try:
        tools = json.loads(run(argv, timeout_seconds=DESCRIBE_SECONDS).stdout)
    except CommandError as error:
        raise StepdownError(
            sentence(f"image '{image.name}'", f"its servers do not start: {error.output or error}")
        ) from error
    release.place(remembered, json.dumps({"key": key, "tools": tools}).encode())
    return dict(tools)


def _path(root: Path, server: str) -> Path:
    return root / "catalog" / "tools" / f"{server}.json"


def _text(tools: Tools) -> str:
    return json.dumps(tools, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
