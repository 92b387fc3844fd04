"""One archive of all bundles and one file of the agent: equal content, equal bytes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stepdown import release

if TYPE_CHECKING:
    from tests.conftest import Staging


@pytest.fixture(scope="module")
def source(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, so that packing writes nothing into this checkout."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copytree(root / "stepdown", tree / "stepdown", ignore=shutil.ignore_patterns("__pycache__"))
    return tree


def _agent(pyz: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the packed agent with nothing but the standard library: no environment, no site-packages."""
    argv = [sys.executable, "-I", "-S", str(pyz), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={}, cwd=pyz.parent, timeout=30)


def test_the_same_bundles_give_the_same_bytes(staging: Staging) -> None:
    """Whenever and in whatever order of files they were written."""
    first = staging.archive().read_bytes()
    for path in staging.tree.rglob("*"):
        os.utime(path, (1, 1))
    staging.archive().unlink()
    assert first == staging.archive().read_bytes()


def test_parcels_of_an_interrupted_deploy_are_forgotten(root: Path, staging: Staging) -> None:
    """Images that the role saved for a host, hundreds of megabytes; what is shipped stays."""
    named = re.search(r"__mcp_stack_parcel: \"(.*)\"", (root / "roles/mcp_stack/tasks/ship.yml").read_text())
    assert named
    archive = staging.archive()
    (archive.parent / named[1].replace("{{ inventory_hostname }}", "mcp1.example.net")).write_bytes(b"images")
    release.forget_parcels(staging.tree)
    assert [archive] == list(archive.parent.iterdir())


def test_images_are_named_as_compose_files_call_them(staging: Staging) -> None:
    """The images that containers run, and no image that others only build on."""
    named = release.name_images(staging.tree, staging.images).read_text()
    expected = {f"STEPDOWN_IMAGE_{name.upper()}": image.reference for name, image in staging.images.items()}
    for building_block in ("BASE", "MCP_HOST", "TOOLS"):
        del expected[f"STEPDOWN_IMAGE_{building_block}"]
    assert expected == dict(line.split("=") for line in named.splitlines())


def test_packing_again_does_not_touch_the_archive(staging: Staging) -> None:
    """What copies it to hosts sees that nothing changed."""
    archive = staging.archive()
    os.utime(archive, (1, 1))
    assert 1 == staging.archive().stat().st_mtime
    assert [archive] == list(archive.parent.iterdir())


def test_the_manifest_names_plans_images_and_every_file(staging: Staging, rendered: Mapping[str, str]) -> None:
    """Images that others only build on stay behind."""
    with tarfile.open(staging.archive()) as tar:
        entries = {member.name: member for member in tar.getmembers()}
        stream = tar.extractfile("manifest.json")
        assert stream
        manifest = json.load(stream)
    assert ["A", "B", "C", "D"] == manifest["plans"]
    assert {"python", "node", "whole", "gateway"} == set(manifest["images"])
    python = staging.images["python"]
    assert {"reference": python.reference, "id": python.id} == manifest["images"]["python"]
    assert {"zen": "0" * 64} == manifest["tools"]
    shipped = {name: text for name, text in rendered.items() if name not in ("README.md", "test/compose.yml")}
    assert {name: hashlib.sha256(text.encode()).hexdigest() for name, text in shipped.items()} == manifest["files"]
    assert {*shipped, "manifest.json"} == set(entries)
    assert {(0, 0, 0, 0o644)} == {(entry.uid, entry.gid, entry.mtime, entry.mode) for entry in entries.values()}


def test_tests_and_monitoring_are_no_part_of_a_release(staging: Staging) -> None:
    """Only the plans' bundles and the edge."""
    before = staging.archive().read_bytes()
    for name in ("test", "monitoring"):
        (staging.tree / "compose" / name).mkdir(exist_ok=True)
        (staging.tree / "compose" / name / "compose.yml").write_text("services: {}\n")
    assert before == staging.archive().read_bytes()


def test_the_same_sources_give_the_same_agent(source: Path) -> None:
    """Byte for byte, though the files have other times."""
    first = release.pack_agent(source).read_bytes()
    for path in source.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    release.pack_agent(source).unlink()
    assert first == release.pack_agent(source).read_bytes()


