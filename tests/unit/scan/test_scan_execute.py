"""Programs are bounded, and gone when they should be."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from stepdown.scan.execute import Ended, Limits, execute

pytestmark = pytest.mark.anyio


async def _python(tmp_path: Path, program: str, seconds: float = 20, memory_mib: int = 512) -> Ended:
    limits = Limits(seconds, memory_mib)
    return await execute((sys.executable, "-c", program), cwd=tmp_path, scratch=tmp_path, limits=limits)


async def test_the_environment_holds_no_secret_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scanner reads hostile files: it gets nothing that they could steal."""
    monkeypatch.setenv("HEIMDALL_TOKEN", "t")
    monkeypatch.setenv("GITLEAKS_CONFIG", "x")
    ended = await _python(tmp_path, "import os; print(sorted(os.environ))")
    names = {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_OPTIONAL_LOCKS", "GIT_TERMINAL_PROMPT", "HOME", "LANG"}
    names |= {"GIT_NO_REPLACE_OBJECTS"}
    assert names | {"PATH", "PYTHONDONTWRITEBYTECODE", "TMPDIR"} == set(eval(ended.stdout)) - {"LC_CTYPE"}


async def test_a_program_is_never_taken_from_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty or relative entry of PATH means the working folder."""
    (tmp_path / "scanner").write_text("#!/bin/sh\ntouch ran\n")
    (tmp_path / "scanner").chmod(0o755)
    monkeypatch.setenv("PATH", f":.:{os.environ['PATH']}:")
    ended = await execute(("scanner",), cwd=tmp_path, scratch=tmp_path, limits=Limits(5, 64))
    assert ("cannot be started: No such file or directory", False) == (ended.problem, (tmp_path / "ran").exists())


async def test_a_missing_program_is_a_problem_and_no_error(tmp_path: Path) -> None:
    """The result names it; nothing is raised."""
    ended = await execute(("no-such-scanner",), cwd=tmp_path, scratch=tmp_path, limits=Limits(5, 64))
    assert "cannot be started: No such file or directory" == ended.problem


async def test_a_program_that_outlives_its_limit_is_killed_with_its_children(tmp_path: Path) -> None:
    """The whole group ends, not only the first process."""
    program = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open('pid', 'w').write(str(child.pid))\n"
        "time.sleep(60)"
    )
    ended = await _python(tmp_path, program, seconds=1)
    assert "outlived its limit of 1 s" == ended.problem
    await _gone(int((tmp_path / "pid").read_text()))


async def test_cancelling_kills_the_group_first(tmp_path: Path) -> None:
    """When the caller is told, nothing runs any more."""
    os.mkfifo(tmp_path / "pid")
    program = "import os, time; f = open('pid', 'w'); f.write(str(os.getpid())); f.close(); time.sleep(60)"
    task = asyncio.create_task(_python(tmp_path, program))
    pid = int(await asyncio.to_thread((tmp_path / "pid").read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/{pid}").exists()


async def test_a_child_left_behind_is_killed(tmp_path: Path) -> None:
    """Also after a good end."""
    program = (
        "import subprocess, sys\n"
        "quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], **quiet).pid)"
    )
    ended = await _python(tmp_path, program)
    assert 0 == ended.exit_code
    await _gone(int(ended.stdout))


async def test_memory_is_bounded(tmp_path: Path) -> None:
    """A scanner that wants more than its row allows fails by itself."""
    # Limits are set from outside, right after the start: on a busy machine this program could be quicker.
    program = (
        "import resource, time\n"
        "while resource.getrlimit(resource.RLIMIT_DATA)[0] < 0: time.sleep(0.001)\n"
        "x = bytearray(2**30); print(len(x))"
    )
    ended = await _python(tmp_path, program, memory_mib=128)
    assert (1, "MemoryError") == (ended.exit_code, ended.last_words)


async def test_a_signal_is_named(tmp_path: Path) -> None:
    """A killed scanner is told from one that found nothing."""
    ended = await _python(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert "was ended by SIGKILL" == ended.problem


async def test_last_words_hold_no_long_token(tmp_path: Path, token: str) -> None:
    """What a scanner says at its end is shown to people."""
    ended = await _python(tmp_path, f"import sys; sys.exit('cannot read {token}')")
    assert "cannot read REDACTED" == ended.last_words


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_endless_output_ends_the_program(tmp_path: Path, stream: str) -> None:
    """The kernel refuses more; a program that does not care is ended."""
    program = (
        "import signal, sys\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        f"while True: sys.{stream}.buffer.write(bytes(2**20))"
    )
    ended = await _python(tmp_path, program)
    assert "was ended by SIGXFSZ" == ended.problem


async def test_a_program_that_fled_its_group_keeps_nobody_waiting(tmp_path: Path) -> None:
    """It still holds stdout open; the answer is there all the same."""
    os.mkfifo(tmp_path / "end")
    program = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'open(\"end\").read()'], start_new_session=True)\n"
        "print('done')"
    )
    ended = await _python(tmp_path, program)
    assert (0, b"done\n") == (ended.exit_code, ended.stdout)
    await asyncio.to_thread((tmp_path / "end").write_text, "now")


async def _gone(pid: int) -> None:
    """The kernel may take a moment to reap it; a zombie is gone."""
    async with asyncio.timeout(5):
        while True:
            try:
                if ") Z " in Path(f"/proc/{pid}/stat").read_text():
                    return
            except (FileNotFoundError, ProcessLookupError):
                return
            await asyncio.sleep(0.01)
