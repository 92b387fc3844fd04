"""Where the URLs and hosts lead that a bundle names (`egress` of plan.json) and a release's environment holds."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

from stepdown.errors import UsageError, sentence

PORTS = {"http": 80, "https": 443}
LISTS = "_HOSTS"  # a name that ends so holds several hosts; any other holds one URL
HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


@dataclass(frozen=True, order=True)
class Endpoint:
    """Host and port of a URL, and whether it speaks plain http."""

    host: str  # a name in lower case, or an address
    port: int
    plain: bool

    @property
    def authority(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpoint(name: str, url: str) -> Endpoint:
    """Where the URL of a deploy-time name leads; UsageError, without the URL's text, which may hold a password."""
    try:
        parts = urlsplit(url.strip())
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError:
        scheme, host, port = "", "", None
    literal = address(host)
    if scheme not in PORTS or not (literal or HOST_NAME.fullmatch(host)) or port == 0:
        raise UsageError(sentence(name, "is no URL of http or https with a host in it; correct or empty it"))
    if host == "localhost" or (literal and (literal.is_loopback or literal.is_unspecified)):
        wrong = "leads to the loopback of whoever reads it, never to this host; write host.docker.internal for the host"
        raise UsageError(sentence(name, wrong))
    return Endpoint(host, port or PORTS[scheme], scheme == "http")


def endpoints_of(name: str, value: str) -> tuple[Endpoint, ...]:
    """Where the value of a deploy-time name leads: a URL to one place, hosts (`git.example`, `git.example:8443`,
    `http://hooks.example`; https where they say nothing) with commas between them to several. Raises UsageError.
    """
    if not name.endswith(LISTS):
        return (endpoint(name, value),)
    return tuple(_listed(name, item) for item in map(str.strip, value.split(",")) if item)


def _listed(name: str, item: str) -> Endpoint:
    scheme, separator, rest = item.rpartition("://")
    if "/" in rest or any(sign in item for sign in "@?#"):
        raise UsageError(sentence(name, "should be hosts with commas between them, as git.example,other.example:8443"))
    return endpoint(name, f"{scheme}{separator}{rest}" if separator else f"https://{rest}")


def address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that `host` is; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def names_of(container: Mapping[str, Any]) -> tuple[str, ...]:
    """The deploy-time names in a container's facts; none in those of a release that an older version staged."""
    return tuple(container.get("egress", ()))


def refusals(plans: Iterable[Mapping[str, Any]], environment: Mapping[str, str]) -> list[str]:
    """What stands against the URLs in `environment`, one sentence for each name that these plans' containers use."""
    names = {name for facts in plans for container in facts["containers"].values() for name in names_of(container)}
    found = []
    for name in sorted(names):
        try:
            if environment.get(name):
                endpoints_of(name, environment[name])
        except UsageError as error:
            found.append(str(error))
    return found


def endpoints(names: Iterable[str], environment: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """Where `names` lead: nowhere without a value, or with one that an older version staged and `refusals` would not.

    Two URLs at one host and port are one endpoint, plain where one of them is.
    """
    found: dict[str, Endpoint] = {}
    for name in names:
        if environment.get(name):
            with contextlib.suppress(UsageError):  # an older version's value: nowhere is safe, `refusals` tells
                for made in endpoints_of(name, environment[name]):
                    before = found.get(made.authority, made)
                    found[made.authority] = replace(made, plain=made.plain or before.plain)
    return tuple(sorted(found.values()))
