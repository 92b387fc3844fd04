"""A handshake is a proof: initialize, tools/list, one call, each answered as MCP says."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stepdown.host import handshake as module
from stepdown.host.handshake import Handshake, HandshakeError, get_json, handshake, schema_hash

TOOL = {"name": "ping", "inputSchema": {"type": "object"}}
PROBE = {"tool": "ping", "arguments": {"loud": False}}
GOOD: dict[str, Any] = {
    "initialize": {"protocolVersion": "2025-11-25"},
    "tools/list": {"tools": [TOOL]},
    "tools/call": {"content": []},
}


@dataclass
class Server:
    """A server that answers each method as the test says, and remembers what it was asked."""

    port: int
    results: dict[str, Any] = field(default_factory=lambda: dict(GOOD))
    # method to a whole answer: status and body
    raw: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)

    def answer(self, path: str, request: dict[str, Any], headers: dict[str, str]) -> tuple[int, bytes]:
        method = request["method"]
        self.asked.append((path, request, headers))
        if method in self.raw:
            return self.raw[method]
        result = self.results[method]
        if callable(result):
            result = result(request["params"])
        return 200, json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()

    def shake(self, token: str = "open-sesame") -> Handshake:
        return handshake("127.0.0.1", self.port, "tiny", token, PROBE)


@pytest.fixture
def server() -> Iterator[Server]:
    """A tiny HTTP server on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet: no waiting for the other side's delayed ACK

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._send(*tiny.answer(self.path, json.loads(body), dict(self.headers)))

        def do_GET(self) -> None:
            self._send(*tiny.raw[self.path])

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: the test reads what was asked."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    tiny = Server(httpd.server_address[1])
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    yield tiny
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_a_server_that_answers_is_proved(server: Server) -> None:
    """Three steps in order, with the probe's own arguments; the proof holds tools and their hash."""
    proof = server.shake()
    assert ("ping",) == proof.tools
    assert schema_hash([TOOL]) == proof.schema_hash
    assert 0 < proof.milliseconds < 10_000
    assert ["initialize", "tools/list", "tools/call"] == [request["method"] for _, request, _ in server.asked]
    assert {"name": "ping", "arguments": {"loud": False}} == server.asked[-1][1]["params"]
    assert {"/mcp/tiny"} == {path for path, _, _ in server.asked}


def test_every_request_bears_token_and_protocol(server: Server) -> None:
    """As the streamable HTTP transport of 2025-11-25 asks."""
    server.shake("a-token")
    for _, request, headers in server.asked:
        assert "Bearer a-token" == headers["Authorization"]
        assert "application/json, text/event-stream" == headers["Accept"]
        assert "2025-11-25" == headers["MCP-Protocol-Version"]
        assert "2.0" == request["jsonrpc"]
    assert "2025-11-25" == server.asked[0][1]["params"]["protocolVersion"]


def test_a_list_in_pages_is_read_to_its_end(server: Server) -> None:
    """Each cursor is sent back as it came."""
    pages = {None: (["b"], "next"), "next": (["c"], "last"), "last": (["a"], None)}

    def page(params: dict[str, Any]) -> dict[str, Any]:
        names, cursor = pages[params.get("cursor")]
        more = {"nextCursor": cursor} if cursor else {}
        return {"tools": [{"name": name, "inputSchema": {}} for name in names], **more}

    server.results["tools/list"] = page
    assert ("a", "b", "c") == server.shake().tools


