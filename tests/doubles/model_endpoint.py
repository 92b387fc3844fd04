"""A model endpoint that speaks OpenAI's chat completions: answers name their model, every request is kept.

Source of the format: OpenAI's API reference, "Create chat completion" and "List models".
"""

from __future__ import annotations

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ModelEndpoint:
    """Serves `models` on `address`:`port` (0 picks one) until closed; `requests` holds (headers, body) of each call.

    Answers wait while `ready` is cleared. With `tls` it speaks https.
    """

    def __init__(
        self, address: str, models: tuple[str, ...], port: int = 0, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.address, self.models = address, models
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.ready = threading.Event()
        self.ready.set()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                listed = [{"id": name, "object": "model", "created": 0, "owned_by": "test"} for name in endpoint.models]
                self._answer({"object": "list", "data": listed})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.requests.append((dict(self.headers), body))
                endpoint.ready.wait()
                message = {"role": "assistant", "content": f"answer of {body['model']}"}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
                head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": body["model"]}
                self._answer({**head, "choices": [choice], "usage": usage})

            def _answer(self, data: dict[str, Any]) -> None:
                text = json.dumps(data).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_words: object) -> None:
                """Keep the test's output to the test."""

        self._server = ThreadingHTTPServer((address, port), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def consulted(self) -> set[str]:
        """Models that were asked."""
        return {body["model"] for _, body in self.requests}

    def close(self) -> None:
        """Stop serving."""
        self.ready.set()
        self._server.shutdown()
        self._server.server_close()
