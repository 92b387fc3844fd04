"""Plan C as its clients and operators see it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from tests.doubles.model_endpoint import ModelEndpoint
from tests.integration.clients import REVISIONS, consult_two_models, request, tools_list, with_client
from tests.stack import ROOT, Stack, docker, until

pytestmark = [pytest.mark.engine, pytest.mark.mcp_integration]

GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.invalid")


@pytest.fixture(scope="module", autouse=True)
def plain(stack: Stack) -> None:
    """The stack with nothing set, whatever another module left behind."""
    done = stack.run("deploy")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def config(stack: Stack) -> dict[str, Any]:
    """What `./run client.config` prints, and nothing else on stdout."""
    return dict(json.loads(stack.run("client.config").stdout))


def test_status_has_the_fixed_shape(stack: Stack) -> None:
    """`status --json` is the document that other programs read: every server of the catalogue in one of four states."""
    document = stack.status()
    fixed = ["plan", "release", "since", "by", "why", "servers", "gateway", "last_switch"]
    assert [*fixed, "proof", "break_glass"] == list(document)
    assert document["plan"] == "C"
    states = {name: server["state"] for name, server in document["servers"].items()}
    lost = dict.fromkeys(("github", "serena", "filesystem", "sequential-thinking"), "lost")
    assert states == {"zen": "ready", "heimdall": "ready", **lost}
    assert document["gateway"] == {"url": stack.url, "state": "ready"}
    assert document["last_switch"].keys() == {"from", "to", "seconds", "ok"}


def test_a_second_deploy_changes_nothing(stack: Stack) -> None:
    """Deploying again reports no change and keeps every container."""
    before = stack.containers()
    done = stack.run("deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0" in done.stdout
    assert before == stack.containers()


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize(("server", "tool"), [("zen", "consensus"), ("heimdall", "scan_repository")])
def test_a_client_of_each_revision_lists_tools(config: dict[str, Any], server: str, tool: str, revision: str) -> None:
    """The official SDK reaches both servers through the gateway in both protocol revisions."""

    async def names(client: Client) -> set[str]:
        return {listed.name for listed in (await client.list_tools()).tools}

    assert tool in with_client(config, server, REVISIONS[revision], names)


@pytest.mark.parametrize("revision", REVISIONS)
def test_heimdall_finds_a_planted_defect(stack: Stack, config: dict[str, Any], revision: str) -> None:
    """A repository in the workspace with a shell injection and a leaked key in an old commit: both are found."""
    repository = stack.home / "data" / "workspace" / f"planted-{revision}"
    _plant(repository)

    async def scan(client: Client) -> Any:
        arguments = {"path": repository.name, "profile": "full", "wait_seconds": 50}
        return (await client.call_tool("scan_repository", arguments)).structured_content

    result = with_client(config, "heimdall", REVISIONS[revision], scan)
    assert result["status"] == "completed", result
    assert {"secret", "sast"} <= {finding["category"] for finding in result["findings"]}
    assert {"settings.py", "tool.py"} <= {finding["path"] for finding in result["findings"]}


def test_heimdall_answers_rest_too(stack: Stack) -> None:
    """POST /scans gives an id; GET /scans/{id} becomes the contract's document."""
    _plant(stack.home / "data" / "workspace" / "planted-rest")
    status, headers, text = request(f"{stack.url}/scans", stack.token, {"path": "planted-rest"})
    assert status == 202, text
    scan_id = json.loads(text)["scan_id"]
    assert headers["location"].endswith(f"/scans/{scan_id}")
    document: dict[str, Any] = {}

    def ended() -> bool:
        document.update(json.loads(request(f"{stack.url}/scans/{scan_id}", stack.token)[2]))
        return document["status"] in ("completed", "failed")

    until(ended, "the scan ended")
    assert "completed" == document["status"], document["error"]
    assert document["findings"]
    assert "max_score" in document["cvss_summary"]


@pytest.mark.parametrize("path", ["/mcp/zen", "/mcp/heimdall", "/mcp/github", "/scans", "/nowhere"])
@pytest.mark.parametrize("token", [None, "not-the-token"])
def test_nothing_but_healthz_answers_without_the_token(stack: Stack, path: str, token: str | None) -> None:
    """No token, or a wrong one: 401 with a challenge, for every path that leads to a server."""
    status, headers, _ = request(f"{stack.url}{path}", token, tools_list())
    if path == "/nowhere" and token:
        assert status == 404  # a token's shape opens the list of paths, which README prints anyway
    else:
        assert (401, "Bearer") == (status, headers["www-authenticate"])
    assert request(f"{stack.url}/healthz")[0] == 200


def test_a_foreign_origin_is_refused(stack: Stack) -> None:
    """A web page of another origin cannot use a browser as its way in."""
    headers = {"Origin": "http://evil.example"}
    assert request(f"{stack.url}/mcp/zen", stack.token, tools_list(), headers=headers)[0] == 403


