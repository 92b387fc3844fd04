"""The gateway's container: as the release has it, started or made anew only when something of it differs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

from stepdown.errors import StepdownError
from stepdown.host import engine, gateway
from stepdown.host.home import Home
from stepdown.host.release import Release, load, staged
from stepdown.host.target import Target
from stepdown.run import run
from stepdown.shared import ENVOY_CONFIG

POLL_SECONDS = 0.05
DIGEST_DIGITS = 12  # as render/compose.py labels the gateway
FILES = ("compose.yml", "gateway/bootstrap.json")


def differs(goal: Target, running: tuple[engine.Container, ...]) -> bool:
    """Whether the gateway is missing, or runs with another image, port or start-up configuration."""
    found = [c for c in running if c.name == "gateway" and c.running]
    if not found or found[0].image != goal.release.images["gateway"]["reference"]:
        return True
    if f"127.0.0.1:{goal.instance.port}->" not in found[0].ports:
        return True
    source = goal.release.path / "edge"
    # what the container was made with, not what lies on disk: a crash can come between the two
    digest = hashlib.sha256((source / "gateway" / "bootstrap.json").read_bytes()).hexdigest()[:DIGEST_DIGITS]
    compose = goal.home.edge / "compose.yml"
    same_compose = compose.is_file() and compose.read_bytes() == (source / "compose.yml").read_bytes()
    return found[0].bootstrap != digest or not same_compose


def ensure(goal: Target, running: tuple[engine.Container, ...]) -> None:
    """The gateway as this release has it; Envoy checks a new start-up configuration before it replaces anything."""
    if not differs(goal, running):
        return
    source, home = goal.release.path / "edge", goal.home
    uid, gid = home.owner()
    mounts = (
        "--volume",
        f"{source / 'gateway'}:/etc/envoy:ro",
        "--volume",
        f"{home.gateway_config}:{ENVOY_CONFIG}:ro",
    )
    check = ("/usr/local/bin/envoy", "--mode", "validate", "--config-path", "/etc/envoy/bootstrap.json")
    image = goal.release.images["gateway"]["reference"]
    run((engine.CLIENT, "run", "--rm", "--network", "none", "--user", f"{uid}:{gid}", *mounts, image, *check))
    _up(home, goal.release)
    deadline = time.monotonic() + gateway.CONFIRM_SECONDS
    while True:
        try:
            gateway.routes_version(home)
            return
        except StepdownError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)  # Envoy makes its admin socket when it is up, and tells nobody


def restore(home: Home, old: Mapping[str, Any]) -> None:
    """Give the old release its gateway back, if a switch that failed has taken it."""
    release_id = old.get("release")
    if release_id is None or release_id not in staged(home):
        return
    release = load(home, release_id)
    if any((home.edge / n).read_bytes() != (release.path / "edge" / n).read_bytes() for n in FILES):
        _up(home, release)


def _up(home: Home, release: Release) -> None:
    for name in FILES:
        home.write(home.edge / name, (release.path / "edge" / name).read_text(encoding="utf-8"))
    home.admin_socket.unlink(missing_ok=True)
    engine.up_edge(home, release.env_file)
