"""Releases on a host: staged once, checked by their digest, immutable, and told about the host in one env file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from stepdown.errors import StepdownError, UsageError, sentence
from stepdown.host import endpoint, engine, server_secrets, tokens
from stepdown.host.home import Home, read_json, sync_directory
from stepdown.host.instance import Instance, settle_instance
from stepdown.shared import SLOT_ADDRESSES, variable

ID_DIGITS = 12
MADE_FROM = ("releases", "edge")  # folders of <home> that hold compose files
SLOTS = 7  # releases that can have addresses at once: 7 times 16, after the first 16 for the edge


@dataclass(frozen=True)
class Release:
    """One staged release."""

    id: str
    path: Path
    slot: int
    images: Mapping[str, Mapping[str, str]]
    plans: tuple[str, ...]
    tools: Mapping[str, str] = field(default_factory=dict)  # hash of the tools that each server is agreed to offer
    environment: Mapping[str, str] = field(default_factory=dict)  # settings that containers see, by deploy-time name

    @property
    def env_file(self) -> Path:
        return self.path / "compose.env"

    def compose_file(self, plan: str) -> Path:
        return self._bundle(plan) / "compose.yml"

    def facts(self, plan: str) -> dict[str, Any]:
        """`plan.json` of a plan's bundle."""
        return dict(read_json(self._bundle(plan) / "plan.json"))

    def gateway(self, plan: str) -> dict[str, Any]:
        """`gateway.json` of a plan's bundle."""
        return dict(read_json(self._bundle(plan) / "gateway.json"))

    def policy(self) -> dict[str, Any]:
        """`policy.json` of the release; empty in one that was staged by an older version."""
        path = self.path / "policy.json"
        return dict(read_json(path)) if path.is_file() else {}

    def address(self, instance: Instance, index: int) -> str:
        """The fixed address of the container with `index`."""
        return instance.address(SLOT_ADDRESSES * (self.slot + 1) + index)

    def addresses(self, instance: Instance, plan: str) -> dict[str, str]:
        """Container name to address."""
        containers = self.facts(plan)["containers"]
        return {name: self.address(instance, container["index"]) for name, container in containers.items()}

    def _bundle(self, plan: str) -> Path:
        if plan not in self.plans:
            raise UsageError(sentence(f"plan {plan!r}", f"is not in release {self.id}", self.plans, "./run plan.show"))
        return self.path / f"plan_{plan.lower()}"


def load(home: Home, release_id: str) -> Release:
    """A staged release; StepdownError lists those that are there."""
    known = staged(home)
    if release_id not in known:
        raise StepdownError(sentence(f"release {release_id!r}", "is not staged on this host", known, "./run deploy"))
    path = home.releases / release_id
    data = read_json(path / "release.json")
    plans, tools = tuple(data["plans"]), data.get("tools", {})
    return Release(release_id, path, data["slot"], data["images"], plans, tools, data["environment"])


def staged(home: Home) -> list[str]:
    """Ids of the releases on this host, oldest first."""
    whole = [path for path in home.releases.glob("*") if re.fullmatch(f"[0-9a-f]{{{ID_DIGITS}}}", path.name)]
    found = [path for path in whole if (path / "release.json").is_file()]
    return [path.name for path in sorted(found, key=lambda path: path.stat().st_mtime)]


