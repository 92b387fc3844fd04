"""The egress proxy's rules: for each container a filter chain of its own, known by the address that it calls from.

A container has one fixed address and neither NET_RAW nor NET_ADMIN, so it cannot call from another's. Its chain routes
the authorities that it may reach to clusters of their own; whatever else is asked is answered 403. What is no listed
endpoint is no cluster, so no trick with headers leads there, and no name of it is ever looked up.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stepdown.host.allowance import Allowance
from stepdown.host.endpoint import Endpoint, address
from stepdown.host.envoy import Envoy
from stepdown.host.home import Home
from stepdown.shared import EGRESS_PORT

TYPE = "type.googleapis.com/envoy"
LISTENER = "containers"
IDLE_SECONDS = 3600  # as long as the longest call that the catalogue can allow
KEEP_SECONDS = 3  # shorter than the keep-alive of common servers, so that no request meets a closing connection
BUFFER_BYTES = 65536  # of one connection in one direction: a slow reader does not fill the proxy's memory
VERSION_DIGITS = 12
NOBODY = "who calls from an address of no container"
# headers leave as they were written: some servers, against the standard, look at their case
AS_WRITTEN = {
    "header_key_format": {
        "stateful_formatter": {
            "name": "preserve_case",
            "typed_config": {
                "@type": f"{TYPE}.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
            },
        }
    }
}
REFUSED = {"direct_response": {"status": 403}}


@dataclass(frozen=True)
class Rules:
    """Envoy resources: the one listener, and the cluster of every endpoint that somebody may reach."""

    listener: dict[str, Any]
    clusters: tuple[dict[str, Any], ...]

    @property
    def version(self) -> str:
        """Equal rules have equal versions."""
        text = json.dumps([self.listener, self.clusters], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:VERSION_DIGITS]


def rules(allowances: Iterable[Allowance]) -> Rules:
    """The rules that let each container reach what its allowance says, and nothing else anybody."""
    allowed = tuple(allowances)
    endpoints = {endpoint.authority: endpoint for allowance in allowed for endpoint in allowance.endpoints}
    listener = {
        "@type": f"{TYPE}.config.listener.v3.Listener",
        "name": LISTENER,
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": EGRESS_PORT}},
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "filter_chains": [_chain(allowance) for allowance in allowed],
        "default_filter_chain": {"name": "nobody", "filters": [_nobody()]},
    }
    return Rules(listener, tuple(_cluster(endpoints[name]) for name in sorted(endpoints)))


def write_idle(home: Home) -> None:
    """Rules that let nobody reach anything, for a proxy that has none yet; leaves those that are there."""
    envoy = Envoy(home, "egress")
    if not (envoy.config / "listeners.json").exists():
        nothing = rules(())
        envoy.write("listeners.json", nothing.version, [nothing.listener])
        envoy.write("clusters.json", nothing.version, [])


def in_force(home: Home, wanted: Rules) -> bool:
    """Whether the proxy says that it follows exactly these rules; StepdownError when it says nothing."""
    envoy = Envoy(home, "egress")
    names = {cluster["name"] for cluster in wanted.clusters}
    return _listens(envoy, wanted.version) and envoy.active_clusters() == names


def enforce(home: Home, wanted: Rules) -> None:
    """Bring the proxy to these rules and wait for its word; connections that stay allowed are not touched.

    On a refusal (RefusedError) or no answer (StepdownError) the old files are put back.
    """
    if in_force(home, wanted):
        return
    envoy = Envoy(home, "egress")
    listeners, clusters = envoy.on_disk("listeners.json"), envoy.on_disk("clusters.json")
    names = {cluster["name"] for cluster in wanted.clusters}
    refused = envoy.refusals()
    # a route may only name a cluster that is there, so clusters come before the routes to them and go after
    both = [*wanted.clusters, *(cluster for cluster in clusters["resources"] if cluster["name"] not in names)]
    try:
        envoy.write("clusters.json", f"{wanted.version}+{len(both)}", both)
        envoy.wait(refused, lambda: names <= envoy.active_clusters(), "the endpoints that may be reached")
        envoy.write("listeners.json", wanted.version, [wanted.listener])
        envoy.wait(refused, lambda: _listens(envoy, wanted.version), f"rules {wanted.version}")
        envoy.write("clusters.json", wanted.version, list(wanted.clusters))
        envoy.wait(refused, lambda: in_force(home, wanted), f"rules {wanted.version}")
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            envoy.write("listeners.json", listeners["version_info"], listeners["resources"])
            envoy.write("clusters.json", clusters["version_info"], clusters["resources"])
        raise


def _listens(envoy: Envoy, version: str) -> bool:
    """The version of the whole file counts: where only chains change, Envoy leaves the listener's own as it was."""
    dump = envoy.dump("ListenersConfigDump")
    entries = dump.get("dynamic_listeners", [])
    return dump.get("version_info") == version and all("warming_state" not in entry for entry in entries)


def _chain(allowance: Allowance) -> dict[str, Any]:
    return {
        "name": f"{allowance.release}.{allowance.container}",
        "filter_chain_match": {"source_prefix_ranges": [{"address_prefix": allowance.address, "prefix_len": 32}]},
        "filters": [_manager(allowance.container, allowance.names, allowance.endpoints)],
    }


def _manager(container: str, names: tuple[str, ...], endpoints: tuple[Endpoint, ...]) -> dict[str, Any]:
    """The HTTP side of a chain: CONNECT for https, requests with whole URLs for http, and one line of log for each."""
    refused = {"name": "everything else", "domains": ["*"], "routes": _refusals()}
    manager = _proxy(container, [*map(_virtual_host, endpoints), refused])
    manager["local_reply_config"] = _answers(container, names, endpoints)
    manager["access_log"] = [_access_log(container)]
    return _filter(manager)


