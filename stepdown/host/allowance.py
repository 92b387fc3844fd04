"""Who may reach what: the endpoints that the catalogue allows a container, as a release on this host has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from stepdown.host.endpoint import Endpoint, endpoints, names_of
from stepdown.host.home import Home
from stepdown.host.instance import Instance
from stepdown.host.release import Release, load, staged


@dataclass(frozen=True)
class Allowance:
    """What one container of a release may reach, and the names that say so."""

    container: str
    release: str
    address: str
    names: tuple[str, ...]
    endpoints: tuple[Endpoint, ...]


def of_containers(home: Home, instance: Instance, containers: Iterable[tuple[str, str]]) -> tuple[Allowance, ...]:
    """The allowances of (release id, container name) pairs, in order of address; a release that is gone has none."""
    there = staged(home)
    releases = {id_: load(home, id_) for id_ in {release for release, _ in containers} if id_ in there}
    found = [_of(releases[id_], name, instance) for id_, name in set(containers) if id_ in releases]
    return tuple(sorted((a for a in found if a), key=lambda a: ip_address(a.address)))


def _of(release: Release, name: str, instance: Instance) -> Allowance | None:
    for plan in release.plans:  # a container's name means the same in every plan
        facts = release.facts(plan)["containers"].get(name)
        if facts:
            names = names_of(facts)
            address = release.address(instance, facts["index"])
            return Allowance(name, release.id, address, names, endpoints(names, release.environment))
    return None
