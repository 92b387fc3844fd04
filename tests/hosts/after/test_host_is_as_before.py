"""After `state: absent`: the host is as it was, and check mode foretold what the runs did."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from testinfra.host import Host

FOLDER = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
SNAPSHOT = Path(__file__).resolve().parents[1] / "snapshot.py"


@pytest.fixture(scope="module")
def pair(host: Host) -> tuple[dict, dict]:
    """The host before the role came, and now."""
    now = json.loads(host.check_output("python3 -c %s", SNAPSHOT.read_text()))
    return json.loads((FOLDER / "before.json").read_text()), now


@pytest.mark.parametrize(
    "what",
    [
        "packages",
        "units",
        "active",
        "users",
        "groups",
        "links",
        "tables",
        "firewall",
        "sysctl",
        "engine",
        "docker",
        "files",
    ],
)
def test_the_host_is_as_it_was(pair: tuple[dict, dict], what: str) -> None:
    """What the role made is gone, what was there before is as it was."""
    before, now = pair
    assert before[what] == now[what]


def test_check_mode_foretells_exactly_what_changes() -> None:
    """On the fresh host the same tasks, by name; on the deployed one none."""
    runs: list[tuple[bool, list[str]]] = []
    of_the_role = False
    for row in map(json.loads, (FOLDER / "changes.jsonl").read_text().splitlines()):
        if "playbook" in row:
            of_the_role = row["playbook"] == "converge.yml"
            runs += [(row["check"], [])] if of_the_role else []
        elif of_the_role:
            runs[-1][1].append(row["changed"])
    assert [True, False, False, True] == [check for check, _ in runs]
    foretold, done, again, foretold_again = (changed for _, changed in runs)
    assert done, "the role changed nothing on a fresh host"
    assert sorted(foretold) == sorted(done)
    assert ([], []) == (again, foretold_again)