def test_the_agent_needs_only_the_standard_library(source: Path) -> None:
    """Isolated, without site-packages and without an environment, every command explains itself."""
    pyz = release.pack_agent(source)
    top = _agent(pyz, "--help")
    assert (0, "") == (top.returncode, top.stderr)
    for command in ("preflight", "stage", "secret", "switch", "converge", "status", "journal", "why", "down"):
        assert command in top.stdout
        shown = _agent(pyz, command, "--help")
        assert (0, "") == (shown.returncode, shown.stderr), command


def test_the_agent_holds_what_it_shares_and_nothing_else(source: Path) -> None:
    """No catalogue, no YAML, no control machine's side."""
    with zipfile.ZipFile(release.pack_agent(source)) as archive:
        names = archive.namelist()
    shared = {f"stepdown/{name}.py" for name in ("__init__", "commands", "errors", "run", "shared")}
    assert shared | {"__main__.py"} == {name for name in names if not name.startswith("stepdown/host/")}
    assert "stepdown/host/app.py" in names
    assert len(names) == len(set(names))


def test_the_agent_on_a_host_without_a_deploy_says_so(source: Path, tmp_path: Path) -> None:
    """One line, exit code 1, no traceback; JSON and text alike."""
    pyz = release.pack_agent(source)
    for words in (["status"], ["why"], ["converge"], ["down"], ["status", "--json"]):
        ended = _agent(pyz, "--home", str(tmp_path), *words)
        assert (1, "") == (ended.returncode, ended.stdout), words
        assert 1 == ended.stderr.count("\n"), ended.stderr
        assert "Run: ./run deploy --plan=C" in ended.stderr
    assert [] == list(tmp_path.iterdir())


def test_wrong_use_of_the_agent_is_exit_code_2(source: Path) -> None:
    """An unknown command, and none."""
    pyz = release.pack_agent(source)
    for words in (["fly"], [], ["stage"]):
        assert 2 == _agent(pyz, *words).returncode


OLD = "import sys; sys.version_info = (3, 9, 2); sys.argv = [{pyz!r}, 'why']; exec({main!r})"


def test_a_python_that_is_too_old_is_told_so(source: Path, tmp_path: Path) -> None:
    """One sentence instead of a traceback from the middle of the agent."""
    pyz = release.pack_agent(source)
    argv = [sys.executable, "-c", OLD.format(pyz=str(pyz), main=release.AGENT_MAIN)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)}, timeout=30)
    assert (1, "", 1) == (ended.returncode, ended.stdout, ended.stderr.count("\n"))
    assert ended.stderr.startswith("stepdown.pyz: Python 3.9 is too old, 3.11 or newer is needed. Install one")


def test_a_python_that_is_too_old_hands_over_to_a_newer_one(source: Path, tmp_path: Path) -> None:
    """Distributions keep the old one as python3 and have the newer one beside it."""
    pyz = release.pack_agent(source)
    newer = tmp_path / "python3.12"
    newer.write_text("#!/bin/sh\necho newer: $*\n")
    newer.chmod(0o755)
    argv = [sys.executable, "-c", OLD.format(pyz=str(pyz), main=release.AGENT_MAIN)]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)}, timeout=30)
    assert (0, f"newer: {pyz} why\n") == (ended.returncode, ended.stdout)


def test_an_empty_journal_is_no_error(source: Path, tmp_path: Path) -> None:
    """It says that it is empty."""
    ended = _agent(release.pack_agent(source), "--home", str(tmp_path), "journal")
    assert (0, "the journal is empty\n") == (ended.returncode, ended.stdout)


def test_compose_is_placed_beside_the_release_once(tmp_path: Path) -> None:
    """Executable, and left alone while it is the same."""
    binary = tmp_path / "docker-compose"
    binary.write_bytes(b"one")
    placed = release.place_compose(tmp_path, str(binary))
    assert tmp_path / ".stepdown" / "dist" / "docker-compose" == placed
    os.utime(placed, (1, 1))
    assert 1 == release.place_compose(tmp_path, str(binary)).stat().st_mtime
    assert 0o111 == placed.stat().st_mode & 0o111
    binary.write_bytes(b"two")
    assert b"two" == release.place_compose(tmp_path, str(binary)).read_bytes()
