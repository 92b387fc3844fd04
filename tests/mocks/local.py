"""Mocks as processes of this machine, and the words by which a test steers one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stack import ROOT, free_port

PATIENCE_SECONDS = 30
TOKEN = "mock"


@dataclass(frozen=True)
class Mock:
    """A mock that answers: `url` is that of its host, without a path."""

    server: str
    url: str
    token: str = TOKEN

    @property
    def entry(self) -> dict[str, Any]:
        """Its line of `mcpServers`, as clients take it."""
        return {"url": f"{self.url}/mcp/{self.server}", "headers": {"Authorization": f"Bearer {self.token}"}}

    def script(self, *rules: Mapping[str, Any]) -> None:
        """Put these rules in force instead of others."""
        self._control("PUT", "script", list(rules))

    def used(self) -> list[int]:
        """How often each rule in force was followed."""
        return [rule["used"] for rule in self._control("GET", "script")["script"]]

    def calls(self, tool: str | None = None) -> list[dict[str, Any]]:
        """The calls since the last reset, in order; of one tool only, if given."""
        found = self._control("GET", "calls")["calls"]
        return [call for call in found if tool is None or call["tool"] == tool]

    def reset(self) -> None:
        """No rules, no calls."""
        self._control("POST", "reset")

    def _control(self, method: str, what: str, body: Any = None) -> dict[str, Any]:
        """Raises AssertionError with the mock's own sentence when it refuses."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/mock/{what}", data, dict(self.entry["headers"]), method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
                return dict(json.loads(response.read()))
        except urllib.error.HTTPError as refused:
            raise AssertionError(refused.read().decode()) from None


@contextmanager
def running(logs: Path, *servers: str) -> Iterator[dict[str, Mock]]:
    """These mocks, each ready on a port of its own of 127.0.0.1; their logs go below `logs`."""
    mocks = {server: Mock(server, f"http://127.0.0.1:{free_port()}") for server in servers}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MCP_HOST_")}
    started: list[subprocess.Popen[bytes]] = []
    try:
        for mock in mocks.values():
            argv = [sys.executable, "-m", "tests.mocks", mock.server, f"--port={mock.url.rpartition(':')[2]}"]
            with (logs / f"{mock.server}-mock.log").open("wb") as log:
                started.append(
                    subprocess.Popen(
                        argv,
                        cwd=ROOT,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        env={**environment, "STEPDOWN_MOCK_TOKEN": TOKEN},
                    )
                )
        for mock, process in zip(mocks.values(), started, strict=True):
            until_ready(mock.url, process, logs / f"{mock.server}-mock.log")
        yield mocks
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(PATIENCE_SECONDS)


def until_ready(url: str, process: subprocess.Popen[bytes] | None = None, log: Path | None = None) -> None:
    """Wait for /readyz. Raises AssertionError with the log when the process ends or time runs out."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _ready(url):
        ended = process is not None and process.poll() is not None
        said = log.read_text(encoding="utf-8")[-4000:] if log else ""
        assert not ended and time.monotonic() < deadline, f"{url}: not ready\n{said}"
        time.sleep(0.05)  # nothing tells of it but the port


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
