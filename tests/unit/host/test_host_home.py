"""The layout of <home>, and files that are old or new and never between."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from stepdown.errors import StepdownError
from stepdown.host import home as module
from stepdown.host.home import Home, read_json
from stepdown.shared import EDGE_FOLDERS


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_reader_sees_the_old_or_the_new(home: Home) -> None:
    """Writers replace the file a hundred times; a reader beside them never sees half of one."""
    path = home.path / "state.json"
    texts = {letter * 100_000 for letter in "ab"}
    home.write(path, "a" * 100_000)
    ended = threading.Event()

    def write() -> None:
        try:
            for turn in range(100):
                home.write(path, "ab"[turn % 2] * 100_000)
        finally:
            ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not ended.is_set():
        seen.add(path.read_text())
    writer.join()
    assert set() == seen - texts
    assert "b" * 100_000 == path.read_text()


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o644])
def test_a_file_has_the_mode_that_was_asked_for(home: Home, mode: int) -> None:
    """Whatever the umask, and whatever mode the file had before."""
    before = os.umask(0o077)
    try:
        for _ in range(2):
            home.write(home.path / "file", "text", mode)
            assert mode == _mode(home.path / "file")
    finally:
        os.umask(before)


def test_a_secret_is_at_no_moment_readable_by_others(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary file is 0600 before it has content; only then its own mode."""
    seen = []
    chmod = Path.chmod

    def watched(path: Path, mode: int) -> None:
        seen.append((_mode(path), path.read_text()))
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", watched)
    home.write(home.path / "token", "secret", 0o400)
    assert [(0o600, "secret")] == seen


def test_a_failed_write_leaves_the_old_file_and_no_temporary(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk shows itself at fsync at the latest."""
    path = home.path / "state.json"
    home.write(path, "old")
    before = sorted(home.path.iterdir())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        home.write(path, "new")
    assert "old" == path.read_text()
    assert before == sorted(home.path.iterdir())


def test_a_write_over_a_directory_leaves_no_temporary(home: Home) -> None:
    """The last step may fail too."""
    (home.path / "folder").mkdir()
    before = sorted(home.path.iterdir())
    with pytest.raises(OSError, match=r"[Ii]s a directory"):
        home.write(home.path / "folder", "text")
    assert before == sorted(home.path.iterdir())


def test_prepare_keeps_secrets_to_their_owner(home: Home) -> None:
    """0700 for secrets and the admin socket; others must read the edge's files."""
    sockets = [home.admin_socket(name).parent for name in EDGE_FOLDERS]
    private = (home.secrets, home.auth, home.secrets / "servers", *sockets)
    assert [0o700] * 5 == [_mode(path) for path in private]
    assert [0o755, 0o755] == [_mode(home.envoy_config(name)) for name in EDGE_FOLDERS]


def test_prepare_can_be_repeated(home: Home) -> None:
    """A second deploy finds all in place and keeps what is there."""
    home.write(home.auth / "tokens.json", "{}")
    home.prepare()
    assert "{}" == (home.auth / "tokens.json").read_text()


def test_containers_never_run_as_root(home: Home) -> None:
    """Where root deploys, <home> is handed to another owner first."""
    uid, gid = home.owner()
    assert 0 not in (uid, gid)
    expected = (10001, 10001) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    assert expected == (uid, gid)
    assert {(uid, gid)} == {(path.stat().st_uid, path.stat().st_gid) for path in home.path.rglob("*")}


def test_install_replaces_only_what_differs(home: Home, tmp_path: Path) -> None:
    """The answer is what a deploy reports as changed."""
    source = tmp_path / "agent"
    source.write_bytes(b"one")
    assert [True, False] == [home.install(source, home.agent) for _ in range(2)]
    source.write_bytes(b"two")
    assert True is home.install(source, home.agent)
    assert (b"two", 0o755) == (home.agent.read_bytes(), _mode(home.agent))


def test_purge_leaves_what_is_not_ours(home: Home) -> None:
    """<home> itself goes only when nothing else is in it."""
    home.instance.write_text("{}")
    (home.path / "notes.txt").write_text("mine")
    home.purge()
    assert [home.path / "notes.txt"] == list(home.path.iterdir())
    (home.path / "notes.txt").unlink()
    home.prepare()
    home.purge()
    assert not home.path.exists()


@pytest.mark.parametrize("begun", [(), ("inbox",)], ids=["as it was", "with what a role copied there"])
def test_a_folder_of_others_never_becomes_home(tmp_path: Path, begun: tuple[str, ...]) -> None:
    """Such as /: it keeps its owner, gets no folders, and a purge removes nothing there, whatever bears our names."""
    for name in ("etc", "run", "data", *begun):
        (tmp_path / name).mkdir()
    before = {path: path.stat() for path in (tmp_path, *tmp_path.iterdir())}
    home = Home(tmp_path)
    with pytest.raises(StepdownError, match=r"holds .*etc.*, which Stepdown did not make; name a folder of its own"):
        home.prepare()
    home.purge()
    assert before == {path: path.stat() for path in (tmp_path, *tmp_path.iterdir())}


def test_a_first_deploy_that_was_cut_short_is_taken_up_or_removed(home: Home) -> None:
    """Its folders are known without a record; so is what else lies in a checkout or on a disk of its own."""
    for name in ("dist", "lost+found"):
        (home.path / name).mkdir()
    home.prepare()
    home.purge()
    assert ["dist", "lost+found"] == sorted(path.name for path in home.path.iterdir())
    assert "" == home.refused()


def test_json_that_cannot_be_read_is_said_with_its_path(home: Home) -> None:
    """Missing and broken files are no traceback."""
    with pytest.raises(StepdownError, match=r"state\.json: is not there\. Run: \./run deploy"):
        read_json(home.state)
    home.write(home.state, "{")
    with pytest.raises(StepdownError, match=r"state\.json: is no valid JSON"):
        read_json(home.state)
