"""What the configuration refuses, and the program that reads it."""

from __future__ import annotations

import copy
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import TOKEN, tiny, token
from mcp_host.config import ClientBounds, StdioServer, parse, surroundings
from mcp_host.errors import ConfigError, FileError
from mcp_host.watched import parse_plan, parse_tokens

STDIO = {
    "kind": "stdio",
    "command": ["program", "--option"],
    "start_timeout_seconds": 30,
    "call_timeout_seconds": 120,
    "max_concurrent_calls": 4,
    "probe": {"tool": "echo"},
}
NATIVE = {
    "kind": "native",
    "factory": "native_for_tests:create",
    "start_timeout_seconds": 30,
    "call_timeout_seconds": 300,
    "max_concurrent_calls": 32,
    "probe": {"tool": "list_scans", "arguments": {}},
}
GOOD = {"container": "c", "port": 8080, "servers": {"tiny": STDIO, "native": NATIVE}}


def change(path: str, value: Any = None, *, drop: bool = False) -> str:
    """The good configuration with one key set or dropped."""
    config = copy.deepcopy(GOOD)
    *parents, last = path.split("/")
    section: Any = config
    for parent in parents:
        section = section[parent]
    if drop:
        del section[last]
    else:
        section[last] = value
    return json.dumps(config)


def test_the_good_configuration_is_read() -> None:
    """Both kinds, with what was left out filled in."""
    server = parse(json.dumps(GOOD)).servers["tiny"]
    assert isinstance(server, StdioServer)
    assert ((), {}, {}, 4) == (server.environment, server.secrets, server.needs, server.bounds.max_concurrent_calls)
    assert ({}, None) == (server.settings, server.clients)


