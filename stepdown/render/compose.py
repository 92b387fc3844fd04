"""Compose files as plain data. All that differs by host is a `${STEPDOWN_…}` variable of the release's env file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stepdown.catalog import Server
from stepdown.resolve import Container, ResolvedPlan
from stepdown.shared import (
    CONTAINER_PORT,
    DRAIN_SECONDS,
    EDGE_FOLDERS,
    EDGE_MEMORY_MIB,
    EGRESS_PORT,
    ENVOY_ADMIN,
    ENVOY_CONFIG,
    GATEWAY_PORT,
    GRACE_SECONDS,
    STARTING_CPU_SHARES,
    variable,
)

EDGE_SCRATCH_MIB = 16
LABELS = {"stepdown.instance": "${STEPDOWN_INSTANCE}"}
HOST_ITSELF = "host.docker.internal:host-gateway"  # a model endpoint on the host itself
# Where programs look for their proxy: most read capitals, curl reads http_proxy in lower case alone.
PROXY = {
    **dict.fromkeys(
        ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), f"http://${{STEPDOWN_IP_EGRESS}}:{EGRESS_PORT}"
    ),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1,::1"),
}


def plan_compose(plan: ResolvedPlan) -> dict[str, Any]:
    """The compose file of a plan; every container's block depends on that container alone."""
    networks = {"servers": servers_network()}
    if plan.plan.direct_port:
        networks["door"] = door_network()
    return {
        "name": "${STEPDOWN_PROJECT}",
        "services": {container.name: container_block(container) for container in plan.containers},
        "networks": networks,
    }


def container_block(container: Container) -> dict[str, Any]:
    """One service of a compose file."""
    if container.image is None:
        raise ValueError(f"container {container.name}: no image carries its servers")
    networks: dict[str, Any] = {"servers": {"ipv4_address": f"${{{variable('IP', container.name)}}}"}}
    block: dict[str, Any] = {
        "image": f"${{{variable('IMAGE', container.image.name)}}}",
        "environment": {
            "MCP_HOST_DRAIN_SECONDS": str(DRAIN_SECONDS),
            "MCP_HOST_CONFIG": json.dumps(host_config(container), separators=(",", ":")).replace("$", "$$"),
            **{name: f"${{{source}:-}}" for name, source in container.environment.items()},
            **(PROXY if container.egress else {}),
        },
        "volumes": _volumes(container),
        "networks": networks,
        # no foreign name has to be found in here: nothing listens there, so no lookup leaves, and it fails in a second
        "dns": ["127.0.0.1"],
        "dns_opt": ["timeout:1", "attempts:1"],
        "mem_limit": f"{container.memory_mib}m",
        "memswap_limit": f"{container.memory_mib}m",
        "cpus": container.cpus,
        "cpu_shares": STARTING_CPU_SHARES,
        "pids_limit": container.pids,
        "healthcheck": {
            "test": ["CMD", "/usr/local/bin/http-ready", str(CONTAINER_PORT), "/readyz"],
            "interval": "10s",
            "timeout": "5s",
            "start_period": f"{max(server.start_seconds for server in container.servers)}s",
            "retries": 3,
        },
        "labels": {**LABELS, "stepdown.release": "${STEPDOWN_RELEASE}", "stepdown.container": container.name},
    }
    if container.direct_port:
        networks["door"] = {}
        block["ports"] = [f"127.0.0.1:${{STEPDOWN_DIRECT_PORT}}:{CONTAINER_PORT}"]
    return {**block, **hardened(container.scratch_mib)}


def edge_compose(bootstraps: Mapping[str, str]) -> dict[str, Any]:
    """The gateway and the egress proxy, in a project of their own: they outlive plans and releases.

    `bootstraps` are the digests of their start-up configurations.
    """
    gateway = {
        **_envoy("gateway", GATEWAY_PORT, bootstraps["gateway"]),
        "networks": {"servers": {"ipv4_address": "${STEPDOWN_IP_GATEWAY}"}, "door": {}},
        "ports": [f"127.0.0.1:${{STEPDOWN_PORT}}:{GATEWAY_PORT}"],
    }
    egress = {
        **_envoy("egress", EGRESS_PORT, bootstraps["egress"]),
        "networks": {"servers": {"ipv4_address": "${STEPDOWN_IP_EGRESS}"}, "egress": {}},
        "extra_hosts": [HOST_ITSELF],
    }
    return {
        "name": "${STEPDOWN_INSTANCE}-edge",
        "services": {"gateway": gateway, "egress": egress},
        "networks": {"servers": servers_network(), "door": door_network(), "egress": egress_network()},
    }


