"""The host's Prometheus metrics, in a registry of its own so that two hosts can live in one process."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from mcp_types.methods import SPEC_CLIENT_METHODS
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


@dataclass
class Operation:
    """One HTTP request as logs and metrics see it; filled in while it is served."""

    server: str = ""
    method: str = ""
    tool: str = ""
    outcome: str = ""
    token: str = ""


class Metrics:
    """All metrics of one host."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.duration = Histogram(
            "mcp_server_operation_duration_seconds",
            "Time from a request's last byte to its answer",
            ("server", "method", "tool", "outcome"),
            buckets=BUCKETS,
            registry=registry,
        )
        self.restarts = Counter("mcp_host_server_restarts", "Starts after the first", ("server",), registry=registry)
        self.in_flight = Gauge(
            "mcp_host_calls_in_flight",
            "Requests to the server that are queued, run, or whose answer is not sent to its last byte",
            ("server",),
            registry=registry,
        )
        self.ready = Gauge("mcp_host_server_ready", "1 when the server is ready", ("server",), registry=registry)
        self.client_children = Gauge(
            "mcp_host_client_children", "Children that run for one client alone", ("server",), registry=registry
        )
        self.unauthorised = Counter("mcp_host_unauthorised_requests", "Requests answered 401", registry=registry)

    def observe(self, operation: Operation, known_tools: Set[str], seconds: float) -> None:
        """Record one finished MCP operation; names that a client made up share the label "other"."""
        tool = operation.tool if not operation.tool or operation.tool in known_tools else "other"
        method = operation.method if operation.method in SPEC_CLIENT_METHODS else "other"
        self.duration.labels(operation.server, method, tool, operation.outcome).observe(seconds)

    def render(self) -> bytes:
        """The exposition in Prometheus' text format."""
        return generate_latest(self.registry)
