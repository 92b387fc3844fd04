"""What the host agent needs to know of a plan and of the world, as JSON data; the agent parses no YAML."""

from __future__ import annotations

from typing import Any

from stepdown.catalog import LAST_RESORT, Catalog
from stepdown.resolve import Container, ResolvedPlan


def plan_facts(plan: ResolvedPlan) -> dict[str, Any]:
    """`plan.json` of a bundle: who carries what, how to probe it, what is lost."""
    return {
        "plan": plan.name,
        "containers": {container.name: _container(container) for container in plan.containers},
        "servers": {
            server.name: {
                "container": container.name,
                "probe": {"tool": server.probe.tool, "arguments": dict(server.probe.arguments)},
                "start_seconds": server.start_seconds,
                "call_seconds": server.call_seconds,
                "state": server.state,
                "state_detail": server.state_detail,
            }
            for container in plan.containers
            for server in container.servers
        },
        "lost": dict(plan.plan.lost),
        "direct_port": plan.plan.direct_port,
    }


def policy_facts(catalog: Catalog) -> dict[str, Any]:
    """`policy.json` of a release: how it falls back, and when it counts as good."""
    policy = catalog.policy
    return {
        "standby": {"plan": LAST_RESORT, "mode": policy.standby},
        "drain_seconds": policy.drain_seconds,
        "proved_after_seconds": policy.proved_after_seconds,
    }


def _container(container: Container) -> dict[str, Any]:
    if container.image is None:
        raise ValueError(f"container {container.name}: no image carries its servers")
    return {
        "image": container.image.name,
        "index": container.index,
        "memory_mib": container.memory_mib,
        "cpus": container.cpus,
        "data": [server.name for server in container.servers if server.data],
        "secrets": {server.name: sorted(server.secrets.values()) for server in container.servers if server.secrets},
        "required_secrets": {s.name: list(s.required_secrets) for s in container.servers if s.required_secrets},
        "environment": sorted(set(container.environment.values())),
        "egress": list(container.egress),
    }
