"""`python -m mcp_host`: serve the servers of MCP_HOST_CONFIG until TERM. `… describe`: print their tools and end."""

from __future__ import annotations

import json
import os
import sys

import anyio
import uvicorn

from mcp_host import config, log
from mcp_host.app import create_app
from mcp_host.describe import describe
from mcp_host.errors import ConfigError, StartError
from mcp_host.supervisor import Timing

# Longer than any client or gateway keeps an idle connection, so that it is never this side that closes one under a
# request on its way; 5 s, the server's default, makes gateways see resets.
KEEP_ALIVE_SECONDS = 3660


def main(arguments: list[str]) -> int:
    """Exit codes: 0 ended on request, 1 broke, 2 configuration or arguments refused."""
    if arguments not in ([], ["describe"]):
        print(f"mcp_host: {' '.join(arguments)}: unknown (known: nothing, describe)", file=sys.stderr)
        return 2
    return _describe() if arguments else _serve()


def _describe() -> int:
    log.configure(sys.stderr)
    try:
        print(json.dumps(anyio.run(describe, *config.load(os.environ))))
    except (ConfigError, StartError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def _serve() -> int:
    broken = False

    def on_failure() -> None:
        nonlocal broken
        broken = server.should_exit = True

    try:
        host, surroundings = config.load(os.environ)
        app = create_app(host, surroundings, Timing(), on_failure)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    log.configure(sys.stdout)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=surroundings.bind,
            port=host.port,
            access_log=False,
            log_config=None,
            server_header=False,
            lifespan="on",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=surroundings.drain_seconds,
        )
    )
    server.run()
    return 1 if broken or not server.started else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
