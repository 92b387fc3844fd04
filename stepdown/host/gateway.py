"""Envoy's files of a release and plan, and Envoy's own word that it took them.

A plan's bundle names containers; here each becomes the cluster `<release>.<container>` with one endpoint of fixed
address, so that the clusters of two releases stand side by side and no name is looked up while calls flow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stepdown.errors import StepdownError
from stepdown.host.envoy import Envoy
from stepdown.host.home import Home
from stepdown.shared import ENVOY_CONFIG

ENDPOINTS_TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


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
    envoy = Envoy(home, "gateway")
    if not (envoy.config / "routes.json").exists():
        envoy.write("clusters.json", "idle", [])
        envoy.write("routes.json", "idle", [routes])


def serving(home: Home) -> str:
    """The version of the routes on disk, e.g. `<release>/C`; empty when there are none."""
    return str(Envoy(home, "gateway").on_disk("routes.json")["version_info"])


@dataclass(frozen=True)
class Files:
    """What Envoy had been given, to be put back."""

    clusters: dict[str, Any]
    routes: dict[str, Any]


def files(home: Home) -> Files:
    """What Envoy has been given."""
    envoy = Envoy(home, "gateway")
    return Files(envoy.on_disk("clusters.json"), envoy.on_disk("routes.json"))


def add(home: Home, new: Configuration, wanted: str) -> None:
    """Add clusters beside those that are there, and wait until Envoy has them and finds them healthy.

    RefusedError on a refusal, StepdownError without an answer; the routes are as they were.
    """
    envoy = Envoy(home, "gateway")
    refused = envoy.refusals()
    names = _write_clusters(envoy, new, wanted)
    envoy.wait(refused, lambda: names <= _ready_clusters(envoy), f"clusters {', '.join(sorted(names))}")


def route(home: Home, new: Configuration, wanted: str) -> None:
    """Rename the routes file, and wait for Envoy's word that it follows it. Errors as `add`."""
    envoy = Envoy(home, "gateway")
    refused = envoy.refusals()
    envoy.write("routes.json", wanted, [new.routes])
    envoy.wait(refused, lambda: routes_version(home) == wanted, f"routes {wanted}")


def leave(home: Home, new: Configuration, wanted: str) -> None:
    """Write everything for an Envoy that does not answer: it follows when it does again."""
    envoy = Envoy(home, "gateway")
    _write_clusters(envoy, new, wanted)
    envoy.write("routes.json", wanted, [new.routes])


def put_back(home: Home, old: Files) -> None:
    """Undo `add` and `route`: first the routes, then, once Envoy follows them, the clusters."""
    envoy = Envoy(home, "gateway")
    version_ = old.routes["version_info"]
    envoy.write("routes.json", version_, old.routes["resources"])
    with contextlib.suppress(StepdownError):  # Envoy may be gone: then the files are all that can be put back
        envoy.wait(envoy.refusals(), lambda: routes_version(home) == version_, f"routes {version_}")
    envoy.write("clusters.json", old.clusters["version_info"], old.clusters["resources"])


def forget_others(home: Home, current: Configuration, wanted: str) -> None:
    """Keep only the clusters and endpoints of `current`."""
    envoy = Envoy(home, "gateway")
    envoy.write("clusters.json", wanted, list(current.clusters))
    for path in (envoy.config / "endpoints").glob("*.json"):
        if path.stem not in current.endpoints:
            path.unlink()


def active_requests(home: Home, clusters: set[str]) -> int:
    """Requests that Envoy has under way to `clusters`; 0 for clusters that it does not know."""
    names = "|".join(cluster.replace(".", "\\.") for cluster in sorted(clusters))
    found = Envoy(home, "gateway").counters(f"cluster\\.({names})\\.upstream_rq_(pending_)?active")
    return sum(found.values())


def routes_version(home: Home) -> str:
    """The version of the routes that Envoy serves."""
    found = Envoy(home, "gateway").dump("RoutesConfigDump").get("dynamic_route_configs", [])
    return str(found[0].get("version_info", "")) if found else ""


def _write_clusters(envoy: Envoy, new: Configuration, wanted: str) -> set[str]:
    """Clusters and endpoints beside those on disk; the names of the new ones."""
    names = {cluster["name"] for cluster in new.clusters}
    keep = (cluster for cluster in envoy.on_disk("clusters.json")["resources"] if cluster["name"] not in names)
    both = [*new.clusters, *keep]
    for name, assignment in new.endpoints.items():
        envoy.write(f"endpoints/{name}.json", wanted, [assignment])
    envoy.write("clusters.json", f"{wanted}+{len(both)}", both)
    return names


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


def _ready_clusters(envoy: Envoy) -> set[str]:
    """Clusters that Envoy has taken and whose server it finds healthy: a call there is answered."""
    end = ".membership_healthy"
    found = envoy.counters("membership_healthy$")
    return envoy.active_clusters() & {name[len("cluster.") : -len(end)] for name, value in found.items() if value > 0}
