"""heimdall as a container serves it, in this process: mcp_host's application on a real port, over folders of a test."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from heimdall.rest import routes
from heimdall.service import FILE, ScanService
from heimdall.settings import from_environment
from heimdall.tools import mcp_server
from mcp_host.app import create_app
from mcp_host.config import Surroundings, parse
from mcp_host.native import NativeServer
from mcp_host.supervisor import Timing

TOKEN = "open-sesame"


@dataclass(frozen=True)
class Served:
    """Where it answers, and its database."""

    url: str
    database: Path


def create() -> NativeServer:
    """heimdall without scanners: what is asked of it here is its manners, and its queue moves at once."""
    service = ScanService(from_environment(os.environ), ())
    return NativeServer(
        server=mcp_server(service), routes=routes(service), lifespan=service.running, metrics=service.metrics
    )


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """heimdall over new folders in `folder`, which HEIMDALL_… variables have to name, until the block ends."""
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    for name in ("data", "workspace/app", "scratch", "auth", "plan"):
        (folder / name).mkdir(parents=True)
    (folder / "auth" / "tokens.json").write_text(
        json.dumps({"tokens": [{"name": "test", "sha256": digest, "servers": ["*"]}]})
    )
    bounds = {"start_timeout_seconds": 20, "call_timeout_seconds": 60, "max_concurrent_calls": 32}
    server = {"kind": "native", "factory": f"{__name__}:create", "probe": {"tool": "list_scans"}, **bounds}
    config = parse(json.dumps({"container": "test", "port": 0, "servers": {"heimdall": server}}))
    surroundings = Surroundings(auth_dir=folder / "auth", plan_dir=folder / "plan", scratch_dir=folder / "scratch")
    app = create_app(config, surroundings, Timing(), lambda: None)
    host = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="on"))
    thread = threading.Thread(target=host.run, daemon=True)
    thread.start()
    _until(lambda: host.started or not thread.is_alive())
    port = host.servers[0].sockets[0].getsockname()[1]
    try:
        _until(lambda: (folder / "data" / FILE).exists())
        yield Served(f"http://127.0.0.1:{port}", folder / "data" / FILE)
    finally:
        host.should_exit = True
        thread.join(20)


def _until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not met():
        assert time.monotonic() < deadline, "heimdall did not start"
        time.sleep(0.01)  # uvicorn tells nobody
