"""What `./run bench` takes and refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stepdown.cli import bench
from stepdown.errors import UsageError


def run(root: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`./run bench` in this environment."""
    argv = [str(Path(sys.executable).parent / "invoke"), "bench", *words]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {**os.environ, "PATH": path, **environment}
    return subprocess.run(argv, cwd=root, env=settings, capture_output=True, text=True, timeout=120, check=False)


def test_all_benchmarks_run_unless_one_is_named() -> None:
    """`--only` takes one."""
    assert ["deploy", "scan", "start", "switch"] == bench.choose("", 5, local=True)
    assert ["start"] == bench.choose("start", 1, local=True)


def test_another_machine_is_asked_what_can_be_measured_there() -> None:
    """Containers are started by this machine's engine, so `start` says nothing of another one's."""
    assert ["deploy"] == bench.choose("", 5, local=False)
    with pytest.raises(UsageError, match=r"--only=start names no benchmark of another machine \(known: deploy\)"):
        bench.choose("start", 5, local=False)


@pytest.mark.parametrize(
    ("only", "rounds", "says"),
    [
        ("deploi", 5, r"--only=deploi names no benchmark \(known: deploy, scan, start, switch\)\. Run: \./run bench"),
        ("", 0, r"--rounds=0 should be from 1 to 100"),
        ("deploy", 101, r"--rounds=101 should be from 1 to 100"),
    ],
)
def test_what_cannot_be_measured_is_wrong_use(only: str, rounds: int, says: str) -> None:
    """Refused before anything is looked at."""
    with pytest.raises(UsageError, match=says):
        bench.choose(only, rounds, local=True)


def test_wrong_use_exits_2(root: Path) -> None:
    """One line, no traceback."""
    done = run(root, "--only=swich")
    assert (2, 1) == (done.returncode, len(done.stderr.strip().splitlines()))


def test_figures_of_another_machine_are_not_recorded(root: Path, tmp_path: Path) -> None:
    """The documents would not say whose they are."""
    done = run(root, f"--inventory={tmp_path}", "--write", "--yes")
    assert (2, True) == (done.returncode, "--write is for this machine" in done.stderr)


def test_another_machine_is_not_touched_unasked(root: Path, tmp_path: Path) -> None:
    """A second instance is made on it, so --yes is asked for."""
    done = run(root, f"--inventory={tmp_path}")
    assert (2, True) == (done.returncode, "say so with --yes" in done.stderr)


def test_no_instance_cannot_be_judged(root: Path, tmp_path: Path) -> None:
    """Exit 3, which is neither a limit missed nor wrong use, and what to type."""
    done = run(root, STEPDOWN_HOME=str(tmp_path / "home"))
    assert (3, True) == (done.returncode, "nothing is deployed there. Run: ./run deploy --plan=C" in done.stderr)
