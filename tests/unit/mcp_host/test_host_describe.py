"""`python -m mcp_host describe` as the control machine runs it: a process that tells the tools of its servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny

HERE = Path(__file__).parent
PACKAGE = HERE.parents[2] / "services" / "mcp_host"
NATIVE = {
    "kind": "native",
    "factory": "native_for_tests:create",
    "start_timeout_seconds": 20,
    "call_timeout_seconds": 10,
    "max_concurrent_calls": 4,
    "probe": {"tool": "add", "arguments": {"a": 1, "b": 2}},
}


def run(root: Path, servers: Mapping[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    """Run mcp_host in a container's way with these servers, to its end."""
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": f"{PACKAGE}{os.pathsep}{HERE}",
        "MCP_HOST_CONFIG": json.dumps({"container": "test", "port": 0, "servers": servers}),
        "MCP_HOST_SCRATCH_DIR": str(root / "scratch"),
    }
    argv = [sys.executable, "-m", "mcp_host", *words]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)


def started(root: Path, server: str) -> list[int]:
    """Process ids of the starts of a tiny server."""
    return [int(line) for line in (root / "scratch" / server / "starts").read_text().splitlines()]


def test_the_tools_of_every_server_are_one_object(tmp_path: Path) -> None:
    """Of both kinds, all pages, sorted by name, whole; logs and banners are elsewhere, and no child is left."""
    done = run(tmp_path, {"tiny": tiny(tmp_path), "native": NATIVE}, "describe")
    assert 0 == done.returncode, done.stderr
    told = json.loads(done.stdout)
    assert ["tiny", "native"] == list(told)
    assert ["add", "sleep", "steps"] == [tool["name"] for tool in told["native"]]
    assert 15 == len(told["tiny"])
    assert sorted(tool["name"] for tool in told["tiny"]) == [tool["name"] for tool in told["tiny"]]
    echo = next(tool for tool in told["tiny"] if tool["name"] == "echo")
    assert ("the echo tool", "echo", True) == (
        echo["description"],
        echo["inputSchema"]["x-kept"],
        echo["annotations"]["readOnlyHint"],
    )
    (pid,) = started(tmp_path, "tiny")
    assert not Path(f"/proc/{pid}").exists()


def test_a_server_that_does_not_start_fails_the_whole(tmp_path: Path) -> None:
    """Half an answer would read as lost tools; the reason is the last line, and the servers that ran are gone."""
    (tmp_path / "scratch" / "broken").mkdir(parents=True)
    (tmp_path / "scratch" / "broken" / "refuse-starts").write_text("1000")
    servers = {"tiny": tiny(tmp_path), "broken": tiny(tmp_path, "broken")}
    done = run(tmp_path, servers, "describe")
    assert (1, "") == (done.returncode, done.stdout)
    assert "broken: the server exited with code 9 before it was ready" == done.stderr.splitlines()[-1]
    assert [] == [pid for name in servers for pid in started(tmp_path, name) if Path(f"/proc/{pid}").exists()]


def test_a_server_that_fails_is_not_waited_for(tmp_path: Path) -> None:
    """However long a server may take: its first failure is its last word, and there is no second start."""
    broken = tiny(tmp_path, "broken", start_timeout_seconds=600)
    (tmp_path / "scratch" / "broken" / "refuse-starts").write_text("1")
    done = run(tmp_path, {"broken": broken}, "describe")
    assert (1, "") == (done.returncode, done.stdout)
    assert 1 == len(started(tmp_path, "broken"))


def test_a_server_that_never_answers_is_ended(tmp_path: Path) -> None:
    """At the end of its start time."""
    silent = tiny(tmp_path, command=[sys.executable, "-c", "import time; time.sleep(600)"], start_timeout_seconds=0.5)
    done = run(tmp_path, {"tiny": silent}, "describe")
    assert (1, "") == (done.returncode, done.stdout)
    assert "tiny: not ready within 0.5 s" == done.stderr.splitlines()[-1]


def test_a_refused_configuration_is_wrong_use(tmp_path: Path) -> None:
    """Nothing is started, and the path of the culprit is told."""
    done = run(tmp_path, {"tiny": tiny(tmp_path, colour="red")}, "describe")
    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("MCP_HOST_CONFIG/servers/tiny")
    assert not (tmp_path / "scratch" / "tiny" / "starts").exists()


def test_a_native_server_that_cannot_be_imported_is_wrong_use(tmp_path: Path) -> None:
    """The image lacks it, or the catalogue names another module."""
    done = run(tmp_path, {"native": {**NATIVE, "factory": "nowhere:create"}}, "describe")
    expected = "MCP_HOST_CONFIG/servers/native/factory: No module named 'nowhere'\n"
    assert (2, "", expected) == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("words", [("describes",), ("describe", "zen"), ("--help",)])
def test_an_unknown_argument_is_told_the_known_ones(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Whatever the configuration."""
    done = run(tmp_path, {}, *words)
    expected = f"mcp_host: {' '.join(words)}: unknown (known: nothing, describe)\n"
    assert (2, "", expected) == (done.returncode, done.stdout, done.stderr)
