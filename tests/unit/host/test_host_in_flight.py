"""Calls that a container has under way, in its own word."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from stepdown.host import in_flight, tokens
from stepdown.host.engine import Container
from stepdown.host.release import Release

if TYPE_CHECKING:
    from tests.unit.host.conftest import Running

OnPlan = Callable[..., "Running"]
METRICS = """# TYPE mcp_host_calls_in_flight gauge
mcp_host_calls_in_flight{server="zen"} 2
mcp_host_calls_in_flight{server="heimdall"} 1
mcp_host_calls_queued{server="zen"} 9
mcp_host_calls_in_flight_total 7
"""


@contextmanager
def answering(text: str, status: int, token: str) -> Iterator[int]:
    """A container's /metrics on this machine, for whoever has the token."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = (self.path, self.headers["Authorization"]) == ("/metrics", f"Bearer {token}")
            self.send_response(status if allowed else 401)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def ask(host: Running, monkeypatch: pytest.MonkeyPatch, text: str, status: int = 200) -> int:
    """What is asked of a container whose /metrics say this."""
    (container,) = host.shows(monolith="running")
    monkeypatch.setattr(Release, "address", lambda *_: "127.0.0.1")
    with answering(text, status, tokens.read(host.goal.home.agent_token)) as port:
        monkeypatch.setattr(in_flight, "CONTAINER_PORT", port)
        return in_flight.calls(host.goal, container)


@pytest.mark.parametrize(("text", "calls"), [(METRICS, 3), ("", 0), ("mcp_host_calls_in_flight{} 1e+1\n", 10)])
def test_calls_of_all_servers_are_counted(
    on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch, text: str, calls: int
) -> None:
    """Not other figures with a name like theirs; one that serves nothing says nothing of it."""
    assert calls == ask(on_plan("D"), monkeypatch, text)


def test_a_container_that_refuses_to_say_is_not_taken_for_an_idle_one(
    on_plan: OnPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its calls would be cut."""
    with pytest.raises(ValueError, match="/metrics answered 503"):
        ask(on_plan("D"), monkeypatch, METRICS, 503)


def test_a_container_whose_release_is_gone_is_not_asked(on_plan: OnPlan) -> None:
    """Nobody knows its address any more."""
    host = on_plan("D")
    gone: Container = replace(host.shows(monolith="running")[0], release="ffffffffffff")
    assert 0 == in_flight.calls(host.goal, gone)
