"""`state.json`: the plan and release that the last whole switch left this host on."""

from __future__ import annotations

from typing import Any

from stepdown.errors import StepdownError, sentence
from stepdown.host.home import Home, read_json


def read_state(home: Home) -> dict[str, Any] | None:
    """What is on record, or None before the first switch."""
    return dict(read_json(home.state)) if home.state.is_file() else None


def require_state(home: Home) -> dict[str, Any]:
    """What is on record; StepdownError where no plan was ever active."""
    state = read_state(home)
    if state is None:
        raise StepdownError(sentence(str(home.path), "no plan is active", run="./run deploy --plan=C"))
    return state
