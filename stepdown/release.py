"""Control machine's side of a release: one archive of all bundles and image ids, and the packed host agent.

Owns: `<root>/.stepdown/dist`. Reads: compose/ and the engine's image ids. Never: a host, a secret.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from stepdown.images import Built
from stepdown.shared import variable

AGENT_PARTS = ("__init__.py", "errors.py", "run.py", "commands.py", "shared.py", "host")
# Any Python can read this much: one that is too old hands over to a newer one beside it, or says what is needed.
AGENT_MAIN = """\
import os, sys
if sys.version_info < (3, 11):
    for name in ("python3.13", "python3.12", "python3.11"):
        try:
            os.execvp(name, [name] + sys.argv)
        except OSError:
            pass
    wrong = "stepdown.pyz: Python %d.%d is too old, 3.11 or newer is needed. " % sys.version_info[:2]
    sys.exit(wrong + "Install one on this host, as python3.11, python3.12 or python3.13 on PATH")
from stepdown.host.app import main
sys.exit(main())
"""
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that the format knows; a fixed time makes equal archives equal


def dist(root: Path) -> Path:
    """Where packed files lie on the control machine."""
    return root / ".stepdown" / "dist"


def forget_parcels(root: Path) -> None:
    """Remove images that an interrupted deploy had saved for its hosts; nobody else may be deploying from `root`."""
    for parcel in dist(root).glob("images-*.tar"):  # as roles/mcp_stack/tasks/ship.yml names them
        parcel.unlink()


def pack(root: Path, images: Mapping[str, Built], tools: Mapping[str, str]) -> Path:
    """Write the archive of this tree's bundles, `images`, and the hash of each server's `tools`.

    The same content gives the same bytes and name.
    """
    compose = root / "compose"
    folders = sorted(path.parent for path in compose.glob("plan_*/plan.json"))
    files = {
        str(path.relative_to(compose)): path.read_bytes()
        for folder in (*folders, compose / "edge")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    files["policy.json"] = (compose / "policy.json").read_bytes()
    manifest = {
        "plans": [folder.name.removeprefix("plan_").upper() for folder in folders],
        "images": {image.name: {"reference": image.reference, "id": image.id} for image in shipped(images)},
        "tools": dict(tools),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    files["manifest.json"] = (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(files[name]))
    return place(dist(root) / "release.tar", buffer.getvalue())


def pack_agent(root: Path) -> Path:
    """Write stepdown.pyz: the host agent with the modules that it shares, runnable by any Python 3.11+."""
    package = root / "stepdown"
    sources = [path for part in AGENT_PARTS for path in _python_files(package / part)]
    buffer = io.BytesIO()
    buffer.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(sources):
            archive.writestr(zipfile.ZipInfo(str(path.relative_to(root)), ZIP_EPOCH), path.read_bytes())
        archive.writestr(zipfile.ZipInfo("__main__.py", ZIP_EPOCH), AGENT_MAIN)
    return place(dist(root) / "stepdown.pyz", buffer.getvalue())


def shipped(images: Mapping[str, Built]) -> list[Built]:
    """Images that containers run; the ones that others only build on stay behind."""
    return [images[name] for name in sorted(images) if name not in ("tools", "base", "mcp_host")]


def name_images(root: Path, images: Mapping[str, Built]) -> Path:
    """Write `images.env`: the images that containers run, as the variables by which compose files call them."""
    lines = [f"{variable('IMAGE', image.name)}={image.reference}\n" for image in shipped(images)]
    return place(dist(root) / "images.env", "".join(lines).encode())


def _python_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*.py") if "__pycache__" not in file.parts]


def place(path: Path, content: bytes) -> Path:
    """Write a file in one step, unless it is so already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_bytes() != content:
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(content)
        temporary.replace(path)
    return path


def place_compose(root: Path, binary: str) -> Path:
    """Put the compose binary beside the archive, for hosts whose client has no plugin."""
    path = place(dist(root) / "docker-compose", Path(binary).read_bytes())
    path.chmod(0o755)
    return path