def _envoy(name: str, port: int, bootstrap: str) -> dict[str, Any]:
    """A container of the edge: Envoy, told what to do by the files that the agent keeps below <home>/run."""
    folder = f"${{STEPDOWN_HOME}}/run/{EDGE_FOLDERS[name]}"
    memory = f"{EDGE_MEMORY_MIB[name]}m"
    return {
        "image": "${STEPDOWN_IMAGE_GATEWAY}",
        "volumes": [
            f"${{STEPDOWN_HOME}}/edge/{name}:/etc/envoy:ro",
            f"{folder}/config:{ENVOY_CONFIG}:ro",
            f"{folder}/admin:{ENVOY_ADMIN.rpartition('/')[0]}",
        ],
        "mem_limit": memory,
        "memswap_limit": memory,
        "cpus": 2.0,
        "pids_limit": 64,
        "healthcheck": {
            "test": ["CMD", "/usr/local/bin/http-ready", str(port), "/healthz"],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
        },
        # the digest makes compose recreate the container when its start-up configuration changes
        "labels": {**LABELS, "stepdown.container": name, "stepdown.bootstrap": bootstrap},
        **hardened(EDGE_SCRATCH_MIB),
    }


def servers_network() -> dict[str, Any]:
    """The network between edge and servers: no way out of it, addresses fixed by the release's env file."""
    addresses = _addresses("${STEPDOWN_SUBNET_SERVERS}", "${STEPDOWN_IP_NOWHERE}")
    return {"name": "${STEPDOWN_INSTANCE}_servers", "internal": True, "ipam": addresses, "labels": LABELS}


def door_network() -> dict[str, Any]:
    """A bridge that can publish ports and gives no way out: nothing behind it is routed or masqueraded."""
    return {
        "name": "${STEPDOWN_INSTANCE}_door",
        "driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"},
        "ipam": _addresses("${STEPDOWN_SUBNET_DOOR}", "${STEPDOWN_IP_NOWHERE_DOOR}"),
        "labels": LABELS,
    }


def _addresses(subnet: str, nowhere: str) -> dict[str, Any]:
    """A network whose default gateway nobody is; by itself it would be the host, whose every address would answer."""
    return {"config": [{"subnet": subnet, "aux_addresses": {"DefaultGatewayIPv4": nowhere}}]}


def egress_network() -> dict[str, Any]:
    """The one way out, for the egress proxy alone."""
    return {"name": "${STEPDOWN_INSTANCE}_egress", "labels": LABELS}


def hardened(scratch_mib: int) -> dict[str, Any]:
    """What every container has: no root, no capabilities, nothing writable but a bounded /tmp, bounded logs."""
    return {
        "user": "${STEPDOWN_UID}:${STEPDOWN_GID}",
        "read_only": True,
        "tmpfs": [f"/tmp:size={scratch_mib}m,mode=1777"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "init": True,
        "restart": "unless-stopped",
        "stop_grace_period": f"{GRACE_SECONDS}s",
        "pull_policy": "never",
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
    }


def host_config(container: Container) -> dict[str, Any]:
    """What mcp_host in this container is told: its servers, how to start, probe and bound them."""
    return {
        "container": container.name,
        "port": CONTAINER_PORT,
        "servers": {server.name: _host_server(server) for server in container.servers},
    }


def _host_server(server: Server) -> dict[str, Any]:
    config: dict[str, Any] = {"kind": server.kind}
    if server.kind == "stdio":
        config |= {
            "command": list(server.command),
            "settings": dict(server.settings),
            "environment": [*server.environment, *(PROXY if server.egress else ())],
            "secrets": {name: f"{server.name}/{file}" for name, file in server.secrets.items()},
            "needs": dict(server.needs),
        }
        if server.clients is not None:
            config["clients"] = {"most": server.clients.most, "idle_seconds": server.clients.idle_seconds}
    else:
        config["factory"] = server.factory
    return config | {
        "start_timeout_seconds": server.start_seconds,
        "call_timeout_seconds": server.call_seconds,
        "max_concurrent_calls": server.concurrent_calls,
        "probe": {"tool": server.probe.tool, "arguments": dict(server.probe.arguments)},
    }


def _volumes(container: Container) -> list[str]:
    volumes = [
        "${STEPDOWN_HOME}/secrets/auth:/run/stepdown/auth:ro",
        "${STEPDOWN_HOME}/run/plan:/run/stepdown/plan:ro",
    ]
    for server in container.servers:
        if server.secrets:
            volumes.append(f"${{STEPDOWN_HOME}}/secrets/servers/{server.name}:/run/secrets/{server.name}:ro")
        if server.data:
            volumes.append(f"${{STEPDOWN_HOME}}/data/{server.name}:/data/{server.name}")
    if container.workspace != "none":
        access = "ro" if container.workspace == "read-only" else "rw"
        volumes.append(f"${{STEPDOWN_WORKSPACE}}:/workspace:{access}")
    return volumes
