"""The gateway's container: as the release has it, started or made anew only when something of it differs."""

from __future__ import annotations

import time

from stepdown.errors import StepdownError
from stepdown.host import engine, gateway
from stepdown.host.target import Target
from stepdown.run import run
from stepdown.shared import ENVOY_CONFIG

POLL_SECONDS = 0.05
FILES = ("compose.yml", "gateway/bootstrap.json")


def differs(goal: Target, running: tuple[engine.Container, ...]) -> bool:
    """Whether the gateway is missing, or runs with another image, port or start-up configuration."""
    found = [c for c in running if c.name == "gateway" and c.running]
    if not found or found[0].image != goal.release.images["gateway"]["reference"]:
        return True
    if f"127.0.0.1:{goal.instance.port}->" not in found[0].ports:
        return True
    source, target_folder = goal.release.path / "edge", goal.home.edge
    return any(
        not (target_folder / n).is_file() or (target_folder / n).read_bytes() != (source / n).read_bytes()
        for n in FILES
    )


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
    for name in FILES:
        home.write(home.edge / name, (source / name).read_text(encoding="utf-8"))
    home.admin_socket.unlink(missing_ok=True)
    engine.up_edge(home, goal.release.env_file)
    deadline = time.monotonic() + gateway.CONFIRM_SECONDS
    while True:
        try:
            gateway.routes_version(home)
            return
        except StepdownError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)  # Envoy makes its admin socket when it is up, and tells nobody
