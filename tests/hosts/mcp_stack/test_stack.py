"""A host that the role mcp_stack deployed to: asked through its own doors."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from testinfra.host import Host

from stepdown.catalog import load_catalog
from stepdown.resolve import ResolvedPlan, resolve
from stepdown.shared import FIRST_PLAN

CATALOG = load_catalog(Path(__file__).resolve().parents[3])
EDGE = 2  # gateway and egress

SECRETS = {
    "zen/api_key": "mcp_stack_zen_api_key",
    "heimdall/ca": "mcp_stack_heimdall_ca",
    "github/token": "mcp_stack_github_token",
    "github/app_private_key": "mcp_stack_github_app_private_key",
    "github/ca": "mcp_stack_github_ca",
}
WEBHOOK = "notify/slack_webhook"
CALL = """
import json, sys, urllib.request
home, port, server, method, parameters = sys.argv[1:]
token = open(home + "/secrets/client_token").read().strip()
head = {"Authorization": "Bearer " + token, "Content-Type": "application/json", "Accept": "application/json"}
body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": json.loads(parameters)}).encode()
call = urllib.request.Request("http://127.0.0.1:%s/mcp/%s" % (port, server), data=body, headers=head)
print(urllib.request.urlopen(call, timeout=60).read().decode())
"""


def _plan(variables: dict[str, Any]) -> ResolvedPlan:
    return resolve(CATALOG, variables["mcp_stack_plan"] or FIRST_PLAN)


def _answer(host: Host, home: str, port: int, server: str, method: str, parameters: dict[str, Any]) -> Any:
    shown = host.check_output(
        "python3 -c %s %s %s %s %s %s", CALL, home, str(port), server, method, json.dumps(parameters)
    )
    return json.loads(shown)


def _call(host: Host, variables: dict[str, Any], server: str, method: str, parameters: dict[str, Any]) -> Any:
    home, port = variables["mcp_stack_home"], variables["mcp_stack_port"]
    return _answer(host, home, port, server, method, parameters)["result"]


def test_every_server_lists_its_tools_through_the_gateway(host: Host, variables: dict[str, Any]) -> None:
    """MCP with the client's token, from inside the host; one that the plan has lost says so."""
    plan = _plan(variables)
    for container in plan.containers:
        for server in container.servers:
            assert _call(host, variables, server.name, "tools/list", {})["tools"]
    for lost in plan.plan.lost:
        said = _answer(host, variables["mcp_stack_home"], variables["mcp_stack_port"], lost, "tools/list", {})
        assert ("stepdown.server_lost", plan.name) == (said["error"]["data"]["type"], said["error"]["data"]["plan"])


def test_a_plan_with_a_port_of_its_own_answers_there_too(host: Host, variables: dict[str, Any]) -> None:
    """Plan D on the direct port, with the same token; on any other plan nothing listens there."""
    home, port = variables["mcp_stack_home"], variables["mcp_stack_direct_port"]
    plan = _plan(variables)
    assert plan.plan.direct_port == host.socket(f"tcp://127.0.0.1:{port}").is_listening
    for container in plan.containers if plan.plan.direct_port else ():
        for server in container.servers:
            assert _answer(host, home, port, server.name, "tools/list", {})["result"]["tools"]


def test_heimdall_scans_the_workspace(host: Host, variables: dict[str, Any]) -> None:
    """A key that somebody left in the workspace is found by a real call."""
    folder = variables["mcp_stack_workspace"] or f"{variables['mcp_stack_home']}/data/workspace"
    planted = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" + "k1L2m3N4o5P6q7R8"
    host.check_output("mkdir -p %s && echo %s >%s", f"{folder}/probe", f'token = "{planted}"', f"{folder}/probe/a.py")
    arguments = {"name": "scan_repository", "arguments": {"path": "probe", "wait_seconds": 60}}
    result = _call(host, variables, "heimdall", "tools/call", arguments)
    assert "secret" in json.dumps(result)
    host.check_output("rm -r %s", f"{folder}/probe")


def test_the_agent_says_that_all_is_ready(host: Host, variables: dict[str, Any]) -> None:
    """The plan, as deployed, for the reason given."""
    said = json.loads(host.check_output("python3 %s/stepdown.pyz status --json", variables["mcp_stack_home"]))
    expected = (_plan(variables).name, "ready", variables["mcp_stack_why"] or "deploy")
    assert expected == (said["plan"], said["gateway"]["state"], said["why"])


def test_the_servers_have_the_subnet_and_the_names_of_the_instance(host: Host, variables: dict[str, Any]) -> None:
    """Everything bears the instance's label, nothing else of it is on the engine."""
    label = f"label=stepdown.instance={variables['mcp_stack_instance']}"
    names = host.check_output("docker ps --quiet --filter %s", label).split()
    assert EDGE + len(_plan(variables).containers) == len(names)
    networks = host.check_output("docker network ls --quiet --filter %s", label).split()
    shown = "docker network inspect --format '{{(index .IPAM.Config 0).Subnet}}' "
    subnets = host.check_output(shown + " ".join(networks)).split()
    if variables["mcp_stack_subnet"]:
        servers, door = IPv4Network(variables["mcp_stack_subnet"]).subnets()
        assert {str(servers), str(door)} <= set(subnets)


def test_secrets_are_for_the_servers_alone(host: Host, variables: dict[str, Any]) -> None:
    """Owned by the unprivileged user of the containers, readable by nobody else."""
    folder = f"{variables['mcp_stack_home']}/secrets"
    assert (0o700, 10001) == (host.file(folder).mode, host.file(folder).uid)
    files = {f"servers/{name}": variable for name, variable in SECRETS.items()}
    for name, variable in {**files, WEBHOOK: "mcp_stack_slack_webhook"}.items():
        secret = host.file(f"{folder}/{name}")
        assert bool(variables[variable]) == secret.exists
        if secret.exists:
            assert (0o400, 10001) == (secret.mode, secret.uid)
            assert variables[variable] == secret.content_string
