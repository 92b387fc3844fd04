"""What every double over HTTP has: it serves from when it is made until it is closed, and says nothing meanwhile."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Quiet:
    """Before a handler's base: keeps the test's output to the test."""

    def log_message(self, *_words: object) -> None:
        """Nothing."""


class Served:
    """`handler` on `address`:`port` until closed; over TLS with a context."""

    def __init__(
        self,
        handler: type[BaseHTTPRequestHandler],
        address: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._server = ThreadingHTTPServer((address, port), handler)
        if tls:  # in each request's own thread: a client that never begins holds nobody up
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
