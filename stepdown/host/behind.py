"""Commands of the agent that go on when the one that was called has ended."""

from __future__ import annotations

import sys

from stepdown.errors import CommandError, sentence
from stepdown.host.home import Home
from stepdown.run import background


def in_background(home: Home, command: str) -> None:
    """Start a command of the agent that lies on this host; nothing where none does."""
    if not home.agent.is_file():
        return
    try:
        background((sys.executable, str(home.agent), "--home", str(home.path), command))
    except CommandError as error:  # what was asked for is done all the same
        print(sentence(command, f"could not be left running: {error}", run=f"stepdown.pyz {command}"), file=sys.stderr)
