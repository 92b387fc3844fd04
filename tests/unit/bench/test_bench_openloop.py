"""Every call of the open loop is sent on its time and accounted for, whatever the server does."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stepdown.bench import openloop
from stepdown.bench.openloop import Call, Load

PATIENCE_SECONDS = 20.0
RATE = 200.0
Answers = Callable[[int, Any], bytes]  # how often the server was asked, and what: all that it writes


def result(asked: Any) -> bytes:
    """The body of a good answer."""
    return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {}}).encode()


def response(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    """A whole response."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclass
class Server:
    """A real server on a port of its own; `asked` holds path, token and body of each request, the rest connections."""

    base: str
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    opened: int = 0
    closed: int = 0


@contextlib.contextmanager
def serving(answers: Answers, *, closes: bool = False) -> Iterator[Server]:
    """Serve until the end of the block; with `closes` each connection ends after one answer, without a word of it."""
    numbers = itertools.count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            made.opened += 1
            super().setup()

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.asked.append((self.path, self.headers["Authorization"], asked))
            self.wfile.write(answers(next(numbers), asked))
            self.close_connection = closes

        def log_message(self, *_words: object) -> None:
            """Keep the test's output to the test."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def shutdown_request(self, request: Any) -> None:
            super().shutdown_request(request)
            made.closed += 1

        def handle_error(self, *_about: object) -> None:
            """A client that gave up is no news."""

    server = Quiet(("127.0.0.1", 0), Handler)
    made = Server(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


def probe(number: int) -> Call:
    """A call that holds its number."""
    return Call("probe", "tools/call", {"name": "probe", "arguments": {"number": number}})


def until(reached: Callable[[], bool]) -> None:
    """Wait for an event; fails when it does not come."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def loaded(base: str, calls: int = 20, deadline_seconds: float = PATIENCE_SECONDS) -> Load:
    """A load on server `one`, ended once `calls` were sent."""
    with openloop.running(base, "secret", {"one": probe}, per_second=RATE, deadline_seconds=deadline_seconds) as load:
        until(lambda: load.sent >= calls)
    return load


def test_every_call_has_one_record_and_all_servers_their_turn() -> None:
    """What was sent is what the servers got, with the token, evenly, each id once."""
    with serving(lambda _, asked: response(result(asked))) as server:
        calls = {"one": probe, "two": probe, "three": probe}
        with openloop.running(server.base, "secret", calls, per_second=RATE) as load:
            until(lambda: load.sent >= 30)
    assert [] == load.failed()
    assert load.sent == len(load.records) == len(server.asked)
    assert {f"/mcp/{name}" for name in calls} == {path for path, _, _ in server.asked}
    counts = Counter(record.server for record in load.records)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert {"Bearer secret"} == {token for _, token, _ in server.asked}
    assert list(range(1, load.sent + 1)) == sorted(asked["id"] for _, _, asked in server.asked)
    numbers = sorted(asked["params"]["arguments"]["number"] for path, _, asked in server.asked if path == "/mcp/one")
    assert list(range(len(numbers))) == numbers


def test_calls_are_scheduled_evenly() -> None:
    """A call's time is a multiple of the period, whenever it was begun."""
    with serving(lambda _, asked: response(result(asked))) as server:
        load = loaded(server.base)
    times = sorted(record.scheduled_at for record in load.records)
    assert [round(1 / RATE, 6)] * (load.sent - 1) == [round(b - a, 6) for a, b in itertools.pairwise(times)]


def test_a_server_that_holds_all_answers_back_holds_no_call_back() -> None:
    """Calls go on at their times, and each waited as long as it did: no coordinated omission."""
    go_on = threading.Event()

    def answers(_: int, asked: Any) -> bytes:
        go_on.wait(PATIENCE_SECONDS)
        return response(result(asked))

    with serving(answers) as server:
        with openloop.running(server.base, "t", {"one": probe}, per_second=RATE, deadline_seconds=60) as load:
            until(lambda: len(server.asked) >= 40)
            released = time.monotonic()
            go_on.set()
        assert [] == load.failed()
    held = load.between(0, released)
    assert len(held) >= 40
    assert [] == [record for record in held if record.latency_seconds < released - record.scheduled_at]


def test_connections_are_kept() -> None:
    """As real clients do; a connection for each call would be another load."""
    with serving(lambda _, asked: response(result(asked))) as server:
        load = loaded(server.base, 50)
    assert [] == load.failed()
    assert server.opened < load.sent / 2


