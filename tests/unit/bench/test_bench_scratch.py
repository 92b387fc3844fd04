"""An instance for a measurement leaves nothing behind."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from stepdown.bench.scratch import TRIES, scratch
from stepdown.errors import ChangedError, StepdownError
from tests.conftest import Staging

# The client of `staging`, and what a measurement asks beside that; it writes down which networks are taken away.
DOCKER = """#!/bin/sh
here=${0%/*}
case "$*" in
"version --format"*) echo 20.10.24 ;;
"compose version"*) ;;
"ps --all"*) ;;
"network ls --quiet --filter label=stepdown.instance="*) echo abc ;;
"network rm "*)
    if [ -s "$here/failures" ]; then sed -i 1d "$here/failures"; exit 130; fi
    echo "$3" >>"$here/removed" ;;
*) exec "$here/engine" "$@" ;;
esac
"""


@pytest.fixture
def tree(staging: Staging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout that was built, an engine, and a temporary folder of its own."""
    staging.archive()
    (staging.engine / "docker").rename(staging.engine / "engine")
    (staging.engine / "docker").write_text(DOCKER)
    (staging.engine / "docker").chmod(0o755)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join((str(staging.engine), "/usr/bin", "/bin")))  # for sed alone
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return staging.tree


def test_it_has_a_name_a_home_and_ports_of_its_own(tree: Path) -> None:
    """Two at once do not meet, nor does one meet what is deployed."""
    with scratch(tree) as one, scratch(tree) as two:
        instances = [made.target("A").instance for made in (one, two)]
        assert 2 == len({instance.name for instance in instances})
        assert 2 == len({instance.workspace for instance in instances})
        assert [2, 2] == [len({instance.port, instance.direct_port}) for instance in instances]
        assert {"scratch"} == {instance.name.partition("-")[0] for instance in instances}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_is_gone_whatever_ends_it(tree: Path, number: signal.Signals) -> None:
    """Ctrl-C, TERM and a closed terminal: <home> and networks go, and what a signal meant before it means again."""
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), scratch(tree):
        os.kill(os.getpid(), number)
    assert [] == list(Path(tempfile.gettempdir()).iterdir())
    assert ["abc"] == (tree.parent / "engine" / "removed").read_text().split()
    assert before == signal.getsignal(number)


def test_what_failed_inside_is_told_after_it_is_gone(tree: Path) -> None:
    """The error of the measurement, not of its cleaning."""
    with pytest.raises(ZeroDivisionError), scratch(tree):
        _ = 1 / 0
    assert [] == list(Path(tempfile.gettempdir()).iterdir())


def test_a_removal_that_is_interrupted_is_tried_again(tree: Path) -> None:
    """The Docker client ends on a second Ctrl-C, whatever it was told about signals."""
    (tree.parent / "engine" / "failures").write_text("once\n" * (TRIES - 1))
    with scratch(tree):
        pass
    assert ["abc"] == (tree.parent / "engine" / "removed").read_text().split()


def test_what_could_not_be_removed_is_told(tree: Path) -> None:
    """With the line that removes it later, and with the files that it needs."""
    (tree.parent / "engine" / "failures").write_text("once\n" * TRIES)
    with pytest.raises(ChangedError, match=r"is not wholly gone: .* Run: STEPDOWN_INSTANCE=") as failure, scratch(tree):
        pass
    home = str(failure.value).rpartition("STEPDOWN_HOME=")[2].split()[0]
    assert Path(home, "instance.json").is_file()


def test_a_checkout_that_was_not_built_says_so(tmp_path: Path) -> None:
    """There is nothing to measure yet."""
    with pytest.raises(StepdownError, match=r"release\.tar: is not there\. Run: \./run build"), scratch(tmp_path):
        pass
