"""`python -m mcp_host`: serve the servers of MCP_HOST_CONFIG until TERM. Exit 2 when the configuration is refused."""

from __future__ import annotations

import os
import sys

import uvicorn

from mcp_host import config, log
from mcp_host.app import create_app
from mcp_host.errors import ConfigError
from mcp_host.supervisor import Timing

# Longer than any client or gateway keeps an idle connection, so that it is never this side that closes one under a
# request on its way; 5 s, the server's default, makes gateways see resets.
KEEP_ALIVE_SECONDS = 3660


def main() -> int:
    """Exit codes: 0 ended on request, 1 broke, 2 configuration refused."""
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
    log.configure()
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
    sys.exit(main())
