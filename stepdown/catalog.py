"""catalog/ to a Catalog: everything that can be refused without a host is refused here, with the path that is wrong.

Owns: the meaning of catalog/servers.yml, plans.yml, objectives.yml and policy.yml. Reads: those files. Never: a host,
a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepdown.errors import UsageError, sentence
from stepdown.shared import EDGE_FOLDERS
from stepdown.strict_yaml import Node, load

NAME = r"[a-z][a-z0-9-]{0,40}"
VARIABLE = r"(?!STEPDOWN_)[A-Z][A-Z0-9_]*"  # STEPDOWN_… belongs to the release's own env file
PLAN_NAMES = ("A", "B", "C", "D")  # from the whole to the last resort; a rung down is the next letter
LAST_RESORT = PLAN_NAMES[-1]
PINNED = (
    r"stepdown|pypi:[A-Za-z0-9._-]+==\d[A-Za-z0-9.]*|npm:(@[a-z0-9-]+/)?[a-z0-9.-]+@\d+\.\d+\.\d+(-[A-Za-z0-9.-]+)?"
)
PINNED_SHAPE = "'stepdown' (our own code), 'pypi:NAME==VERSION' or 'npm:NAME@VERSION' with one exact version"
RESERVED = (*EDGE_FOLDERS, "nowhere", "nowhere-door")  # the edge's own containers and addresses
WORKSPACE = ("none", "read-only", "read-write")
STATE = ("none", "memory", "disk")
STANDBY = ("cold", "warm")
ISOLATION = ("shared", "token")
HOST_GIVES = ("PATH", "LANG", "HOME")  # what mcp_host gives every child itself
STATISTICS = ("max", "p50", "p95", "p99")
UNITS = ("seconds", "MiB", "ratio", "percent", "calls")


@dataclass(frozen=True)
class Image:
    """A container image that this repository builds, and the servers that it can carry."""

    name: str
    dockerfile: str
    carries: tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    """The cheap named call that ends a handshake."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Clients:
    """The bounds of a server that has a child for each token; `memory_mib` and `pids` are those of one child."""

    most: int
    idle_seconds: int
    memory_mib: int
    pids: int


@dataclass(frozen=True)
class Server:
    """One MCP server: a set of tools behind `/mcp/<name>`. Sizes in MiB, times in seconds, CPUs in cores."""

    name: str
    summary: str
    required: bool
    version: str
    kind: str  # stdio: a child process that mcp_host adapts; native: a factory that mcp_host calls
    command: tuple[str, ...]
    factory: str
    settings: Mapping[str, str]  # name in the server's environment -> value
    environment: Mapping[str, str]  # name in the container -> name at deploy time
    secrets: Mapping[str, str]  # name in the server's environment -> file name
    required_secrets: tuple[str, ...]  # the files of `secrets` that it cannot work without
    needs: Mapping[str, str]  # name in the container -> what to do when it is empty
    probe: Probe
    rest: str  # path prefix of a REST surface beside /mcp/<name>, or empty
    egress: tuple[str, ...]  # deploy-time names that hold the only URLs it may reach
    workspace: str
    data: bool
    memory_mib: int
    scratch_mib: int  # of memory_mib, for files below /tmp
    cpus: float
    pids: int
    start_seconds: int
    call_seconds: int
    concurrent_calls: int
    state: str
    state_detail: str
    isolation: str
    clients: Clients | None  # with isolation: token


@dataclass(frozen=True)
class Plan:
    """Who carries what: containers by name with their servers, and what is lost with its alternative."""

    name: str
    summary: str
    containers: Mapping[str, tuple[str, ...]]
    lost: Mapping[str, str]
    direct_port: bool


@dataclass(frozen=True)
class Objective:
    """A KPI or limit: the measured `statistic` must be below `limit` `unit`."""

    name: str
    summary: str
    statistic: str
    limit: float
    unit: str


@dataclass(frozen=True)
class Policy:
    """How the stack falls back, and forward: times in seconds."""

    standby: str  # whether the last resort's container is kept made (cold) or running (warm)
    drain_seconds: int  # the longest that a switch waits for calls of the old containers
    proved_after_seconds: int  # for how long a release stays ready before it counts as proved good


