"""What is measured on a host: ports, disks, records, networks; and who may not look is not deceived."""

from __future__ import annotations

import json
import socket
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from stepdown.host import engine, subnets
from stepdown.host.home import Home
from stepdown.host.subnets import Taken
from stepdown.host.survey import port_refused, survey

WANTED = {"name": "stepdown", "port": 8080, "direct_port": 7860, "subnet": "", "workspace": ""}
INFO = {"ServerVersion": "24.0.7", "NCPU": 3, "DockerRootDir": "/", "MemoryLimit": True, "PidsLimit": False}
NETWORKS = (
    {"Name": "bridge", "Id": "b" * 64, "Options": {"com.docker.network.bridge.name": "docker0"},
     "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}, {"Subnet": "fd00::/64"}]}},
    {"Name": "stepdown_servers", "Id": "a" * 64, "Labels": {"stepdown.instance": "stepdown"},
     "IPAM": {"Config": [{"Subnet": "10.231.7.0/24"}]}},
    {"Name": "host", "Id": "c" * 64, "IPAM": {"Config": None}},
)  # fmt: skip
ROUTES = f"""\
default via 192.0.2.1 dev eth0
0.0.0.0/1 via 10.8.0.1 dev tun0
10.8.0.0/24 dev tun0 proto kernel scope link src 10.8.0.2
172.17.0.0/16 dev docker0 proto kernel scope link src 172.17.0.1
10.231.7.0/24 dev br-{"a" * 12} proto kernel scope link src 10.231.7.1
blackhole 10.99.0.0/16 proto bird
local 198.51.100.9 dev lo table local proto kernel scope host src 198.51.100.9
"""


def _program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def _docker(folder: Path) -> None:
    networks = "\n".join(json.dumps(network) for network in NETWORKS)
    cases = {
        "info --format": json.dumps(INFO),
        "network ls": "a b c",
        "network inspect": networks,
        "ps --format": "shop 0.0.0.0:8080-8081->80-81/tcp, :::8080-8081->80-81/tcp",
        "image inspect": "sha256:1 stepdown/zen:1 stepdown/zen:other",
    }
    arms = "\n".join(f"\"{words}\") echo '{said}' ;;" for words, said in cases.items())
    _program(folder, "docker", f'case "$1 $2" in\n{arms}\n"ps --all") ;;\n*) exit 64 ;;\nesac')
    _program(folder, "ip", f"echo '{ROUTES}'")


def test_a_port_that_is_listened_on_is_refused() -> None:
    """In the kernel's words, or by the name of the container that has it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert "Address already in use" == port_refused(port, {})
        assert "container shop has it" == port_refused(port, {port: "shop"})


def test_a_free_port_is_none_and_stays_free() -> None:
    """Asking does not take it; a container that has it without a process of its own does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "" == port_refused(port, {})
    assert "container shop has it" == port_refused(port, {port: "shop"})
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_port_that_was_just_closed_is_free() -> None:
    """Connections in TIME_WAIT do not stand against a gateway that is made anew."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()
    assert "" == port_refused(port, {})


def test_a_low_port_is_refused_only_when_something_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """This user may not bind it, the engine may."""

    def denied(_self: socket.socket, _address: object) -> None:
        raise PermissionError(13, "Permission denied")

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(socket.socket, "bind", denied)
        assert "something listens there" == port_refused(port, {})
    assert "" == port_refused(port, {})


def test_ports_of_containers_are_read_as_docker_prints_them() -> None:
    """Ranges and every address count, another address of the host does not."""
    text = "127.0.0.1:8080->8080/tcp, 0.0.0.0:80-82->80-82/tcp, :::80-82->80-82/tcp, 192.0.2.1:9000->9/tcp, 53/udp"
    assert [8080, 80, 81, 82] == engine.ports_of(text)


def test_a_host_without_engine_is_measured(programs: Path, tmp_path: Path) -> None:
    """Neither a docker client nor iproute2 is needed; what is not there yet is measured by the folder above it."""
    host = survey(Home(tmp_path / "not" / "yet"), WANTED, ["stepdown/zen:1"])
    assert ("", True, {}, ()) == (host.engine.version, host.engine.rights, host.images, host.running)
    assert (False, False, frozenset()) == (host.can_install, host.blind, host.secrets)
    assert (None, "", ()) == (host.instance, host.plan, host.broken)
    assert host.home.free_mib > 0
    assert [] == [path.name for path in tmp_path.iterdir() if path.name != "bin"]


def test_an_engine_says_what_it_has(programs: Path, tmp_path: Path) -> None:
    """CPUs, what it cannot limit, whose container has a port, which of the images are there."""
    _docker(programs)
    host = survey(Home(tmp_path), WANTED, ["stepdown/zen:1", "stepdown/heimdall:1"])
    assert ("24.0.7", 3, ("pids",)) == (host.engine.version, host.cpus, host.limits_lacking)
    assert {8080: "container shop has it"} == {port: why for port, why in host.ports.items() if port == 8080}
    assert {"stepdown/zen:1": "sha256:1"} == host.images


@pytest.mark.parametrize(
    ("text", "rights"),
    [
        ("permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock", False),
        ("open config.json: permission denied\nCannot connect to the Docker daemon", True),
    ],
)
@pytest.mark.parametrize("door", ["stderr", "answer"])
def test_a_user_without_rights_is_told_apart(programs: Path, text: str, rights: bool, door: str) -> None:
    """Old clients put the error into the answer and exit 0, newer ones print it; a file of the client is no matter."""
    answer = json.dumps({"ServerErrors": [text]}).replace("\\n", " ")
    _program(programs, "docker", f"echo '{text}' >&2; exit 1" if door == "stderr" else f"echo '{answer}'")
    assert engine.Facts(rights=rights) == engine.facts()


def test_networks_are_those_of_the_engine_then_other_routes_and_addresses(programs: Path) -> None:
    """No default route, in whatever disguise, and no second mention of Docker's own bridges."""
    _docker(programs)
    assert (
        Taken(IPv4Network("172.17.0.0/16"), "the Docker network bridge"),
        Taken(IPv4Network("10.231.7.0/24"), "the Docker network stepdown_servers", "stepdown"),
        Taken(IPv4Network("10.8.0.0/24"), "the route 10.8.0.0/24 of tun0"),
        Taken(IPv4Network("10.99.0.0/16"), "the route 10.99.0.0/16 of this host"),
        Taken(IPv4Network("198.51.100.9/32"), "the address 198.51.100.9 of lo"),
    ) == subnets.taken()


def test_an_instance_without_its_engine_is_not_judged_by_what_it_holds(programs: Path, home: Home) -> None:
    """Its own ports and networks would look like somebody else's."""
    home.write_json(home.instance, {**WANTED, "subnet": "10.231.7.0/24", "workspace": "/w"})
    assert survey(home, WANTED, ()).blind


def test_a_broken_record_is_told_and_the_rest_measured(programs: Path, home: Home) -> None:
    """One problem among the others."""
    home.state.write_text("{")
    host = survey(home, WANTED, ())
    assert 1 == len(host.broken)
    assert f"{home.state}: is no valid JSON" in host.broken[0]


def test_secrets_are_known_by_name(programs: Path, home: Home) -> None:
    """Never by value."""
    (home.secrets / "servers" / "zen").mkdir(parents=True)
    (home.secrets / "servers" / "zen" / "api_key").write_text("value")
    assert frozenset({"zen/api_key"}) == survey(home, WANTED, ()).secrets


def test_a_workspace_is_looked_for(programs: Path, home: Home, tmp_path: Path) -> None:
    """The default is made by the agent; any other has to be there."""
    found = [
        survey(home, {**WANTED, "workspace": path}, ()).workspace_there for path in ("", str(tmp_path), "/no/such")
    ]
    assert [True, True, False] == found
