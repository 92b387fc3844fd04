"""An Envoy of the edge: the files that it watches, and its own word, on its admin socket, that it took them."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepdown.errors import StepdownError, sentence
from stepdown.host.fault import FaultyError
from stepdown.host.home import Home

CONFIRM_SECONDS = 15.0
POLL_SECONDS = 0.01
ADMIN_TYPE = "type.googleapis.com/envoy.admin.v3"


class RefusedError(FaultyError):
    """Envoy refused a configuration; its log says why."""


@dataclass(frozen=True)
class Envoy:
    """One of the two: the gateway or the egress proxy."""

    home: Home
    name: str

    @property
    def config(self) -> Path:
        """The directory that it watches."""
        return self.home.envoy_config(self.name)

    def write(self, name: str, version: str, resources: list[Any]) -> None:
        """Replace one of its files."""
        self.home.write_json(self.config / name, {"version_info": version, "resources": resources})

    def on_disk(self, name: str) -> dict[str, Any]:
        """One of its files, `version_info` and `resources`; both empty when it is not there."""
        path = self.config / name
        if not path.exists():
            return {"version_info": "", "resources": []}
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def dump(self, kind: str) -> dict[str, Any]:
        """What it has in force: ClustersConfigDump, ListenersConfigDump or RoutesConfigDump; empty for none."""
        configs = self.ask("/config_dump").get("configs", [])
        return next((dict(config) for config in configs if config["@type"] == f"{ADMIN_TYPE}.{kind}"), {})

    def counters(self, pattern: str) -> dict[str, int]:
        """Its counters and gauges whose names match a regular expression."""
        stats = self.ask(f"/stats?format=json&filter={pattern}").get("stats", [])
        return {stat["name"]: int(stat["value"]) for stat in stats if "value" in stat}

    def active_clusters(self) -> set[str]:
        """Names of the clusters that it has taken."""
        entries = self.dump("ClustersConfigDump").get("dynamic_active_clusters", [])
        return {entry["cluster"]["name"] for entry in entries}

    def refusals(self) -> int:
        """How many configurations it has refused since its start."""
        return sum(self.counters("update_rejected$").values())

    def wait(self, refused_before: int, met: Callable[[], bool], what: str) -> None:
        """Until it has taken what was written; RefusedError as soon as it counts one more refusal."""
        deadline = time.monotonic() + CONFIRM_SECONDS
        while not met():
            if self.refusals() > refused_before:
                raise RefusedError(sentence(self.name, f"Envoy refused {what}; the old ones stay"))
            if time.monotonic() > deadline:
                wrong = f"{what} not taken within {CONFIRM_SECONDS:g} s; the old ones stay"
                raise StepdownError(sentence(self.name, wrong))
            time.sleep(POLL_SECONDS)  # Envoy tells of a new version only when asked

    def wait_until_up(self, seconds: float = CONFIRM_SECONDS) -> None:
        """Until its admin socket answers; StepdownError when it does not in time."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.ask("/server_info")
                return
            except StepdownError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)  # Envoy makes its admin socket when it is up, and tells nobody

    def ask(self, path: str) -> dict[str, Any]:
        """The JSON that its admin socket gives."""
        connection = _UnixConnection(self.home.admin_socket(self.name))
        try:
            connection.request("GET", path)
            return dict(json.loads(connection.getresponse().read()))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise StepdownError(
                sentence(self.name, f"its admin socket does not answer ({error})", run="./run status")
            ) from error
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, reached through its directory's descriptor: a socket's path holds 107 bytes only."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)
