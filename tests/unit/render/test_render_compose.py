"""Compose files: one block for a container whatever the plan, hardened, with nothing of a host in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml

from stepdown.catalog import PLAN_NAMES, Catalog
from stepdown.render import compose
from stepdown.resolve import resolve
from stepdown.shared import GATEWAY_PORT

HARDENED = {
    "user": "${STEPDOWN_UID}:${STEPDOWN_GID}",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "init": True,
    "pull_policy": "never",
    "restart": "unless-stopped",
}
FORBIDDEN = {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "userns_mode", "build", "container_name"}
COMPOSE_FILES = [*(f"plan_{name.lower()}/compose.yml" for name in PLAN_NAMES), "edge/compose.yml"]


def test_a_container_has_the_same_bytes_in_every_plan_that_names_it(rendered: Mapping[str, str]) -> None:
    """So a switch is a set difference, and compose sees nothing to recreate."""
    seen: dict[str, str] = {}
    shared = []
    for name in PLAN_NAMES:
        for container, block in _blocks(rendered[f"plan_{name.lower()}/compose.yml"]).items():
            if container in seen:
                shared.append(f"{name}/{container}")
            assert seen.setdefault(container, block) == block, f"{container} differs in plan {name}"
    assert ["B/heimdall", "B/github", "C/zen", "C/heimdall"] == shared


def test_the_text_of_a_block_is_found_whole(rendered: Mapping[str, str]) -> None:
    """The test above compares what it means to compare."""
    blocks = _blocks(rendered["plan_c/compose.yml"])
    assert ["zen", "heimdall"] == list(blocks)
    assert all("mem_limit: " in block and "max-file: " in block for block in blocks.values())


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_every_service_is_hardened(rendered: Mapping[str, str], file: str) -> None:
    """No root, no capabilities, nothing writable but a bounded /tmp, limits, a health check, bounded logs."""
    for name, service in yaml.safe_load(rendered[file])["services"].items():
        assert HARDENED == {key: service.get(key) for key in HARDENED}, name
        assert set() == FORBIDDEN & set(service), name
        assert {"mem_limit", "memswap_limit", "cpus", "pids_limit"} <= set(service), name
        assert service["mem_limit"] == service["memswap_limit"], name
        assert service["healthcheck"]["test"][:2] == ["CMD", "/usr/local/bin/http-ready"], name
        assert {"max-size", "max-file"} == set(service["logging"]["options"]), name
        assert all("size=" in mount for mount in service["tmpfs"]), name
        assert [] == [mount for mount in service["volumes"] if "docker.sock" in mount], name
        assert "${STEPDOWN_INSTANCE}" == service["labels"]["stepdown.instance"], name


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_every_mount_is_absolute_and_below_home_or_the_workspace(rendered: Mapping[str, str], file: str) -> None:
    """Relative ones would change with the directory that compose is called in."""
    for service in yaml.safe_load(rendered[file])["services"].values():
        for mount in service["volumes"]:
            assert re.match(r"\$\{STEPDOWN_(HOME\}/[a-z]|WORKSPACE\}:)", mount), mount


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_secrets_are_mounted_read_only_and_never_in_the_environment(rendered: Mapping[str, str], file: str) -> None:
    """A secret is a file of its own server; the environment names it and does not hold it."""
    for service in yaml.safe_load(rendered[file])["services"].values():
        secret = [mount for mount in service["volumes"] if "/secrets/" in mount]
        assert [] == [mount for mount in secret if not mount.endswith(":ro")]
        assert [] == [name for name in service.get("environment", {}) if re.search("KEY|TOKEN|SECRET|PASSWORD", name)]


@pytest.mark.parametrize("name", PLAN_NAMES)
def test_no_plan_name_stands_in_a_file_of_compose(rendered: Mapping[str, str], name: str) -> None:
    """A block that knew its plan would differ between plans."""
    data = yaml.safe_load(rendered[f"plan_{name.lower()}/compose.yml"])
    assert "${STEPDOWN_PROJECT}" == data["name"]
    for service in data["services"].values():
        values = [text for text in _texts(service) if re.search(rf"\bplan[-_ ]?{name}\b", text, re.IGNORECASE)]
        assert [] == values
        assert "${STEPDOWN_RELEASE}" == service["labels"]["stepdown.release"]


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_every_variable_is_given_by_the_env_file(rendered: Mapping[str, str], env_text: str, file: str) -> None:
    """Only the ones of a server's own environment, which may be empty, have a default."""
    given = {line.partition("=")[0] for line in env_text.splitlines()}
    used = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)\}", rendered[file]))
    assert set() == used - given
    assert {"STEPDOWN_INSTANCE", "STEPDOWN_HOME", "STEPDOWN_UID", "STEPDOWN_SUBNET_SERVERS"} <= used


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_every_port_is_bound_to_this_machine_only(rendered: Mapping[str, str], file: str) -> None:
    """Without TLS nothing listens to others."""
    for service in yaml.safe_load(rendered[file])["services"].values():
        assert [] == [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:${STEPDOWN_")]


def test_only_the_gateway_and_the_monolith_publish_a_port(rendered: Mapping[str, str]) -> None:
    """All other containers are reached through the gateway alone."""
    publishing = [
        name
        for file in COMPOSE_FILES
        for name, service in yaml.safe_load(rendered[file])["services"].items()
        if "ports" in service
    ]
    assert ["monolith", "gateway"] == publishing
    edge = yaml.safe_load(rendered["edge/compose.yml"])
    assert [f"127.0.0.1:${{STEPDOWN_PORT}}:{GATEWAY_PORT}"] == edge["services"]["gateway"]["ports"]


def test_no_container_that_carries_servers_is_on_a_network_with_a_way_out(catalog: Catalog) -> None:
    """The egress proxy alone is; so an allow-list is a matter of its rules."""
    for name in PLAN_NAMES:
        for container, service in compose.plan_compose(resolve(catalog, name))["services"].items():
            assert {"servers", *(["door"] if name == "D" else [])} == set(service["networks"]), container
    edge = compose.edge_compose({"gateway": "", "egress": ""})["services"]
    found = {name: set(service["networks"]) for name, service in edge.items()}
    assert {"gateway": {"servers", "door"}, "egress": {"servers", "egress"}} == found


def test_only_containers_with_an_allow_list_know_the_proxy(catalog: Catalog) -> None:
    """And in a shared one it is handed only to the programs of servers that have a list."""
    proxy = "http://${STEPDOWN_IP_EGRESS}:3128"
    for name in PLAN_NAMES:
        for container in resolve(catalog, name).containers:
            environment = compose.container_block(container)["environment"]
            found = {environment.get(variable, "") for variable in ("HTTP_PROXY", "https_proxy")}
            assert found == {proxy if container.egress else ""}, container.name
            told = json.loads(environment["MCP_HOST_CONFIG"])["servers"]
            handed = {server for server, config in told.items() if "HTTPS_PROXY" in config.get("environment", ())}
            expected = {s.name for s in container.servers if s.egress and s.kind == "stdio"}
            assert expected == handed, container.name


def test_no_container_finds_names(catalog: Catalog) -> None:
    """Lookups go to an address where nothing listens, so that none leaves through the engine's own resolver."""
    for name in PLAN_NAMES:
        for container, service in compose.plan_compose(resolve(catalog, name))["services"].items():
            assert ["127.0.0.1"] == service["dns"], container
            assert "extra_hosts" not in service, container


@pytest.mark.parametrize("name", PLAN_NAMES)
def test_every_network_that_a_service_names_is_defined(catalog: Catalog, name: str) -> None:
    """And none is defined that nobody uses."""
    data = compose.plan_compose(resolve(catalog, name))
    used = {network for service in data["services"].values() for network in service["networks"]}
    assert used == set(data["networks"])


def test_the_servers_network_is_internal_and_the_door_does_not_masquerade(catalog: Catalog) -> None:
    """Neither is a way out."""
    networks = compose.plan_compose(resolve(catalog, "D"))["networks"]
    assert True is networks["servers"]["internal"]
    masquerade = networks["door"]["driver_opts"]["com.docker.network.bridge.enable_ip_masquerade"]
    assert "false" == masquerade


def test_the_host_is_told_its_servers_and_no_others(catalog: Catalog) -> None:
    """MCP_HOST_CONFIG of `code` starts serena and filesystem, bounded as the catalogue says."""
    container = next(c for c in resolve(catalog, "B").containers if c.name == "code")
    config = json.loads(compose.container_block(container)["environment"]["MCP_HOST_CONFIG"])
    assert ["serena", "filesystem"] == list(config["servers"])
    serena = catalog.servers["serena"]
    told = config["servers"]["serena"]
    assert (serena.call_seconds, serena.concurrent_calls) == (
        told["call_timeout_seconds"],
        told["max_concurrent_calls"],
    )
    assert {"tool": "list_memories", "arguments": {}} == told["probe"]


def test_the_host_is_told_which_clients_to_keep_apart_and_what_is_set(catalog: Catalog) -> None:
    """In `zen-reasoning` of plan B only sequential-thinking has children for clients; both have their settings."""
    container = next(c for c in resolve(catalog, "B").containers if c.name == "zen-reasoning")
    told = compose.host_config(container)["servers"]
    thinking = catalog.servers["sequential-thinking"]
    assert thinking.clients is not None
    bounds = {"most": thinking.clients.most, "idle_seconds": thinking.clients.idle_seconds}
    assert {"sequential-thinking": bounds} == {n: s["clients"] for n, s in told.items() if "clients" in s}
    assert {name: dict(catalog.servers[name].settings) for name in told} == {n: s["settings"] for n, s in told.items()}
    assert {"DISABLE_THOUGHT_LOGGING": "true"} == told["sequential-thinking"]["settings"]


def test_a_dollar_in_the_catalogue_is_no_variable(catalog: Catalog) -> None:
    """Compose would interpolate it, so it is doubled."""
    zen = replace(catalog.servers["zen"], command=("/bin/zen", "--cost=$5"))
    changed = replace(catalog, servers={**catalog.servers, "zen": zen})
    block = compose.container_block(resolve(changed, "C").carrier("zen"))
    assert "--cost=$$5" in block["environment"]["MCP_HOST_CONFIG"]


def test_a_container_without_an_image_is_never_rendered(catalog: Catalog) -> None:
    """A block with an empty image would only fail on the host."""
    bare = replace(catalog, images={})
    with pytest.raises(ValueError, match="container zen: no image carries its servers"):
        compose.plan_compose(resolve(bare, "C"))


def test_the_gateway_is_made_anew_when_its_start_up_configuration_changes() -> None:
    """The digest of the bootstrap is a label, and a changed label makes compose recreate."""
    one, two = (compose.edge_compose({"gateway": digest, "egress": "ccc"})["services"] for digest in ("aaa", "bbb"))
    digests = [services["gateway"]["labels"]["stepdown.bootstrap"] for services in (one, two)]
    assert ["aaa", "bbb"] == digests
    assert one["egress"] == two["egress"]


def _blocks(text: str) -> dict[str, str]:
    services = text.split("\nservices:\n", 1)[1].split("\nnetworks:\n", 1)[0] + "\n"
    parts = re.split(r"^  ([a-z-]+):\n", services, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], (part.rstrip("\n") for part in parts[1::2]), strict=True))


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [str(value)]
