"""The instance of a host: its name, ports, workspace, and the subnet that every address comes from."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepdown.errors import StepdownError, UsageError, sentence
from stepdown.host import subnets
from stepdown.host.home import Home, read_json
from stepdown.shared import EGRESS_ADDRESS, GATEWAY_ADDRESS, NOWHERE_ADDRESS


@dataclass(frozen=True)
class Instance:
    """What is fixed for one Stepdown on one engine; decided at the first deploy."""

    name: str
    port: int
    direct_port: int
    subnet: str
    workspace: str

    @property
    def networks(self) -> tuple[ipaddress.IPv4Network, ipaddress.IPv4Network]:
        """The halves of the subnet: the servers' network, and the door's."""
        servers, door = ipaddress.IPv4Network(self.subnet).subnets()
        return servers, door

    @property
    def variables(self) -> dict[str, str]:
        """What the env file of a release says of the instance."""
        servers, door = self.networks
        return {
            "STEPDOWN_INSTANCE": self.name,
            "STEPDOWN_WORKSPACE": self.workspace,
            "STEPDOWN_PORT": str(self.port),
            "STEPDOWN_DIRECT_PORT": str(self.direct_port),
            "STEPDOWN_SUBNET_SERVERS": str(servers),
            "STEPDOWN_SUBNET_DOOR": str(door),
            "STEPDOWN_IP_GATEWAY": self.address(GATEWAY_ADDRESS),
            "STEPDOWN_IP_EGRESS": self.address(EGRESS_ADDRESS),
            "STEPDOWN_IP_NOWHERE": self.address(NOWHERE_ADDRESS),
            "STEPDOWN_IP_NOWHERE_DOOR": str(door[NOWHERE_ADDRESS]),
        }

    def address(self, host_part: int) -> str:
        """An address of the servers' network."""
        return str(self.networks[0][host_part])


def load_instance(home: Home) -> Instance:
    """The instance of <home>; StepdownError when nothing was deployed here yet."""
    if not home.instance.is_file():
        raise StepdownError(sentence(str(home.path), "nothing is deployed here", run="./run deploy --plan=C"))
    return Instance(**read_json(home.instance))


def settle_instance(home: Home, wanted: Mapping[str, Any], *, record: bool = True) -> Instance:
    """The recorded instance with today's ports and workspace; its name and subnet are fixed once it exists.

    Written down unless `record` is false.
    """
    known = recorded_instance(home)
    found = refusals(home, known, wanted)
    if found:
        raise UsageError("; ".join(found))
    subnet = wanted.get("subnet") or (known.subnet if known else "")
    instance = Instance(
        name=wanted["name"],
        port=int(wanted["port"]),
        direct_port=int(wanted["direct_port"]),
        subnet=subnet or _free_subnet(wanted["name"]),
        workspace=wanted.get("workspace") or str(home.data / "workspace"),
    )
    if record and instance != known:
        home.write_json(home.instance, asdict(instance))
    return instance


def recorded_instance(home: Home) -> Instance | None:
    """The instance of <home>, or None before the first deploy."""
    return Instance(**read_json(home.instance)) if home.instance.is_file() else None


def refusals(home: Home, known: Instance | None, wanted: Mapping[str, Any]) -> list[str]:
    """What Docker, compose or what is fixed here already stands against in these settings."""
    found = []
    if known and known.name != wanted["name"]:
        wrong = f"belongs to instance '{known.name}', not '{wanted['name']}'; choose another home"
        found.append(sentence(str(home.path), wrong))
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", str(wanted["name"])):
        wrong = f"{wanted['name']!r} should be lower-case letters, digits and dashes, 40 at the most"
        found.append(sentence("mcp_stack_instance", wrong))
    ports = (wanted["port"], wanted["direct_port"])
    if not all(valid_port(port) for port in ports) or int(ports[0]) == int(ports[1]):
        wrong = f"{ports[0]} and {ports[1]} should be two ports from 1 to 65535"
        found.append(sentence("mcp_stack_port and mcp_stack_direct_port", wrong))
    subnet = wanted.get("subnet") or ""
    wrong = _subnet_refused(subnet) if subnet else ""
    if not wrong and known and subnet and subnet != known.subnet:
        wrong = f"{subnet} is not the subnet {known.subnet} that this instance has; ./run down --purge gives it up"
    if wrong:
        found.append(sentence("mcp_stack_subnet", wrong))
    workspace = wanted.get("workspace") or ""
    if workspace and not Path(workspace).is_absolute():
        found.append(sentence("mcp_stack_workspace", f"{workspace!r} should be an absolute path"))
    return found


def valid_port(value: Any) -> bool:
    """Whether a setting is the number of a port."""
    return str(value).isdecimal() and 1 <= int(value) <= 65535


def _subnet_refused(subnet: str) -> str:
    try:
        network = ipaddress.IPv4Network(subnet)
    except ValueError as error:
        return f"{subnet!r} is no IPv4 network ({error})"
    return f"{subnet} is too small; a /24 or larger is needed" if network.prefixlen > 24 else ""


def _free_subnet(name: str) -> str:
    found = subnets.free(name, subnets.taken())
    if found is None:
        raise StepdownError(sentence("mcp_stack_subnet", f"no free /24 in {subnets.SUBNETS}; set one in the inventory"))
    return str(found)
