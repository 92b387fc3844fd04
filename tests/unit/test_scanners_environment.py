"""The scanners' environment is made once from its lock, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepdown.errors import CommandError
from stepdown.scan.programs import ENVIRONMENT
from stepdown.scan.scanners import load_scanners
from stepdown.scanners_environment import FOLDER, LOCK, STAMP, ensure, fetch_database


@pytest.fixture(autouse=True)
def no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is named from outside."""
    monkeypatch.delenv(ENVIRONMENT, raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout whose lock holds nothing, so that nothing has to be fetched."""
    (tmp_path / LOCK).parent.mkdir(parents=True)
    (tmp_path / LOCK).write_text("# nothing\n")
    return tmp_path


def test_it_is_made_on_first_use_and_again_when_the_lock_changes(root: Path) -> None:
    """In between nothing is done, and nothing said."""
    said: list[str] = []
    made = []
    for lock in ("# nothing\n", "# nothing\n", "# other\n"):
        (root / LOCK).write_text(lock)
        folder = ensure(root, said.append)
        made.append((folder / STAMP).stat().st_mtime_ns)
        assert (root / FOLDER, True) == (folder, os.access(folder / "bin" / "python", os.X_OK))
    assert (True, False) == (made[0] == made[1], made[1] == made[2])
    assert ["installing the locked scanners into .scanners"] * 2 == said


def test_one_that_was_never_finished_is_made_anew(root: Path) -> None:
    """What was left of it is gone."""
    (root / FOLDER / "bin").mkdir(parents=True)
    (root / FOLDER / "bin" / "half").touch()
    folder = ensure(root, lambda _: None)
    assert (False, True) == ((folder / "bin" / "half").exists(), (folder / STAMP).is_file())


def test_one_that_cannot_be_made_is_an_error_each_time(root: Path) -> None:
    """Half an environment never counts."""
    (root / LOCK).write_text("there-is-no-such-package==1\n")  # and it has no hash
    for _ in range(2):
        with pytest.raises(CommandError):
            ensure(root, lambda _: None)


def test_one_that_is_named_is_taken_as_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in heimdall's image."""
    monkeypatch.setenv(ENVIRONMENT, "/opt/scanners")
    assert Path("/opt/scanners") == ensure(root, lambda _: None)
    assert not (root / FOLDER).exists()


@pytest.mark.usefixtures("scanners_environment")
def test_a_database_that_cannot_be_fetched_is_none_in_words(tmp_path: Path) -> None:
    """One that is there from before is used; how old it may be, its user decides."""
    trivy = next(row for row in load_scanners() if row.name == "trivy-vulnerabilities")
    answer = fetch_database(trivy, "127.0.0.1:9/trivy-db:2", tmp_path)
    assert isinstance(answer, str) and answer.startswith("it cannot be fetched: ")
    (tmp_path / "db").mkdir(exist_ok=True)
    (tmp_path / "db" / "trivy.db").touch()
    assert tmp_path / "db" == fetch_database(trivy, "127.0.0.1:9/trivy-db:2", tmp_path)
