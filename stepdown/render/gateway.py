"""Envoy configuration as plain data (JSON of Envoy's v3 API).

The bootstrap is fixed; routes and clusters of a plan name containers. The host agent prefixes each cluster with its
release and adds endpoints (stepdown/host/gateway.py), so that the clusters of two releases can stand side by side.
"""

from __future__ import annotations

from typing import Any

from stepdown.catalog import Catalog, Server
from stepdown.resolve import Container, ResolvedPlan
from stepdown.shared import ENVOY_ADMIN, ENVOY_CONFIG, GATEWAY_PORT

ROUTES_NAME = "servers"
TYPE = "type.googleapis.com/envoy"
HCM = f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
PATIENCE_SECONDS = 15  # the gateway waits longer than mcp_host, so that mcp_host's typed error arrives
UNAUTHORISED = "a bearer token is needed; run: ./run client.config"


def bootstrap() -> dict[str, Any]:
    """Envoy's start-up configuration: one listener, routes and clusters from files, admin on a socket of mode 0600."""
    return {
        "node": {"id": "gateway", "cluster": "stepdown"},
        "admin": {"address": {"pipe": {"path": ENVOY_ADMIN, "mode": 0o600}}},
        "dynamic_resources": {"cds_config": file_source("clusters.json")},
        "static_resources": {"listeners": [_listener()]},
    }


def plan_gateway(catalog: Catalog, plan: ResolvedPlan) -> dict[str, Any]:
    """`routes` (one RouteConfiguration) and `clusters` (one Cluster for each container) of a plan."""
    return {
        "routes": route_configuration(_server_routes(catalog, plan)),
        "clusters": [_cluster(container) for container in plan.containers],
    }


def route_configuration(server_routes: list[dict[str, Any]]) -> dict[str, Any]:
    """All routes of the gateway around those of the servers; with none, every call is told that no plan is active."""
    known = ", ".join(route["match"].get("path", "") for route in server_routes if "path" in route["match"])
    last = (
        _answer(404, f"no such path (known: {known})")
        if known
        else _answer(503, "no plan is active; run: ./run deploy")
    )
    return {
        "@type": f"{TYPE}.config.route.v3.RouteConfiguration",
        "name": ROUTES_NAME,
        "validate_clusters": True,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [
                    {"match": {"path": "/healthz"}, **_answer(200, "ok\n")},
                    _without_token(),
                    *server_routes,
                    {"match": {"prefix": "/"}, **last},
                ],
            }
        ],
    }


def _server_routes(catalog: Catalog, plan: ResolvedPlan) -> list[dict[str, Any]]:
    routes = []
    for server in catalog.servers.values():
        container = plan.carrier(server.name).name
        routes.append({"match": {"path": f"/mcp/{server.name}"}, "route": _forward(container, server)})
        if server.rest and server.name not in plan.plan.lost:
            routes.append({"match": {"path_separated_prefix": server.rest}, "route": _forward(container, server)})
    return routes


def _forward(container: str, server: Server) -> dict[str, Any]:
    seconds = server.call_seconds + PATIENCE_SECONDS
    return {
        "cluster": container,
        "timeout": f"{seconds}s",
        "idle_timeout": f"{seconds}s",
        # only calls that were never sent are sent again
        "retry_policy": {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 2},
    }


def _without_token() -> dict[str, Any]:
    bearer = {"prefix": "Bearer ", "ignore_case": True}
    return {
        "match": {
            "prefix": "/",
            "headers": [
                {
                    "name": "authorization",
                    "string_match": bearer,
                    "invert_match": True,
                    "treat_missing_header_as_empty": True,
                }
            ],
        },
        "response_headers_to_add": [{"header": {"key": "www-authenticate", "value": "Bearer"}}],
        **_answer(401, UNAUTHORISED),
    }


def _answer(status: int, body: str) -> dict[str, Any]:
    return {"direct_response": {"status": status, "body": {"inline_string": body}}}


def _cluster(container: Container) -> dict[str, Any]:
    requests = 2 * sum(server.concurrent_calls for server in container.servers)
    limits = {"max_connections": requests, "max_requests": requests, "max_pending_requests": requests, "max_retries": 8}
    return {
        "@type": f"{TYPE}.config.cluster.v3.Cluster",
        "name": container.name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": file_source(f"endpoints/{container.name}.json")},
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [limits]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [
            {
                "http_health_check": {"path": "/healthz"},
                "interval": "1s",
                "no_traffic_interval": "1s",
                "timeout": "2s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
            }
        ],
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                # shorter than mcp_host's keep-alive, so that no request meets a connection that is just closing
                "common_http_protocol_options": {"idle_timeout": "30s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def file_source(name: str) -> dict[str, Any]:
    """One of the files that the agent writes for this Envoy, read again whenever it is replaced."""
    path = f"{ENVOY_CONFIG}/{name}"
    return {
        "path_config_source": {"path": path, "watched_directory": {"path": path.rsplit("/", 1)[0]}},
        "resource_api_version": "V3",
    }


def _listener() -> dict[str, Any]:
    manager = {
        "@type": HCM,
        "stat_prefix": "gateway",
        "rds": {"route_config_name": ROUTES_NAME, "config_source": file_source("routes.json")},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPE}.extensions.filters.http.router.v3.Router"},
            }
        ],
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "use_remote_address": True,
        "request_headers_timeout": "10s",
        "common_http_protocol_options": {"idle_timeout": "3600s", "max_headers_count": 100},
        "server_header_transformation": "PASS_THROUGH",
        "local_reply_config": {"mappers": [_errors_as_json()]},
        "access_log": [_access_log()],
    }
    return {
        "name": "clients",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": GATEWAY_PORT}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _errors_as_json() -> dict[str, Any]:
    at_least_400 = {"op": "GE", "value": {"default_value": 400, "runtime_key": "local_reply_error"}}
    return {
        "filter": {"status_code_filter": {"comparison": at_least_400}},
        "body_format_override": {"json_format": {"error": "%LOCAL_REPLY_BODY%", "status": "%RESPONSE_CODE%"}},
    }


def _access_log() -> dict[str, Any]:
    fields = {
        "time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(:PATH)%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "duration_ms": "%DURATION%",
        "cluster": "%UPSTREAM_CLUSTER%",
        "mcp_method": "%REQ(MCP-METHOD)%",
        "mcp_name": "%REQ(MCP-NAME)%",
        "request_id": "%REQ(X-REQUEST-ID)%",
    }
    return {
        "name": "envoy.access_loggers.stdout",
        "typed_config": {
            "@type": f"{TYPE}.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": fields},
        },
    }
