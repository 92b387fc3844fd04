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
SERVER = """
import json, os
from providers.openai_compatible import seen
def run():
    names = ("CUSTOM_API_URL", "CUSTOM_MODELS_CONFIG_PATH", "DEFAULT_MODEL")
    print(json.dumps({"proxy": seen(), **{name: os.environ.get(name) for name in names}}))
"""


def launch(folder: Path, provider: str = PROVIDER, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the launcher as the container does."""
    modules = folder / "modules"
    (modules / "providers").mkdir(parents=True)
    for name, text in (("providers/__init__", ""), ("providers/openai_compatible", provider), ("server", SERVER)):
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