@dataclass(frozen=True)
class Catalog:
    """The truth, checked."""

    images: Mapping[str, Image]
    servers: Mapping[str, Server]
    plans: Mapping[str, Plan]
    objectives: Mapping[str, Objective]
    policy: Policy

    def plan(self, name: str) -> Plan:
        """The plan called `name`; UsageError lists the known ones."""
        if name not in self.plans:
            raise UsageError(sentence(f"plan {name!r}", "no such plan", self.plans, "./run plan.show"))
        return self.plans[name]


def load_catalog(root: Path) -> Catalog:
    """Read and check `root`/catalog; raises UsageError naming the path, what is valid and what to type."""
    servers_file = load(root / "catalog" / "servers.yml", "catalog/servers.yml").mapping(["images", "servers"])
    servers = {key: _server(key, node) for key, node in _named(servers_file["servers"]).items()}
    images = {key: _image(key, node, servers) for key, node in _named(servers_file["images"]).items()}
    plans_node = load(root / "catalog" / "plans.yml", "catalog/plans.yml").mapping(["plans"])["plans"]
    plans = {key: _plan(key, node, servers) for key, node in plans_node.mapping(PLAN_NAMES, ()).items()}
    _one_meaning(plans_node, plans)
    _no_clash(plans_node, plans, servers)
    _own_containers_behind_a_port(plans_node, plans)
    objectives_file = load(root / "catalog" / "objectives.yml", "catalog/objectives.yml").mapping(["objectives"])
    objectives = {key: _objective(key, node) for key, node in objectives_file["objectives"].mapping([], None).items()}
    keys = ["standby", "drain_seconds", "proved_after_seconds"]
    policy_file = load(root / "catalog" / "policy.yml", "catalog/policy.yml").mapping(keys)
    policy = Policy(
        standby=policy_file["standby"].choice(STANDBY),
        drain_seconds=policy_file["drain_seconds"].integer(0, 3600),
        proved_after_seconds=policy_file["proved_after_seconds"].integer(1, 86400),
    )
    return Catalog(images, servers, {name: plans[name] for name in PLAN_NAMES}, objectives, policy)


def _named(node: Node) -> dict[str, Node]:
    children = node.mapping([], None)
    for key, child in children.items():
        Node(child.path, key).text(NAME, "named in lower-case letters, digits and dashes")
    return children


def _server(name: str, node: Node) -> Server:
    common = (
        "summary",
        "required",
        "version",
        "kind",
        "probe",
        "egress",
        "workspace",
        "memory_mib",
        "scratch_mib",
        "cpus",
        "pids",
    )
    more = ("start_seconds", "call_seconds", "concurrent_calls", "state", "state_detail", "isolation")
    kind = node.mapping(["kind"], None)["kind"].choice(("stdio", "native"))
    start = "command" if kind == "stdio" else "factory"
    optional = ("settings", "environment", "secrets", "required_secrets", "needs", "rest", "data", "clients")
    child = node.mapping([*common, *more, start], optional)
    environment = _table(child.get("environment"), VARIABLE, VARIABLE)
    needs = _table(child.get("needs"), VARIABLE, None)
    for variable in needs:
        if variable not in environment:
            raise child["needs"].wrong(f"'{variable}' is no variable of this server", list(environment))
    secrets = _table(child.get("secrets"), VARIABLE, r"[a-z_]+")
    settings = _settings(child, kind, [*environment, *secrets])
    required = child["required_secrets"].items() if "required_secrets" in child else []
    what = "the deploy-time name of a URL or of hosts, in capitals"
    egress = tuple(item.text(VARIABLE, what) for item in child["egress"].items())
    return Server(
        name=name,
        summary=child["summary"].text(),
        required=child["required"].boolean(),
        version=child["version"].text(PINNED, PINNED_SHAPE),
        kind=kind,
        command=tuple(item.text() for item in child["command"].items()) if kind == "stdio" else (),
        factory=child["factory"].text(r"[a-z_.]+:[a-z_]+", "module:callable") if kind == "native" else "",
        settings=settings,
        environment=environment,
        secrets=secrets,
        required_secrets=tuple(item.choice(tuple(secrets.values())) for item in required),
        needs=needs,
        probe=_probe(child["probe"]),
        rest=child["rest"].text(r"/[a-z]+", "a path of one segment, e.g. /scans") if "rest" in child else "",
        egress=egress,
        workspace=child["workspace"].choice(WORKSPACE),
        data=child["data"].boolean() if "data" in child else False,
        memory_mib=child["memory_mib"].integer(32, 65536),
        scratch_mib=child["scratch_mib"].integer(1, max(1, child["memory_mib"].integer(32, 65536) - 1)),
        cpus=child["cpus"].number(0.1, 64),
        pids=child["pids"].integer(8, 4096),
        start_seconds=child["start_seconds"].integer(1, 300),
        call_seconds=child["call_seconds"].integer(1, 3600),
        concurrent_calls=child["concurrent_calls"].integer(1, 1024),
        state=child["state"].choice(STATE),
        state_detail=child["state_detail"].text(),
        isolation=child["isolation"].choice(ISOLATION),
        clients=_clients(node, child, kind),
    )


