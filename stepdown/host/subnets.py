"""IPv4 networks that are taken on this host, and a free one for an instance.

Reads: the engine's networks, and routes and addresses of every table (`ip route`). Never: makes a network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from stepdown.errors import CommandError
from stepdown.host import engine
from stepdown.run import run

SUBNETS = IPv4Network("10.231.0.0/16")  # one /24 of it for each instance
WIDEST_PREFIX = 8  # a wider route is a default route in disguise (VPNs split 0.0.0.0/0 in two): nothing clashes with it


@dataclass(frozen=True)
class Taken:
    """A network that somebody has; `instance` names the instance whose Docker network it is, or is empty."""

    network: IPv4Network
    what: str
    instance: str = ""


def taken() -> tuple[Taken, ...]:
    """Every network of the engine, if one answers, and every route and address that is not one of these."""
    found, bridges = [], set()
    for document in _docker_networks():
        options = document.get("Options") or {}
        bridges.add(options.get("com.docker.network.bridge.name") or f"br-{document['Id'][:12]}")
        instance = (document.get("Labels") or {}).get("stepdown.instance", "")
        for block in (document.get("IPAM") or {}).get("Config") or []:
            if (network := _network(block.get("Subnet", ""))) is not None:
                found.append(Taken(network, f"the Docker network {document['Name']}", instance))
    return (*found, *_routes(bridges))


def clash(subnet: IPv4Network, others: Iterable[Taken]) -> Taken | None:
    """The first of `others` that overlaps `subnet`."""
    return next((other for other in others if subnet.overlaps(other.network)), None)


def free(name: str, others: Iterable[Taken]) -> IPv4Network | None:
    """A /24 that nothing of `others` overlaps, the first choice by the name's hash; None when all are taken."""
    networks = [other.network for other in others if other.network.overlaps(SUBNETS)]
    candidates = list(SUBNETS.subnets(new_prefix=24))
    first = int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(candidates)
    for candidate in candidates[first:] + candidates[:first]:
        if not any(candidate.overlaps(network) for network in networks):
            return candidate
    return None


def _docker_networks() -> list[dict[str, Any]]:
    try:
        ids = run((engine.CLIENT, "network", "ls", "--quiet"), check=False).stdout.split()
    except CommandError:
        return []  # no client, so no engine
    if not ids:
        return []
    # one that went away in between is missing from the answer, and rightly so
    shown = run((engine.CLIENT, "network", "inspect", "--format", "{{json .}}", *ids), check=False)
    return [json.loads(line) for line in shown.stdout.splitlines() if line]


def _routes(bridges: set[str]) -> Iterator[Taken]:
    """Routes and addresses but those of Docker's own bridges, and but default routes."""
    try:
        lines = run(("ip", "-4", "route", "show", "table", "all"), check=False).stdout.splitlines()
    except CommandError:
        return  # a host without iproute2: only the engine's own networks are compared
    for line in lines:
        words = line.split()
        device = words[words.index("dev") + 1] if "dev" in words[:-1] else ""
        # "10.0.0.0/8 dev …", or a kind before it: "blackhole 10.0.0.0/8 …", "local 10.0.0.1 …"
        network = next((found for word in words[:2] if (found := _network(word)) is not None), None)
        if network is None or device in bridges or network.prefixlen < WIDEST_PREFIX:
            continue
        kind = "the address" if words[0] == "local" else "the route"
        yield Taken(network, f"{kind} {words[1] if words[0].isalpha() else words[0]} of {device or 'this host'}")


def _network(text: str) -> IPv4Network | None:
    try:
        return IPv4Network(text, strict=False)
    except ValueError:
        return None  # IPv6, `default`, or the kind of a route
