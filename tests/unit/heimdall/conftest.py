"""A workspace, and a heimdall over it whose scanner does as the test says."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
from heimdall.allowed import Hosts
from heimdall.settings import Settings

from stepdown.scan.scanners import Scanner, load_scanners

FINDING = {
    "ruleId": "R1",
    "level": "error",
    "message": {"text": "bad"},
    "locations": [{"physicalLocation": {"artifactLocation": {"uri": "a.py"}, "region": {"startLine": 1}}}],
}
LOG = {"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "t"}}, "results": [FINDING]}]}
FINDS = f"import sys; open(sys.argv[2], 'w').write({json.dumps(LOG)!r}); sys.exit(1)"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def tools_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scanners that are locked with these tests come before others of the same name."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Folders of this test; in the workspace a folder `app` with one file."""
    for name in ("data", "workspace/app", "scratch"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "workspace/app/a.py").write_text("x = 1\n")
    return Settings(
        data=tmp_path / "data",
        workspace=tmp_path / "workspace",
        scratch=tmp_path / "scratch",
        queue_size=3,
        concurrent_scans=2,
        scan_seconds=60,
        git=Hosts("HEIMDALL_GIT_HOSTS", "mcp_stack_heimdall_git_hosts", frozenset()),
        callbacks=Hosts("HEIMDALL_CALLBACK_HOSTS", "mcp_stack_heimdall_callback_hosts", frozenset()),
        proxy=None,
        ca=tmp_path / "ca",
    )


@pytest.fixture
def scanner() -> Callable[[str], Scanner]:
    """A scanner that runs a Python program; without one it finds one thing in a.py."""

    def make(program: str = FINDS) -> Scanner:
        bandit = next(row for row in load_scanners() if row.name == "bandit")
        argv = (sys.executable, "-c", program, "{source}", "{report}")
        return replace(bandit, name="temper", argv=argv, severity_property=None, canary=None)

    return make


@pytest.fixture
def blocked(tmp_path: Path, scanner: Callable[[str], Scanner]) -> Iterator[tuple[Scanner, IO[str]]]:
    """A scanner that says its process id into a pipe and then stays, and the end of the pipe to read it from."""
    pipe = tmp_path / "started"
    os.mkfifo(pipe)
    program = (
        f"import os, signal\nwith open({str(pipe)!r}, 'w') as pipe: pipe.write(f'{{os.getpid()}}\\n')\nsignal.pause()"
    )
    # Open for writing too: no scanner waits for a reader, and none is lost between two readers.
    with os.fdopen(os.open(pipe, os.O_RDWR), "r", buffering=1, closefd=True) as started:
        yield scanner(program), started