def test_bounds_of_clients_are_read() -> None:
    """Which is what has a child started for each token."""
    server = parse(change("servers/tiny/clients", {"most": 8, "idle_seconds": 900})).servers["tiny"]
    assert isinstance(server, StdioServer)
    assert ClientBounds(most=8, idle_seconds=900) == server.clients


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "MCP_HOST_CONFIG: not JSON"),
        ('{"port": 1, "port": 2}', "MCP_HOST_CONFIG: not JSON: key given twice: 'port'"),
        ("[]", "MCP_HOST_CONFIG: must be an object, is list"),
        (change("container", drop=True), "MCP_HOST_CONFIG/container: missing"),
        (change("port", "8080"), "MCP_HOST_CONFIG/port: must be a whole number from 0 to 65535, is str"),
        (change("port", True), "MCP_HOST_CONFIG/port: must be a whole number from 0 to 65535, is bool"),
        (change("extra", 1), "MCP_HOST_CONFIG/extra: unknown key (known: container, port, servers)"),
        (change("servers", {}), "MCP_HOST_CONFIG/servers: at least one server is needed"),
        (change("servers/Zen", NATIVE), "MCP_HOST_CONFIG/servers/Zen: a server's name is"),
        (change("servers/tiny/kind", "wasm"), "servers/tiny/kind: unknown kind 'wasm' (known: stdio, native)"),
        (change("servers/tiny/comand", "x"), "servers/tiny/comand: unknown key (known: call_timeout_seconds, clients"),
        (change("servers/tiny/command", []), "servers/tiny/command: must name a program"),
        (change("servers/tiny/command", "run it"), "servers/tiny/command: must be a list of strings, is str"),
        (change("servers/tiny/probe", drop=True), "MCP_HOST_CONFIG/servers/tiny/probe: missing"),
        (change("servers/tiny/probe/tol", "x"), "servers/tiny/probe/tol: unknown key (known: arguments, tool)"),
        (change("servers/tiny/environment", ["A=B"]), "servers/tiny: not a name of an environment variable: 'A=B'"),
        (change("servers/tiny/secrets", {"A": "../x"}), "servers/tiny/secrets/A: must be a file below"),
        (change("servers/tiny/secrets", {"A": "/etc/x"}), "servers/tiny/secrets/A: must be a file below"),
        (change("servers/tiny/needs", {"A": "x"}), "servers/tiny/needs/A: in neither environment nor secrets"),
        (change("servers/tiny/clients", {"most": 8}), "MCP_HOST_CONFIG/servers/tiny/clients/idle_seconds: missing"),
        (change("servers/tiny/clients", {"most": 0, "idle_seconds": 9}), "clients/most: must be a whole number from 1"),
        (change("servers/tiny/settings", {"A=B": "x"}), "servers/tiny: not a name of an environment variable: 'A=B'"),
        (change("servers/tiny/settings", {"A": True}), "servers/tiny/settings: must be an object of strings"),
        (change("servers/tiny/settings", {"HOME": "/"}), "servers/tiny/settings/HOME: in environment or secrets too"),
        (change("servers/native/clients", {"most": 1, "idle_seconds": 9}), "servers/native/clients: unknown key"),
        (change("servers/tiny/call_timeout_seconds", 0), "call_timeout_seconds: must be seconds, more than 0"),
        (change("servers/tiny/max_concurrent_calls", 1.5), "max_concurrent_calls: must be a whole number"),
        (change("servers/native/factory", "heimdall"), "servers/native/factory: must be module:callable"),
        (change("servers/native/command", ["x"]), "servers/native/command: unknown key"),
    ],
)
def test_a_wrong_configuration_is_refused_by_path(text: str, message: str) -> None:
    """The message starts with where, and lists what is valid."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert message in str(caught.value)


def test_a_value_in_the_wrong_place_is_not_repeated() -> None:
    """It may be a secret."""
    with pytest.raises(ConfigError) as caught:
        parse(change("servers/tiny/secrets", "s3cr3t"))
    assert "s3cr3t" not in str(caught.value)


def test_origins_are_a_comma_list() -> None:
    """Spaces and empty items are nothing."""
    read = surroundings({"MCP_HOST_ALLOWED_ORIGINS": "https://a.example, https://b.example,"})
    assert {"https://a.example", "https://b.example"} == read.allowed_origins


@pytest.mark.parametrize(
    ("parse_file", "raw", "where"),
    [
        (parse_tokens, {"tokens": [{"name": "a", "sha256": "00", "servers": []}]}, "f/tokens/0/sha256"),
        (parse_tokens, {"tokens": [{"name": "", "sha256": "0" * 64, "servers": []}]}, "f/tokens/0/name"),
        (parse_tokens, {"tokens": [{"name": "a", "sha256": "0" * 64, "servers": "*"}]}, "f/tokens/0/servers"),
        (parse_tokens, {"tokens": [{"name": "a"}]}, "f/tokens/0: missing or unknown keys: servers, sha256"),
        (parse_plan, {"plan": "C", "since": "now", "lost": ["github"]}, "f/lost"),
        (parse_plan, {"plan": "C", "lost": {}}, "f: missing or unknown keys: since"),
    ],
)
def test_a_wrong_file_is_refused_by_path(parse_file: Callable[[Any, str], Any], raw: Any, where: str) -> None:
    """Tokens and plan say what is wrong with them."""
    with pytest.raises(FileError, match=where):
        parse_file(raw, "f")


def program(tmp_path: Path, config: str) -> subprocess.Popen[str]:
    services = Path(__file__).parents[3] / "services/mcp_host"
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{services}:{Path(__file__).parent}",
        "PYTHONUNBUFFERED": "1",
        "MCP_HOST_CONFIG": config,
        "MCP_HOST_BIND": "127.0.0.1",
        "MCP_HOST_AUTH_DIR": str(tmp_path),
        "MCP_HOST_SCRATCH_DIR": str(tmp_path / "scratch"),
    }
    command = [sys.executable, "-m", "mcp_host"]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (change("port", -1), "MCP_HOST_CONFIG/port: must be a whole number from 0 to 65535, is int\n"),
        (change("servers/native/factory", "os:nothing"), "servers/native/factory: os has no callable 'nothing'\n"),
        (change("servers/native/factory", "no.such:create"), "servers/native/factory: No module named 'no'\n"),
    ],
)
def test_the_program_ends_with_2_and_one_line(tmp_path: Path, config: str, message: str) -> None:
    """No traceback for a configuration that is wrong."""
    process = program(tmp_path, config)
    _, errors = process.communicate(timeout=20)
    assert (2, True, 1) == (process.returncode, errors.endswith(message), errors.count("\n"))


def test_the_program_finishes_calls_on_term_and_logs_json(tmp_path: Path) -> None:
    """A call in flight is answered after TERM, the child ends with the host, every line of stdout is a JSON object."""
    (tmp_path / "tokens.json").write_text(json.dumps({"tokens": [token(TOKEN)]}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = {"container": "c", "port": port, "servers": {"tiny": tiny(tmp_path)}}
    process = program(tmp_path, json.dumps(config))
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline())]
    while lines[-1].get("state") != "ready":
        lines.append(json.loads(process.stdout.readline()))
    child = int((tmp_path / "scratch/tiny/starts").read_text())
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "slow", "arguments": {"seconds": 0.5}},
    }
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json, text/event-stream"}
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(httpx2.post, f"http://127.0.0.1:{port}/mcp/tiny", json=body, headers=headers)
        while not (tmp_path / "scratch/tiny/slow").exists():
            assert not answer.done()
        process.send_signal(signal.SIGTERM)
        assert "done" == answer.result().json()["result"]["content"][0]["text"]
    rest, errors = process.communicate(timeout=15)
    assert ("", True) == (errors, process.returncode in (0, -signal.SIGTERM))
    assert all({"time", "level", "event"} <= set(line) for line in [*lines, *map(json.loads, rest.splitlines())])
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
