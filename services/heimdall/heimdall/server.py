"""heimdall for the MCP host: `heimdall.server:create`."""

from __future__ import annotations

import os

from mcp_host.native import NativeServer

from heimdall.rest import routes
from heimdall.service import ScanService
from heimdall.settings import from_environment
from heimdall.tools import mcp_server
from stepdown.scan.scanners import load_catalogue


def create() -> NativeServer:
    """The server, its routes and its lifetime. Opens nothing; raises UsageError for a wrong variable or catalogue."""
    catalogue = load_catalogue()
    service = ScanService(from_environment(os.environ), catalogue.scanners, catalogue.advice)
    return NativeServer(
        server=mcp_server(service), routes=routes(service), lifespan=service.running, metrics=service.metrics
    )
