"""Rolling back: to what was proved good and nothing else, and only where all of it is still here."""

from __future__ import annotations

import json
import shutil

import pytest

from stepdown.host.release import staged
from stepdown.images import Built
from tests.drills.drill import MODEL, Drill
from tests.stack import docker, until

pytestmark = [pytest.mark.engine, pytest.mark.mcp_integration]


def test_a_rollback_goes_to_the_last_release_proved_good(drill: Drill) -> None:
    """Over one that served and never was proved; the one it left is bad, and is not gone back to."""
    since = drill.mark()
    good = drill.bring("C", drill.stage(f"{MODEL},good"))
    drill.wait_for("proved", since, release=good)
    unproved = drill.stage(f"{MODEL},unproved", policy={"proved_after_seconds": 3600})
    drill.agent("switch", "--release", unproved)
    assert "watched" == drill.agent("status")["proof"]
    last = drill.stage(f"{MODEL},last", policy={"proved_after_seconds": 3600})
    drill.agent("switch", "--release", last)
    since = drill.mark()
    assert good == drill.agent("rollback", "--why", "it answers nonsense")["release"]
    drill.require_whole("C", good)
    (bad,) = drill.entries("bad", since=since)
    assert (last, True) == (bad["release"], good in bad["why"])
    assert good == drill.wait_for("proved", since)["release"]
    until(lambda: "proved" == drill.agent("status")["proof"], "status says that it is proved again")
    refused = drill.attempt("rollback", "--to", last)
    assert (1, True) == (refused.code, "marked bad" in refused.error), refused.error


def test_a_rollback_whose_images_are_gone_stops_nothing(drill: Drill) -> None:
    """It is refused before anything ends, and says which image to bring back."""
    other = json.loads((drill.folder / "release.json").read_text())["images"]["python"]["reference"]
    mine = f"stepdown/python:{drill.stack.name}"
    docker("tag", other, mine)
    identity = docker("image", "inspect", "--format", "{{.Id}}", mine).strip()
    since = drill.mark()
    good = drill.bring("C", drill.stage(images={"python": Built("python", mine, identity, False)}))
    drill.wait_for("proved", since, release=good)
    serving = drill.bring("C", drill.stage(f"{MODEL},model-two"))
    before = drill.stack.containers()
    docker("image", "rm", mine)
    with drill.load("C"):
        refused = drill.attempt("rollback", "--to", good)
    assert (1, True) == (refused.code, mine in refused.error), refused.error
    assert before == drill.stack.containers()
    drill.require_whole("C", serving)


def test_without_another_release_that_was_proved_a_rollback_says_so(drill: Drill) -> None:
    """There is nothing to go back to, and nothing is stopped."""
    only = drill.bring("C")
    for release in staged(drill.home):
        if release != only:
            shutil.rmtree(drill.home.releases / release)
    refused = drill.attempt("rollback")
    assert (1, True) == (refused.code, "was proved good and is still on this host" in refused.error), refused.error
    drill.require_whole("C", only)
