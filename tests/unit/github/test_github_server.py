"""github as the MCP host gets it: settings, and the probe of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from github_mcp.server import create
from github_mcp.settings import PUBLIC_API, Settings, from_environment
from mcp_host.config import Bounds, NativeServerConfig, Probe
from mcp_host.errors import ConfigError, StartError
from mcp_host.metrics import Metrics
from mcp_host.native import Native
from mcp_host.supervisor import Timing

from stepdown.catalog import Catalog
from tests.doubles.github_api import GitHubApi

DEFAULT = Settings(PUBLIC_API, True, "", "", Path("/run/secrets/github"))
EMPTY = dict.fromkeys(("GITHUB_API_URL", "GITHUB_READ_ONLY", "GITHUB_APP_ID", "GITHUB_APP_INSTALLATION_ID"), "")
URL = "GITHUB_API_URL: should be like https://api.github.com"


@pytest.fixture
def hosted(catalog: Catalog, secrets: Path) -> Native:
    """github as the catalogue has it, in a host."""
    server = catalog.servers["github"]
    probe = Probe(server.probe.tool, server.probe.arguments)
    config = NativeServerConfig(server.factory, Bounds(5, 5, 4), probe)
    return Native("github", config, Metrics(), Timing())


@pytest.mark.anyio
@pytest.mark.parametrize("token", [True, False])
async def test_the_probe_needs_no_github(
    hosted: Native, api: GitHubApi, secrets: Path, monkeypatch: pytest.MonkeyPatch, token: bool
) -> None:
    """Nor credentials: a deploy is proved by it, and no call of the API is spent on it."""
    monkeypatch.setenv("GITHUB_API_URL", "https://127.0.0.1:9")
    if not token:
        (secrets / "token").unlink()
    async with hosted.live() as life:
        assert life.remark is None
        await life.ping()
    assert [] == api.seen()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("file", "variables", "said"),
    [
        ("no certificate", {}, "ca: holds no certificates in PEM form"),
        ("", {"GITHUB_READ_ONLY": "no"}, "github: GITHUB_READ_ONLY: is 'no' (known: true, false)"),
    ],
)
async def test_what_is_wrong_at_the_start_is_told_by_the_host(
    hosted: Native, secrets: Path, monkeypatch: pytest.MonkeyPatch, file: str, variables: dict[str, str], said: str
) -> None:
    """In the server's own words: the operator sees them in the log."""
    (secrets / "ca").write_text(file) if file else (secrets / "ca").unlink()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StartError) as refused:
        async with hosted.live():
            pytest.fail("started")
    assert said in str(refused.value)


def test_the_factory_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may look at a server that it does not start."""
    monkeypatch.setenv("MCP_HOST_SECRETS_DIR", "/nowhere")
    create()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, DEFAULT),
        (EMPTY, DEFAULT),
        ({"GITHUB_API_URL": "https://ghe.example/api/v3/"}, replace(DEFAULT, api_url="https://ghe.example/api/v3")),
        ({"GITHUB_READ_ONLY": "False"}, replace(DEFAULT, read_only=False)),
        (
            {"GITHUB_APP_ID": "12", "GITHUB_APP_INSTALLATION_ID": "34"},
            replace(DEFAULT, app_id="12", installation_id="34"),
        ),
    ],
)
def test_settings_come_from_the_environment(variables: Mapping[str, str], expected: Settings) -> None:
    """Compose hands empty text over for what is not set."""
    assert expected == from_environment(variables)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"GITHUB_API_URL": "http://api.github.com"}, URL),
        ({"GITHUB_API_URL": "https://"}, URL),
        ({"GITHUB_API_URL": "https://me:hidden@ghe.example"}, URL),
        ({"GITHUB_API_URL": "https://ghe.example/api/v3?x=1"}, URL),
        ({"GITHUB_API_URL": "https://ghe.example:port"}, URL),
        ({"GITHUB_READ_ONLY": "0"}, "GITHUB_READ_ONLY: is '0' (known: true, false)"),
        ({"GITHUB_APP_ID": "Iv1.x", "GITHUB_APP_INSTALLATION_ID": "1"}, "GITHUB_APP_ID: should be a number"),
        ({"GITHUB_APP_ID": "1"}, "one is set without the other; set both"),
    ],
)
def test_a_wrong_variable_stops_the_start(variables: Mapping[str, str], said: str) -> None:
    """With its name, and never with what may be a password."""
    with pytest.raises(ConfigError) as refused:
        from_environment(variables)
    assert said in str(refused.value)
    assert "hidden" not in str(refused.value)
