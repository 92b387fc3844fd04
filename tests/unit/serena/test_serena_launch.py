"""serena's launcher, with modules in the shape of the pinned ones in their place."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LAUNCH = Path(__file__).resolve().parents[3] / "services" / "serena" / "launch.py"
LANGUAGE_SERVER = "class BasedPyrightLanguageServer:\n    _TIMEOUT_FOR_INITIAL_ANALYSIS = 60.0\n"
CLI = """
import json, os
from solidlsp.language_servers.basedpyright_server import BasedPyrightLanguageServer
def top_level(arguments):
    reporting = os.environ.get("SERENA_USAGE_REPORTING")
    seconds = BasedPyrightLanguageServer._TIMEOUT_FOR_INITIAL_ANALYSIS
    print(json.dumps({"arguments": arguments, "reporting": reporting, "seconds": seconds}))
"""
# the launcher as the container runs it, but for the folder that a container has at a fixed path
START = """
import pathlib, runpy, sys
launch, data = sys.argv[1:]
found = runpy.run_path(launch)
found["main"].__globals__["DATA"] = pathlib.Path(data)
found["main"]()
"""
# threads have one process id, as the first processes of two containers have
AT_ONCE = """
import json, os, pathlib, runpy, sys
from concurrent.futures import ThreadPoolExecutor
launch, data = sys.argv[1:]
prepare = runpy.run_path(launch)["prepare"]
with ThreadPoolExecutor(8) as pool:
    done = list(pool.map(lambda _: prepare(pathlib.Path(os.environ["HOME"]), pathlib.Path(data)), range(200)))
print(json.dumps({"prepared": done}))
"""


def begin(folder: Path, program: str = START) -> subprocess.Popen[str]:
    """Start the launcher, with a home and a data folder below `folder`."""
    modules, home = folder / "modules", folder / "home"
    for name, text in (
        ("serena/__init__", ""),
        ("serena/cli", CLI),
        ("solidlsp/__init__", ""),
        ("solidlsp/language_servers/__init__", ""),
        ("solidlsp/language_servers/basedpyright_server", LANGUAGE_SERVER),
    ):
        path = modules / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.defpath, "HOME": str(home), "PYTHONPATH": str(modules), "SERENA_USAGE_REPORTING": "true"}
    argv = [sys.executable, "-c", program, str(LAUNCH), str(folder / "data")]
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(started: subprocess.Popen[str]) -> dict[str, Any]:
    """What the server finds."""
    out, errors = started.communicate(timeout=30)
    assert (0, "") == (started.returncode, errors)
    return dict(json.loads(out))


@pytest.fixture
def launched(tmp_path: Path) -> Path:
    """A folder with the home and the data of a server that was started."""
    told(begin(tmp_path))
    return tmp_path


def settings(folder: Path) -> dict[str, Any]:
    """The global settings; a parser of YAML reads JSON too."""
    return dict(json.loads((folder / "home" / ".serena" / "serena_config.yml").read_text()))


def test_the_server_is_started_on_the_whole_workspace(tmp_path: Path) -> None:
    """In the context that cannot change the project, without a dashboard."""
    command, *options = told(begin(tmp_path))["arguments"]
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert "start-mcp-server" == command
    assert ("/workspace", "ide", "false") == (
        given["--project"],
        given["--context"],
        given["--enable-web-dashboard"],
    )


def test_usage_is_not_reported(tmp_path: Path) -> None:
    """Whatever the environment said."""
    assert "false" == told(begin(tmp_path))["reporting"]


def test_an_empty_workspace_is_not_waited_for(tmp_path: Path) -> None:
    """Its files are never counted, and the first call would wait a minute for that."""
    assert told(begin(tmp_path))["seconds"] <= 2


def test_no_project_is_trusted(launched: Path) -> None:
    """The key is there and empty: without it every project is."""
    found = settings(launched)
    assert ([], []) == (found["trusted_project_path_patterns"], found["projects"])


def test_nothing_is_opened_for_a_person(launched: Path) -> None:
    """No dashboard, no window of logs."""
    found = settings(launched)
    assert (False, False) == (found["web_dashboard"], found["gui_log_window"])


def test_only_the_global_settings_name_a_program(launched: Path) -> None:
    """A client can write to the project's, by way of the workspace or of memories."""
    (language,) = settings(launched)["ls_specific_settings"].values()
    assert {"ls_path": "/opt/serena/basedpyright-langserver"} == language
    project = json.loads((launched / "data" / "project.yml").read_text())
    assert {"project_name", "languages"} == set(project)


def test_both_settings_name_one_language(launched: Path) -> None:
    """A path for another one would leave serena to fetch its own server."""
    project = json.loads((launched / "data" / "project.yml").read_text())
    assert project["languages"] == list(settings(launched)["ls_specific_settings"])


def test_settings_belong_to_the_server_alone(launched: Path) -> None:
    """Files and folders."""
    modes = {
        path.relative_to(launched).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for below in ("home/.serena", "data")
        for path in (launched / below).rglob("*")
    }
    assert {
        "home/.serena/serena_config.yml": 0o600,
        "home/.serena/memories": 0o700,
        "home/.serena/memories/global": 0o700,
        "data/project.yml": 0o600,
        "data/memories": 0o700,
        "data/global": 0o700,
    } == modes


def test_memories_outlive_the_home(launched: Path) -> None:
    """Those of the project lie with the data, and so do the ones named global/…."""
    assert str(launched / "data") == settings(launched)["project_serena_folder_location"]
    (launched / "home" / ".serena" / "memories" / "global" / "style.md").write_text("tabs")
    assert "tabs" == (launched / "data" / "global" / "style.md").read_text()
    for path in sorted((launched / "home").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    told(begin(launched))
    assert "tabs" == (launched / "home" / ".serena" / "memories" / "global" / "style.md").read_text()


def test_a_second_start_undoes_what_was_changed(launched: Path) -> None:
    """Settings are written anew; memories stay; no half-written file is left."""
    before = settings(launched)
    (launched / "home" / ".serena" / "serena_config.yml").write_text('{"web_dashboard": true}')
    (launched / "data" / "project.yml").write_text("{}")
    (launched / "data" / "memories" / "one.md").write_text("kept")
    told(begin(launched))
    assert before == settings(launched)
    assert {"project_name", "languages"} == set(json.loads((launched / "data" / "project.yml").read_text()))
    assert "kept" == (launched / "data" / "memories" / "one.md").read_text()
    assert ["memories", "serena_config.yml"] == sorted(p.name for p in (launched / "home" / ".serena").iterdir())
    assert ["global", "memories", "project.yml"] == sorted(path.name for path in (launched / "data").iterdir())


def test_a_reader_sees_one_whole_file(launched: Path) -> None:
    """The file is replaced in one step: who has it open reads the old one to its end."""
    path = launched / "home" / ".serena" / "serena_config.yml"
    before, text = path.stat().st_ino, path.read_text()
    with path.open() as reader:
        told(begin(launched))
        assert text == reader.read()
    assert before != path.stat().st_ino


def test_many_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Two releases share the data folder for a while, and their launchers may have one process id."""
    assert 200 == len(told(begin(tmp_path, AT_ONCE))["prepared"])
    assert ["memories", "serena_config.yml"] == sorted(p.name for p in (tmp_path / "home" / ".serena").iterdir())
    assert ["global", "memories", "project.yml"] == sorted(path.name for path in (tmp_path / "data").iterdir())
