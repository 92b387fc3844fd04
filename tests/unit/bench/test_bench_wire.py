"""Responses as they come over the wire, and what they amount to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stepdown.bench import wire
from stepdown.bench.wire import Answer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
WHOLE = {
    "with its length": HEAD + b"Content-Length: 5\r\n\r\nhello",
    "in chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("received", WHOLE.values(), ids=WHOLE)
def test_a_response_is_whole_at_its_last_byte_and_not_before(received: bytes) -> None:
    """In whatever pieces it comes."""
    assert [None] * len(received) == [wire.parse(received[:size]) for size in range(len(received))]
    answer = wire.parse(received)
    assert answer is not None
    assert (200, b"hello", len(received)) == (answer.status, answer.body, answer.size)


@pytest.mark.parametrize("received", WHOLE.values(), ids=WHOLE)
def test_what_follows_a_response_is_none_of_it(received: bytes) -> None:
    """So that a second answer on a connection can be seen."""
    answer = wire.parse(received + HEAD)
    assert answer is not None
    assert (b"hello", len(received)) == (answer.body, answer.size)


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    """As a server may do that closes."""
    received = HEAD + b"Connection: close\r\n\r\nhel"
    assert wire.parse(received) is None
    answer = wire.parse(received, ended=True)
    assert answer is not None
    assert (b"hel", True) == (answer.body, answer.last)


def test_what_is_no_http_is_refused() -> None:
    """It would be waited for until the deadline."""
    with pytest.raises(ValueError, match=r"no HTTP response: SSH-2\.0"):
        wire.parse(b"SSH-2.0-OpenSSH\r\n\r\n")


def answer(*messages: Any, status: int = 200, stream: bool = False, text: str = "") -> Answer:
    """A response that holds these JSON-RPC messages."""
    if stream:
        body = "".join(f"event: message\ndata: {json.dumps(message)}\n\n" for message in messages)
        return Answer(status, {"content-type": "text/event-stream"}, body.encode(), 0)
    body = text or json.dumps(messages[0] if len(messages) == 1 else list(messages))
    return Answer(status, {"content-type": "application/json"}, body.encode(), 0)


RESULT = {"jsonrpc": "2.0", "id": 7, "result": {"content": []}}
NOTE = {"jsonrpc": "2.0", "method": "notifications/progress"}
LOST = {"code": -32010, "message": "not in plan C", "data": {"type": "stepdown.server_lost"}}


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (answer(RESULT), "ok"),
        (answer(NOTE, RESULT, stream=True), "ok"),
        (answer(RESULT, RESULT), "several answers: 2"),
        (answer(RESULT, RESULT, stream=True), "several answers: 2"),
        (answer({**RESULT, "id": 8}), "wrong id: 8 for 7"),
        (answer({**RESULT, "id": "7"}), "wrong id: '7' for 7"),
        (answer({"id": 7, "error": LOST}), "rpc stepdown.server_lost: not in plan C"),
        (answer({"id": 7, "error": {"code": -32601, "message": "no such method"}}), "rpc -32601: no such method"),
        (answer({"id": 7, "error": LOST}, status=503), "http 503: stepdown.server_lost: not in plan C"),
        (answer(text="no healthy\nupstream", status=503), "http 503: no healthy upstream"),
        (answer(RESULT, status=202), 'http 202: {"jsonrpc": "2.0", "id": 7, "result": {"content": []}}'),
        (answer(NOTE), 'no answer: {"jsonrpc": "2.0", "method": "notifications/progress"}'),
        (answer(text="hello"), "no answer: hello"),
        (answer({"id": 7, "result": {"isError": True, "content": [{"text": "no"}]}}), 'tool: [{"text": "no"}]'),
    ],
)
def test_only_one_result_with_the_right_id_is_ok(given: Answer, outcome: str) -> None:
    """Everything else is told in a word, with detail."""
    assert outcome == wire.judge(given, 7)


def test_an_outcome_repeats_few_words_of_others() -> None:
    """A page of HTML would drown the report."""
    assert len("http 500: ") + wire.WORDS == len(wire.judge(answer(text="x" * 5000, status=500), 7))
