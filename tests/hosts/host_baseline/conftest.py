"""A host's neighbours: machines beside it, and containers behind it whose ports it publishes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from testinfra.host import Host

SERVE = """
import socket, sys, threading
port = int(sys.argv[1])
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.bind(("::", port))
tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
def echo():
    while True:
        data, sender = udp.recvfrom(64)
        udp.sendto(data, sender)
threading.Thread(target=echo, daemon=True).start()
while True:
    tcp.accept()[0].close()
"""
ASK = """
import socket, sys
kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.getaddrinfo(address, port)[0][0]
with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as door:
    door.settimeout(2)
    try:
        door.connect((address, port))
        if kind == "udp":
            door.send(b"x")
            door.recv(8)
    except OSError:
        print("closed")
    else:
        print("open")
"""
NAMESPACE = "tail -f /dev/null"


@dataclass(frozen=True)
class Neighbour:
    """A network namespace with one link to the host."""

    host: Host
    pid: str

    def sees(self, address: str, port: int, kind: str = "tcp") -> str:
        """`open` or `closed`."""
        return self.host.check_output(
            "nsenter -t %s -n python3 -c %s %s %s %s", self.pid, ASK, kind, address, str(port)
        )

    @contextmanager
    def serves(self, port: int) -> Iterator[None]:
        """Something answers in the namespace."""
        with _unit(self.host, f"serve-{self.pid}-{port}", f"nsenter -t {self.pid} -n python3 -c '{SERVE}' {port}"):
            _await(self.host, f"nsenter -t {self.pid} -n ss -Hltn sport = :{port} | grep -q .")
            yield


@contextmanager
def _unit(host: Host, name: str, command: str) -> Iterator[str]:
    """A command in the background of the host; its process id."""
    host.check_output("systemd-run --quiet --collect --unit=%s /bin/sh -c %s", name, f"exec {command}")
    try:
        yield host.check_output("systemctl show --property=MainPID --value %s", name)
    finally:
        host.check_output("systemctl stop %s", name)


def _await(host: Host, condition: str) -> None:
    host.check_output("timeout 20 sh -c %s", f"until {condition}; do sleep 0.1; done")


@pytest.fixture
def serve(host: Host) -> Iterator[Callable[[int], None]]:
    """Makes something answer on a port of the host, TCP and UDP."""
    with ExitStack() as made:

        def start(port: int) -> None:
            made.enter_context(_unit(host, f"serve-{port}", f"python3 -c '{SERVE}' {port}"))
            _await(host, f"ss -Hltn sport = :{port} | grep -q .")

        yield start


@pytest.fixture
def neighbour(host: Host) -> Iterator[Callable[..., Neighbour]]:
    """Puts a machine beside the host: the name of the host's end, its address, and the neighbour's own."""
    with ExitStack() as made:

        def link(interface: str, ours: str, theirs: str) -> Neighbour:
            pid = made.enter_context(_unit(host, f"beside-{interface}", f"unshare --net {NAMESPACE}"))
            _await(host, f'[ "$(readlink /proc/{pid}/ns/net)" != "$(readlink /proc/self/ns/net)" ]')
            inside = f"nsenter -t {pid} -n ip"
            host.check_output(f"ip link add {interface} type veth peer name far0 netns {pid}")
            made.callback(host.run, f"ip link del {interface}")
            at_once = " nodad" if ":" in ours else ""  # without asking whether somebody has the address
            for command in (
                f"ip addr add {ours} dev {interface}{at_once}",
                f"ip link set {interface} up",
                f"{inside} addr add {theirs} dev far0{at_once}",
                f"{inside} link set far0 up",
                f"{inside} route add default via {ours.partition('/')[0]}",
            ):
                host.check_output(command)
            return Neighbour(host, pid)

        yield link
