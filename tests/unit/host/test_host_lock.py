"""One writer at a time, and a dead one stands in nobody's way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stepdown.errors import StepdownError
from stepdown.host import lock

HOLD = """
import sys
from pathlib import Path
from stepdown.host import lock
with lock.hold(Path(sys.argv[1]), "switch to D"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _held_elsewhere(path: Path, root: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its standard input ends."""
    environment = {**os.environ, "PYTHONPATH": str(root), "SUDO_USER": "ann"}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout
        assert "held\n" == process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_a_second_caller_is_told_who_when_and_why(tmp_path: Path, root: Path) -> None:
    """And changes nothing: exit code 1."""
    path = tmp_path / "lock"
    with _held_elsewhere(path, root) as process:
        with pytest.raises(StepdownError) as refusal, lock.hold(path, "switch to A"):
            pytest.fail("two hold the lock")
        message = str(refusal.value)
        assert message.startswith(f"{path}: ann (process {process.pid}, since 20")
        assert message.endswith("Z, switch to D) is at work here; wait for its end")
        assert 1 == refusal.value.exit_code


def test_a_killed_holder_leaves_no_lock(tmp_path: Path, root: Path) -> None:
    """The kernel drops it, so nobody has to remove a file by hand."""
    path = tmp_path / "lock"
    with _held_elsewhere(path, root) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with lock.hold(path, "converge"):
            assert '"why": "converge"' in path.read_text()


def test_the_lock_is_free_after_its_holder_ended(tmp_path: Path) -> None:
    """Also after one that failed, and the file no longer names it."""
    path = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), lock.hold(path, "first"):
        raise ZeroDivisionError
    assert "" == path.read_text()
    with lock.hold(path, "second"):
        assert '"why": "second"' in path.read_text()


def test_the_same_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    """Two threads are two callers."""
    path = tmp_path / "lock"
    with lock.hold(path, "first"), pytest.raises(StepdownError, match=r"first\) is at work"), lock.hold(path, "second"):
        pytest.fail("two hold the lock")


def test_a_holder_that_has_not_said_its_name_yet_is_another_process(tmp_path: Path) -> None:
    """Between taking the lock and writing into it there is a moment."""
    path = tmp_path / "lock"
    with lock.hold(path, "first"):
        path.write_text("")
        with pytest.raises(StepdownError, match="another process is at work here"), lock.hold(path, "second"):
            pytest.fail("two hold the lock")
