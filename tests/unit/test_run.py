"""The only executor: output, exit code, time limit, and errors that say enough."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from stepdown.errors import CommandError
from stepdown.run import LAST_WORDS, Completed, background, passthrough, run

PYTHON = sys.executable


def test_output_and_exit_code_come_back() -> None:
    """Both streams, apart."""
    program = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    argv = (PYTHON, "-c", program)
    assert Completed(argv, 3, "out\n", "err\n") == run(argv, check=False)


def test_the_environment_is_added_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process has is there too, and a named one wins."""
    monkeypatch.setenv("STEPDOWN_ONE", "1")
    monkeypatch.setenv("STEPDOWN_TWO", "2")
    program = "import os; print(os.environ['STEPDOWN_ONE'], os.environ['STEPDOWN_TWO'])"
    assert "1 two\n" == run((PYTHON, "-c", program), env={"STEPDOWN_TWO": "two"}).stdout


def test_a_program_without_input_sees_its_end() -> None:
    """It never waits for this terminal."""
    program = "import sys; print(repr(sys.stdin.read()))"
    assert ["''\n", "'given'\n"] == [run((PYTHON, "-c", program), stdin=text).stdout for text in (None, "given")]


def test_a_failure_repeats_the_last_words() -> None:
    """The end of stderr, no more than fits an error."""
    program = "import sys; print('x' * 5000 + ' the reason', file=sys.stderr); sys.exit(7)"
    with pytest.raises(CommandError) as failure:
        run((PYTHON, "-c", program))
    assert 7 == failure.value.returncode
    assert str(failure.value).endswith("the reason")
    assert LAST_WORDS == len(failure.value.output)
    assert (PYTHON, "-c", program) == failure.value.argv


def test_a_failure_that_says_nothing_on_stderr_repeats_stdout() -> None:
    """Some programs print their errors there."""
    with pytest.raises(CommandError, match="exit 1: the reason"):
        run((PYTHON, "-c", "import sys; print('the reason'); sys.exit(1)"))


def test_arguments_after_the_third_are_not_shown() -> None:
    """They may hold what nobody should read."""
    with pytest.raises(CommandError) as failure:
        run((PYTHON, "-c", "import sys; sys.exit(1)", "a-secret"))
    assert "a-secret" not in str(failure.value)


def test_a_missing_program_is_named() -> None:
    """127, as a shell says."""
    with pytest.raises(CommandError, match=r"^no-such-program: no such program on PATH$") as failure:
        run(("no-such-program", "--version"), check=False)
    assert 127 == failure.value.returncode


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    """126, as a shell says; a docker client may be there without the right to run it."""
    (tmp_path / "docker").write_text("no program")
    with pytest.raises(CommandError, match="docker: ") as failure:
        run((str(tmp_path / "docker"), "version"), check=False)
    assert 126 == failure.value.returncode


def test_a_program_that_does_not_end_is_ended() -> None:
    """124, as timeout(1) says."""
    with pytest.raises(CommandError, match=r"no end after 0\.2 s") as failure:
        run((PYTHON, "-c", "import signal; signal.pause()"), timeout_seconds=0.2)
    assert 124 == failure.value.returncode


def test_bytes_that_are_no_text_are_no_error() -> None:
    """Logs of containers hold anything."""
    assert "\ufffd\n" == run((PYTHON, "-c", "import sys; sys.stdout.buffer.write(b'\\xff\\n')")).stdout


def test_passthrough_gives_the_exit_code(capfd: pytest.CaptureFixture[str]) -> None:
    """And the output goes where this process's own goes."""
    assert 5 == passthrough((PYTHON, "-c", "import sys; print('shown'); sys.exit(5)"))
    assert "shown\n" == capfd.readouterr().out
    with pytest.raises(CommandError, match="no such program"):
        passthrough(("no-such-program",))


def test_what_goes_on_behind_is_not_waited_for(tmp_path: Path) -> None:
    """It has nothing of this terminal; one that cannot be started is told at once."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = "import sys; print(sys.stdin.read(), 'shown'); open(sys.argv[1], 'w').write('done')"
    background((PYTHON, "-c", program, str(pipe)))  # it cannot end before somebody reads
    assert "done" == pipe.read_text()
    with pytest.raises(CommandError, match="no such program"):
        background(("no-such-program",))
