"""The agent's command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepdown.errors import ChangedError, StepdownError, UsageError
from stepdown.host import app, break_glass
from stepdown.host.home import Home

NEEDED = {"preflight": ["{}"], "stage": ["--archive=a"], "images": ["--archive=a"], "secret": ["zen/key"]}


@pytest.mark.parametrize("name", [name for name, *_ in app.COMMANDS])
def test_every_command_has_help_and_parses(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its words are in its own help and in that of the program, and every command prints JSON."""
    words = {command: said for command, _, said in app.COMMANDS}[name]
    options = app._parser().parse_args([name, "--json", *NEEDED.get(name, [])])
    assert (name, True, True) == (options.command, options.json, callable(options.action))
    for arguments in ([name, "--help"], ["--help"]):
        with pytest.raises(SystemExit) as ended:
            app._parser().parse_args(arguments)
        assert 0 == ended.value.code
        assert words[:20] in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", app.MOVES)
def test_every_move_can_be_asked_first_and_has_a_reason(name: str) -> None:
    """The reason is told to whoever comes next, so there is always one."""
    options = app._parser().parse_args([name, "--check"])
    assert (True, f"{name} by hand") == (options.check, options.why)
    assert "office move" == app._parser().parse_args([name, "--why=office move"]).why


@pytest.mark.parametrize("arguments", [[], ["fly"], ["emergency", "--hours=long"], ["status", "--check"], ["secret"]])
def test_wrong_use_is_exit_code_2(arguments: list[str]) -> None:
    """Before anything is read or changed."""
    with pytest.raises(SystemExit) as ended:
        app.main(arguments)
    assert 2 == ended.value.code


@pytest.mark.parametrize("hours", ["0", "-1", "72.5", "nan", "inf"])
def test_an_emergency_is_bounded_in_time(home: Home, capsys: pytest.CaptureFixture[str], hours: str) -> None:
    """Who sets rules aside says for how long; nothing is opened otherwise."""
    assert UsageError.exit_code == app.main(["--home", str(home.path), "emergency", "--hours", hours])
    error = capsys.readouterr().err
    assert error.startswith(f"emergency: --hours={float(hours):g} should be more than 0, 72 at the most")
    assert None is break_glass.read(home)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (StepdownError("it broke"), 1, "it broke"),
        (UsageError("no such plan"), 2, "no such plan"),
        (ChangedError("half of it"), 3, "half of it"),
        (KeyboardInterrupt(), 1, "status: interrupted; what serves now: stepdown.pyz status"),
        (OSError(28, "No space left on device", "/x"), 3, "/x: No space left on device"),
        (PermissionError(13, "Permission denied", "/x"), 3, "/x: Permission denied; use the user that deployed"),
    ],
)
def test_every_failure_is_a_line_and_an_exit_code(
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    told: str,
) -> None:
    """No traceback for what is meant."""

    def fail(*_: Any) -> int:
        raise error

    monkeypatch.setattr(app, "COMMANDS", (("status", fail, "what is true now"),))
    assert code == app.main(["--home", str(home.path), "status"])
    assert f"{told}\n" == capsys.readouterr().err


def test_a_watch_of_nothing_ends_at_once(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """So does sending no notice."""
    where = ["--home", str(home.path)]
    assert [0, 0] == [app.main([*where, command, "--json"]) for command in ("watch", "notify")]
    assert [{"proof": None}, {"waiting": 0}] == [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_agent_works_on_the_folder_that_it_lies_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Unless it is told another one."""
    monkeypatch.delenv("STEPDOWN_HOME", raising=False)
    monkeypatch.setattr(app.sys, "argv", [str(tmp_path / "stepdown.pyz")])
    assert str(tmp_path.resolve()) == app._parser().parse_args(["status"]).home
    monkeypatch.setenv("STEPDOWN_HOME", "/elsewhere")
    assert "/elsewhere" == app._parser().parse_args(["status"]).home
