"""Envoy itself takes the gateway's start-up configuration and every plan's clusters and routes."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stepdown import shared
from stepdown.catalog import PLAN_NAMES
from stepdown.host import gateway

ADMIN_DIRECTORY = "/run/envoy/admin"


class Validation:
    """Envoy's judgement of a configuration whose files lie below a folder."""

    def __init__(self, envoy: str, folder: Path, rendered: Mapping[str, str]) -> None:
        self._envoy, self._folder, self._rendered = envoy, folder, rendered
        (folder / "config" / "endpoints").mkdir(parents=True)
        (folder / "admin").mkdir()
        self.bootstrap: dict[str, Any] = self.here(json.loads(rendered["edge/gateway/bootstrap.json"]))

    def here(self, data: Any) -> Any:
        """The same with this folder's paths; a copy."""
        text = json.dumps(data).replace(shared.ENVOY_CONFIG, str(self._folder / "config"))
        return json.loads(text.replace(ADMIN_DIRECTORY, str(self._folder / "admin")))

    def plan(self, name: str) -> gateway.Configuration:
        """A plan's resources as the agent makes them."""
        bundle = json.loads(self._rendered[f"plan_{name.lower()}/gateway.json"])
        addresses = {cluster["name"]: f"10.0.0.{place}" for place, cluster in enumerate(bundle["clusters"], 16)}
        return gateway.configuration(bundle, "abc", addresses, 8080)

    def write(self, name: str, resources: list[Any]) -> None:
        """One of the files that Envoy watches."""
        text = json.dumps(self.here({"version_info": "abc/C", "resources": resources}))
        (self._folder / "config" / name).write_text(text)

    def static(self, plan: str) -> dict[str, Any]:
        """The bootstrap with a plan's clusters and routes inside, where validation looks at them."""
        found = self.plan(plan)
        for cluster, assignment in found.endpoints.items():
            self.write(f"endpoints/{cluster}.json", [assignment])
        data = copy.deepcopy(self.bootstrap)
        del data["dynamic_resources"]
        data["static_resources"]["clusters"] = [_untyped(self.here(cluster)) for cluster in found.clusters]
        manager = _manager(data)
        del manager["rds"]
        manager["route_config"] = _untyped(found.routes)
        return data

    def judge(self, data: Any) -> tuple[int, str]:
        """Exit code, and what Envoy says against it."""
        path = self._folder / "bootstrap.json"
        path.write_text(json.dumps(data))
        argv = [self._envoy, "--mode", "validate", "--log-level", "warning", "--config-path", str(path)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, " ".join(done.stderr.split())


@pytest.fixture
def validation(envoy: str, tmp_path: Path, rendered: Mapping[str, str]) -> Validation:
    """A folder with the gateway's directories."""
    return Validation(envoy, tmp_path, rendered)


def test_envoy_takes_the_bootstrap_with_idle_files(validation: Validation, rendered: Mapping[str, str]) -> None:
    """As before the first plan."""
    validation.write("clusters.json", [])
    validation.write("routes.json", [json.loads(rendered["edge/idle.json"])])
    assert (0, "") == validation.judge(validation.bootstrap)


@pytest.mark.parametrize("name", PLAN_NAMES)
def test_envoy_takes_the_files_of_every_plan(validation: Validation, name: str) -> None:
    """Bootstrap and the watched files, as the agent writes them."""
    found = validation.plan(name)
    validation.write("clusters.json", list(found.clusters))
    validation.write("routes.json", [found.routes])
    assert (0, "") == validation.judge(validation.bootstrap)


@pytest.mark.parametrize("name", PLAN_NAMES)
def test_envoy_takes_clusters_and_routes_of_every_plan(validation: Validation, name: str) -> None:
    """Validation does not open watched files, so here they are part of the start-up configuration."""
    assert (0, "") == validation.judge(validation.static(name))


def test_envoy_takes_the_idle_routes(validation: Validation, rendered: Mapping[str, str]) -> None:
    """The gateway answers 503 by itself."""
    data = validation.static("C")
    _manager(data)["route_config"] = _untyped(json.loads(rendered["edge/idle.json"]))
    assert (0, "") == validation.judge(data)


def test_envoy_refuses_a_route_to_an_unknown_cluster(validation: Validation) -> None:
    """Else every call of that route would be a 503."""
    data = validation.static("B")
    clusters = data["static_resources"]["clusters"]
    gone = clusters.pop()["name"]
    code, words = validation.judge(data)
    assert (1, True) == (code, f"route: unknown cluster '{gone}'" in words), words


def test_without_validation_envoy_would_take_it(validation: Validation) -> None:
    """So `validate_clusters` is what refuses, and must stay."""
    data = validation.static("B")
    data["static_resources"]["clusters"].pop()
    _manager(data)["route_config"]["validate_clusters"] = False
    assert (0, "") == validation.judge(data)


@pytest.mark.parametrize("place", ["clusters", "listeners"])
def test_envoy_refuses_an_unknown_field(validation: Validation, place: str) -> None:
    """A word with a slip is no option that is silently off."""
    data = validation.static("C")
    data["static_resources"][place][0]["connect_timeoutt"] = "1s"
    code, words = validation.judge(data)
    assert (1, True) == (code, "no such field: 'connect_timeoutt'" in words), words


def _untyped(resource: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key != "@type"}


def _manager(data: dict[str, Any]) -> dict[str, Any]:
    manager: dict[str, Any] = data["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return manager
