"""Envoy's files of a release: named by release, with fixed addresses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stepdown.catalog import PLAN_NAMES
from stepdown.errors import StepdownError
from stepdown.host import gateway
from stepdown.host.home import Home


def _bundle(rendered: Mapping[str, str], plan: str) -> dict[str, Any]:
    bundle: dict[str, Any] = json.loads(rendered[f"plan_{plan.lower()}/gateway.json"])
    return bundle


def _configuration(rendered: Mapping[str, str], plan: str, release: str) -> gateway.Configuration:
    bundle = _bundle(rendered, plan)
    addresses = {cluster["name"]: f"10.0.0.{place}" for place, cluster in enumerate(bundle["clusters"], start=16)}
    return gateway.configuration(bundle, release, addresses, 8080)


@pytest.mark.parametrize("plan", PLAN_NAMES)
def test_every_cluster_bears_its_release(rendered: Mapping[str, str], plan: str) -> None:
    """Clusters, endpoints and routes agree on `<release>.<container>`."""
    containers = [cluster["name"] for cluster in _bundle(rendered, plan)["clusters"]]
    found = _configuration(rendered, plan, "abc")
    expected = [f"abc.{name}" for name in containers]
    assert expected == [cluster["name"] for cluster in found.clusters]
    assert expected == list(found.endpoints)
    assert expected == [assignment["cluster_name"] for assignment in found.endpoints.values()]
    routes = [route for host in found.routes["virtual_hosts"] for route in host["routes"]]
    assert set(expected) >= {route["route"]["cluster"] for route in routes if "route" in route}


def test_clusters_of_two_releases_stand_side_by_side(rendered: Mapping[str, str]) -> None:
    """None shares a name or a file with another, so the old serves while the new is added."""
    old, new = (_configuration(rendered, "C", release) for release in ("old", "new"))
    assert set() == set(old.endpoints) & set(new.endpoints)
    paths = [
        cluster["eds_cluster_config"]["eds_config"]["path_config_source"]["path"]
        for found in (old, new)
        for cluster in found.clusters
    ]
    assert len(paths) == len(set(paths))


def test_an_endpoint_is_an_address_and_never_a_name(rendered: Mapping[str, str]) -> None:
    """No lookup stands in the way of a call."""
    found = _configuration(rendered, "C", "abc")
    addresses = [
        endpoint["endpoint"]["address"]["socket_address"]
        for assignment in found.endpoints.values()
        for group in assignment["endpoints"]
        for endpoint in group["lb_endpoints"]
    ]
    expected = [{"address": "10.0.0.16", "port_value": 8080}, {"address": "10.0.0.17", "port_value": 8080}]
    assert expected == addresses


def test_answers_of_the_gateway_itself_stay_as_they_are(rendered: Mapping[str, str]) -> None:
    """Only routes that lead somewhere are renamed."""
    before = _bundle(rendered, "C")["routes"]["virtual_hosts"][0]["routes"]
    after = _configuration(rendered, "C", "abc").routes["virtual_hosts"][0]["routes"]
    assert [route for route in before if "direct_response" in route] == [
        route for route in after if "direct_response" in route
    ]
    assert [route["match"] for route in before] == [route["match"] for route in after]


def test_the_bundle_is_not_changed(rendered: Mapping[str, str]) -> None:
    """The same bundle is configured for one release after another."""
    bundle, untouched = _bundle(rendered, "C"), _bundle(rendered, "C")
    gateway.configuration(bundle, "abc", {"zen": "10.0.0.1", "heimdall": "10.0.0.2"}, 8080)
    assert untouched == bundle


def test_a_container_without_an_address_is_no_configuration(rendered: Mapping[str, str]) -> None:
    """A cluster with no endpoint would answer 503 to every call."""
    with pytest.raises(KeyError, match="heimdall"):
        gateway.configuration(_bundle(rendered, "C"), "abc", {"zen": "10.0.0.1"}, 8080)


def test_idle_files_are_written_once(home: Home) -> None:
    """A gateway that has a plan keeps its routes."""
    assert "" == gateway.serving(home)
    gateway.write_idle(home, {"name": "servers"})
    assert "idle" == gateway.serving(home)
    home.write_json(home.envoy_config("gateway") / "routes.json", {"version_info": "abc/C", "resources": []})
    gateway.write_idle(home, {"name": "servers"})
    assert "abc/C" == gateway.serving(home)
    assert [] == gateway.files(home).clusters["resources"]


def test_what_is_retired_is_forgotten(home: Home, rendered: Mapping[str, str]) -> None:
    """Only the clusters and endpoints in force stay in the directory that Envoy watches."""
    old, new = (_configuration(rendered, "C", release) for release in ("old", "new"))
    for name in (*old.endpoints, *new.endpoints):
        home.write_json(home.envoy_config("gateway") / "endpoints" / f"{name}.json", {})
    gateway.forget_others(home, new, "new/C")
    assert set(new.endpoints) == {path.stem for path in (home.envoy_config("gateway") / "endpoints").iterdir()}
    assert list(new.endpoints) == [cluster["name"] for cluster in gateway.files(home).clusters["resources"]]


def test_a_gateway_that_is_not_there_is_said_in_one_line(home: Home) -> None:
    """No socket, no traceback: what is wrong and what to type."""
    with pytest.raises(StepdownError, match=r"^gateway: its admin socket does not answer .*Run: \./run status$"):
        gateway.routes_version(home)


def test_traffic_that_cannot_be_moved_stays_where_it_is(home: Home, rendered: Mapping[str, str]) -> None:
    """Without Envoy's word the files are put back as they were."""
    gateway.write_idle(home, {"name": "servers"})
    before, new = gateway.files(home), _configuration(rendered, "C", "abc")
    paths = [home.envoy_config("gateway") / name for name in ("clusters.json", "routes.json")]
    texts = [path.read_bytes() for path in paths]
    for move in (gateway.add, gateway.route):
        with pytest.raises(StepdownError, match="admin socket"):
            move(home, new, "abc/C")
    gateway.put_back(home, before)
    assert texts == [path.read_bytes() for path in paths]


