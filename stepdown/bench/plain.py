"""What tests/performance/plain deploys: the files and settings of a deployed instance, for an instance beside it."""

from __future__ import annotations

import ipaddress
import json
import secrets
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepdown.bench.place import Place
from stepdown.errors import StepdownError, sentence
from stepdown.host import egress, gateway, subnets
from stepdown.host.allowance import Allowance
from stepdown.host.endpoint import endpoints, names_of
from stepdown.host.instance import Instance
from stepdown.shared import (
    CONTAINER_PORT,
    EDGE_FOLDERS,
    SLOT_ADDRESSES,
    variable,
)

RELEASE = "plain"  # stands where the others have the id of a release
TOKEN_BYTES = 32
KEY = ("zen", "api_key")  # the one secret that place.Place.key_given is about
FREE_PORT = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"

NETWORKS = (
    "docker network ls --quiet | xargs docker network inspect --format '{{range .IPAM.Config}}{{.Subnet}} {{end}}'"
)


@dataclass(frozen=True)
class Deployed:
    """What runs on the host, from the records of its <home>."""

    instance: Instance
    plan: str
    images: Mapping[str, Mapping[str, str]]
    environment: Mapping[str, str]
    uid: str
    gid: str


@dataclass(frozen=True)
class Plain:
    """The instance beside it: its settings on the host, and how compose is called there."""

    instance: Instance
    home: str
    compose: tuple[str, ...]
    compose_source: str  # the file to copy where the host's Docker has no plugin, or empty


def deployed(place: Place) -> Deployed:
    """The instance that the host has; StepdownError where there is none, or no plan is active."""
    missing = sentence(f"{place.home} on {place.host}", "nothing is deployed there", run="./run deploy --plan=C")
    if place.shell(f"test -e {shlex.quote(place.home)}/state.json && echo there || echo missing").strip() == "missing":
        raise StepdownError(missing)
    state = place.read(f"{place.home}/state.json")
    release = place.read(f"{place.home}/releases/{state['release']}/release.json")
    uid, gid = place.shell(f"stat --format '%u %g' {shlex.quote(place.home)}").split()
    instance = Instance(**place.read(f"{place.home}/instance.json"))
    return Deployed(instance, state["plan"], release["images"], release["environment"], uid, gid)


def beside(place: Place, there: Deployed, dist: Path) -> Plain:
    """An instance with a name, <home>, port and subnet of its own."""
    home, name = f"{place.home}-bench-plain", f"{there.instance.name}-bench-plain"
    plugin = place.shell("docker compose version >/dev/null 2>&1 && echo plugin || echo none").strip() == "plugin"
    port = int(place.shell(f"python3 -c {shlex.quote(FREE_PORT)}"))
    instance = Instance(
        name=name,
        port=port,
        direct_port=there.instance.direct_port,
        subnet=free_subnet(name, place.shell(NETWORKS).split()),
        workspace=f"{home}/data/workspace",
    )
    if plugin:
        return Plain(instance, home, ("docker", "compose"), "")
    return Plain(instance, home, (f"{home}/docker-compose",), str(dist / "docker-compose"))


def free_subnet(name: str, listed: Iterable[str]) -> str:
    """A /24 for the instance `name` that overlaps none of the networks listed; StepdownError when all are taken."""
    others = [subnets.Taken(ipaddress.IPv4Network(network), "") for network in listed if ":" not in network]
    found = subnets.free(name, others)
    if found is None:
        raise StepdownError(
            sentence("bench", f"no free /24 in {subnets.SUBNETS}; take an instance down", run="./run down")
        )
    return str(found)


