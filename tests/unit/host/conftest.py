"""A <home> of a host, prepared."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepdown.host.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """The layout of <home>, empty."""
    made = Home(tmp_path / "home")
    made.prepare()
    return made
