"""What generated files and the host agent must agree on, stated once. Standard library only: the agent carries it."""

from __future__ import annotations

SLOT_ADDRESSES = 16  # addresses that one release has in the instance's subnet, one for each container name
GATEWAY_ADDRESS = 2  # host part of the gateway's address; 1 is the bridge
GATEWAY_PORT = 8080  # Envoy inside its container
FIRST_PLAN = "C"  # of a host that has none, when nobody names one
CONTAINER_PORT = 8080  # mcp_host inside a container
GATEWAY_MEMORY_MIB = 256  # limit of the gateway's container
ENVOY_CONFIG = "/run/envoy/config"  # where the gateway's container sees <home>/run/envoy/config
ENVOY_ADMIN = "/run/envoy/admin/admin.sock"  # and its admin socket, <home>/run/envoy/admin/admin.sock


DRAIN_SECONDS = 10  # mcp_host lets calls finish that long after TERM
GRACE_SECONDS = DRAIN_SECONDS + 5  # before KILL: the drain, and the end of what drained


def variable(prefix: str, name: str) -> str:
    """The env-file variable of a container or image: ("IP", "zen-reasoning") gives STEPDOWN_IP_ZEN_REASONING."""
    return f"STEPDOWN_{prefix}_{name.upper().replace('-', '_')}"
