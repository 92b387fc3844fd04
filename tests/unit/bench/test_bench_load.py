"""The standard load is the same each time, and of this catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepdown import tool_lists
from stepdown.bench import load
from stepdown.catalog import Catalog


def test_the_repository_is_the_same_each_time(tmp_path: Path) -> None:
    """Or the figures of two runs could not be compared."""
    texts = []
    for name in ("one", "two"):
        load.write_repository(tmp_path / name)
        folder = tmp_path / name / load.REPOSITORY
        texts.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert texts[0] == texts[1]
    assert load.MODULES + 2 == len(texts[0])
    compile(texts[0][f"part_{load.MODULES}.py"], "part", "exec")


@pytest.mark.parametrize("server", load.WORK)
def test_the_work_is_asked_of_a_tool_that_the_server_has(root: Path, catalog: Catalog, server: str) -> None:
    """With arguments that the tool's schema knows."""
    assert server in catalog.servers
    tool, arguments = load.WORK[server]
    (found,) = (listed for listed in tool_lists.agreed(root, server) if listed["name"] == tool)
    assert set() == set(arguments) - set(found["inputSchema"]["properties"])
