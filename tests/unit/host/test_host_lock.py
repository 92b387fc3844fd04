"""One writer at a time, and a dead one stands in nobody's way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stepdown.errors import StepdownError
from stepdown.host import journal, lock
from stepdown.host.home import Home

HOLD = """
import sys
from pathlib import Path
from stepdown.host import lock
with lock.hold(Path(sys.argv[1]), "switch to D"):
    print("held", flush=True)
    sys.stdin.read()
"""
# one that does not listen, and started another
DEAF = """
import signal, subprocess, sys
from pathlib import Path
from stepdown.host import lock
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with lock.hold(Path(sys.argv[1]), "switch to D"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.pid, flush=True)
    child.wait()
"""


@contextmanager
def _held_elsewhere(path: Path, root: Path, program: str = HOLD) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its standard input ends."""
    environment = {**os.environ, "PYTHONPATH": str(root), "SUDO_USER": "ann"}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout
        if program == HOLD:
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


def test_a_lock_that_nobody_holds_is_not_preempted(tmp_path: Path, root: Path) -> None:
    """Neither one that was never taken, nor one that a dead process left; what that left stays for the next holder."""
    path = tmp_path / "lock"
    assert None is lock.preempt(path)
    assert not path.exists()
    with _held_elsewhere(path, root) as process:
        process.kill()
        process.wait()
    left = path.read_text()
    assert None is lock.preempt(path)
    assert left == path.read_text()


def test_an_emergency_ends_who_is_at_work(tmp_path: Path, root: Path) -> None:
    """TERM is enough for one that listens; the lock is free, and names nobody."""
    path = tmp_path / "lock"
    with _held_elsewhere(path, root) as process:
        ended = lock.preempt(path)
        assert ended is not None
        assert ("ann", process.pid, "switch to D") == (ended["by"], ended["pid"], ended["why"])
        assert -signal.SIGTERM == process.wait()
        dead: list[lock.Holder] = []
        with lock.hold(path, "emergency", dead.append):
            assert [] == dead


def test_a_holder_that_does_not_listen_is_killed_with_all_that_it_started(tmp_path: Path, root: Path) -> None:
    """Not before it had its two seconds, so that it can put back what it began."""
    path = tmp_path / "lock"
    began = time.monotonic()
    with _held_elsewhere(path, root, DEAF) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        asked = time.monotonic()
        assert lock.preempt(path) is not None
        assert lock.TERM_SECONDS <= time.monotonic() - asked < lock.TERM_SECONDS + lock.KILL_SECONDS
        assert -signal.SIGKILL == process.wait()
    deadline = began + 30
    while lock._alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert False is lock._alive(child)


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', "[]", "self"])
def test_a_process_that_is_not_known_for_sure_is_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A number may be another process's by now: only with the time of its start it names one."""
    path, signalled = tmp_path / "lock", list[int]()
    monkeypatch.setattr(os, "kill", lambda pid, _number: signalled.append(pid))
    with lock.hold(path, "first"):
        reused = json.dumps({**json.loads(path.read_text()), "started": 1})
        path.write_text(reused if text == "self" else text)
        with pytest.raises(StepdownError, match="is held by a process that left no name; end it by hand"):
            lock.preempt(path)
    assert [] == signalled


def test_another_users_holder_is_told_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With who it is, and who may end it."""

    def refused(_pid: int, _number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    path = tmp_path / "lock"
    monkeypatch.setattr(os, "kill", refused)
    monkeypatch.setenv("SUDO_USER", "ann")
    with lock.hold(path, "first"):
        wrong = r"ann \(process \d+, since .*, first\) is at work here, and this user may not end it; use the one that"
        with pytest.raises(StepdownError, match=wrong):
            lock.preempt(path)


def test_who_asks_whether_a_lock_is_held_does_not_take_it(tmp_path: Path, root: Path) -> None:
    """Held while its holder lives; what a dead or renumbered process left is not."""
    path = tmp_path / "lock"
    assert False is lock.held(path)
    with _held_elsewhere(path, root) as process:
        assert True is lock.held(path)
        holder = json.loads(path.read_text())
        path.write_text(json.dumps({**holder, "started": holder["started"] + 1}))
        assert False is lock.held(path)
        path.write_text(json.dumps(holder))
        process.kill()
        process.wait()
        assert False is lock.held(path)


def test_what_a_dead_writer_left_is_journaled_once(home: Home, root: Path) -> None:
    """Who it was and what it was at; a host without a journal gets none for it."""
    for deployed in (False, True):
        if deployed:
            journal.append(home.journal, "staged")
        with _held_elsewhere(home.lock, root) as process:
            process.kill()
            process.wait()
        for _ in range(2):
            with lock.writer(home, "converge"):
                pass
    stale = [entry for entry in journal.read(home.journal).entries if entry["event"] == "stale_lock"]
    assert [("ann", "switch to D")] == [(entry["by"], entry["what"]) for entry in stale]
