"""Envoy's files of a release and plan, and Envoy's own word that it took them.

A plan's bundle names containers; here each becomes the cluster `<release>.<container>` with one endpoint of fixed
address, so that the clusters of two releases stand side by side and no name is looked up while calls flow.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepdown.errors import StepdownError, sentence
from stepdown.host.home import Home
from stepdown.shared import ENVOY_CONFIG

CONFIRM_SECONDS = 15.0
POLL_SECONDS = 0.01
ADMIN_TYPE = "type.googleapis.com/envoy.admin.v3"
ENDPOINTS_TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


class RefusedError(StepdownError):
    """Envoy refused a configuration; its log says why."""


@dataclass(frozen=True)
class Configuration:
    """Envoy resources of one activation: clusters, their endpoints by cluster name, and the routes."""

    clusters: tuple[dict[str, Any], ...]
    endpoints: Mapping[str, dict[str, Any]]
    routes: dict[str, Any]


def configuration(bundle: Mapping[str, Any], release: str, addresses: Mapping[str, str], port: int) -> Configuration:
    """The bundle's `gateway.json` for a release whose containers have `addresses`."""
    clusters, endpoints = [], {}
    for cluster in bundle["clusters"]:
        container = cluster["name"]
        name = f"{release}.{container}"
        source = {
            "path_config_source": {
                "path": f"{ENVOY_CONFIG}/endpoints/{name}.json",
                "watched_directory": {"path": f"{ENVOY_CONFIG}/endpoints"},
            },
            "resource_api_version": "V3",
        }
        clusters.append({**cluster, "name": name, "eds_cluster_config": {"eds_config": source}})
        endpoints[name] = _endpoint(name, addresses[container], port)
    return Configuration(tuple(clusters), endpoints, _prefixed(bundle["routes"], release))


def version(release: str, plan: str) -> str:
    """The version that Envoy reports for the routes of a release and plan."""
    return f"{release}/{plan}"


def write_idle(home: Home, routes: Mapping[str, Any]) -> None:
    """Files for a gateway that has no plan yet; leaves those that are there."""
    if not (home.gateway_config / "routes.json").exists():
        _write(home, "clusters.json", "idle", [])
        _write(home, "routes.json", "idle", [routes])


def serving(home: Home) -> str:
    """The version of the routes on disk, e.g. `<release>/C`; empty when there are none."""
    path = home.gateway_config / "routes.json"
    return str(json.loads(path.read_text(encoding="utf-8"))["version_info"]) if path.exists() else ""


def activate(home: Home, new: Configuration, wanted: str, keep: tuple[dict[str, Any], ...]) -> None:
    """Move the traffic: add clusters beside `keep`, wait for Envoy, rename the routes file, wait for Envoy.

    On a refusal (RefusedError) or no answer (StepdownError) the old files are put back.
    """
    before = {
        name: (home.gateway_config / name).read_text(encoding="utf-8") for name in ("clusters.json", "routes.json")
    }
    names = {cluster["name"] for cluster in new.clusters}
    refused = _refusals(home)
    both = [*new.clusters, *(cluster for cluster in keep if cluster["name"] not in names)]
    try:
        for name, assignment in new.endpoints.items():
            _write(home, f"endpoints/{name}.json", wanted, [assignment])
        _write(home, "clusters.json", f"{wanted}+{len(both)}", both)
        _wait(home, refused, lambda: names <= _ready_clusters(home), f"clusters {', '.join(sorted(names))}")
        _write(home, "routes.json", wanted, [new.routes])
        _wait(home, refused, lambda: routes_version(home) == wanted, f"routes {wanted}")
    except BaseException:
        old = json.loads(before["routes.json"])["version_info"]
        home.write(home.gateway_config / "routes.json", before["routes.json"])
        with contextlib.suppress(StepdownError):  # Envoy may be gone: then the files are all that can be put back
            _wait(home, _refusals(home), lambda: routes_version(home) == old, f"routes {old}")
        home.write(home.gateway_config / "clusters.json", before["clusters.json"])
        raise