def test_what_is_added_leaves_the_traffic_where_it_is(home: Home, rendered: Mapping[str, str]) -> None:
    """Not a route is touched before Envoy has the new clusters; without its word not even those are written."""
    gateway.write_idle(home, {"name": "servers"})
    with pytest.raises(StepdownError, match="admin socket"):
        gateway.add(home, _configuration(rendered, "C", "abc"), "abc/C")
    assert "idle" == gateway.serving(home)


def test_a_gateway_that_is_gone_is_left_all_that_it_will_need(home: Home, rendered: Mapping[str, str]) -> None:
    """It follows when it comes back: the new clusters beside the old, their endpoints, and the new routes."""
    gateway.write_idle(home, {"name": "servers"})
    old, new = (_configuration(rendered, "C", release) for release in ("old", "new"))
    gateway.leave(home, old, "old/C")
    gateway.leave(home, new, "new/C")
    assert "new/C" == gateway.serving(home)
    assert [*new.endpoints, *old.endpoints] == [
        cluster["name"] for cluster in gateway.files(home).clusters["resources"]
    ]
    files = {path.stem for path in (home.envoy_config("gateway") / "endpoints").iterdir()}
    assert {*new.endpoints, *old.endpoints} == files
    assert (new.routes,) == tuple(gateway.files(home).routes["resources"])


def test_the_same_release_twice_gives_no_cluster_twice(home: Home, rendered: Mapping[str, str]) -> None:
    """Envoy refuses a file that names one twice."""
    gateway.write_idle(home, {"name": "servers"})
    for plan in ("C", "B", "C"):
        gateway.leave(home, _configuration(rendered, plan, "abc"), f"abc/{plan}")
    names = [cluster["name"] for cluster in gateway.files(home).clusters["resources"]]
    assert sorted(set(names)) == sorted(names)


def test_the_socket_may_lie_deeper_than_a_socket_address_reaches(tmp_path: Path) -> None:
    """107 bytes are all that a Unix address holds; a checkout may be deeper."""
    deep = Home(tmp_path / ("d" * 100) / ("e" * 100))
    deep.prepare()
    with pytest.raises(StepdownError, match=r"No such file or directory|Connection refused"):
        gateway.routes_version(deep)
