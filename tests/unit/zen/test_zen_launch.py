"""zen's launcher, with a server in the shape of the pinned one in its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LAUNCH = Path(__file__).resolve().parents[3] / "services" / "zen" / "launch.py"
PROXY = {"HTTP_PROXY": "http://10.231.1.3:3128", "HTTPS_PROXY": "http://10.231.1.3:3128"}
PROVIDER = """
import contextlib, os
@contextlib.contextmanager
def suppress_env_vars(*names):
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    yield
    os.environ.update(kept)
def seen():
    with suppress_env_vars("HTTP_PROXY", "HTTPS_PROXY"):
        return {name: os.environ.get(name) for name in ("HTTP_PROXY", "HTTPS_PROXY")}
"""
FILES = """
from pathlib import Path
def resolve_and_validate_path(path):
    return Path(path).resolve()
def read(path):
    try:
        return resolve_and_validate_path(path).read_text()
    except PermissionError as error:
        return str(error)
"""
SERVER = """
import json, os
from providers.openai_compatible import seen
from utils.file_utils import read
def run():
    names = ("CUSTOM_API_URL", "CUSTOM_MODELS_CONFIG_PATH", "DEFAULT_MODEL")
    files = {path: read(path) for path in os.environ.get("READ", "").split()}
    print(json.dumps({"proxy": seen(), "files": files, **{name: os.environ.get(name) for name in names}}))
"""


def launch(
    folder: Path, provider: str = PROVIDER, files: str = FILES, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the launcher as the container does."""
    modules = folder / "modules"
    (modules / "providers").mkdir(parents=True)
    (modules / "utils").mkdir()
    stand_ins = {"providers/openai_compatible": provider, "utils/file_utils": files, "server": SERVER}
    for name, text in {"providers/__init__": "", "utils/__init__": "", **stand_ins}.items():
        (modules / f"{name}.py").write_text(text)
    settings = {"PATH": os.defpath, "HOME": str(folder), "PYTHONPATH": str(modules), **environment}
    return subprocess.run(
        [sys.executable, str(LAUNCH)], env=settings, capture_output=True, text=True, check=False, timeout=30
    )


def told(folder: Path, **environment: str) -> dict[str, Any]:
    """What the server finds."""
    done = launch(folder, **environment)
    assert (0, "") == (done.returncode, done.stderr)
    return dict(json.loads(done.stdout))


def test_the_provider_sees_the_proxy_that_it_would_hide(tmp_path: Path) -> None:
    """In a container it is the only way to the models."""
    assert PROXY == told(tmp_path, **PROXY)["proxy"]


@pytest.mark.parametrize("provider", ["def seen(): ...", "suppress_env_vars = None\ndef seen(): ..."])
def test_a_server_that_hides_it_in_another_way_does_not_start(tmp_path: Path, provider: str) -> None:
    """A new version of the package is refused at its first deploy, and not noticed at its first call."""
    done = launch(tmp_path, provider, **PROXY)
    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("launch.py: this pal-mcp-server hides proxies in another way")


def test_the_server_reads_no_file_but_its_own(tmp_path: Path) -> None:
    """By no path: in a container that it shares, others' files are near, and a model endpoint too."""
    (tmp_path / "home").mkdir()
    own, other, link = tmp_path / "home" / "own", tmp_path / "other", tmp_path / "home" / "link"
    own.write_text("mine")
    other.write_text("theirs")
    link.symlink_to(other)
    upwards = f"{tmp_path}/home/../other"
    home = str(tmp_path / "home")
    found = told(tmp_path, HOME=home, READ=f"{own} {other} {link} {upwards}")["files"]
    refused = {path: f"{path}: zen reads files below {home} only" for path in (str(other), str(link), upwards)}
    assert {str(own): "mine", **refused} == found


@pytest.mark.parametrize("files", ["def read(path): ...", "resolve_and_validate_path = None\ndef read(path): ..."])
def test_a_server_that_judges_paths_in_another_way_does_not_start(tmp_path: Path, files: str) -> None:
    """As above: refused at the first deploy of a new version."""
    done = launch(tmp_path, files=files, **PROXY)
    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("launch.py: this pal-mcp-server judges paths in another way")


def test_the_models_are_in_a_file_before_the_server_is_imported(tmp_path: Path) -> None:
    """The first is the default; the file is in the home that the MCP host gives the server."""
    found = told(tmp_path, ZEN_MODELS=" one, two ,", CUSTOM_API_URL="http://models.example/v1")
    listed = json.loads(Path(found["CUSTOM_MODELS_CONFIG_PATH"]).read_text())["models"]
    assert ["one", "two"] == [model["model_name"] for model in listed]
    assert ("one", "http://models.example/v1") == (found["DEFAULT_MODEL"], found["CUSTOM_API_URL"])
    assert str(tmp_path) == str(Path(found["CUSTOM_MODELS_CONFIG_PATH"]).parent)


def test_without_settings_the_server_starts_all_the_same(tmp_path: Path) -> None:
    """It lists its tools; an empty URL is none."""
    found = told(tmp_path, CUSTOM_API_URL="", ZEN_MODELS="")
    assert [None, None] == [found["CUSTOM_API_URL"], found["DEFAULT_MODEL"]]