def _nobody() -> dict[str, Any]:
    """Who calls from any other address is refused; but its own health check, which calls from loopback, is answered."""
    health = {"match": {"path": "/healthz"}, "direct_response": {"status": 200, "body": {"inline_string": "ok\n"}}}
    manager = _proxy(NOBODY, [{"name": "nobody", "domains": ["*"], "routes": [health, *_refusals()]}])
    manager["local_reply_config"] = _answers(NOBODY, (), ())
    manager["access_log"] = [{**_access_log(NOBODY), "filter": {"status_code_filter": _compared("GE", 400)}}]
    return _filter(manager)


def _filter(manager: dict[str, Any]) -> dict[str, Any]:
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def _proxy(name: str, hosts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "@type": f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "egress",
        "codec_type": "HTTP1",
        "http_protocol_options": {**AS_WRITTEN, "accept_http_10": True},  # as Python says CONNECT
        "route_config": {
            "name": name,
            # what a proxy adds for servers behind it is nothing to tell to others
            "request_headers_to_remove": ["x-forwarded-proto", "x-envoy-external-address", "proxy-authorization"],
            "virtual_hosts": hosts,
        },
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": f"{TYPE}.extensions.filters.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            }
        ],
        "use_remote_address": True,
        "skip_xff_append": True,
        "internal_address_config": {},  # nobody: else Envoy would take orders from x-envoy-… headers
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "request_headers_timeout": "10s",
        "stream_idle_timeout": f"{IDLE_SECONDS}s",
        "common_http_protocol_options": {"idle_timeout": f"{IDLE_SECONDS}s", "max_headers_count": 100},
    }


def _virtual_host(endpoint: Endpoint) -> dict[str, Any]:
    """Tunnels to the endpoint, and for plain http also requests; what cannot be connected was never sent."""
    route = {
        "cluster": endpoint.authority,
        "timeout": "0s",
        "retry_policy": {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 1},
    }
    tunnel = {**route, "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]}
    host = endpoint.authority.rpartition(":")[0]
    return {
        "name": endpoint.authority,
        "domains": [endpoint.authority, *([host] if endpoint.plain and endpoint.port == 80 else [])],
        "routes": [
            {"match": {"connect_matcher": {}}, "route": tunnel},
            {"match": {"prefix": "/"}, **({"route": route} if endpoint.plain else REFUSED)},
        ],
    }


def _refusals() -> list[dict[str, Any]]:
    return [{"match": {"connect_matcher": {}}, **REFUSED}, {"match": {"prefix": "/"}, **REFUSED}]


def _answers(container: str, names: tuple[str, ...], endpoints: tuple[Endpoint, ...]) -> dict[str, Any]:
    """What the proxy says itself, as JSON: a refusal names who, what, what is allowed and what allows it."""
    allowed = ", ".join(endpoint.authority for endpoint in endpoints) or "nothing"
    remedy = f"set {' or '.join(names)}" if names else "name it in the server's egress of catalog/servers.yml"
    refused = f"egress: {container} may not reach %REQ(:AUTHORITY)% (known: {allowed}). To allow it {remedy}"
    failed = "egress: %REQ(:AUTHORITY)% cannot be reached: %LOCAL_REPLY_BODY% (%RESPONSE_FLAGS%)"
    return {
        "mappers": [
            _says("EQ", 403, {"error": f"{refused}. Run: ./run deploy", "container": container}),
            _says("GE", 400, {"error": failed, "container": container}),
        ]
    }


def _says(operator: str, status: int, fields: dict[str, str]) -> dict[str, Any]:
    return {
        "filter": {"status_code_filter": _compared(operator, status)},
        "body_format_override": {"json_format": {**fields, "target": "%REQ(:AUTHORITY)%", "status": "%RESPONSE_CODE%"}},
    }


def _compared(operator: str, status: int) -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": f"egress_status_{status}"}
    return {"comparison": {"op": operator, "value": value}}


def _access_log(container: str) -> dict[str, Any]:
    """Who reached for what and how it ended; no path, no query, no header."""
    fields = {
        "time": "%START_TIME%",
        "container": container,
        "method": "%REQ(:METHOD)%",
        "target": "%REQ(:AUTHORITY)%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "bytes_sent": "%BYTES_RECEIVED%",  # by the container
        "bytes_received": "%BYTES_SENT%",
        "duration_ms": "%DURATION%",
    }
    return {
        "name": "envoy.access_loggers.stdout",
        "typed_config": {
            "@type": f"{TYPE}.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": fields},
        },
    }


def _cluster(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint; its name is looked up by the proxy, again and again as its time to live says."""
    socket_address = {"address": endpoint.host, "port_value": endpoint.port}
    lookup = {
        # the kind for names of others: one address at a time, and connections outlive a changed answer
        "type": "LOGICAL_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "respect_dns_ttl": True,
        "wait_for_warm_on_init": False,  # a name that is not found answers 503, and holds up nothing else
    }
    return {
        "@type": f"{TYPE}.config.cluster.v3.Cluster",
        "name": endpoint.authority,
        **({"type": "STATIC"} if address(endpoint.host) else lookup),
        "connect_timeout": "10s",
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "load_assignment": {
            "cluster_name": endpoint.authority,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": socket_address}}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {"idle_timeout": f"{KEEP_SECONDS}s"},
                "explicit_http_config": {"http_protocol_options": AS_WRITTEN},
            }
        },
    }
