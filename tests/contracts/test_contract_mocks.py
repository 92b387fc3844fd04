"""The mocks promise what the real servers promise: the same pact, the same OpenAPI, the same bounds."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from heimdall.openapi import openapi
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft7Validator, Draft202012Validator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from stepdown.catalog import Catalog
from stepdown.render.mocks import PORTS, mock_config
from stepdown.strict_yaml import load
from tests.contracts import pacts
from tests.integration.clients import request
from tests.mocks.app import NAMES, agreed_tools
from tests.mocks.local import Mock
from tests.mocks.zen import ANSWERS, answer_for

IMAGES = "STEPDOWN_IMAGE_PYTHON=stepdown/python:test\n"
API = schemathesis.openapi.from_dict(openapi())
EXAMPLES = 12  # for each operation
ANSWER_CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.mark.mcp_mock
def test_heimdall_mock_keeps_the_pact_of_its_consumer(mocks: dict[str, Mock]) -> None:
    """The pact that binds the real heimdall binds the mock, so that the two cannot drift."""
    pacts.verify(mocks["heimdall"].url, mocks["heimdall"].token)


@pytest.mark.mcp_mock
def test_a_mock_that_broke_the_pact_would_be_seen(mocks: dict[str, Mock]) -> None:
    """Scripted to leave out what the consumer needs."""
    heimdall = mocks["heimdall"]
    body = {"scan_id": pacts.SCAN_ID, "status": "completed", "findings": []}
    heimdall.script({"match": {"route": f"GET /scans/{pacts.SCAN_ID}"}, "http": {"status": 200, "body": body}})
    try:
        with pytest.raises(RuntimeError):
            pacts.verify(heimdall.url, heimdall.token)
    finally:
        heimdall.reset()


@pytest.mark.mcp_mock
@pytest.mark.parametrize("operation", list(API.get_all_operations()), ids=lambda found: found.ok().label)
def test_heimdall_mock_answers_as_its_openapi_says(mocks: dict[str, Mock], operation: Any) -> None:
    """Good and bad requests: status, headers and document are such as the real server's OpenAPI document allows."""
    heimdall = mocks["heimdall"]

    @given(case=operation.ok().as_strategy())
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=heimdall.url, headers=dict(heimdall.entry["headers"]), checks=ANSWER_CHECKS)

    check()


@pytest.mark.mcp_mock
@pytest.mark.parametrize("name", ["clean", "findings", "scored", "broken"])
def test_every_canned_scan_is_a_document_of_heimdalls(mocks: dict[str, Mock], name: str) -> None:
    """The result of each folder fits the schema that the real get_scan_results has."""
    heimdall = mocks["heimdall"]
    params = {"name": "scan_repository", "arguments": {"path": name, "wait_seconds": 30}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {"MCP-Protocol-Version": "2025-11-25"}
    result = json.loads(request(heimdall.entry["url"], heimdall.token, body, headers=headers)[2])["result"]
    schema = next(tool["outputSchema"] for tool in agreed_tools("heimdall") if tool["name"] == "get_scan_results")
    assert [] == [wrong.message for wrong in Draft202012Validator(schema).iter_errors(result["structuredContent"])]
    assert ("failed" if name == "broken" else "completed") == result["structuredContent"]["status"]


def test_zen_mock_has_an_answer_for_every_tool_and_no_other() -> None:
    """What zen is agreed to offer is what answers/zen.yml answers."""
    answers = load(ANSWERS, ANSWERS.name).value
    assert {tool["name"] for tool in agreed_tools("zen")} == set(answers["tools"])
    for tool in agreed_tools("zen"):
        Draft7Validator.check_schema(tool["inputSchema"])
        for more in (True, False):
            assert answer_for(answers, tool["name"], {"next_step_required": more})["status"]


def test_a_mock_has_the_bounds_of_its_server(catalog: Catalog) -> None:
    """Time limits and the probe are the catalogue's."""
    assert set(NAMES) == set(PORTS)
    for name in NAMES:
        server, told = catalog.servers[name], mock_config(catalog, name)["servers"][name]
        assert (server.call_seconds, server.probe.tool) == (told["call_timeout_seconds"], told["probe"]["tool"])
        assert f"tests.mocks.{name}:create" == told["factory"]


def test_compose_takes_the_mocks_with_nothing_but_an_image(root: Path, docker_compose: str, tmp_path: Path) -> None:
    """The known ports on 127.0.0.1, hardened, and under a name that no live instance has."""
    services = _shown(root, docker_compose, tmp_path, IMAGES)["services"]
    published = {name: [(port["host_ip"], port["published"]) for port in s["ports"]] for name, s in services.items()}
    assert {f"{name}-mock": [("127.0.0.1", str(port))] for name, port in PORTS.items()} == published
    for service in services.values():
        assert (["ALL"], True, "10001:10001") == (service["cap_drop"], service["read_only"], service["user"])
        assert ["no-new-privileges:true"] == service["security_opt"]
        assert all(mount["read_only"] for mount in service["volumes"])
        assert "stepdown-mocks" == service["labels"]["stepdown.instance"]


def test_mocks_stand_beside_a_live_instance(root: Path, docker_compose: str, tmp_path: Path) -> None:
    """Project, network, labels and ports follow the instance and the ports that are given."""
    given_here = f"{IMAGES}STEPDOWN_INSTANCE=one\nSTEPDOWN_MOCK_PORT_ZEN=4300\n"
    shown = _shown(root, docker_compose, tmp_path, given_here)
    assert ("one-mocks", "one-mocks") == (shown["name"], shown["networks"]["mocks"]["name"])
    assert "4300" == shown["services"]["zen-mock"]["ports"][0]["published"]


def test_without_an_image_compose_says_what_to_run(root: Path, docker_compose: str, tmp_path: Path) -> None:
    """The variable's own message."""
    refused = _compose(root, docker_compose, tmp_path, "")
    assert refused.returncode
    assert "run: ./run build" in refused.stderr


def test_nothing_of_the_product_imports_a_mock(root: Path) -> None:
    """Mocks are tests': neither the package nor a service names them, but for where compose/test is rendered."""
    sources = [*(root / "stepdown").rglob("*.py"), *(root / "services").rglob("*.py")]
    naming = [path for path in sources if re.search(r"\btests\.(mocks|doubles)\b", path.read_text(encoding="utf-8"))]
    assert [root / "stepdown" / "render" / "mocks.py"] == naming


def _shown(root: Path, binary: str, folder: Path, env_text: str) -> dict[str, Any]:
    done = _compose(root, binary, folder, env_text)
    assert (0, "") == (done.returncode, done.stderr)
    return dict(json.loads(done.stdout))


def _compose(root: Path, binary: str, folder: Path, env_text: str) -> subprocess.CompletedProcess[str]:
    """Compose's own reading of the committed file."""
    env_file = folder / "compose.env"
    env_file.write_text(env_text, encoding="utf-8")
    files = ("--env-file", str(env_file), "--file", str(root / "compose" / "test" / "compose.yml"))
    argv = [binary, *files, "config", "--format", "json"]
    # nothing of this machine's environment but the way to find programs
    return subprocess.run(argv, env={"PATH": os.defpath}, capture_output=True, text=True, check=False, timeout=60)
