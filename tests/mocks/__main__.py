"""`python -m tests.mocks zen|heimdall|github [--port=N]`: one mock on 127.0.0.1 until TERM, with nothing but Python.

The token is STEPDOWN_MOCK_TOKEN, "mock" where it is not set. In a container MCP_HOST_CONFIG says what to serve.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import uvicorn
from mcp_host import config, log
from mcp_host.__main__ import KEEP_ALIVE_SECONDS

from tests.mocks.app import NAMES, create_app, write_token

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """Serve until TERM or INT."""
    parser = argparse.ArgumentParser(prog="python -m tests.mocks")
    parser.add_argument("server", choices=NAMES)
    parser.add_argument("--port", type=int, help="on 127.0.0.1; the one of compose/test if not given")
    asked = parser.parse_args(arguments)
    contained = config.WHERE in os.environ
    auth = Path(tempfile.mkdtemp(prefix="mock-auth-"))
    write_token(auth, os.environ.get("STEPDOWN_MOCK_TOKEN") or "mock")
    try:
        host = config.parse(os.environ[config.WHERE] if contained else _of_checkout(asked.server))
        places = replace(config.surroundings(os.environ), auth_dir=auth, plan_dir=auth)
        port = host.port if contained else asked.port or _port(asked.server)
        log.configure(sys.stdout)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(asked.server, host, places, lambda: setattr(server, "should_exit", True)),
                host=places.bind if contained else "127.0.0.1",
                port=port,
                access_log=False,
                log_config=None,
                server_header=False,
                lifespan="on",
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=1,
            )
        )
        server.run()
    finally:
        shutil.rmtree(auth)
    return 0 if server.started else 1


def _of_checkout(server: str) -> str:
    from stepdown.catalog import load_catalog
    from stepdown.render.mocks import mock_config

    return json.dumps(mock_config(load_catalog(ROOT), server))


def _port(server: str) -> int:
    from stepdown.render.mocks import PORTS

    return PORTS[server]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