def test_a_lost_server_says_so_in_a_typed_error(stack: Stack) -> None:
    """A server that plan C has lost answers with the request's id, the plan, since when, and what to use instead."""
    status, _, text = request(f"{stack.url}/mcp/github", stack.token, tools_list(41))
    answer = json.loads(text)
    assert (200, 41) == (status, answer["id"])
    assert answer["error"]["data"]["type"] == "stepdown.server_lost"
    assert (answer["error"]["data"]["plan"], answer["error"]["data"]["since"]) == ("C", stack.status()["since"])


def test_without_an_endpoint_zen_says_what_to_configure(config: dict[str, Any]) -> None:
    """With no model endpoint zen lists its tools, and a call names the setting that is missing."""

    async def chat(client: Client) -> Any:
        return await client.call_tool("chat", {"prompt": "hi", "working_directory_absolute_path": "/tmp/zen"})

    result = with_client(config, "zen", "legacy", chat)
    assert result.is_error
    assert "mcp_stack_zen_endpoint" in str(result.content)


def test_containers_are_hardened(stack: Stack) -> None:
    """Every container runs without root, capabilities, a writable root or the engine's socket, within limits."""
    for name, identity in stack.containers().items():
        found = json.loads(docker("inspect", identity))[0]
        host = found["HostConfig"]
        assert found["Config"]["User"].partition(":")[0] not in ("", "0", "root"), name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Init"], name
        assert all(host[limit] > 0 for limit in ("Memory", "NanoCpus", "PidsLimit")), name
        assert not any("docker.sock" in mount["Source"] for mount in found["Mounts"]), name
        assert host["LogConfig"]["Config"]["max-size"], name
        published = [binding["HostIp"] for bindings in host["PortBindings"].values() for binding in bindings]
        assert set(published) <= {"127.0.0.1"}, name


def test_images_keep_no_trace_of_the_build(stack: Stack) -> None:
    """Neither the CA bundle given to the build nor a mirror is in the history or the file system of an image."""
    for identity in stack.containers().values():
        image = json.loads(docker("inspect", identity))[0]["Image"]
        history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
        assert "BEGIN CERTIFICATE" not in history
        # BuildKit leaves the empty places where it had mounted its secrets and caches
        places = ("-path", "/run/secrets/*", "-o", "-path", "/root/.cache/*")
        find = ("--entrypoint", "/usr/bin/find", image, "/run", "/root", "-size", "+0", "-type", "f", "(", *places, ")")
        assert docker("run", "--rm", "--network", "none", "--user", "0", *find) == ""


def test_zen_consults_two_models(stack: Stack, endpoint: ModelEndpoint) -> None:
    """With an endpoint, a key and two models configured, consensus asks both; the key is a file of mode 0400."""
    key = f"key-{stack.name}"
    settings = {
        "ZEN_MCP_ENDPOINT": f"http://host.docker.internal:{endpoint.port}/v1",
        "ZEN_MODELS": "model-one,model-two",
        "ZEN_API_KEY": key,
    }
    done = stack.run("deploy", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert key not in done.stdout + done.stderr
    config = json.loads(stack.run("client.config").stdout)
    for mode in REVISIONS.values():
        endpoint.requests.clear()
        with_client(config, "zen", mode, consult_two_models)
        assert endpoint.consulted() == {"model-one", "model-two"}
        assert {headers["Authorization"] for headers, _ in endpoint.requests} == {f"Bearer {key}"}
    inspected = docker("inspect", stack.containers()["zen"])
    assert key not in inspected
    assert (stack.home / "secrets" / "servers" / "zen" / "api_key").stat().st_mode & 0o777 == 0o400
    back = stack.run("deploy")
    assert back.returncode == 0, back.stdout + back.stderr


def _plant(repository: Path) -> None:
    """A repository with a shell injection today and a key that an old commit leaked (made up here, never committed)."""
    if repository.exists():
        return
    repository.mkdir(parents=True)
    secret = "".join(("AKIA", "IMNOJVGFDXXXE4OA"[:16]))
    (repository / "settings.py").write_text(f'AWS_ACCESS_KEY_ID = "{secret}"\n')
    (repository / "tool.py").write_text("import subprocess\n\nsubprocess.call(input(), shell=True)\n")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "first")):
        subprocess.run([*GIT, *words], cwd=repository, check=True)
    (repository / "settings.py").write_text("AWS_ACCESS_KEY_ID = None\n")
    subprocess.run([*GIT, "commit", "-qam", "second"], cwd=repository, check=True)
    subprocess.run(["chmod", "-R", "a+rX", str(repository)], check=True)


def test_the_checkout_is_found(stack: Stack) -> None:
    """`./run` works from any folder."""
    done = subprocess.run(
        [str(ROOT / "run"), "plan.show"], cwd="/", env=stack.environment, capture_output=True, check=False
    )
    assert done.returncode == 0
