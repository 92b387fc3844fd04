"""The instance of a host: its name, ports, workspace, and the subnet that every address comes from."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stepdown.errors import CommandError, StepdownError, UsageError, sentence
from stepdown.host import engine
from stepdown.host.home import Home, read_json
from stepdown.run import run

SUBNETS = ipaddress.IPv4Network("10.231.0.0/16")  # one /24 of it for each instance


@dataclass(frozen=True)
class Instance:
    """What is fixed for one Stepdown on one engine; decided at the first deploy."""

    name: str
    port: int
    direct_port: int
    subnet: str
    workspace: str

    def address(self, host_part: int) -> str:
        """An address of the instance's subnet."""
        return str(ipaddress.ip_network(self.subnet)[host_part])


def load_instance(home: Home) -> Instance:
    """The instance of <home>; StepdownError when nothing was deployed here yet."""
    if not home.instance.is_file():
        raise StepdownError(sentence(str(home.path), "nothing is deployed here", run="./run deploy --plan=C"))
    return Instance(**read_json(home.instance))


def settle_instance(home: Home, wanted: Mapping[str, Any], *, record: bool = True) -> Instance:
    """The recorded instance with today's ports and workspace; its name and subnet are fixed once it exists.

    Written down unless `record` is false.
    """
    known = Instance(**read_json(home.instance)) if home.instance.is_file() else None
    if known and known.name != wanted["name"]:
        raise UsageError(
            sentence(str(home.path), f"belongs to instance '{known.name}', not '{wanted['name']}'; choose another home")
        )
    _require_valid(wanted)
    subnet = wanted.get("subnet") or ""
    if subnet:
        _require_subnet(subnet)
    if known and subnet and subnet != known.subnet:
        wrong = f"{subnet} is not the subnet {known.subnet} that this instance has; ./run down --purge gives it up"
        raise UsageError(sentence("mcp_stack_subnet", wrong))
    instance = Instance(
        name=wanted["name"],
        port=int(wanted["port"]),
        direct_port=int(wanted["direct_port"]),
        subnet=subnet or (known.subnet if known else _free_subnet(wanted["name"])),
        workspace=wanted.get("workspace") or str(home.data / "workspace"),
    )
    if record and instance != known:
        home.write_json(home.instance, asdict(instance))
    return instance


def _require_valid(wanted: Mapping[str, Any]) -> None:
    """Refuse what Docker or compose would refuse later, when <home> is bound to it already."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", wanted["name"]):
        wrong = f"{wanted['name']!r} should be lower-case letters, digits and dashes, 40 at the most"
        raise UsageError(sentence("mcp_stack_instance", wrong))
    ports = (int(wanted["port"]), int(wanted["direct_port"]))
    if not all(1 <= port <= 65535 for port in ports) or ports[0] == ports[1]:
        wrong = f"{ports[0]} and {ports[1]} should be two ports from 1 to 65535"
        raise UsageError(sentence("mcp_stack_port and mcp_stack_direct_port", wrong))


def _require_subnet(subnet: str) -> None:
    try:
        network = ipaddress.IPv4Network(subnet)
    except ValueError as error:
        raise UsageError(sentence("mcp_stack_subnet", f"{subnet!r} is no IPv4 network ({error})")) from error
    if network.prefixlen > 24:
        raise UsageError(sentence("mcp_stack_subnet", f"{subnet} is too small; a /24 or larger is needed"))


def _free_subnet(name: str) -> str:
    """A /24 that no network of this engine and no route of this host overlaps, the first choice by the name's hash."""
    taken = _taken_subnets()
    candidates = list(SUBNETS.subnets(new_prefix=24))
    first = int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(candidates)
    for candidate in candidates[first:] + candidates[:first]:
        if not any(candidate.overlaps(other) for other in taken):
            return str(candidate)
    raise StepdownError(sentence("mcp_stack_subnet", f"no free /24 in {SUBNETS}; set one in the inventory"))


def _taken_subnets() -> list[ipaddress.IPv4Network]:
    ids = run((engine.CLIENT, "network", "ls", "--quiet")).stdout.split()
    shown = run(
        (engine.CLIENT, "network", "inspect", "--format", "{{range .IPAM.Config}}{{.Subnet}} {{end}}", *ids)
    ).stdout
    words = shown.split()
    with contextlib.suppress(CommandError):  # a host without iproute2: only the engine's own networks are compared
        routes = run(("ip", "-4", "route", "show")).stdout.splitlines()
        # "10.0.0.0/8 dev …", or a kind before it: "blackhole 10.0.0.0/8 …"
        words += [word for line in routes for word in line.split()[:2] if word[:1].isdigit()]
    networks = []
    for word in words:
        if word != "default" and ":" not in word:
            networks.append(ipaddress.ip_network(word, strict=False))
    return [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