def _settings(child: Mapping[str, Node], kind: str, taken: Sequence[str]) -> dict[str, str]:
    settings = _table(child.get("settings"), VARIABLE, None)
    if "settings" in child and kind != "stdio":
        raise child["settings"].wrong("is for a server of kind stdio; a native one has its settings in its own code")
    for variable in settings:
        if variable in taken:
            raise child["settings"].wrong(f"'{variable}' is in environment or secrets too; keep one")
        if variable in HOST_GIVES:
            raise child["settings"].wrong(f"'{variable}' is given by mcp_host; leave it out")
    return settings


def _clients(node: Node, child: Mapping[str, Node], kind: str) -> Clients | None:
    """The bounds of a server with `isolation: token`, whose limits have to hold all children at once."""
    if child["isolation"].choice(ISOLATION) == "shared":
        if "clients" in child:
            raise child["clients"].wrong("is for isolation: token, and this server's is shared; leave it out")
        return None
    if kind != "stdio":
        raise child["isolation"].wrong("is 'token', which is for a server of kind stdio", ["shared"])
    if "clients" not in child:
        raise node.wrong("key 'clients' is missing; isolation: token needs most, idle_seconds, memory_mib and pids")
    bound = child["clients"].mapping(["most", "idle_seconds", "memory_mib", "pids"])
    clients = Clients(
        most=bound["most"].integer(1, 256),
        idle_seconds=bound["idle_seconds"].integer(1, 86400),
        memory_mib=bound["memory_mib"].integer(1, 65536),
        pids=bound["pids"].integer(1, 4096),
    )
    children = clients.most + 1  # one shows that the server works and belongs to no client
    memory_mib, pids = child["memory_mib"], child["pids"]  # each found to be a number before
    for limit, needed in (
        (memory_mib, children * clients.memory_mib + child["scratch_mib"].value),
        (pids, children * clients.pids),
    ):
        if limit.value < needed:
            wrong = f"should be {needed} at least, for {children} children of this server, is {limit.value}"
            raise limit.wrong(f"{wrong}; raise it or lower clients/most")
    return clients


def _table(node: Node | None, key_pattern: str, value_pattern: str | None) -> dict[str, str]:
    if node is None:
        return {}
    table = {}
    for key, child in node.mapping([], None).items():
        Node(child.path, key).text(key_pattern, f"named like {key_pattern}")
        table[key] = child.text(value_pattern, f"text like {value_pattern}") if value_pattern else child.text()
    return table


def _probe(node: Node) -> Probe:
    child = node.mapping(["tool"], ["arguments"])
    arguments = child["arguments"].mapping([], None) if "arguments" in child else {}
    return Probe(child["tool"].text(), {key: value.value for key, value in arguments.items()})


def _image(name: str, node: Node, servers: Mapping[str, Server]) -> Image:
    child = node.mapping(["dockerfile", "carries"])
    carries = tuple(item.choice(tuple(servers)) for item in child["carries"].items())
    return Image(name, child["dockerfile"].text(r"services/[a-z_]+/Dockerfile", "services/<name>/Dockerfile"), carries)


