"""Reports on disk: all new ones or none, and none of a scanner that did not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepdown.errors import StepdownError, UsageError
from stepdown.scan.write_files import check_output, write_reports


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_reports_replace_those_before_and_remove_what_did_not_run_now(tmp_path: Path) -> None:
    """What is not ours stays."""
    write_reports(tmp_path / "r", {"one.sarif": b"1", "two.sarif": b"2"}, ["one.sarif", "two.sarif"])
    (tmp_path / "r" / "notes.txt").write_bytes(b"mine")
    removed = write_reports(tmp_path / "r", {"one.sarif": b"3"}, ["one.sarif", "two.sarif", "three.sarif"])
    assert (("two.sarif",), {"one.sarif": b"3", "notes.txt": b"mine"}) == (removed, _files(tmp_path / "r"))


def test_when_one_cannot_be_written_all_stay_as_they_were(tmp_path: Path) -> None:
    """No report of this scan stands beside one of the last."""
    write_reports(tmp_path, {"one.sarif": b"1"}, [])
    with pytest.raises(StepdownError, match="cannot be written"):
        write_reports(tmp_path, {"one.sarif": b"2", "no/such/folder.sarif": b"2"}, ["one.sarif"])
    assert {"one.sarif": b"1"} == _files(tmp_path)


def test_an_output_that_can_be_no_folder_is_refused(tmp_path: Path) -> None:
    """Before anything is scanned; one that is not there yet is made."""
    (tmp_path / "file").write_text("x")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="is no folder"):
            check_output(output)
    check_output(tmp_path / "new" / "newer")
    assert not (tmp_path / "new").exists()
