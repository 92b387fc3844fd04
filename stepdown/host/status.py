"""What is true on this host now: plan, every server, the edge, the last switch."""

from __future__ import annotations

import http.client
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stepdown.host import break_glass, engine, verdicts
from stepdown.host.endpoint import endpoints, names_of
from stepdown.host.handshake import get_json
from stepdown.host.home import Home
from stepdown.host.instance import load_instance
from stepdown.host.release import Release, load
from stepdown.host.state import read_state
from stepdown.shared import CONTAINER_PORT, EGRESS_ADDRESS, EGRESS_PORT

PROOFS = {
    "proved": "proved good",
    "bad": "marked bad; ./run rollback goes back to one that was proved good",
    "watched": "watched until it is proved good",
    "unproved": "not proved good yet; stepdown.pyz watch looks again",
}
STATES = ("ready", "starting", "degraded", "lost")


def status(home: Home) -> dict[str, Any]:
    """The status document: plan, release, since, by, why, servers, gateway, last_switch, proof, break_glass."""
    instance = load_instance(home)
    engine.require_engine()
    state = read_state(home)
    gateway = {"url": f"http://127.0.0.1:{instance.port}", "state": _edge_state("127.0.0.1", instance.port)}
    empty = {"plan": None, "release": None, "since": None, "by": None, "why": None}
    glass = break_glass.read(home)
    if state is None:
        nothing = {"servers": {}, "gateway": gateway, "last_switch": None, "proof": None}
        return {**empty, **nothing, "break_glass": glass}
    head = {key: state[key] for key in empty}
    now = {"servers": servers(home, state), "gateway": gateway, "last_switch": state["last_switch"]}
    return {**head, **now, "proof": verdicts.proof(home, state["release"]), "break_glass": glass}


def servers(home: Home, state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every server of the plan on record: its container, state and latency in milliseconds."""
    instance, release = load_instance(home), load(home, state["release"])
    facts = release.facts(state["plan"])
    addresses = release.addresses(instance, state["plan"])
    names = {c.name for c in engine.containers(instance.name) if c.running and c.release == release.id}
    with ThreadPoolExecutor(max_workers=len(addresses)) as pool:
        answers = dict(
            zip(addresses, pool.map(lambda name: _ready(addresses[name], name in names), addresses), strict=True)
        )
    found = {name: _server(name, entry["container"], answers) for name, entry in facts["servers"].items()}
    if egress(home) != "ready":
        for name in _cut_off(release, facts):
            found[name]["state"] = "degraded"
    return found | {name: {"container": None, "state": "lost", "latency_ms": None} for name in facts["lost"]}


def healthy(document: dict[str, Any]) -> bool:
    """Whether every server that the plan carries is ready and the gateway answers."""
    carried = [server for server in document["servers"].values() if server["state"] != "lost"]
    return bool(carried) and all(part["state"] == "ready" for part in (*carried, document["gateway"]))


def egress(home: Home) -> str:
    """Whether the egress proxy is `ready`, with rules in force, or `degraded`."""
    return _edge_state(load_instance(home).address(EGRESS_ADDRESS), EGRESS_PORT)


def _cut_off(release: Release, facts: dict[str, Any]) -> list[str]:
    """Servers in containers that have somewhere to reach out to, which goes through the proxy alone."""
    reaching = {
        name for name, container in facts["containers"].items() if endpoints(names_of(container), release.environment)
    }
    return [name for name, entry in facts["servers"].items() if entry["container"] in reaching]


def _ready(address: str, running: bool) -> dict[str, Any]:
    """The servers of a container's /readyz; empty when it does not answer, None-like when it does not run."""
    if not running:
        return {"servers": {}, "running": False}
    try:
        _, body = get_json(address, CONTAINER_PORT, "/readyz")
        return {"servers": dict(body["servers"]), "running": True}
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return {"servers": {}, "running": True}


def _server(name: str, container: str, answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    answer = answers[container]
    found = answer["servers"].get(name)
    if found is None:
        return {"container": container, "state": "starting" if answer["running"] else "degraded", "latency_ms": None}
    state = found["state"] if found["state"] in STATES else "degraded"
    return {"container": container, "state": state, "latency_ms": found.get("latency_ms")}


def _edge_state(address: str, port: int) -> str:
    connection = http.client.HTTPConnection(address, port, timeout=3)
    try:
        connection.request("GET", "/healthz")
        return "ready" if connection.getresponse().status == 200 else "degraded"
    except (OSError, http.client.HTTPException):
        return "degraded"
    finally:
        connection.close()


def table(document: dict[str, Any], egress_state: str) -> str:
    """The status for people."""
    if document["plan"] is None:
        return f"nothing is active; gateway {document['gateway']['url']} {document['gateway']['state']}"
    lines = [
        f"plan {document['plan']}  release {document['release']}  since {document['since']}  by {document['by']}",
        f"why: {document['why']}",
        f"{'server':<22}{'container':<22}{'state':<10}latency",
    ]
    for name, server in document["servers"].items():
        latency = "" if server["latency_ms"] is None else f"{server['latency_ms']:g} ms"
        lines.append(f"{name:<22}{server['container'] or '-':<22}{server['state']:<10}{latency}")
    lines.append(f"{'gateway':<22}{document['gateway']['url']:<22} {document['gateway']['state']}")
    lines.append(f"{'egress':<22}{'the way out':<22} {egress_state}")
    last = document["last_switch"]
    if last:
        lines.append(f"last switch: {last['from'] or 'nothing'} to {last['to']} in {last['seconds']:g} s")
    lines.append(f"release {document['release']}: {PROOFS[document['proof']]}")
    glass = document["break_glass"]
    if glass:
        lines.append(
            f"break-glass: open until {glass['until']}, since {glass['since']} by {glass['by']}: {glass['why']}"
        )
    return "\n".join(lines)
