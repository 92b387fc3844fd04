"""A webhook as Slack's incoming ones: takes JSON with a text, answers `ok`, and can fail or hang first.

Source of the format: Slack's documentation, "Sending messages using incoming webhooks".
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler

from tests.doubles.served import Quiet, Served


class Webhook(Served):
    """On 127.0.0.1:`port` until closed; fails its first `failures` requests. `texts` are those it took, in order."""

    def __init__(self, failures: int = 0) -> None:
        self.texts: list[str] = []
        self.asked = 0
        hook = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.asked += 1
                failed = hook.asked <= failures
                if not failed:
                    hook.texts.append(body["text"])
                self.send_response(503 if failed else 200)
                self.end_headers()
                self.wfile.write(b"no_service" if failed else b"ok")

        self.path = "/services/T000/B000/" + "x" * 24
        super().__init__(Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"