def test_a_list_that_has_no_end_is_no_proof(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off after so many pages, it would be hashed as a list that is not the server's."""
    monkeypatch.setattr(module, "MOST_PAGES", 3)
    server.results["tools/list"] = {"tools": [TOOL], "nextCursor": "again"}
    with pytest.raises(HandshakeError, match="tiny"):
        server.shake()
    assert 4 == len(server.asked)


@pytest.mark.parametrize("step", ["initialize", "tools/list", "tools/call"])
def test_an_error_at_any_step_is_told_with_its_step(server: Server, step: str) -> None:
    """A JSON-RPC error comes with HTTP 200 or another status; the message repeats it."""
    error = {"code": -32000, "message": "not today"}
    for status in (200, 404, 503):
        server.raw[step] = (status, json.dumps({"jsonrpc": "2.0", "id": 1, "error": error}).encode())
        with pytest.raises(HandshakeError) as refusal:
            server.shake()
        assert f"server tiny: {step} answered HTTP {status}: {error}" == str(refusal.value)


def test_a_probe_that_fails_is_no_proof(server: Server) -> None:
    """A tool's own error is a result with isError."""
    server.results["tools/call"] = {"isError": True, "content": [{"type": "text", "text": "no model"}]}
    with pytest.raises(HandshakeError, match="server tiny: its probe ping answered an error"):
        server.shake()


def test_a_server_without_tools_is_no_proof(server: Server) -> None:
    """It would serve nothing."""
    server.results["tools/list"] = {"tools": []}
    with pytest.raises(HandshakeError, match="server tiny: lists no tools"):
        server.shake()


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>Bad gateway</html>", b"\xff\xfe", b"null", b"[]", b"7", b'"ok"', b"{}"],
    ids=["nothing", "html", "bytes", "null", "list", "number", "text", "empty"],
)
@pytest.mark.parametrize("step", ["initialize", "tools/list", "tools/call"])
def test_an_answer_that_is_no_json_rpc_is_no_proof(server: Server, step: str, body: bytes) -> None:
    """Whatever came, the error is one that the switch can wait or undo on."""
    server.raw[step] = (200, body)
    with pytest.raises(HandshakeError, match=r"^server tiny: "):
        server.shake()


@pytest.mark.parametrize(
    ("step", "result"),
    [
        ("initialize", None),
        ("tools/list", None),
        ("tools/list", {"tools": None}),
        ("tools/list", {"tools": ["ping"]}),
        ("tools/list", {"tools": [{"title": "no name"}]}),
        ("tools/call", None),
        ("tools/call", 7),
    ],
)
def test_a_result_of_another_shape_is_no_proof(server: Server, step: str, result: Any) -> None:
    """A server that half speaks MCP fails its handshake, not the agent."""
    server.results[step] = result
    with pytest.raises(HandshakeError, match=r"^server tiny: "):
        server.shake()


def test_a_port_where_nobody_listens_is_no_proof() -> None:
    """A container that starts is asked again and again; the error says what happened."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(HandshakeError, match="server tiny: no handshake: ConnectionRefusedError"):
        handshake("127.0.0.1", port, "tiny", "token", PROBE)


def test_a_mute_server_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took the connection and says nothing."""
    monkeypatch.setattr(module, "CALL_SECONDS", 0.05)
    released = threading.Event()
    server.results["initialize"] = lambda _: released.wait(5) and {}
    try:
        with pytest.raises(HandshakeError, match="no handshake: TimeoutError"):
            server.shake()
    finally:
        released.set()


@pytest.mark.parametrize("answer", [(401, b"denied"), (401, b'{"error": "denied"}'), (200, b"")])
def test_an_error_never_holds_the_token(server: Server, answer: tuple[int, bytes]) -> None:
    """Errors are shown and journaled."""
    server.raw["initialize"] = answer
    with pytest.raises(HandshakeError) as refusal:
        server.shake("open-sesame")
    assert "open-sesame" not in str(refusal.value)


def test_the_hash_depends_on_names_and_schemas_alone() -> None:
    """Neither the order of tools or keys nor a description changes it."""
    one = [{"name": "a", "inputSchema": {"x": 1, "y": 2}}, {"name": "b", "inputSchema": {}}]
    same = [{"name": "b", "inputSchema": {}, "description": "new"}, {"name": "a", "inputSchema": {"y": 2, "x": 1}}]
    assert schema_hash(one) == schema_hash(same)
    for other in (one[:1], [{**one[0], "name": "c"}, one[1]], [{**one[0], "inputSchema": {"x": 1}}, one[1]]):
        assert schema_hash(one) != schema_hash(other)


def test_get_json_gives_status_and_body(server: Server) -> None:
    """Also of an answer that is no 200."""
    server.raw["/readyz"] = (503, b'{"ready": false}')
    assert (503, {"ready": False}) == get_json("127.0.0.1", server.port, "/readyz")
    server.raw["/readyz"] = (200, b"ready")
    with pytest.raises(ValueError, match="Expecting value"):
        get_json("127.0.0.1", server.port, "/readyz")
