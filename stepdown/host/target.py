"""Where a switch goes: a plan of a release on this host's instance, and all that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stepdown.host import gateway
from stepdown.host.home import Home
from stepdown.host.instance import Instance, load_instance
from stepdown.host.release import Release
from stepdown.shared import CONTAINER_PORT


@dataclass(frozen=True)
class Target:
    """One whole plan of one release."""

    home: Home
    instance: Instance
    release: Release
    plan: str

    @property
    def version(self) -> str:
        return gateway.version(self.release.id, self.plan)

    @property
    def facts(self) -> dict[str, Any]:
        return self.release.facts(self.plan)

    def configuration(self) -> gateway.Configuration:
        """Envoy's files for this target."""
        addresses = self.release.addresses(self.instance, self.plan)
        return gateway.configuration(self.release.gateway(self.plan), self.release.id, addresses, CONTAINER_PORT)


def target(home: Home, release: Release, plan: str) -> Target:
    """A target on this host's instance."""
    return Target(home, load_instance(home), release, plan)
