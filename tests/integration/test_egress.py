"""What containers reach, tried from inside: what the catalogue allows, through the egress proxy, and nothing else."""

from __future__ import annotations

import ipaddress
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.model_endpoint import ModelEndpoint
from tests.doubles.tls import certificate
from tests.integration.clients import REVISIONS, consult_two_models, with_client
from tests.integration.reach import Inside
from tests.stack import Stack, docker

pytestmark = [pytest.mark.engine, pytest.mark.mcp_integration]

HOST = "host.docker.internal"
# zen's own provider, as its launcher starts it; the CA of the test is the only thing that is not in the image
ASK_A_MODEL = """
import asyncio, json, os, pathlib, sys
base_url, authority = sys.argv[1:]
os.environ["SSL_CERT_FILE"] = "/tmp/authority.pem"
pathlib.Path("/tmp/authority.pem").write_text(authority)
sys.path.insert(0, "/opt/zen")
import launch
launch.use_the_proxy()
from providers.custom import CustomProvider
client = CustomProvider(api_key="key", base_url=base_url).client
question = client.chat.completions.create(model="model-one", messages=[{"role": "user", "content": "ship?"}])
print(json.dumps(asyncio.run(question).choices[0].message.content))
"""


@pytest.fixture(scope="module")
def other(endpoint: ModelEndpoint) -> Iterator[ModelEndpoint]:
    """Another server on the host, at the address of the one that is allowed."""
    made = ModelEndpoint(endpoint.address, ("model-three",))
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def allowed(stack: Stack, endpoint: ModelEndpoint) -> Iterator[None]:
    """zen may reach the model endpoint; at the end nobody may reach anything again."""
    deploy(stack, f"http://{HOST}:{endpoint.port}/v1")
    yield
    deploy(stack, "")


def deploy(stack: Stack, url: str, models: str = "model-one,model-two") -> None:
    """A deploy with a model endpoint, or with none."""
    done = stack.run("deploy", **({"ZEN_MCP_ENDPOINT": url, "ZEN_MODELS": models} if url else {}))
    assert done.returncode == 0, done.stdout + done.stderr


def subnet(stack: Stack) -> ipaddress.IPv4Network:
    """The network of the servers."""
    return ipaddress.IPv4Network(json.loads((stack.home / "instance.json").read_text())["subnet"])


def host_address(stack: Stack) -> str:
    """What the proxy knows as host.docker.internal."""
    hosts = docker("exec", stack.containers()["egress"], "cat", "/etc/hosts")
    return next(line.split()[0] for line in hosts.splitlines() if line.endswith(HOST))


def inside(stack: Stack, container: str) -> Inside:
    """A container of the stack as it runs now."""
    return Inside(stack.containers()[container], str(subnet(stack)[3]))


@pytest.mark.parametrize("container", ["zen", "heimdall"])
def test_no_container_reaches_anything_by_itself(stack: Stack, endpoint: ModelEndpoint, container: str) -> None:
    """Neither the world, nor the host's other addresses, where what zen may reach through the proxy listens."""
    place = inside(stack, container)
    for host, port in (("1.1.1.1", 443), (host_address(stack), endpoint.port)):
        assert place.direct(host, port) in {"[Errno 113] No route to host", "timed out"}


@pytest.mark.parametrize("container", ["zen", "heimdall"])
def test_no_container_finds_a_foreign_name(stack: Stack, container: str) -> None:
    """The lookup leaves for nowhere and fails soon, so that nothing hangs on it."""
    found, seconds = inside(stack, container).lookup("example.com")
    assert found is None
    assert seconds < 3


def test_zen_reaches_its_endpoint_through_the_proxy(stack: Stack, endpoint: ModelEndpoint) -> None:
    """In both forms."""
    place, at = inside(stack, "zen"), f"{HOST}:{endpoint.port}"
    status, body = place.get(f"http://{at}/v1/models")
    assert (200, ["model-one", "model-two"]) == (status, [model["id"] for model in json.loads(body)["data"]])
    assert (200, "") == place.tunnel(at)


def test_zen_reaches_nothing_else_through_the_proxy(
    stack: Stack, endpoint: ModelEndpoint, other: ModelEndpoint
) -> None:
    """Another port, another name of the same server, tricks with headers: all are refused."""
    place, at = inside(stack, "zen"), f"{HOST}:{endpoint.port}"
    for target in (f"{HOST}:{other.port}", f"{host_address(stack)}:{endpoint.port}", "example.com:443"):
        assert [403, 403] == [place.get(f"http://{target}/")[0], place.tunnel(target)[0]]
        assert [403, 403] == [place.get(f"http://{target}/", Host=at)[0], place.tunnel(target, Host=at)[0]]
    assert [] == other.requests