def variables(plain: Plain, there: Deployed, bundle: Path, edge: Path, folder: Path, key_given: bool) -> dict[str, Any]:
    """Every variable of tests/performance/plain; writes the edge's files and the plan below `folder`.

    `bundle` and `edge` are folders of compose/. The tokens and the key are made up: no call is sent with them.
    """
    facts = json.loads((bundle / "plan.json").read_text(encoding="utf-8"))
    made = _gateway_files(plain, facts, json.loads((bundle / "gateway.json").read_text(encoding="utf-8")))
    made |= _egress_files(plain, there, facts)
    made["run/plan/plan.json"] = {"plan": facts["plan"], "since": "", "lost": facts["lost"]}
    files = [
        {"path": "compose.yml", "source": str(bundle / "compose.yml")},
        {"path": "edge/compose.yml", "source": str(edge / "compose.yml")},
        *(
            {"path": f"edge/{name}/bootstrap.json", "source": str(edge / name / "bootstrap.json")}
            for name in EDGE_FOLDERS
        ),
    ]
    for number, (path, content) in enumerate(made.items()):
        source = folder / f"{number}.json"
        source.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        files.append({"path": path, "source": str(source)})
    token = secrets.token_urlsafe(TOKEN_BYTES)
    # The model endpoint's key alone: a made-up CA would be refused by who reads it.
    keys = [f"servers/{server}/{name}" for server, name in _secret_files(facts) if (server, name) == KEY]
    keys = keys if key_given else []
    return {
        "plain_home": plain.home,
        "plain_uid": there.uid,
        "plain_gid": there.gid,
        "plain_folders": _folders(facts),
        "plain_files": files,
        "plain_environment": _environment(plain, there, facts),
        "plain_images": sorted(there.images.values(), key=lambda image: image["reference"]),
        "plain_archive": "",  # the images are there, or nothing could be deployed beside them
        "plain_compose": list(plain.compose),
        "plain_compose_source": plain.compose_source,
        "plain_client_token": token,
        "plain_secrets": [{"path": "client_token", "value": token}, *({"path": k, "value": token} for k in keys)],
    }


def _gateway_files(plain: Plain, facts: Mapping[str, Any], bundle: Mapping[str, Any]) -> dict[str, Any]:
    """The agent's own configuration of the gateway, at plain's addresses: path to content, in the order of writing."""
    made = gateway.configuration(bundle, RELEASE, _addresses(plain, facts), CONTAINER_PORT)
    resources: dict[str, list[Any]] = {f"endpoints/{name}.json": [row] for name, row in made.endpoints.items()}
    resources |= {"clusters.json": list(made.clusters), "routes.json": [made.routes]}
    return {
        f"run/envoy/config/{name}": {"version_info": RELEASE, "resources": listed} for name, listed in resources.items()
    }


def _egress_files(plain: Plain, there: Deployed, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The agent's own rules of the egress proxy, at plain's addresses: path to content."""
    addresses = _addresses(plain, facts)
    names = {name: names_of(container) for name, container in facts["containers"].items()}
    rules = egress.rules(
        Allowance(name, RELEASE, address, names[name], endpoints(names[name], there.environment))
        for name, address in addresses.items()
    )
    resources = {"clusters.json": list(rules.clusters), "listeners.json": [rules.listener]}
    return {
        f"run/egress/config/{name}": {"version_info": RELEASE, "resources": listed}
        for name, listed in resources.items()
    }


def _addresses(plain: Plain, facts: Mapping[str, Any]) -> dict[str, str]:
    containers = facts["containers"].items()
    return {name: plain.instance.address(SLOT_ADDRESSES + container["index"]) for name, container in containers}


def _secret_files(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Server and file of every secret of the plan."""
    return [
        (server, name)
        for container in facts["containers"].values()
        for server, names in container["secrets"].items()
        for name in names
    ]


def _folders(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """What containers mount; Ansible gives missing parents the mode of the first, so the open ones come first."""
    open_ones = [*(f"edge/{name}" for name in EDGE_FOLDERS), "run/plan", "run/envoy/config/endpoints"]
    open_ones += ["run/egress/config", "data/workspace"]
    closed = [*(f"run/{folder}/admin" for folder in EDGE_FOLDERS.values()), "secrets/auth"]
    closed += [f"secrets/servers/{server}" for server in dict.fromkeys(server for server, _ in _secret_files(facts))]
    closed += [f"data/{server}" for container in facts["containers"].values() for server in container["data"]]
    return [{"path": path, "mode": "0755"} for path in open_ones] + [{"path": path, "mode": "0700"} for path in closed]


def _environment(plain: Plain, there: Deployed, facts: Mapping[str, Any]) -> dict[str, str]:
    """What a release's compose.env says, for this instance."""
    instance = plain.instance
    values = {
        **instance.variables,
        "STEPDOWN_PROJECT": instance.name,
        "STEPDOWN_RELEASE": RELEASE,
        "STEPDOWN_HOME": plain.home,
        "STEPDOWN_UID": there.uid,
        "STEPDOWN_GID": there.gid,
    }
    values |= {variable("IMAGE", name): image["reference"] for name, image in there.images.items()}
    values |= {variable("IP", name): address for name, address in _addresses(plain, facts).items()}
    return values | dict(there.environment)
