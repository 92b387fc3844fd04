"""One /24 of an instance: who has an address in which half of it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from stepdown.host import release as releases
from stepdown.host.instance import Instance
from stepdown.host.release import Release
from stepdown.shared import MOST_CONTAINERS


def instance(subnet: str = "10.231.7.0/24") -> Instance:
    """An instance as recorded."""
    return Instance("trial", 8081, 7861, subnet, "/srv/work")


@pytest.mark.parametrize(
    ("subnet", "servers", "door"),
    [
        ("10.231.7.0/24", "10.231.7.0/25", "10.231.7.128/25"),
        ("10.9.4.0/22", "10.9.4.0/23", "10.9.6.0/23"),
        ("192.168.0.0/16", "192.168.0.0/17", "192.168.128.0/17"),
    ],
)
def test_the_halves_are_the_whole(subnet: str, servers: str, door: str) -> None:
    """The first is the servers', the second the door's."""
    assert (IPv4Network(servers), IPv4Network(door)) == instance(subnet).networks


def test_the_env_file_is_told_ports_and_networks() -> None:
    """By the names that the compose files know."""
    expected = {
        "STEPDOWN_INSTANCE": "trial",
        "STEPDOWN_WORKSPACE": "/srv/work",
        "STEPDOWN_PORT": "8081",
        "STEPDOWN_DIRECT_PORT": "7861",
        "STEPDOWN_SUBNET_SERVERS": "10.231.7.0/25",
        "STEPDOWN_SUBNET_DOOR": "10.231.7.128/25",
        "STEPDOWN_IP_GATEWAY": "10.231.7.2",
        "STEPDOWN_IP_EGRESS": "10.231.7.3",
        "STEPDOWN_IP_NOWHERE": "10.231.7.4",
        "STEPDOWN_IP_NOWHERE_DOOR": "10.231.7.132",
    }
    assert expected == instance().variables


@pytest.mark.parametrize("subnet", ["10.231.7.0/24", "10.9.4.0/22"])
def test_every_address_is_in_the_half_of_its_network(subnet: str) -> None:
    """The edge's, and those of all releases that can be there at once; none is the bridge's or the broadcast."""
    made = instance(subnet)
    servers, door = made.networks
    values = {name: IPv4Address(text) for name, text in made.variables.items() if name.startswith("STEPDOWN_IP_")}
    assert values.pop("STEPDOWN_IP_NOWHERE_DOOR") in door
    slots = [Release("abc", Path(), slot, {}, ()) for slot in range(releases.SLOTS)]
    given = [IPv4Address(slot.address(made, index)) for slot in slots for index in range(MOST_CONTAINERS)]
    addresses = [*values.values(), *given]
    bridge = servers[1]
    assert [] == [str(address) for address in addresses if address not in [*servers.hosts()] or address == bridge]
    assert len(addresses) == len(set(addresses))
