"""The egress proxy's rules in a real Envoy on loopback, where each caller has an address of its own, as there."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from stepdown import shared
from stepdown.errors import StepdownError
from stepdown.host import egress
from stepdown.host.allowance import Allowance
from stepdown.host.endpoint import Endpoint
from stepdown.host.envoy import Envoy, RefusedError
from stepdown.host.home import Home

ZEN, GITHUB, HEIMDALL, STRANGER = "127.0.0.16", "127.0.0.17", "127.0.0.18", "127.0.0.99"


class Target:
    """A server on loopback that says its name and keeps what it was sent."""

    def __init__(self, name: str) -> None:
        self.heads: list[tuple[str, dict[str, str]]] = []
        target = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                target.heads.append((self.path, dict(self.headers)))
                self.send_response(200)
                self.send_header("Content-Length", str(len(name)))
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, *_words: object) -> None:
                """Keep the test's output to the test."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = Endpoint("127.0.0.1", int(self._server.server_address[1]), plain=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True)
class Proxy:
    """An Envoy that runs with the generated start-up configuration, and the files of a <home>."""

    home: Home
    port: int
    log: Path

    def allow(self, **endpoints: tuple[Endpoint, ...]) -> egress.Rules:
        """The rules for containers by name, each at its own address."""
        places = {"zen": ZEN, "github": GITHUB, "heimdall": HEIMDALL}
        rules = egress.rules(
            Allowance(name, "abc", places[name], (f"{name.upper()}_URL",) if allowed else (), allowed)
            for name, allowed in endpoints.items()
        )
        rules.listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": self.port}
        return rules

    def ask(self, source: str, target: str, host: str = "", **headers: str) -> tuple[int, str]:
        """Status and body of a GET with a whole URL, from an address."""
        connection = self._connection(source)
        with contextlib.closing(connection):
            connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", host or target.split("/")[2])
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def tunnel(self, source: str, authority: str, host: str = "", inside: str = "/") -> tuple[int, str]:
        """Status of a CONNECT, and what a GET inside the tunnel gives, or the refusal's body."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5, source_address=(source, 0)) as plug:
            plug.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {host or authority}\r\n\r\n".encode())
            answer = http.client.HTTPResponse(plug, method="CONNECT")
            answer.begin()
            if answer.status != 200:
                return answer.status, answer.read().decode()
            plug.sendall(f"GET {inside} HTTP/1.1\r\nHost: whatever.example\r\n\r\n".encode())
            through = http.client.HTTPResponse(plug)
            through.begin()
            return 200, through.read().decode()

    def _connection(self, source: str) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=5, source_address=(source, 0))


@pytest.fixture(scope="module")
def proxy(envoy: str, tmp_path_factory: pytest.TempPathFactory, rendered: Mapping[str, str]) -> Iterator[Proxy]:
    """Envoy, started as its container starts it, but for the paths."""
    home = Home(tmp_path_factory.mktemp("egress") / "home")
    home.prepare()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        made = Proxy(home, int(probe.getsockname()[1]), home.path / "log")
    Envoy(home, "egress").write("listeners.json", "idle", [made.allow().listener])
    Envoy(home, "egress").write("clusters.json", "idle", [])
    text = rendered["edge/egress/bootstrap.json"].replace(shared.ENVOY_CONFIG, str(home.envoy_config("egress")))
    bootstrap = home.path / "bootstrap.json"
    # a socket's path holds 107 bytes only, so Envoy is started beside it
    bootstrap.write_text(text.replace(shared.ENVOY_ADMIN, "admin.sock"))
    argv = [envoy, "--config-path", str(bootstrap), "--log-level", "warning", "--concurrency", "1"]
    argv += ["--use-dynamic-base-id", "--file-flush-interval-msec", "50"]
    with made.log.open("w") as log:
        process = subprocess.Popen(argv, cwd=home.admin_socket("egress").parent, stdout=log, stderr=log)
    try:
        Envoy(home, "egress").wait_until_up()
        yield made
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def targets() -> Iterator[Callable[[str], Target]]:
    """Servers by name, closed at the end."""
    made: list[Target] = []

    def make(name: str) -> Target:
        made.append(Target(name))
        return made[-1]

    yield make
    for target in made:
        target.close()


@pytest.fixture
def model(targets: Callable[[str], Target]) -> Target:
    """What zen may reach."""
    return targets("model")


@pytest.fixture
def api(targets: Callable[[str], Target]) -> Target:
    """What github may reach."""
    return targets("api")


@pytest.fixture
def ruled(proxy: Proxy, model: Target, api: Target) -> Proxy:
    """The proxy with rules for three containers, of which one may reach nothing."""
    egress.enforce(proxy.home, proxy.allow(zen=(model.endpoint,), github=(api.endpoint,), heimdall=()))
    return proxy


def test_a_container_reaches_what_it_may_in_both_forms(ruled: Proxy, model: Target) -> None:
    """A request with the whole URL, path and query untouched, and a tunnel."""
    at = model.endpoint.authority
    assert (200, "model") == ruled.ask(ZEN, f"http://{at}/v1//models/../x?q=%2F")
    assert (200, "model") == ruled.tunnel(ZEN, at, inside="/inside")
    assert ["/v1//models/../x?q=%2F", "/inside"] == [path for path, _ in model.heads]


def test_the_proxy_adds_nothing_of_its_own(ruled: Proxy, model: Target) -> None:
    """No address, id or timeout of the inside is told to the outside, and its own orders are not taken from callers."""
    ruled.ask(ZEN, f"http://{model.endpoint.authority}/", X_Envoy_Max_Retries="9", Authorization="Bearer key")
    assert {"Host": model.endpoint.authority, "Authorization": "Bearer key"} == model.heads[0][1]


@pytest.mark.parametrize("source", [GITHUB, HEIMDALL, STRANGER])
def test_what_one_may_reach_no_other_may(ruled: Proxy, model: Target, source: str) -> None:
    """Neither a container with another endpoint, nor one with none, nor an address of no container."""
    at = model.endpoint.authority
    assert [403, 403] == [ruled.ask(source, f"http://{at}/")[0], ruled.tunnel(source, at)[0]]
    assert [] == model.heads


@pytest.mark.parametrize("authority", ["127.0.0.1:1", "evil.example:443", "localhost:{port}", "127.0.0.1", "[::1]:80"])
def test_another_port_or_name_is_refused(ruled: Proxy, model: Target, authority: str) -> None:
    """Though it may be the same server."""
    other = authority.format(port=model.endpoint.port)
    assert 403 == ruled.ask(ZEN, f"http://{other}/")[0]
    if ":" in other:
        assert 403 == ruled.tunnel(ZEN, other)[0]
    assert [] == model.heads


def test_headers_open_no_way(ruled: Proxy, model: Target, api: Target) -> None:
    """The Host header and those that tell of proxies before this one do not change who asks, nor for what."""
    allowed, other = model.endpoint.authority, api.endpoint.authority
    assert 403 == ruled.tunnel(ZEN, other, host=allowed)[0]
    assert 403 == ruled.ask(ZEN, f"http://{other}/", host=allowed)[0]
    assert (200, "model") == ruled.tunnel(ZEN, allowed, host=other)
    assert (200, "model") == ruled.ask(ZEN, f"http://{allowed}/", host=other)
    lies = dict.fromkeys(("X_Forwarded_For", "X_Real_IP", "X_Envoy_External_Address", "Forwarded"), ZEN)
    assert 403 == ruled.ask(HEIMDALL, f"http://{allowed}/", **lies)[0]
    assert 403 == ruled.ask(ZEN, f"http://{other}/", X_Envoy_Original_Dst_Host=other, X_Forwarded_Host=allowed)[0]
    assert [] == api.heads


def test_a_refusal_says_who_what_and_what_to_do(ruled: Proxy, model: Target) -> None:
    """One JSON sentence, the same for both forms."""
    expected = {
        "error": f"egress: zen may not reach evil.example:443 (known: {model.endpoint.authority}). "
        "To allow it set ZEN_URL. Run: ./run deploy",
        "container": "zen",
        "target": "evil.example:443",
        "status": 403,
    }
    assert expected == json.loads(ruled.tunnel(ZEN, "evil.example:443")[1])
    assert expected == json.loads(ruled.ask(ZEN, "http://evil.example:443/path?query=1")[1])
    said = json.loads(ruled.tunnel(HEIMDALL, "evil.example:443")[1])["error"]
    assert said.startswith("egress: heimdall may not reach evil.example:443 (known: nothing). To allow it name it in ")


def test_an_endpoint_that_is_away_is_said(proxy: Proxy) -> None:
    """503 with the target, not a refusal; a name that nobody knows holds up no other rule."""
    nowhere = (Endpoint("127.0.0.1", 1, plain=True), Endpoint("nowhere.invalid", 443, plain=False))
    egress.enforce(proxy.home, proxy.allow(zen=nowhere))
    for status, text in (proxy.tunnel(ZEN, "127.0.0.1:1"), proxy.tunnel(ZEN, "nowhere.invalid:443")):
        assert 503 == status
        assert json.loads(text)["error"].startswith(f"egress: {json.loads(text)['target']} cannot be reached: ")


def test_an_endpoint_of_https_takes_tunnels_alone(proxy: Proxy, model: Target) -> None:
    """What is sent in the clear to a port of TLS is a mistake."""
    egress.enforce(proxy.home, proxy.allow(zen=(Endpoint("127.0.0.1", model.endpoint.port, plain=False),)))
    assert 403 == proxy.ask(ZEN, f"http://{model.endpoint.authority}/")[0]
    assert (200, "model") == proxy.tunnel(ZEN, model.endpoint.authority)


def test_health_is_told_to_nobody_but_the_health_check(ruled: Proxy) -> None:
    """A container that asks any server for /healthz is not answered by the proxy."""
    assert (200, "ok\n") == ruled.ask("127.0.0.1", "/healthz", host="localhost")
    assert 403 == ruled.ask(ZEN, "http://evil.example/healthz")[0]


def test_the_log_names_container_target_and_bytes_and_no_more(ruled: Proxy, model: Target) -> None:
    """No path, query or header, which may hold secrets."""
    at = model.endpoint.authority
    ruled.ask(ZEN, f"http://{at}/secret-path?secret-query", Authorization="Bearer secret-token")
    ruled.tunnel(HEIMDALL, "evil.example:443")
    wanted = [("zen", "GET", at, 200), ("heimdall", "CONNECT", "evil.example:443", 403)]
    for _ in range(100):
        if all(entry in [_entry(line) for line in _log(ruled)] for entry in wanted):
            break
        time.sleep(0.1)  # Envoy writes its log when it likes
    lines = _log(ruled)
    assert all(entry in [_entry(line) for line in lines] for entry in wanted)
    assert "secret" not in ruled.log.read_text()
    assert {
        "time",
        "container",
        "method",
        "target",
        "status",
        "flags",
        "bytes_sent",
        "bytes_received",
        "duration_ms",
    } == {key for line in lines for key in line}


def test_rules_of_two_releases_are_in_force_together_and_the_old_end(proxy: Proxy, model: Target, api: Target) -> None:
    """More is added without closing what is open; what is taken away is refused at once."""
    egress.enforce(proxy.home, proxy.allow(zen=(model.endpoint,)))
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5, source_address=(ZEN, 0)) as open_one:
        open_one.sendall(f"CONNECT {model.endpoint.authority} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b"200" in open_one.recv(4096)
        egress.enforce(proxy.home, proxy.allow(zen=(model.endpoint,), github=(api.endpoint,)))
        assert ["model", "api"] == [
            proxy.tunnel(ZEN, model.endpoint.authority)[1],
            proxy.tunnel(GITHUB, api.endpoint.authority)[1],
        ]
        open_one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in open_one.recv(4096)
    egress.enforce(proxy.home, proxy.allow(github=(api.endpoint,)))
    assert 403 == proxy.tunnel(ZEN, model.endpoint.authority)[0]
    assert {api.endpoint.authority} == Envoy(proxy.home, "egress").active_clusters()


def test_equal_rules_write_nothing(ruled: Proxy, model: Target, api: Target) -> None:
    """A switch that changes nothing about egress leaves the proxy alone."""
    wanted = ruled.allow(zen=(model.endpoint,), github=(api.endpoint,), heimdall=())
    files = [ruled.home.envoy_config("egress") / name for name in ("listeners.json", "clusters.json")]
    before = [file.stat().st_ino for file in files]
    assert egress.in_force(ruled.home, wanted)
    egress.enforce(ruled.home, wanted)
    assert before == [file.stat().st_ino for file in files]


def test_rules_that_envoy_refuses_leave_the_old_in_force(ruled: Proxy, model: Target, api: Target) -> None:
    """On disk too, so that a restart of the proxy finds them."""
    wanted = ruled.allow(zen=(model.endpoint,), github=(api.endpoint,), heimdall=())
    elsewhere = Endpoint("127.0.0.1", 1, plain=True)
    broken = egress.Rules(ruled.allow(zen=(elsewhere,)).listener, ())  # routes to what is no cluster
    with pytest.raises(RefusedError, match=r"egress: Envoy refused rules [0-9a-f]{12}; the old ones stay"):
        egress.enforce(ruled.home, broken)
    egress.enforce(ruled.home, wanted)
    assert (200, "model") == ruled.tunnel(ZEN, model.endpoint.authority)
    assert wanted.version == Envoy(ruled.home, "egress").on_disk("listeners.json")["version_info"]


def test_a_proxy_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    """And nothing is written that it would find later."""
    home = Home(tmp_path / "home")
    home.prepare()
    egress.write_idle(home)
    before = (home.envoy_config("egress") / "listeners.json").read_bytes()
    with pytest.raises(StepdownError, match=r"^egress: its admin socket does not answer .*Run: \./run status$"):
        egress.enforce(home, egress.rules([Allowance("zen", "abc", ZEN, (), ())]))
    assert before == (home.envoy_config("egress") / "listeners.json").read_bytes()


def _log(proxy: Proxy) -> list[dict[str, Any]]:
    return [json.loads(line) for line in proxy.log.read_text().splitlines() if line.startswith("{")]


def _entry(line: Mapping[str, Any]) -> tuple[str, str, str, int]:
    return line["container"], line["method"], line["target"], line["status"]
