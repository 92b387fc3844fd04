"""A receiver of callbacks: takes JSON by POST, and can fail, redirect or hang first."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.doubles.served import Quiet, Served


class Receiver(Served):
    """On `address`:`port` until closed. Answers with `statuses` in turn, then 204; `bodies` are what it was sent."""

    def __init__(self, statuses: tuple[int, ...] = (), address: str = "127.0.0.1") -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        receiver = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.paths.append(self.path)
                receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
                receiver.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                number = len(receiver.bodies) - 1
                self.send_response(statuses[number] if number < len(statuses) else 204)
                self.send_header("Location", f"{receiver.url}/elsewhere")
                self.end_headers()

        super().__init__(Handler, address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"
