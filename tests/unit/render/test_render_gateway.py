"""Routes and clusters: every server everywhere, nothing without a token, only unsent calls sent again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stepdown.catalog import PLAN_NAMES, Catalog
from stepdown.render import gateway
from stepdown.resolve import resolve

# https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#x-envoy-retry-on:
# the upstream has not seen the request, or has refused it unread
NEVER_SENT = {"connect-failure", "refused-stream", "reset-before-request"}


@pytest.mark.parametrize("name", PLAN_NAMES)
def test_every_server_has_a_route_in_every_plan(catalog: Catalog, name: str) -> None:
    """A lost one too: its container answers with a typed error."""
    plan = resolve(catalog, name)
    paths = {route["match"]["path"]: route["route"]["cluster"] for route in _forwarding(catalog, name, "path")}
    assert {f"/mcp/{server}": plan.carrier(server).name for server in catalog.servers} == paths


@pytest.mark.parametrize("name", PLAN_NAMES)
def test_every_route_leads_to_a_cluster_of_the_plan(catalog: Catalog, name: str) -> None:
    """Envoy would refuse the whole file otherwise; one cluster for each container."""
    rendered = gateway.plan_gateway(catalog, resolve(catalog, name))
    clusters = [cluster["name"] for cluster in rendered["clusters"]]
    assert list(catalog.plan(name).containers) == clusters
    routes = rendered["routes"]["virtual_hosts"][0]["routes"]
    assert set() == {route["route"]["cluster"] for route in routes if "route" in route} - set(clusters)
    assert True is rendered["routes"]["validate_clusters"]


@pytest.mark.parametrize("name", PLAN_NAMES)
def test_nothing_but_health_is_reached_without_a_token(catalog: Catalog, name: str) -> None:
    """The refusal matches every path and stands before every route but /healthz; the first match wins."""
    routes = _routes(catalog, name)
    refusal = next(place for place, route in enumerate(routes) if "headers" in route["match"])
    assert [{"path": "/healthz"}] == [route["match"] for route in routes[:refusal]]
    assert "/" == routes[refusal]["match"]["prefix"]
    assert 401 == routes[refusal]["direct_response"]["status"]
    (header,) = routes[refusal]["match"]["headers"]
    assert ("authorization", True, True) == (
        header["name"],
        header["invert_match"],
        header["treat_missing_header_as_empty"],
    )
    assert {"prefix": "Bearer ", "ignore_case": True} == header["string_match"]
    assert {"key": "www-authenticate", "value": "Bearer"} == routes[refusal]["response_headers_to_add"][0]["header"]


@pytest.mark.parametrize("name", PLAN_NAMES)
def test_only_calls_that_were_never_sent_are_sent_again(catalog: Catalog, name: str) -> None:
    """A call that may have run must not run twice."""
    for route in _forwarding(catalog, name):
        conditions = set(route["route"]["retry_policy"]["retry_on"].split(","))
        assert set() == conditions - NEVER_SENT
        assert "per_try_timeout" not in route["route"]["retry_policy"]
        assert "hedge_policy" not in route["route"]


@pytest.mark.parametrize("name", PLAN_NAMES)
def test_the_gateway_waits_longer_than_the_server_may_take(catalog: Catalog, name: str) -> None:
    """So the typed error of mcp_host arrives, not the gateway's 504."""
    for route in _forwarding(catalog, name, "path"):
        server = catalog.servers[route["match"]["path"].removeprefix("/mcp/")]
        for key in ("timeout", "idle_timeout"):
            assert float(route["route"][key].removesuffix("s")) > server.call_seconds


def test_a_rest_surface_has_a_route_where_its_server_is_carried(catalog: Catalog) -> None:
    """/scans leads to heimdall's container and stops at the segment's end."""
    carriers = {"A": "heimdall", "B": "heimdall", "C": "heimdall", "D": "monolith"}
    found = {name: _forwarding(catalog, name, "path_separated_prefix") for name in PLAN_NAMES}
    assert {name: [("/scans", carrier)] for name, carrier in carriers.items()} == {
        name: [(route["match"]["path_separated_prefix"], route["route"]["cluster"]) for route in routes]
        for name, routes in found.items()
    }