def _plan(name: str, node: Node, servers: Mapping[str, Server]) -> Plan:
    child = node.mapping(["summary", "containers", "lost"], ["direct_port"])
    containers: dict[str, tuple[str, ...]] = {}
    carried: dict[str, str] = {}
    for container, listed in _named(child["containers"]).items():
        containers[container] = tuple(item.choice(tuple(servers)) for item in listed.items())
        if container in RESERVED:
            raise listed.wrong("bears a name that Stepdown needs itself; choose another")
        if not containers[container]:
            raise listed.wrong("carries no server; name at least one", tuple(servers))
        for server in containers[container]:
            if server in carried:
                raise listed.wrong(f"server '{server}' is carried by '{carried[server]}' already; keep one")
            carried[server] = container
    lost = {}
    for server, alternative in child["lost"].mapping([], tuple(servers)).items():
        if server in carried:
            raise alternative.wrong(f"is carried by container '{carried[server]}' of this plan; keep one of the two")
        if servers[server].required:
            raise alternative.wrong("is a required server and cannot be lost; give it a container of this plan")
        lost[server] = alternative.text()
    for server in servers:
        if server not in carried and server not in lost:
            raise node.wrong(f"server '{server}' is neither in containers nor in lost; add it to one of them")
    return Plan(
        name, child["summary"].text(), containers, lost, "direct_port" in child and child["direct_port"].boolean()
    )


def _one_meaning(node: Node, plans: Mapping[str, Plan]) -> None:
    first: dict[str, tuple[str, frozenset[str]]] = {}
    for plan in plans.values():
        for container, listed in plan.containers.items():
            plan_name, meaning = first.setdefault(container, (plan.name, frozenset(listed)))
            if meaning != frozenset(listed):
                raise UsageError(
                    sentence(
                        f"{node.path}/{plan.name}/containers/{container}",
                        f"means [{', '.join(listed)}] here and [{', '.join(sorted(meaning))}] in plan {plan_name}; "
                        "a container's name has one meaning, so rename one",
                    )
                )


def _no_clash(node: Node, plans: Mapping[str, Plan], servers: Mapping[str, Server]) -> None:
    """Servers that share a container share its environment, and all servers share the gateway's paths."""
    paths = {"/mcp": "the MCP servers", "/healthz": "the gateway", "/readyz": "mcp_host", "/metrics": "mcp_host"}
    for server in servers.values():
        if server.rest and (owner := paths.setdefault(server.rest, server.name)) != server.name:
            raise UsageError(
                sentence(f"catalog/servers.yml: servers/{server.name}/rest", f"{server.rest} is taken by {owner}")
            )
    for plan in plans.values():
        for container, names in plan.containers.items():
            sources: dict[str, str] = {}
            for name in names:
                for variable, source in servers[name].environment.items():
                    if sources.setdefault(variable, source) != source:
                        where = f"{node.path}/{plan.name}/containers/{container}"
                        wrong = (
                            f"its servers disagree: {variable} is {sources[variable]} for one and {source} for {name}"
                        )
                        raise UsageError(sentence(where, wrong))


def _own_containers_behind_a_port(node: Node, plans: Mapping[str, Plan]) -> None:
    """A container's block is the same in every plan, so one that publishes the direct port belongs to one plan."""
    for plan in plans.values():
        others = {name for other in plans.values() if other is not plan for name in other.containers}
        shared = [name for name in plan.containers if name in others]
        if plan.direct_port and (shared or len(plan.containers) != 1):
            where = f"{node.path}/{plan.name}/direct_port"
            wrong = "only a plan of one container that no other plan has can serve on a port of its own"
            raise UsageError(sentence(where, wrong, [n for n, p in plans.items() if p.direct_port and p is not plan]))


def _objective(name: str, node: Node) -> Objective:
    child = node.mapping(["summary", "statistic", "limit", "unit"])
    statistic, unit = child["statistic"].choice(STATISTICS), child["unit"].choice(UNITS)
    return Objective(name, child["summary"].text(), statistic, child["limit"].number(0, 1e9), unit)
