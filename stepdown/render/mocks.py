"""The mocks of compose/test as plain data: for tests of clients, beside a live instance or with none.

What a mock answers is code and data below tests/mocks, mounted into the image that carries the real server. Ports, like
names and labels, can be set; with nothing set they are those that the project's clients know.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stepdown.catalog import Catalog
from stepdown.render.compose import container_block, host_config
from stepdown.resolve import Container
from stepdown.shared import CONTAINER_PORT, variable

PORTS = {"zen": 3000, "heimdall": 3001, "github": 3002}  # on 127.0.0.1, by the server that is mocked
PROJECT = "${STEPDOWN_INSTANCE:-stepdown}-mocks"  # never an instance's own name: its agent ends what it does not want
TOKEN = "${STEPDOWN_MOCK_TOKEN:-mock}"
CHECKOUT = "/opt/mocks"
MOUNTED = ("tests/mocks", "tests/doubles", "catalog/tools")  # of the checkout, read-only
IMAGE = "${STEPDOWN_IMAGE_PYTHON:?is in .stepdown/dist/images.env; run: ./run build}"


def mocks_compose(catalog: Catalog) -> dict[str, Any]:
    """The compose file of the mocks: hardened like the containers of a plan, with nothing to keep."""
    return {
        "name": PROJECT,
        "services": {f"{server}-mock": _block(catalog, server) for server in PORTS},
        "networks": {
            "mocks": {
                "name": PROJECT,
                # publishes ports, and routes nothing to other networks, as the door of plan D
                "driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"},
                "labels": {"stepdown.instance": PROJECT},
            }
        },
    }


def mock_config(catalog: Catalog, server: str) -> dict[str, Any]:
    """What mcp_host is told for a mock: the real server's bounds and probe, and another factory."""
    return host_config(_container(catalog, server))


def _container(catalog: Catalog, name: str) -> Container:
    server = replace(
        catalog.servers[name],
        kind="native",
        factory=f"tests.mocks.{name}:create",
        environment={},
        secrets={},
        egress=(),
        workspace="none",
        data=False,
    )
    return Container(f"{name}-mock", 0, (server,), catalog.images["python"], direct_port=False)


def _block(catalog: Catalog, server: str) -> dict[str, Any]:
    container = _container(catalog, server)
    block = container_block(container)
    host = {name: block["environment"][name] for name in ("MCP_HOST_DRAIN_SECONDS", "MCP_HOST_CONFIG")}
    return block | {
        "image": IMAGE,
        "command": ["python", "-m", "tests.mocks", server],
        "working_dir": CHECKOUT,
        "environment": {**host, "STEPDOWN_MOCK_TOKEN": TOKEN},
        "volumes": [f"../../{folder}:{CHECKOUT}/{folder}:ro" for folder in MOUNTED],
        "networks": {"mocks": {}},
        "ports": [f"127.0.0.1:${{{variable('MOCK_PORT', server)}:-{PORTS[server]}}}:{CONTAINER_PORT}"],
        "healthcheck": {**block["healthcheck"], "interval": "2s"},  # a test waits for it
        "labels": {"stepdown.instance": PROJECT, "stepdown.container": container.name},
        "user": "${STEPDOWN_UID:-10001}:${STEPDOWN_GID:-10001}",
        "restart": "no",
    }
