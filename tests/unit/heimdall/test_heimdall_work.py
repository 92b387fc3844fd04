"""What a scan of heimdall leaves out and says so, and what hostile trees cannot do to it."""

from __future__ import annotations

import json
import os
import random
import string
import subprocess
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from heimdall.refused import RefusedError
from heimdall.service import FILE, ScanService
from heimdall.settings import Settings
from heimdall.store import Request, Store

from stepdown.scan.metrics import LAST_SUCCESS
from stepdown.scan.scanners import Scanner, load_catalogue, load_scanners
from stepdown.scan.snapshot import TreeLimits

pytestmark = pytest.mark.anyio
MakeScanner = Callable[..., Scanner]


async def _scan(service: ScanService, request: Request) -> dict[str, Any]:
    async with service.running():
        queued = await service.submit(request)
        return await service.wait(queued["scan_id"], 60)


def _reasons(document: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {one["name"]: (one["outcome"], one["reason"]) for one in document["scanners"]}


async def test_what_only_the_command_line_runs_is_left_out_and_said(settings: Settings, scanner: MakeScanner) -> None:
    """With the reason of its row; the scan is complete all the same."""
    images = replace(scanner(), name="images", command_line_only="it asks the engine for images")
    done = await _scan(ScanService(settings, [images, scanner()]), Request("full", path="app"))
    assert "completed" == done["status"]
    assert {
        "temper": ("ok", None),
        "images": ("skipped", "only the command line runs it: it asks the engine for images"),
    } == _reasons(done)


async def test_without_advisories_what_needs_them_is_left_out_and_said(
    settings: Settings, scanner: MakeScanner
) -> None:
    """In heimdall's own words: its caller has no command line."""
    needy = replace(scanner(), name="needy", needs="advisory-service")
    done = await _scan(ScanService(settings, [needy, scanner()], load_catalogue().advice), Request("full", path="app"))
    said = "needs advisory data: put a dated set into the folder advisories of heimdall's data"
    assert ("completed", ("skipped", said)) == (done["status"], _reasons(done)["needy"])


@pytest.mark.parametrize(("days", "status"), [(0, "completed"), (30, "failed")])
async def test_advisories_are_taken_unless_they_are_too_old(
    settings: Settings, scanner: MakeScanner, days: int, status: str
) -> None:
    """From the data folder; old ones count as none, and that fails the scan."""
    (settings.data / "advisories" / "osv").mkdir(parents=True)
    dated = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    (settings.data / "advisories" / "metadata.json").write_text(json.dumps({"dated": dated, "source": "a test"}))
    affected = [{"package": {"ecosystem": "PyPI", "name": "a-package"}, "versions": ["1.0"]}]
    advisory = {"id": "CVE-2026-0001", "modified": "2026-01-01T00:00:00Z", "affected": affected}
    (settings.data / "advisories" / "osv" / "one.json").write_text(json.dumps(advisory))
    needy = replace(scanner(), name="needy", needs="advisory-service")
    done = await _scan(ScanService(settings, [needy], load_catalogue().advice), Request("full", path="app"))
    assert status == done["status"], done["error"]
    if days:
        assert done["error"].startswith("needy: not scanned, no advisory data: its data is 30 days old")


@pytest.mark.parametrize("name", [".git", ".gitattributes", ".gitignore", ".gitmodules", "trivy.yaml", ".bandit"])
async def test_code_is_no_file_that_git_or_a_scanner_believes(
    settings: Settings, scanner: MakeScanner, name: str
) -> None:
    """`.git` could name the repository of somebody else, and a scanner's settings are not judged."""
    service = ScanService(settings, [replace(scanner(), own_settings=("trivy.yaml", ".bandit"))])
    async with service.running():
        with pytest.raises(RefusedError, match=f"filename: '{name}' is .*; send the text by another name"):
            await service.submit(Request("full", filename=name, code=f"gitdir: {settings.workspace / 'app'}\n"))
        assert {"scans": []} == await service.recent(9)


async def test_code_that_was_queued_before_is_refused_too(settings: Settings, scanner: MakeScanner) -> None:
    """The release before took such names."""
    store = Store(settings.data / FILE, time.time)
    queued = store.submit(Request("full", filename=".git", code="gitdir: /elsewhere\n"), 9)
    store.close()
    service = ScanService(settings, [scanner()])
    async with service.running():
        done = await service.wait(queued.scan_id, 20)
    assert ("failed", "filename: '.git' is a file of git itself; send the text by another name") == (
        done["status"],
        done["error"],
    )


def _succeeded(service: ScanService) -> set[str]:
    """Repositories that a scan has judged whole."""
    samples = [sample for family in service.metrics.collect() for sample in family.samples]
    return {s.labels["repository"] for s in samples if s.name == LAST_SUCCESS}


async def test_a_scan_that_looked_at_nothing_is_failed(settings: Settings, scanner: MakeScanner) -> None:
    """With what was left out; an untracked tree that git ignores whole, or an empty one, is not clean."""
    app = settings.workspace / "app"
    subprocess.run(("git", "init", "-q"), cwd=app, check=True)
    (app / ".gitignore").write_text("*\n")
    (settings.workspace / "empty").mkdir()
    service = ScanService(settings, [scanner()])
    async with service.running():
        for path, more in (("app", "; .gitignore is ignored by git; a.py is ignored by git"), ("empty", "")):
            queued = await service.submit(Request("full", path=path))
            done = await service.wait(queued["scan_id"], 20)
            said = f"scan: no scanner looked at anything{more}"
            assert ("failed", said) == (done["status"], done["error"])
    assert set() == _succeeded(service)


@pytest.mark.parametrize(("unread", "success"), [((), {"app"}), (("R1",), set())])
async def test_only_a_scan_that_judged_everything_is_a_success(
    settings: Settings, scanner: MakeScanner, unread: tuple[str, ...], success: set[str]
) -> None:
    """By the rules of the verdict: coverage below 95 % is none, also after a restart."""
    for number in range(9):
        (settings.workspace / "app" / f"{number}.py").write_text("x = 1\n")
    judges = [replace(scanner(), unread_rules=unread)]  # of a.py it says R1
    first, again = ScanService(settings, judges), ScanService(settings, judges)
    done = await _scan(first, Request("full", path="app"))
    assert ("completed", 0.9 if unread else 1) == (done["status"], done["coverage"]["share"])
    async with again.running():
        assert [success] * 2 == [_succeeded(first), _succeeded(again)]


async def test_a_scanner_that_hangs_is_ended_with_the_scans_limit(settings: Settings, scanner: MakeScanner) -> None:
    """Also one that does not listen; what the others found is kept."""
    deaf = replace(
        scanner("import signal; signal.signal(15, signal.SIG_IGN); [signal.pause() for _ in iter(int, 1)]"), name="deaf"
    )
    done = await _scan(ScanService(replace(settings, scan_seconds=2), [deaf, scanner()]), Request("full", path="app"))
    assert ("failed", 1) == (done["status"], done["findings_total"])
    assert done["error"].startswith("deaf: outlived its limit of ")


async def test_a_tree_that_is_too_large_is_refused(settings: Settings, scanner: MakeScanner) -> None:
    """With what to do."""
    small = replace(settings, tree=TreeLimits(files=20_000, bytes=2**20))
    for number in range(3):
        (settings.workspace / "app" / f"{number}.bin").write_bytes(os.urandom(2**19))
    done = await _scan(ScanService(small, [scanner()]), Request("full", path="app"))
    assert "app: holds more than 20000 files or 1 MiB; scan a folder inside it" == done["error"]


async def test_a_full_scratch_is_said(
    settings: Settings, scanner: MakeScanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five copies of large trees may not fit beside each other."""

    async def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("heimdall.work.scan_tree", full)
    done = await _scan(ScanService(settings, [scanner()]), Request("full", path="app"))
    assert "scan: its copy found no room beside those of the others; scan again, or a folder inside it" == done["error"]


async def test_a_hostile_tree_is_judged_all_the_same(settings: Settings, scanners_environment: Path) -> None:
    """Names with newlines, options, no UTF-8 or of any length, links out, devices, archives, floods of binary files."""
    app = settings.workspace / "app"
    key = "gh" + "p_" + "".join(random.choices(string.ascii_letters + string.digits, k=36))
    for name in (
        "line\nbreak.py",
        "-rf",
        "--help.py",
        "l" * 251 + ".py",
        "$(touch hurt).py",
        "a b'\"`;.py",
        "\u202e.py",
    ):
        (app / name).write_text(f'TOKEN = "{key}"\n')
    deep = app / "/".join(["d" * 200] * 10)
    deep.mkdir(parents=True)
    (deep / "deep.py").write_text(f'TOKEN = "{key}"\n')
    (Path(os.fsdecode(os.fsencode(app) + b"/\xff\xfe.py"))).write_text("x = 1\n")
    (app / "out").symlink_to("/etc")
    (app / "around").symlink_to(".")
    os.mkfifo(app / "pipe.py")
    for number in range(300):
        (app / f"{number}.bin").write_bytes(os.urandom(4096))
    with zipfile.ZipFile(app / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("zeros", b"0" * 50_000_000)
    (app / "large.tar").write_bytes(os.urandom(6 * 2**20))
    rows = [row for row in load_scanners() if row.name in ("bandit", "gitleaks", "hadolint")]
    (app / "-f.Dockerfile").write_text("FROM debian:latest\nUSER root\n")
    done = await _scan(ScanService(settings, rows), Request("quick", path="app"))
    assert ("completed", None) == (done["status"], done["error"])
    places = {finding["path"] for finding in done["findings"]}
    assert {"-rf", "--help.py", "$(touch hurt).py", "a b'\"`;.py", "-f.Dockerfile"} <= places
    assert [path for path in places if path.endswith("deep.py")]
    left_out = {one["path"]: one["reason"] for one in done["not_judged"]}
    assert {"out": "is a link", "around": "is a link", "pipe.py": "is no plain file"}.items() <= left_out.items()
    assert "is larger than 5 MiB" == left_out["large.tar"]
    judged_or_said = places | left_out.keys()
    assert {"line\nbreak.py", "l" * 251 + ".py"} <= judged_or_said
    assert [path for path, reason in left_out.items() if reason == "has a name that is no UTF-8"]
    assert [] == list(settings.scratch.iterdir())