def stage(home: Home, archive: Path, wanted: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[Release, bool]:
    """Unpack a release beside the others and return it, with whether it is new.

    Refuses one whose images are not on the engine, and a setting that should be a URL and is none.
    """
    instance = settle_instance(home, wanted)
    tokens.ensure(home)
    release_id = identify(home, digest(archive), wanted, environment)
    if release_id in staged(home):
        release = load(home, release_id)
        _write_env(home, instance, release)
        return release, False
    with tempfile.TemporaryDirectory(dir=home.releases, prefix=".staging-") as folder:
        path = Path(folder)
        _unpack(archive, path)
        manifest = read_json(path / "manifest.json")
        _require_whole(archive, path, manifest["files"])
        _require_images(manifest["images"])
        slot = _free_slot(home)
        plans, tools = tuple(manifest["plans"]), manifest.get("tools", {})
        release = Release(release_id, path, slot, manifest["images"], plans, tools, environment)
        _require_urls(release)
        _write_env(home, instance, release)
        home.write_json(
            path / "release.json", {**manifest, "id": release_id, "slot": slot, "environment": dict(environment)}
        )
        for entry in (path, *path.rglob("*")):
            home.own(entry)
        path.chmod(0o755)
        os.sync()  # every file of the release is on disk before its name is
        path.rename(home.releases / release_id)
        sync_directory(home.releases)
        path.mkdir()  # for the temporary directory's own end
    return load(home, release_id), True


def digest(archive: Path) -> str:
    """sha256 of a release's archive, which stands for its bundles and image ids."""
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def identify(
    home: Home,
    archive: str,
    wanted: Mapping[str, Any],
    environment: Mapping[str, str],
    given: Mapping[str, str] | None = None,
) -> str:
    """The id of a release: sha256 over its archive's digest, settings that containers see, and secrets.

    Secrets count by a keyed hash, so that a rotated one makes a new release that starts beside the old; those `given`
    count as if they were written already.
    """
    workspace = wanted.get("workspace") or str(home.data / "workspace")
    settings = {"environment": dict(environment), "workspace": workspace, "direct_port": int(wanted["direct_port"])}
    whole = hashlib.sha256(archive.encode())
    whole.update(json.dumps(settings, sort_keys=True).encode())
    for name, keyed in server_secrets.digests(home, given or {}).items():
        whole.update(name.encode())
        whole.update(keyed)
    return whole.hexdigest()[:ID_DIGITS]


def prune(home: Home, keep: Sequence[str], remove_images: Callable[[Sequence[str]], None]) -> None:
    """Remove the staged releases that are not in `keep`, and the images that only they name."""
    before = images_staged(home)
    for release_id in staged(home):
        if release_id not in keep:
            (home.releases / release_id / "release.json").unlink()  # a half-removed release is no release
            shutil.rmtree(home.releases / release_id)
    needed = images_staged(home)
    remove_images(unshared(home, [reference for reference in before if reference not in needed]))


def images_missing(archive: Path) -> list[str]:
    """References of a packed release's images that this engine does not have as the release has them."""
    with tempfile.TemporaryDirectory() as folder:
        _unpack(archive, Path(folder))
        return _absent(read_json(Path(folder, "manifest.json"))["images"])


def images_packed(archive: Path) -> list[str]:
    """References of a packed release's images."""
    with tempfile.TemporaryDirectory() as folder:
        _unpack(archive, Path(folder))
        return sorted(image["reference"] for image in read_json(Path(folder, "manifest.json"))["images"].values())


def images_staged(home: Home) -> list[str]:
    """References of every image that a staged release names."""
    return sorted({image["reference"] for id_ in staged(home) for image in load(home, id_).images.values()})


def unshared(home: Home, references: Sequence[str]) -> list[str]:
    """Those of `references` that no release of another <home> on this engine names.

    Other homes are known by where their containers were made from; one that cannot be read may need them all.
    """
    made_from = {
        folder.parent for file in engine.compose_files() for folder in file.parents if folder.name in MADE_FROM
    }
    try:
        needed = {reference for path in made_from - {home.path} for reference in images_staged(Home(path))}
    except StepdownError:
        return []
    return [reference for reference in references if reference not in needed]


def refresh_env(home: Home, instance: Instance, release: Release) -> None:
    """Tell a staged release about today's ports and owner of the host."""
    _write_env(home, instance, release)


def point_current(home: Home, release: Release) -> None:
    """Make `current` name the release, in one step."""
    temporary = home.path / ".current"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(Path("releases", release.id))
    temporary.replace(home.current)
    sync_directory(home.path)


def _unpack(archive: Path, folder: Path) -> None:
    """Write an archive's files below `folder`; anything but plain files below it is refused before a byte is written.

    By hand, since tarfile's own filter came with Python 3.11.4 and Debian 12 has 3.11.2.
    """
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        for member in members:
            parts = PurePosixPath(member.name)
            if not member.isfile() or parts.is_absolute() or ".." in parts.parts:
                raise StepdownError(sentence(str(archive), f"holds {member.name!r}, which is no plain file below it"))
        for member in members:
            target, stream = folder / member.name, tar.extractfile(member)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(stream.read() if stream else b"")


def _require_whole(archive: Path, folder: Path, digests: Mapping[str, str]) -> None:
    """Refuse an archive whose files are not those that its manifest was made with."""
    found = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    if found != dict(digests):
        odd = sorted(name for name in {**found, **digests} if found.get(name) != digests.get(name))
        raise StepdownError(sentence(str(archive), f"{', '.join(odd)} not as its manifest has it", run="./run build"))


def _require_images(images: Mapping[str, Mapping[str, str]]) -> None:
    missing = _absent(images)
    if missing:
        raise StepdownError(sentence("images", f"{', '.join(missing)} not on this host's engine", run="./run deploy"))


def _absent(images: Mapping[str, Mapping[str, str]]) -> list[str]:
    found = (image for image in images.values() if not engine.image_present(image["reference"], image["id"]))
    return [image["reference"] for image in found]


def _require_urls(release: Release) -> None:
    found = endpoint.refusals((release.facts(plan) for plan in release.plans), release.environment)
    if found:
        raise UsageError("; ".join(found))


def _free_slot(home: Home) -> int:
    taken = {load(home, release_id).slot for release_id in staged(home)}
    free = [slot for slot in range(SLOTS) if slot not in taken]
    if not free:
        raise StepdownError(sentence(str(home.releases), f"holds {SLOTS} releases; remove one that is not in use"))
    return free[0]


def _write_env(home: Home, instance: Instance, release: Release) -> None:
    uid, gid = home.owner()
    values = {
        **instance.variables,
        "STEPDOWN_PROJECT": f"{instance.name}-{release.id}",
        "STEPDOWN_RELEASE": release.id,
        "STEPDOWN_HOME": str(home.path),
        "STEPDOWN_UID": str(uid),
        "STEPDOWN_GID": str(gid),
    }
    values |= {variable("IMAGE", name): image["reference"] for name, image in release.images.items()}
    for plan in release.plans:
        for name, address in release.addresses(instance, plan).items():
            values[variable("IP", name)] = address
    values |= release.environment
    text = "".join(f"{key}={_quoted(value)}\n" for key, value in values.items())
    if not release.env_file.exists() or release.env_file.read_text(encoding="utf-8") != text:
        home.write(release.env_file, text)


def _quoted(value: str) -> str:
    """A value of a compose env file: single quotes keep it literal, and double ones what they cannot hold."""
    if "'" not in value and not value.endswith("\\"):
        return f"'{value}'" if value else ""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
