"""What goes on when the command that was called has ended."""

from __future__ import annotations

import time

import pytest

from stepdown.host import behind
from stepdown.host.home import Home

AGENT = """
import os, sys
from pathlib import Path
here = Path(sys.argv[0]).parent
(here / "written").write_text(repr((sys.argv[1:], os.getsid(0) == os.getpid(), os.getcwd())))
(here / "written").rename(here / "told")
"""


def test_the_agent_of_the_host_is_started_in_a_session_of_its_own(home: Home) -> None:
    """The end of a terminal, or of the folder where it was called, does not end it."""
    home.write(home.agent, AGENT)
    behind.in_background(home, "watch")
    told, deadline = home.path / "told", time.monotonic() + 30
    while not told.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert repr((["--home", str(home.path), "watch"], True, "/")) == told.read_text()


def test_where_no_agent_lies_nothing_is_started(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as in a checkout, where nobody would end it."""
    monkeypatch.setattr(behind, "background", lambda _argv: pytest.fail("it starts"))
    behind.in_background(home, "watch")