def test_heimdall_reaches_nothing_through_the_proxy(stack: Stack, endpoint: ModelEndpoint) -> None:
    """What zen may reach is not its own, whatever it says of where it calls from."""
    place, at = inside(stack, "heimdall"), f"{HOST}:{endpoint.port}"
    zen = docker(
        "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", stack.containers()["zen"]
    )
    lies = {name: zen.strip() for name in ("X-Forwarded-For", "X-Real-IP", "X-Envoy-External-Address")}
    assert [403, 403] == [place.tunnel(at)[0], place.get(f"http://{at}/", **lies)[0]]
    said = json.loads(place.tunnel(at, **lies)[1])
    assert ("heimdall", at, 403) == (said["container"], said["target"], said["status"])
    assert said["error"].startswith(f"egress: heimdall may not reach {at} (known: nothing). ")


def test_only_the_proxy_is_on_a_network_with_a_way_out(stack: Stack) -> None:
    """As the engine has it."""
    found = {
        name: set(json.loads(docker("inspect", identity))[0]["NetworkSettings"]["Networks"])
        for name, identity in stack.containers().items()
    }
    servers, door, egress = (f"{stack.name}_{name}" for name in ("servers", "door", "egress"))
    expected = {"zen": {servers}, "heimdall": {servers}, "gateway": {servers, door}, "egress": {servers, egress}}
    assert expected == found


def test_zen_consults_two_models_through_the_proxy(stack: Stack, endpoint: ModelEndpoint) -> None:
    """Its provider would hide the proxy from its HTTP client; the launcher prevents that."""
    config = json.loads(stack.run("client.config").stdout)
    endpoint.requests.clear()
    with_client(config, "zen", REVISIONS["stateless"], consult_two_models)
    assert {"model-one", "model-two"} == endpoint.consulted()


def test_a_release_that_changes_nothing_about_egress_leaves_the_proxy_alone(
    stack: Stack, endpoint: ModelEndpoint
) -> None:
    """The same container, started at the same time."""

    def started() -> str:
        return docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", stack.containers()["egress"])

    before, zen = started(), stack.containers()["zen"]
    deploy(stack, f"http://{HOST}:{endpoint.port}/v1", "model-one")
    assert before == started()
    assert zen != stack.containers()["zen"]


def test_a_proxy_that_is_down_degrades_who_needs_it(stack: Stack) -> None:
    """zen, not heimdall; the next deploy puts it right."""
    docker("stop", "--time", "1", stack.containers()["egress"])
    states = {name: stack.status()["servers"][name]["state"] for name in ("zen", "heimdall")}
    assert {"zen": "degraded", "heimdall": "ready"} == states
    assert 1 == stack.run("status").returncode


def test_zen_reaches_an_endpoint_of_https(stack: Stack, endpoint: ModelEndpoint, tmp_path: Path) -> None:
    """TLS is zen's own, end to end; the endpoint of before is taken away."""
    authority, pem = certificate((HOST,))
    (tmp_path / "server.pem").write_text(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    secure = ModelEndpoint(endpoint.address, ("model-one",), tls=context)
    try:
        deploy(stack, f"https://{HOST}:{secure.port}/v1")
        place = inside(stack, "zen")
        arguments = (f"https://{HOST}:{secure.port}/v1", authority)
        assert "answer of model-one" == place.python(ASK_A_MODEL, *arguments, interpreter="/opt/zen/venv/bin/python")
        assert {"model-one"} == secure.consulted()
        assert 403 == place.get(f"http://{HOST}:{secure.port}/v1/models")[0]
        assert 403 == place.tunnel(f"{HOST}:{endpoint.port}")[0]
    finally:
        secure.close()
    _until_logged(stack, ("zen", "CONNECT", f"{HOST}:{secure.port}", 200))


def test_a_url_that_is_none_is_refused_before_anything_changes(stack: Stack) -> None:
    """In a sentence that names the setting and not its value, which may hold a password."""
    before = stack.containers()
    done = stack.run("deploy", ZEN_MCP_ENDPOINT="ftp://user:password@models.example", ZEN_MODELS="one")
    assert 1 == done.returncode
    assert "ZEN_MCP_ENDPOINT: is no URL of http or https with a host in it" in done.stdout + done.stderr
    assert before == stack.containers()


def _until_logged(stack: Stack, wanted: tuple[str, str, str, int]) -> None:
    """Envoy writes its log every ten seconds."""
    deadline = time.monotonic() + 30
    while True:
        lines = [json.loads(x) for x in docker("logs", stack.containers()["egress"]).splitlines() if x.startswith("{")]
        if wanted in [(line["container"], line["method"], line["target"], line["status"]) for line in lines]:
            return
        assert time.monotonic() < deadline, lines
        time.sleep(0.5)  # nothing tells of a line in a log