def test_a_rest_surface_has_no_route_where_its_server_is_lost(catalog: Catalog) -> None:
    """Its alternative is told over MCP; a REST client gets the 404 that lists what there is."""
    github = replace(catalog.servers["github"], rest="/repositories")
    changed = replace(catalog, servers={**catalog.servers, "github": github})
    assert ["/scans"] == [
        route["match"]["path_separated_prefix"] for route in _forwarding(changed, "C", "path_separated_prefix")
    ]


def test_an_unknown_path_is_told_the_known_ones(catalog: Catalog) -> None:
    """The last route matches all and is no server's."""
    last = _routes(catalog, "C")[-1]
    assert {"prefix": "/"} == last["match"]
    assert 404 == last["direct_response"]["status"]
    body = last["direct_response"]["body"]["inline_string"]
    assert [] == [server for server in catalog.servers if f"/mcp/{server}" not in body]


def test_without_a_plan_every_call_is_told_to_deploy() -> None:
    """503, after the token was asked for."""
    routes = gateway.route_configuration([])["virtual_hosts"][0]["routes"]
    assert [200, 401, 503] == [route["direct_response"]["status"] for route in routes]
    assert "./run deploy" in routes[-1]["direct_response"]["body"]["inline_string"]


@pytest.mark.parametrize("name", PLAN_NAMES)
def test_a_cluster_lets_through_what_its_servers_bear(catalog: Catalog, name: str) -> None:
    """Twice the calls that its servers take at once, so that mcp_host is the one that says `busy`."""
    clusters = gateway.plan_gateway(catalog, resolve(catalog, name))["clusters"]
    for cluster, container in zip(clusters, resolve(catalog, name).containers, strict=True):
        (limits,) = cluster["circuit_breakers"]["thresholds"]
        assert 2 * sum(server.concurrent_calls for server in container.servers) == limits["max_requests"]
        assert {"value": 0} == cluster["common_lb_config"]["healthy_panic_threshold"]
        assert "/healthz" == cluster["health_checks"][0]["http_health_check"]["path"]


def test_the_admin_door_is_a_socket_of_its_owner() -> None:
    """Whoever reaches it can move the traffic."""
    pipe = gateway.bootstrap()["admin"]["address"]["pipe"]
    assert 0o600 == pipe["mode"]


def test_the_listener_refuses_paths_that_hide_a_slash() -> None:
    """An escaped slash would pass one route's match and mean another path behind it."""
    listener = gateway.bootstrap()["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert "REJECT_REQUEST" == manager["path_with_escaped_slashes_action"]
    assert (True, True) == (manager["normalize_path"], manager["merge_slashes"])


def test_the_gateway_holds_nothing_back() -> None:
    """The router is its only filter: an event stream passes as it comes, and counts until its last byte."""
    listener = gateway.bootstrap()["static_resources"]["listeners"][0]
    filters = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    assert ["envoy.filters.http.router"] == [one["name"] for one in filters]


def test_the_access_log_holds_no_token() -> None:
    """Of the headers only the ones of MCP and the request's id are written."""
    listener = gateway.bootstrap()["static_resources"]["listeners"][0]
    (log,) = listener["filter_chains"][0]["filters"][0]["typed_config"]["access_log"]
    fields = " ".join(log["typed_config"]["log_format"]["json_format"].values()).upper()
    assert [] == [word for word in ("AUTHORIZATION", "COOKIE") if word in fields]


def _routes(catalog: Catalog, name: str) -> list[dict[str, Any]]:
    routes = gateway.plan_gateway(catalog, resolve(catalog, name))["routes"]
    return list(routes["virtual_hosts"][0]["routes"])


def _forwarding(catalog: Catalog, name: str, match: str = "") -> list[dict[str, Any]]:
    """The routes that lead to a cluster, those with this kind of match."""
    found = [r for r in _routes(catalog, name) if "route" in r and (not match or match in r["match"])]
    assert found
    return found
