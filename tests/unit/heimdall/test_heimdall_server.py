"""heimdall as the MCP host gets it, with the real scanners."""

from __future__ import annotations

import pytest
from heimdall.server import create
from heimdall.settings import Settings
from mcp import Client

from stepdown.errors import UsageError

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The container's variables, with this test's folders."""
    monkeypatch.setenv("HEIMDALL_DATA", str(settings.data))
    monkeypatch.setenv("HEIMDALL_WORKSPACE", str(settings.workspace))
    monkeypatch.setenv("HEIMDALL_SCRATCH", str(settings.scratch))


@pytest.mark.usefixtures("scanners_environment")
async def test_the_factory_gives_a_working_server(settings: Settings) -> None:
    """Created without arguments, started by its lifespan, with the scanners of the catalogue."""
    native = create()
    assert native.lifespan is not None
    async with native.lifespan(), Client(native.server) as client:
        code = "import subprocess\nsubprocess.run(input(), shell=True)\n"
        result = await client.call_tool("scan_code", {"code": code, "filename": "tool.py"})
    scan = result.structured_content
    assert ("completed", None) == (scan["status"], scan["error"])
    assert ("B602", "high") in {(finding["rule"], finding["severity"]) for finding in scan["findings"]}


def test_the_factory_opens_nothing(settings: Settings) -> None:
    """Only the lifespan does: a host may look at a server that it does not start."""
    create()
    assert [] == list(settings.data.iterdir())


def test_a_wrong_variable_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its name."""
    monkeypatch.setenv("HEIMDALL_SCAN_SECONDS", "soon")
    with pytest.raises(UsageError, match="HEIMDALL_SCAN_SECONDS"):
        create()