@pytest.mark.parametrize("said", ["", "Connection: close\r\n"], ids=["in silence", "with notice"])
def test_a_connection_that_the_server_closed_is_opened_anew(said: str) -> None:
    """No call is lost by it, and none sent twice."""
    with serving(lambda _, asked: response(result(asked), more=said), closes=True) as server:

        def after_the_end(number: int) -> Call:
            until(lambda: server.closed >= len(server.asked))
            return probe(number)

        with openloop.running(server.base, "t", {"one": after_the_end}, per_second=RATE) as load:
            until(lambda: load.sent >= 20)
    assert [] == load.failed()
    assert load.sent == server.opened == len(server.asked)


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        (lambda _, asked: response(b"no healthy upstream", "503 Unavailable"), "http 503: no healthy upstream"),
        (lambda _, asked: response(result({"id": 0})), r"wrong id: 0 for \d+"),
        (lambda _, asked: response(b"[" + result(asked) + b"," + result(asked) + b"]"), "several answers: 2"),
        (lambda _, asked: response(result(asked)) * 2, "several answers: bytes after the answer"),
        (lambda _, asked: b"", "connection: closed without a whole answer"),
        (lambda _, asked: response(result(asked))[:-1], "connection: closed without a whole answer"),
        (lambda _, asked: b"hello\r\n\r\n", "connection: no HTTP response: hello"),
    ],
    ids=["status", "wrong id", "two in one", "two responses", "none", "half", "no http"],
)
def test_what_is_no_good_answer_is_told_and_never_asked_again(answers: Answers, outcome: str) -> None:
    """Each call failed once, in that word, and reached the server once."""
    with serving(answers, closes=outcome.startswith("connection")) as server:
        load = loaded(server.base)
    assert load.sent == len(load.records) == len(load.failed()) == len(server.asked)
    assert [] == [record.outcome for record in load.records if not re.fullmatch(outcome, record.outcome)]


def test_a_second_answer_that_comes_later_is_held_against_the_call() -> None:
    """It came over the call's own connection, when nobody asked."""
    later = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def answer_twice() -> None:
        peer, _ = listener.accept()
        asked = json.loads(peer.recv(65536).partition(b"\r\n\r\n")[2])
        peer.sendall(response(result(asked)))
        later.wait(PATIENCE_SECONDS)
        peer.sendall(response(result(asked)))
        told.set()

    told = threading.Event()
    threading.Thread(target=answer_twice, daemon=True).start()
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with listener, openloop.running(base, "t", {"one": probe}, per_second=0.01) as load:
        until(lambda: len(load.records) == 1)
        assert ["ok"] == [record.outcome for record in load.records]
        later.set()
        assert told.wait(PATIENCE_SECONDS)
    assert ["several answers: bytes after the answer"] == [record.outcome for record in load.records]


def test_a_call_is_given_up_at_its_deadline() -> None:
    """Counted from its time."""
    never = threading.Event()
    with serving(lambda _, asked: response(result(asked)) if never.wait(PATIENCE_SECONDS) else b"") as server:
        load = loaded(server.base, 5, deadline_seconds=0.2)
        never.set()
    assert {"timeout: 0.2 s"} == {record.outcome for record in load.records}
    assert [] == [record for record in load.records if record.latency_seconds < 0.2]


def test_where_nobody_listens_every_call_says_so() -> None:
    """A refused connection is a failed call as any other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    load = loaded(f"http://127.0.0.1:{port}")
    assert load.sent == len(load.failed())
    assert {True} == {record.outcome.startswith("connection: ") for record in load.records}


def test_a_call_that_cannot_be_made_ends_the_load_with_its_error() -> None:
    """It would be missing in the account."""

    def unmade(_: int) -> Call:
        raise LookupError("no such call")

    with (
        pytest.raises(LookupError, match="no such call"),
        openloop.running("http://127.0.0.1:1", "t", {"one": unmade}) as load,
    ):
        until(lambda: load.sent > 0)


def test_its_own_cost_is_told() -> None:
    """A load that starves what it measures can be seen."""
    with serving(lambda _, asked: response(result(asked))) as server:
        load = loaded(server.base)
    assert 0 < load.cpu_seconds < load.wall_seconds
    assert 0 <= load.late_seconds < PATIENCE_SECONDS


def test_the_cheap_load_is_the_probe_and_now_and_then_the_list() -> None:
    """The list as every tenth call of each server, and not of all servers at once, which would be a load of its own."""
    facts = {"probe": {"tool": "listmodels", "arguments": {"all": True}}}
    calls = openloop.cheap_calls({"zen": facts, "serena": facts})
    kinds = {name: [maker(number).kind for number in range(20)] for name, maker in calls.items()}
    assert ["list" if number in (0, 10) else "probe" for number in range(20)] == kinds["zen"]
    assert ["list" if number in (1, 11) else "probe" for number in range(20)] == kinds["serena"]
    assert ("tools/list", {}) == (calls["zen"](0).method, calls["zen"](0).params)
    assert {"name": "listmodels", "arguments": {"all": True}} == calls["zen"](1).params


def test_each_chat_can_be_counted_where_it_arrives() -> None:
    """Its mark is in the prompt, and is nobody else's: not another call's, nor another load's."""
    one, other = openloop.chat("model-one"), openloop.chat("model-one")
    prompts = [call.params["arguments"]["prompt"] for call in (one(0), one(1), one(10), other(0))]
    bodies = [json.dumps({"messages": [{"content": f"{prompt} {prompt}"}]}) for prompt in [*prompts, prompts[1]]]
    assert [1, 1, 1, 2] == sorted(openloop.arrivals([*bodies, "something else"]).values())