def forget_others(home: Home, current: Configuration, wanted: str) -> None:
    """Keep only the clusters and endpoints of `current`."""
    _write(home, "clusters.json", wanted, list(current.clusters))
    for path in (home.gateway_config / "endpoints").glob("*.json"):
        if path.stem not in current.endpoints:
            path.unlink()


def clusters_on_disk(home: Home) -> tuple[dict[str, Any], ...]:
    """The clusters that Envoy has been given."""
    path = home.gateway_config / "clusters.json"
    return tuple(json.loads(path.read_text(encoding="utf-8"))["resources"]) if path.exists() else ()


def active_requests(home: Home, clusters: set[str]) -> int:
    """Requests that Envoy has under way to `clusters`; 0 for clusters that it does not know."""
    names = "|".join(cluster.replace(".", "\\.") for cluster in sorted(clusters))
    stats = _admin(home, f"/stats?format=json&filter=cluster\\.({names})\\.upstream_rq_(pending_)?active").get(
        "stats", []
    )
    return sum(int(stat["value"]) for stat in stats if "value" in stat)


def routes_version(home: Home) -> str:
    """The version of the routes that Envoy serves."""
    found = _routes_dump(home).get("dynamic_route_configs", [])
    return str(found[0].get("version_info", "")) if found else ""


def _endpoint(cluster: str, address: str, port: int) -> dict[str, Any]:
    socket_address = {"address": address, "port_value": port}
    return {
        "@type": ENDPOINTS_TYPE,
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": socket_address}}}]}],
    }


def _prefixed(routes: dict[str, Any], release: str) -> dict[str, Any]:
    hosts = []
    for host in routes["virtual_hosts"]:
        moved = [
            {**route, "route": {**route["route"], "cluster": f"{release}.{route['route']['cluster']}"}}
            if "route" in route
            else route
            for route in host["routes"]
        ]
        hosts.append({**host, "routes": moved})
    return {**routes, "virtual_hosts": hosts}


def _write(home: Home, name: str, version_info: str, resources: list[Any]) -> None:
    home.write_json(home.gateway_config / name, {"version_info": version_info, "resources": resources})


def _wait(home: Home, refused_before: int, met: Callable[[], bool], what: str) -> None:
    """Until Envoy has taken what was written; RefusedError as soon as it counts one more refusal."""
    deadline = time.monotonic() + CONFIRM_SECONDS
    while not met():
        if _refusals(home) > refused_before:
            raise RefusedError(sentence("gateway", f"Envoy refused {what}; the old ones stay"))
        if time.monotonic() > deadline:
            raise StepdownError(
                sentence("gateway", f"{what} not taken within {CONFIRM_SECONDS:g} s; the old ones stay")
            )
        time.sleep(POLL_SECONDS)  # Envoy tells of a new version only when asked


def _refusals(home: Home) -> int:
    stats = _admin(home, "/stats?format=json&filter=update_rejected$").get("stats", [])
    return sum(int(stat["value"]) for stat in stats if "value" in stat)


def _routes_dump(home: Home) -> dict[str, Any]:
    return _dump(home, "RoutesConfigDump")


def _ready_clusters(home: Home) -> set[str]:
    """Clusters that Envoy has taken and whose server it finds healthy: a call there is answered."""
    entries = _dump(home, "ClustersConfigDump").get("dynamic_active_clusters", [])
    active = {entry["cluster"]["name"] for entry in entries}
    stats = _admin(home, "/stats?format=json&filter=membership_healthy$").get("stats", [])
    end = ".membership_healthy"
    healthy = {stat["name"][len("cluster.") : -len(end)] for stat in stats if stat.get("value", 0) > 0}
    return active & healthy


def _dump(home: Home, kind: str) -> dict[str, Any]:
    configs = _admin(home, "/config_dump").get("configs", [])
    return next((dict(config) for config in configs if config["@type"] == f"{ADMIN_TYPE}.{kind}"), {})


def _admin(home: Home, path: str) -> dict[str, Any]:
    connection = _UnixConnection(home.admin_socket)
    try:
        connection.request("GET", path)
        return dict(json.loads(connection.getresponse().read()))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StepdownError(
            sentence("gateway", f"its admin socket does not answer ({error})", run="./run status")
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
