"""What generated files and the host agent must agree on, stated once. Standard library only: the agent carries it."""

from __future__ import annotations

SLOT_ADDRESSES = 16  # addresses that one release has in the instance's subnet, one for each container name
MOST_CONTAINERS = SLOT_ADDRESSES - 1  # names; the last address of the last release is its network's broadcast address
GATEWAY_ADDRESS = 2  # host part of the gateway's address; 1 is the bridge
GATEWAY_PORT = 8080  # Envoy inside its container
EGRESS_ADDRESS = 3  # host part of the egress proxy's address
NOWHERE_ADDRESS = 4  # host part of the address that nobody has: containers send there what is for other networks
EGRESS_PORT = 3128  # the other Envoy inside its container
FIRST_PLAN = "C"  # of a host that has none, when nobody names one
STARTING_CPU_SHARES = 512  # a container's weight while it starts beside those that serve
SERVING_CPU_SHARES = 1024  # and once it serves: Docker's own default
CONTAINER_PORT = 8080  # mcp_host inside a container
EDGE_MEMORY_MIB = {"gateway": 256, "egress": 128}  # the containers of the edge, and their limits
EDGE_FOLDERS = {"gateway": "envoy", "egress": "egress"}  # where their files are, below <home>/run
ENVOY_CONFIG = "/run/envoy/config"  # where a container of the edge sees the files that the agent writes for it
ENVOY_ADMIN = "/run/envoy/admin/admin.sock"  # and its admin socket


DRAIN_SECONDS = 10  # mcp_host lets calls finish that long after TERM
GRACE_SECONDS = DRAIN_SECONDS + 5  # before KILL: the drain, and the end of what drained


def variable(prefix: str, name: str) -> str:
    """The env-file variable of a container or image: ("IP", "zen-reasoning") gives STEPDOWN_IP_ZEN_REASONING."""
    return f"STEPDOWN_{prefix}_{name.upper().replace('-', '_')}"
