"""Rules that make no sense are refused with a sentence, before a client meets them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mocks.app import agreed_tools
from tests.mocks.script import Script, ScriptError

SLOW = {"latency_ms": 5}


@pytest.fixture
def script() -> Script:
    """A script of heimdall-mock."""
    return Script({tool["name"]: tool for tool in agreed_tools("heimdall")})


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({}, "rule: match: Field required"),
        ({"match": {}, **SLOW}, "rule/match: should name one of these (known: tool, method, route)"),
        ({"match": {"tool": "scan_code", "method": "ping"}, **SLOW}, "rule/match: should name one of these"),
        ({"match": {"tool": "scan"}, **SLOW}, "rule/match/tool: 'scan' is no tool of this mock (known: cancel_scan"),
        ({"match": {"route": "scans"}, **SLOW}, "rule: match/route: String should match pattern"),
        ({"match": {"tool": "*"}}, "rule: should have latency_ms, one of these, or both (known: error, http"),
        ({"match": {"tool": "*"}, "hang_seconds": 1, "http": {"status": 500}}, "rule: should have latency_ms, one"),
        ({"match": {"tool": "*"}, "hang_seconds": 301}, "rule: hang_seconds: Input should be less than or equal"),
        ({"match": {"tool": "*"}, "times": 0, **SLOW}, "rule: times: Input should be greater than or equal to 1"),
        ({"match": {"tool": "*"}, "latency": 5}, "rule: latency: Extra inputs are not permitted"),
        ({"match": {"tool": "*"}, "latency_ms": "5"}, "rule: latency_ms: Input should be a valid integer"),
        ({"match": {"route": "GET /scans"}, "error": {"code": 1, "message": "x"}}, "rule/error: a route has no JSON-"),
        ({"match": {"tool": "*"}, "result": {"text": "x"}}, "rule/result: needs match/tool to name one tool"),
        ({"match": {"tool": "scan_code"}, "result": {}}, "rule/result: should have text, structured, or both"),
        ({"match": {"tool": "scan_code"}, "result": {"text": "x"}}, "rule/result/structured: is missing; scan_code"),
        (
            {"match": {"tool": "list_scans"}, "result": {"structured": {"scans": [{}]}}},
            "rule/result/structured/scans/0: 'scan_id' is a required property",
        ),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(script: Script, rule: dict[str, Any], told: str) -> None:
    """The place first, then what is wrong, then what is known."""
    with pytest.raises(ScriptError) as refused:
        script.add(rule)
    assert str(refused.value).startswith(told)
    assert [] == script.document()


def test_a_script_is_a_list(script: Script) -> None:
    """One rule alone is not one."""
    with pytest.raises(ScriptError, match="script: should be a list of rules"):
        script.replace({"match": {"tool": "*"}, **SLOW})


def test_a_tool_without_an_output_schema_takes_texts_alone() -> None:
    """As github and zen answer."""
    script = Script({"chat": {"name": "chat", "inputSchema": {}}})
    script.add({"match": {"tool": "chat"}, "result": {"text": "hello"}})
    with pytest.raises(ScriptError, match="rule/result/structured: chat answers text alone"):
        script.add({"match": {"tool": "chat"}, "result": {"structured": {}}})


@pytest.mark.parametrize(
    ("match", "call", "expected"),
    [
        ({"tool": "scan_code"}, ("POST", "/mcp/heimdall", "tools/call", "scan_code"), True),
        ({"tool": "scan_code"}, ("POST", "/mcp/heimdall", "tools/call", "list_scans"), False),
        ({"tool": "*"}, ("POST", "/mcp/heimdall", "tools/call", "list_scans"), True),
        ({"tool": "*"}, ("POST", "/mcp/heimdall", "tools/list", ""), False),
        ({"method": "tools/list"}, ("POST", "/mcp/heimdall", "tools/list", ""), True),
        ({"method": "initialize"}, ("POST", "/mcp/heimdall", "tools/list", ""), False),
        ({"route": "GET /scans/*"}, ("GET", "/scans/abc123", "", ""), True),
        ({"route": "GET /scans/*"}, ("DELETE", "/scans/abc123", "", ""), False),
        ({"route": "* /mcp/heimdall"}, ("POST", "/mcp/heimdall", "ping", ""), True),
    ],
)
def test_a_rule_is_for_the_calls_that_it_names(
    script: Script, match: dict[str, str], call: tuple[str, str, str, str], expected: bool
) -> None:
    """By tool, by method of the protocol, or by route."""
    script.add({"match": match, **SLOW})
    assert expected == (script.take(*call) is not None)
