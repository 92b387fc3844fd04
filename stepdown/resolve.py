"""Catalog to ResolvedPlan: every question that a view may ask about a plan, answered once.

Owns: sums, unions and addresses. Reads: a Catalog. Never: a file, a host, a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stepdown.catalog import Catalog, Image, Plan, Server
from stepdown.errors import StepdownError, sentence
from stepdown.shared import MOST_CONTAINERS

DEFAULT_PORT = 8080  # the gateway on the host
DEFAULT_DIRECT_PORT = 7860  # plan D on the host, without the gateway


@dataclass(frozen=True)
class Container:
    """One container of a plan; the same in every plan that names it."""

    name: str
    index: int  # its place among the addresses of a release
    servers: tuple[Server, ...]
    image: Image | None  # None: no image carries all of its servers
    direct_port: bool

    @property
    def memory_mib(self) -> int:
        """The sum of its servers' memory, in MiB."""
        return sum(server.memory_mib for server in self.servers)

    @property
    def scratch_mib(self) -> int:
        """The sum of its servers' room below /tmp, in MiB."""
        return sum(server.scratch_mib for server in self.servers)

    @property
    def cpus(self) -> float:
        """The most that one of its servers may use, in cores; Docker refuses more than the host has."""
        return max(server.cpus for server in self.servers)

    @property
    def pids(self) -> int:
        """The sum of its servers' process limits."""
        return sum(server.pids for server in self.servers)

    @property
    def egress(self) -> tuple[str, ...]:
        """The union of its servers' allow-lists."""
        return tuple(dict.fromkeys(url for server in self.servers for url in server.egress))

    @property
    def workspace(self) -> str:
        """The widest access to the workspace that one of its servers has."""
        return max((server.workspace for server in self.servers), key=("none", "read-only", "read-write").index)

    @property
    def environment(self) -> Mapping[str, str]:
        """Name in the container to name at deploy time, over all of its servers."""
        return {name: source for server in self.servers for name, source in server.environment.items()}


@dataclass(frozen=True)
class ResolvedPlan:
    """A plan with its containers resolved."""

    plan: Plan
    containers: tuple[Container, ...]

    @property
    def name(self) -> str:
        """A, B, C or D."""
        return self.plan.name

    @property
    def missing(self) -> tuple[Container, ...]:
        """Containers that no image can carry; a plan with any cannot be deployed."""
        return tuple(container for container in self.containers if container.image is None)

    @property
    def memory_mib(self) -> int:
        """Memory limit of the whole plan, in MiB."""
        return sum(container.memory_mib for container in self.containers)

    def carrier(self, server: str) -> Container:
        """The container that carries `server`; for a lost one, the container that says so (a required server's)."""
        for container in self.containers:
            if any(carried.name == server for carried in container.servers):
                return container
        return next(c for c in self.containers if any(carried.required for carried in c.servers))


@dataclass(frozen=True)
class PlanDiff:
    """What a switch between two plans changes, as sets of names."""

    kept: tuple[str, ...]
    started: tuple[str, ...]
    stopped: tuple[str, ...]
    lost: tuple[str, ...]
    regained: tuple[str, ...]


def resolve(catalog: Catalog, name: str) -> ResolvedPlan:
    """The plan called `name` with its containers; UsageError for an unknown name."""
    plan = catalog.plan(name)
    order = container_order(catalog)
    return ResolvedPlan(
        plan,
        tuple(
            Container(
                name=container,
                index=order.index(container),
                servers=tuple(server for server in catalog.servers.values() if server.name in servers),
                image=_image_for(catalog, servers),
                direct_port=plan.direct_port,
            )
            for container, servers in plan.containers.items()
        ),
    )


def deployable(catalog: Catalog) -> tuple[ResolvedPlan, ...]:
    """The plans whose every container has an image."""
    plans = (resolve(catalog, name) for name in catalog.plans)
    return tuple(plan for plan in plans if not plan.missing)


def require_deployable(catalog: Catalog, name: str) -> ResolvedPlan:
    """The plan called `name`; UsageError when unknown, StepdownError when a container has no image."""
    plan = resolve(catalog, name)
    if plan.missing:
        names = ", ".join(container.name for container in plan.missing)
        valid = [other.name for other in deployable(catalog)]
        wrong = f"cannot be deployed: no image of catalog/servers.yml carries {names}"
        raise StepdownError(sentence(f"plan {name}", wrong, valid, f"./run deploy --plan={valid[0]}" if valid else ""))
    return plan


def container_order(catalog: Catalog) -> list[str]:
    """Every container name once, in the order of the plans; its position is its index in a release's addresses."""
    names = list(dict.fromkeys(name for plan in catalog.plans.values() for name in plan.containers))
    if len(names) > MOST_CONTAINERS:
        wrong = f"{len(names)} container names, but a release has addresses for {MOST_CONTAINERS}"
        raise StepdownError(sentence("catalog/plans.yml", wrong))
    return names


def diff(catalog: Catalog, before: str, after: str) -> PlanDiff:
    """What a switch from plan `before` to plan `after` would change."""
    old, new = catalog.plan(before), catalog.plan(after)
    return PlanDiff(
        kept=tuple(name for name in old.containers if name in new.containers),
        started=tuple(name for name in new.containers if name not in old.containers),
        stopped=tuple(name for name in old.containers if name not in new.containers),
        lost=tuple(name for name in new.lost if name not in old.lost),
        regained=tuple(name for name in old.lost if name not in new.lost),
    )


def memory_lost(catalog: Catalog, before: str, after: str) -> tuple[Server, ...]:
    """Servers that keep state in memory only and whose container a switch between the plans stops."""
    stopped = diff(catalog, before, after).stopped
    carried = (server for name in stopped for server in catalog.plan(before).containers[name])
    return tuple(catalog.servers[name] for name in carried if catalog.servers[name].state == "memory")


def plan_table(catalog: Catalog) -> str:
    """The table of plans as Markdown: a row a server, a column a plan, the container that carries it or `lost`."""
    heads = ["server", "what it is", *catalog.plans]
    rows = [heads, ["---"] * len(heads)]
    for server in catalog.servers.values():
        cells = [f"`{server.name}`{' (required)' if server.required else ''}", server.summary]
        for name in catalog.plans:
            found = [c for c, carried in catalog.plan(name).containers.items() if server.name in carried]
            cells.append(found[0] if found else "lost")
        rows.append(cells)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _image_for(catalog: Catalog, servers: tuple[str, ...]) -> Image | None:
    return next((image for image in catalog.images.values() if set(servers) <= set(image.carries)), None)
