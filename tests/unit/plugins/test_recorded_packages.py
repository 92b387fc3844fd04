"""The module that installs packages and knows what came with them, with a package manager of two shell scripts.

A real one is asked by the scenarios of docker_engine and host_baseline.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MODULE = Path(__file__).resolve().parents[3] / "plugins/modules/recorded_packages.py"
QUERY = """#!/bin/sh
while read -r name; do echo "installed $name"; done <"$STORE/there"; echo "config-files gone"
"""
APT = """#!/bin/sh
echo "$@" >>"$STORE/calls"
case "$*" in
*--simulate*) cat "$STORE/simulated" ;;
*install*) [ ! -e "$STORE/broken" ] || { echo E: no space left >&2; echo half >>"$STORE/there"; exit 100; }
    printf 'engine\\nlibrary\\n' >>"$STORE/there" ;;
*purge*) echo bash >"$STORE/there" ;;
esac
"""


@dataclass(frozen=True)
class Host:
    """A package manager's files, and the module run against them."""

    store: Path

    @property
    def record(self) -> Path:
        return self.store / "lib" / "record.json"

    def apply(self, **arguments: Any) -> dict[str, Any]:
        given = {"record": str(self.record), "_ansible_remote_tmp": str(self.store), **arguments}
        environment = {**os.environ, "STORE": str(self.store), "PATH": f"{self.store}:/usr/bin:/bin"}
        done = subprocess.run(
            [sys.executable, str(MODULE)],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return dict(json.loads(done.stdout))

    def calls(self) -> list[str]:
        path = self.store / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host with bash alone."""
    for name, text in (("dpkg-query", QUERY), ("apt-get", APT)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "there").write_text("bash\n")
    (tmp_path / "simulated").write_text("")
    return Host(tmp_path)


def test_what_came_along_is_recorded(host: Host) -> None:
    """Not only what was asked for, and not what was there."""
    done = host.apply(name=["engine", "bash"], facts={"was_there": ["data"]})
    assert (True, ["engine", "library"]) == (done["changed"], done["packages"])
    assert {"packages": ["engine", "library"], "was_there": ["data"]} == json.loads(host.record.read_text())
    assert host.calls()[-1].endswith(" engine")


def test_a_second_run_changes_nothing(host: Host) -> None:
    """Nor asks the package archive."""
    host.apply(name=["engine"])
    before = host.calls()
    assert not host.apply(name=["engine"], facts={"was_there": ["other"]})["changed"]
    assert before == host.calls()


def test_check_mode_says_what_is_missing_and_asks_nobody(host: Host) -> None:
    """A package archive is outside."""
    done = host.apply(name=["engine", "bash"], _ansible_check_mode=True)
    assert (True, ["engine"]) == (done["changed"], done["packages"])
    assert [] == host.calls()
    assert not host.record.exists()


def test_what_came_before_a_failure_is_recorded(host: Host) -> None:
    """So that absent can take it away."""
    (host.store / "broken").touch()
    done = host.apply(name=["engine"])
    assert done["failed"]
    assert "no space left" in done["msg"]
    assert ["half"] == json.loads(host.record.read_text())["packages"]


def test_absent_removes_what_is_recorded_and_the_record(host: Host) -> None:
    """And says what the record remembered."""
    host.apply(name=["engine"], facts={"was_there": ["data"]})
    (host.store / "simulated").write_text("Purg engine [1]\nPurg library [2]\n")
    done = host.apply(state="absent")
    assert (True, ["engine", "library"], ["data"]) == (done["changed"], done["packages"], done["facts"]["was_there"])
    assert not host.record.parent.exists()
    assert not host.apply(state="absent")["changed"]


@pytest.mark.parametrize("check", [False, True])
def test_packages_of_others_are_not_taken_along(host: Host, check: bool) -> None:
    """apt would remove them without a word."""
    host.apply(name=["engine"])
    (host.store / "simulated").write_text("Purg engine [1]\nRemv tool-of-others [2]\n")
    done = host.apply(state="absent", _ansible_check_mode=check)
    assert done["failed"]
    assert "tool-of-others came later and need what is recorded" in done["msg"]
    assert host.record.exists()
    assert not any("purge" in call and "simulate" not in call for call in host.calls())
