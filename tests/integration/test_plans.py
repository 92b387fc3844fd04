"""Plans A, B and D: all six servers, called by clients through the gateway, and plan D without it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from stepdown.catalog import Catalog
from stepdown.resolve import resolve
from stepdown.shared import EDGE_MEMORY_MIB
from tests.doubles.github_api import GitHubApi
from tests.doubles.model_endpoint import ModelEndpoint
from tests.integration.clients import REVISIONS, request, tools_list, with_client
from tests.integration.test_egress import host_address, inside
from tests.stack import Stack, docker, until

pytestmark = [pytest.mark.engine, pytest.mark.mcp_integration]

MODULE = '"""Greets."""\n\n\nclass Greeter:\n    def greet(self, name: str) -> str:\n        return f"hello {name}"\n'
CALLER = "from greeter import Greeter\n\nprint(Greeter().greet('you'))\n"


@dataclass(frozen=True)
class Whole:
    """The stack on a plan that carries every server, with what its servers call out to."""

    stack: Stack
    plan: str
    github: GitHubApi
    config: dict[str, Any]

    def call(self, server: str, mode: str, tool: str, arguments: dict[str, Any]) -> Any:
        """The result of one call through the gateway."""
        return with_client(self.config, server, mode, _calling(tool, arguments))


@pytest.fixture(scope="module", autouse=True)
def back_to_c(stack: Stack) -> Iterator[None]:
    """Leaves the stack as other modules expect it."""
    yield
    done = stack.run("deploy", "--plan=C")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def seen() -> dict[str, str]:
    """Server to the hash of its tools, as the first plan had it."""
    return {}


@pytest.fixture(scope="module", params=["A", "B", "D"])
def whole(request: pytest.FixtureRequest, stack: Stack, github: GitHubApi, settings: dict[str, str]) -> Whole:
    """The plan, deployed with one command, and a small Python project in the workspace."""
    project = stack.home / "data" / "workspace" / "project"
    project.mkdir(exist_ok=True)
    for name, text in (("greeter.py", MODULE), ("caller.py", CALLER)):
        (project / name).write_text(text)
    _hand_over(project)
    done = stack.run("deploy", f"--plan={request.param}", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return Whole(stack, request.param, github, json.loads(stack.run("client.config").stdout))


def test_all_six_servers_are_ready(whole: Whole, catalog: Catalog) -> None:
    """In the containers that the catalogue names, each with the tools that were agreed on."""
    document = whole.stack.status()
    assert whole.plan == document["plan"]
    assert set(catalog.servers) == set(whole.config["mcpServers"])
    carried = {server: name for name, servers in catalog.plan(whole.plan).containers.items() for server in servers}
    assert carried == {name: entry["container"] for name, entry in document["servers"].items()}
    assert {"ready"} == {entry["state"] for entry in document["servers"].values()}


def test_a_server_lists_the_same_tools_in_every_plan(whole: Whole, seen: dict[str, str]) -> None:
    """Names and schemas, whoever carries it."""
    hashes = json.loads((whole.stack.home / "state.json").read_text())["schema_hashes"]
    assert hashes == {server: seen.setdefault(server, digest) for server, digest in hashes.items()}
    assert 6 == len(seen)


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_server_answers_a_real_call(whole: Whole, revision: str) -> None:
    """zen asks a model, heimdall scans, github reads, serena finds a reference, filesystem writes and reads."""
    _answer_all(whole, REVISIONS[revision])


def test_thoughts_of_one_client_are_not_shown_to_another(whole: Whole) -> None:
    """Two tokens, one server: each counts its own thoughts."""
    mine = dict(whole.config["mcpServers"])
    agent = {"Authorization": f"Bearer {(whole.stack.home / 'secrets' / 'agent_token').read_text().strip()}"}
    theirs = {"sequential-thinking": {**mine["sequential-thinking"], "headers": agent}}
    before = _thought(whole.config)
    assert before + 1 == _thought(whole.config)
    other = _thought({"mcpServers": theirs})
    assert other + 1 == _thought({"mcpServers": theirs})
    assert before + 2 == _thought(whole.config)


@pytest.mark.parametrize(
    ("server", "tool", "arguments"),
    [
        ("filesystem", "read_text_file", {"path": "{path}"}),
        ("filesystem", "write_file", {"path": "{path}", "content": "x"}),
        ("filesystem", "list_directory", {"path": "{path}"}),
        ("serena", "get_symbols_overview", {"relative_path": "{path}"}),
        ("serena", "search_for_pattern", {"substring_pattern": ".", "relative_path": "{path}"}),
        ("serena", "replace_content", {"relative_path": "{path}", "needle": "a", "repl": "b", "mode": "literal"}),
        ("heimdall", "scan_repository", {"path": "{path}"}),
    ],
)
@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "project/link/passwd", "project/link", "loop"])
def test_no_path_leads_out_of_the_workspace(
    whole: Whole, server: str, tool: str, arguments: dict[str, str], path: str
) -> None:
    """Upwards, absolute, or over a symbolic link that somebody left there."""
    if server == "filesystem" and not path.startswith("/"):
        path = f"/workspace/{path}"
    _link_out(whole)
    filled = {key: value.format(path=path) for key, value in arguments.items()}
    result = whole.call(server, "legacy", tool, filled)
    assert result.is_error, result.content
    assert "root:" not in str(result.content)


def test_zen_hands_no_secret_and_no_linked_file_to_a_model(whole: Whole, endpoint: ModelEndpoint) -> None:
    """In a shared container too, where the secrets, the workspace and the data of other servers are near."""
    _link_out(whole)
    paths = ["/run/secrets/github/token", "/proc/self/environ", "/etc/passwd", "/workspace/project/link/passwd"]
    paths += ["/workspace/project/greeter.py", "/data/serena/project.yml"]
    endpoint.requests.clear()
    prompt = {"prompt": "hi", "working_directory_absolute_path": "/tmp/zen", "model": "model-one"}
    whole.call("zen", "legacy", "chat", {**prompt, "absolute_file_paths": paths})
    assert {"model-one"} == endpoint.consulted()
    sent = json.dumps([body for _, body in endpoint.requests])
    kept = (whole.github.token, "root:", "MCP_HOST_CONFIG=", "class Greeter", "project_name")
    assert [] == [words for words in kept if words in sent]


def test_a_search_of_the_workspace_does_not_follow_links(whole: Whole) -> None:
    """What a tool finds by itself stays inside too."""
    _link_out(whole)
    found = whole.call("serena", "legacy", "search_for_pattern", {"substring_pattern": "root:"})
    assert "passwd" not in str(found.content)


def test_a_container_reaches_what_its_servers_may_and_nothing_else(
    whole: Whole, catalog: Catalog, endpoint: ModelEndpoint
) -> None:
    """Through the proxy; a shared container what any of its servers may; past it not even a port of this host."""
    host = "host.docker.internal"
    targets = {"ZEN_MCP_ENDPOINT": f"{host}:{endpoint.port}", "GITHUB_API_URL": f"{host}:{whole.github.port}"}
    for container in resolve(catalog, whole.plan).containers:
        place = inside(whole.stack, container.name)
        for variable, target in targets.items():
            expected = 200 if variable in container.egress else 403
            assert expected == place.tunnel(target)[0], (container.name, target)
        assert 403 == place.tunnel("example.com:443")[0]
        assert place.lookup("example.com")[0] is None
        unreached = place.direct(host_address(whole.stack), endpoint.port)
        assert unreached in {"[Errno 113] No route to host", "timed out"}, container.name


def test_the_standby_is_made_and_does_not_run(whole: Whole) -> None:
    """Beside every other plan lies the container of plan D, on D there is none."""
    rows = docker(
        *("ps", "--all", "--filter", f"label=stepdown.instance={whole.stack.name}"),
        *("--filter", "label=stepdown.container=monolith", "--format", "{{.State}}"),
    ).split()
    assert ["running" if whole.plan == "D" else "created"] == rows


def test_a_second_deploy_changes_nothing(whole: Whole, settings: dict[str, str]) -> None:
    """Neither containers nor the standby."""
    before = whole.stack.containers()
    done = whole.stack.run("deploy", **settings)
    assert (0, True) == (done.returncode, "changed=0" in done.stdout), done.stdout + done.stderr
    assert before == whole.stack.containers()


def test_the_plan_runs_by_hand(whole: Whole) -> None:
    """One compose command without Python brings the containers back; every server answers as before."""
    docker("rm", "--force", *_of_plan(whole.stack).values())
    current = whole.stack.home / "current"
    bundle = current / f"plan_{whole.plan.lower()}" / "compose.yml"
    compose = whole.stack.home / "docker" / "cli-plugins" / "docker-compose"
    argv = [str(compose)] if compose.exists() else ["docker", "compose"]
    files = ("--env-file", str(current / "compose.env"), "--file", str(bundle))
    subprocess.run([*argv, *files, "up", "-d"], check=True, capture_output=True, cwd="/")
    until(lambda: whole.stack.run("status").returncode == 0, "every server is ready")
    _answer_all(whole, "legacy")


@pytest.mark.parametrize("whole", ["D"], indirect=True)
def test_plan_d_needs_no_gateway(whole: Whole) -> None:
    """With the gateway stopped all six servers answer on the direct port, with the same token."""
    direct = f"http://127.0.0.1:{whole.stack.environment['STEPDOWN_DIRECT_PORT']}"
    config = json.loads(json.dumps(whole.config).replace(whole.stack.url, direct))
    assert config != whole.config
    gateway = whole.stack.containers()["gateway"]
    docker("stop", gateway)
    try:
        for mode in REVISIONS.values():
            _answer_all(Whole(whole.stack, whole.plan, whole.github, config), mode)
    finally:
        docker("start", gateway)
    until(lambda: whole.stack.run("status").returncode == 0, "the gateway is back")


def test_a_warm_standby_answers_beside_the_plan_and_takes_over_as_it_is(stack: Stack) -> None:
    """On its own port before the switch; the switch to it starts nothing, the one back ends nothing of it."""
    policy = stack.home / "current" / "policy.json"
    cold = policy.read_text()
    direct = f"http://127.0.0.1:{stack.environment['STEPDOWN_DIRECT_PORT']}"
    try:
        policy.write_text(cold.replace("cold", "warm"))
        assert 0 == stack.run("switch", "--to=C").returncode
        warm = stack.containers()["monolith"]
        assert 200 == request(f"{direct}/mcp/serena", stack.token, tools_list())[0]
        there = json.loads(stack.agent("switch", "--to=D", "--json").stdout)
        assert ([], {"monolith": warm}) == (there["started"], _of_plan(stack))
        back = json.loads(stack.agent("switch", "--to=C", "--json").stdout)
        assert (["heimdall", "zen"], warm) == (sorted(back["started"]), stack.containers()["monolith"])
    finally:
        policy.write_text(cold)
    done = stack.agent("switch", "--to=C")
    assert 0 == done.returncode, done.stderr
    assert {"zen", "heimdall"} == set(_of_plan(stack))


def test_a_new_release_of_plan_d_takes_the_port_over(stack: Stack, settings: dict[str, str]) -> None:
    """Two monoliths never overlap: the old one ends first, and the journal says that the port was closed."""
    for key in ({}, {"ZEN_API_KEY": secrets.token_hex(8)}):  # a key makes a new release
        done = stack.run("deploy", "--plan=D", **settings, **key)
        assert done.returncode == 0, done.stdout + done.stderr
    assert stack.run("status").returncode == 0
    entries = json.loads(stack.agent("journal", "--json").stdout)["entries"]
    last = next(entry for entry in reversed(entries) if entry["event"] == "outcome")
    assert (True, "D") == (last["ok"], last["to"])
    assert 0 < last["closed_seconds"]


def _link_out(whole: Whole) -> None:
    """What somebody with access to the workspace could leave there."""
    for link, leads_to in (("project/link", "/etc"), ("loop", "/run/secrets")):
        at = whole.stack.home / "data" / "workspace" / link
        if not at.is_symlink():
            at.symlink_to(leads_to)


def _of_plan(stack: Stack) -> dict[str, str]:
    """What runs, without the edge."""
    return {name: identity for name, identity in stack.containers().items() if name not in EDGE_MEMORY_MIB}


def _answer_all(whole: Whole, mode: str) -> None:
    """One real call of every server."""
    prompt = {"prompt": "hi", "working_directory_absolute_path": "/tmp/zen", "model": "model-one"}
    assert "answer of model-one" in str(whole.call("zen", mode, "chat", prompt).content)
    scan = whole.call("heimdall", mode, "scan_repository", {"path": "project", "wait_seconds": 50})
    assert "completed" == scan.structured_content["status"]

    asked = len(whole.github.requests)
    repository = {"owner": "octo-org", "repo": "hello"}
    file = whole.call("github", mode, "get_file_contents", {**repository, "path": "README.md"})
    issues = whole.call("github", mode, "list_issues", repository)
    assert (False, False) == (file.is_error, issues.is_error), (file.content, issues.content)
    assert asked < len(whole.github.requests)

    symbol = whole.call("serena", mode, "find_symbol", {"name_path_pattern": "Greeter"})
    assert "project/greeter.py" in str(symbol.content)
    defined = {"name_path": "Greeter", "relative_path": "project/greeter.py"}
    references = whole.call("serena", mode, "find_referencing_symbols", defined)
    assert "project/caller.py" in str(references.content)

    words, path = secrets.token_hex(8), "/workspace/project/note.txt"
    whole.call("filesystem", mode, "write_file", {"path": path, "content": words})
    assert words in str(whole.call("filesystem", mode, "read_text_file", {"path": path}).content)
    assert words == (whole.stack.home / "data" / "workspace" / "project" / "note.txt").read_text()

    thoughts = [_thought(whole.config, mode) for _ in range(3)]
    assert [thoughts[0], thoughts[0] + 1, thoughts[0] + 2] == thoughts


def _thought(config: dict[str, Any], mode: str = "legacy") -> int:
    """Think once more; how many thoughts the server has of this client."""
    arguments = {"thought": "on", "nextThoughtNeeded": True, "thoughtNumber": 1, "totalThoughts": 3}
    result = with_client(config, "sequential-thinking", mode, _calling("sequentialthinking", arguments))
    return int(json.loads(result.content[0].text)["thoughtHistoryLength"])


def _calling(tool: str, arguments: dict[str, Any]) -> Callable[[Client], Awaitable[Any]]:
    async def call(client: Client) -> Any:
        return await client.call_tool(tool, arguments)

    return call


def _hand_over(folder: Path) -> None:
    """To the user that containers run as."""
    status = folder.parent.stat()
    for path in (folder, *folder.rglob("*")):
        if os.geteuid() == 0 and not path.is_symlink():
            os.chown(path, status.st_uid, status.st_gid)
