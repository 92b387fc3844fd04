"""compose/test as people use it: three containers on three ports, beside whatever else runs."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator

import pytest

from stepdown.render.mocks import PORTS
from stepdown.shared import variable
from tests.integration.clients import REVISIONS, request, with_client
from tests.integration.test_servers import list_tools
from tests.mocks.app import agreed_tools
from tests.mocks.local import Mock
from tests.stack import ROOT, Stack, docker, free_port

pytestmark = pytest.mark.engine

COMPOSE = (".stepdown/dist/docker-compose", "--env-file", ".stepdown/dist/images.env", "-f", "compose/test/compose.yml")


@pytest.fixture(scope="module")
def contained(stack: Stack) -> Iterator[dict[str, Mock]]:
    """The mocks of an instance of their own, with the images that the stack was deployed with."""
    assert stack.port
    ports = {name: free_port() for name in PORTS}
    token = secrets.token_hex(8)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("STEPDOWN_")},
        "STEPDOWN_INSTANCE": f"test-{secrets.token_hex(3)}",
        "STEPDOWN_MOCK_TOKEN": token,
        **{variable("MOCK_PORT", name): str(port) for name, port in ports.items()},
    }

    def compose(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMPOSE, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    up = compose("up", "-d", "--wait")
    try:
        assert up.returncode == 0, up.stderr + compose("logs").stdout
        yield {name: Mock(name, f"http://127.0.0.1:{port}", token) for name, port in ports.items()}
    finally:
        down = compose("down")
        assert down.returncode == 0, down.stderr


def test_the_mocks_of_compose_answer_on_their_ports(contained: dict[str, Mock]) -> None:
    """Each offers its agreed tools in both revisions, takes a script, and nobody else's token; heimdall REST too."""
    config = {"mcpServers": {name: mock.entry for name, mock in contained.items()}}
    for name, mock in contained.items():
        for mode in REVISIONS.values():
            assert agreed_tools(name) == with_client(config, name, mode, list_tools)
        assert 401 == request(mock.entry["url"], "mock", {})[0]
        mock.script({"match": {"method": "tools/list"}, "times": 1, "http": {"status": 503}})
        assert [503, 200] == [_listed(mock) for _ in range(2)]
    status, _, text = request(f"{contained['heimdall'].url}/scans/abc123", contained["heimdall"].token)
    assert (200, "completed") == (status, json.loads(text)["status"])


def test_the_mocks_are_hardened_as_a_plan_is(contained: dict[str, Mock]) -> None:
    """No root, no capabilities, nothing writable, no masquerade; what they run is the checkout's, and read-only."""
    for name, mock in contained.items():
        container = docker("ps", "--quiet", "--filter", f"publish={mock.url.rpartition(':')[2]}").strip()
        found = json.loads(docker("inspect", container))[0]
        host = found["HostConfig"]
        assert (True, ["ALL"], True) == (host["ReadonlyRootfs"], host["CapDrop"], host["Init"]), name
        assert "10001:10001" == found["Config"]["User"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert {False} == {mount["RW"] for mount in found["Mounts"] if mount["Type"] == "bind"}
        (network,) = found["NetworkSettings"]["Networks"]
        options = json.loads(docker("network", "inspect", network))[0]["Options"]
        assert "false" == options["com.docker.network.bridge.enable_ip_masquerade"]


def _listed(mock: Mock) -> int:
    """The status of a bare tools/list."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    return request(mock.entry["url"], mock.token, body, headers={"MCP-Protocol-Version": "2025-11-25"})[0]
