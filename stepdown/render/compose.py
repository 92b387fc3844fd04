"""Compose files as plain data. All that differs by host is a `${STEPDOWN_…}` variable of the release's env file."""

from __future__ import annotations

import json
from typing import Any

from stepdown.catalog import Server
from stepdown.resolve import Container, ResolvedPlan
from stepdown.shared import (
    CONTAINER_PORT,
    DRAIN_SECONDS,
    GATEWAY_MEMORY_MIB,
    GATEWAY_PORT,
    GRACE_SECONDS,
    variable,
)

GATEWAY_SCRATCH_MIB = 16
GATEWAY_MEMORY = f"{GATEWAY_MEMORY_MIB}m"
GATEWAY_LIMITS = {"mem_limit": GATEWAY_MEMORY, "memswap_limit": GATEWAY_MEMORY, "cpus": 2.0, "pids_limit": 64}
LABELS = {"stepdown.instance": "${STEPDOWN_INSTANCE}"}


def plan_compose(plan: ResolvedPlan) -> dict[str, Any]:
    """The compose file of a plan; every container's block depends on that container alone."""
    networks = {"servers": servers_network()}
    if any(container.egress for container in plan.containers):
        networks["egress"] = {"name": "${STEPDOWN_INSTANCE}_egress", "labels": LABELS}
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
    if container.egress:
        networks["egress"] = {}
    block: dict[str, Any] = {
        "image": f"${{{variable('IMAGE', container.image.name)}}}",
        "environment": {
            "MCP_HOST_DRAIN_SECONDS": str(DRAIN_SECONDS),
            "MCP_HOST_CONFIG": json.dumps(host_config(container), separators=(",", ":")).replace("$", "$$"),
            **{name: f"${{{source}:-}}" for name, source in container.environment.items()},
        },
        "volumes": _volumes(container),
        "networks": networks,
        "mem_limit": f"{container.memory_mib}m",
        "memswap_limit": f"{container.memory_mib}m",
        "cpus": container.cpus,
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
    if container.egress:
        block["extra_hosts"] = ["host.docker.internal:host-gateway"]  # a model endpoint on the host itself
    if container.direct_port:
        networks["door"] = {}
        block["ports"] = [f"127.0.0.1:${{STEPDOWN_DIRECT_PORT}}:{CONTAINER_PORT}"]
    return {**block, **hardened(container.scratch_mib)}


def edge_compose(bootstrap_digest: str) -> dict[str, Any]:
    """The gateway, in a project of its own: it outlives plans and releases."""
    gateway = {
        "image": "${STEPDOWN_IMAGE_GATEWAY}",
        "volumes": [
            "${STEPDOWN_HOME}/edge/gateway:/etc/envoy:ro",
            "${STEPDOWN_HOME}/run/envoy/config:/run/envoy/config:ro",
            "${STEPDOWN_HOME}/run/envoy/admin:/run/envoy/admin",
        ],
        "networks": {"servers": {"ipv4_address": "${STEPDOWN_IP_GATEWAY}"}, "door": {}},
        "ports": [f"127.0.0.1:${{STEPDOWN_PORT}}:{GATEWAY_PORT}"],
        **GATEWAY_LIMITS,
        "healthcheck": {
            "test": ["CMD", "/usr/local/bin/http-ready", str(GATEWAY_PORT), "/healthz"],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
        },
        # the digest makes compose recreate the gateway when its start-up configuration changes
        "labels": {**LABELS, "stepdown.container": "gateway", "stepdown.bootstrap": bootstrap_digest},
        **hardened(GATEWAY_SCRATCH_MIB),
    }
    return {
        "name": "${STEPDOWN_INSTANCE}-edge",
        "services": {"gateway": gateway},
        "networks": {"servers": servers_network(), "door": door_network()},
    }


def servers_network() -> dict[str, Any]:
    """The network between gateway and servers: no way out of it, addresses fixed by the release's env file."""
    return {
        "name": "${STEPDOWN_INSTANCE}_servers",
        "internal": True,
        "ipam": {"config": [{"subnet": "${STEPDOWN_SUBNET}"}]},
        "labels": LABELS,
    }


def door_network() -> dict[str, Any]:
    """A bridge that can publish ports and gives no way out: nothing behind it is masqueraded."""
    return {
        "name": "${STEPDOWN_INSTANCE}_door",
        "driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"},
        "labels": LABELS,
    }


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
            "environment": list(server.environment),
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
