"""Repositories are fetched from allowed hosts by real git over https, within bounds, and nothing else happens."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from heimdall.allowed import hosts_of
from heimdall.fetch import Fetched, _check_size, fetched, sweep
from heimdall.refused import RefusedError
from heimdall.service import ScanService
from heimdall.settings import Settings
from heimdall.store import LEASE_SECONDS, Request, Store

from stepdown.errors import UsageError
from stepdown.scan.scanners import Scanner, load_scanners
from stepdown.scan.snapshot import TreeLimits
from tests.doubles.git_host import GitHost

pytestmark = pytest.mark.anyio
Git = Callable[..., str]


def _git(folder: Path, *words: str) -> str:
    name = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(("git", *name, *words), cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHost]:
    """A host with `app`: two commits on main, one more on a branch and a tag."""
    folder = tmp_path_factory.mktemp("host")
    app = folder / "app"
    app.mkdir()
    _git(app, "init", "-q")
    for number in (1, 2):
        (app / "a.py").write_text(f"x = {number}\n")
        _git(app, "add", ".")
        _git(app, "commit", "-qm", f"{number}")
    _git(app, "checkout", "-qb", "topic/one")
    (app / "b.py").write_text("y = 1\n")
    _git(app, "add", ".")
    _git(app, "commit", "-qm", "3")
    _git(app, "tag", "v1")
    _git(app, "checkout", "-q", "main")
    made = GitHost(folder)
    yield made
    made.close()


@pytest.fixture
def allowing(settings: Settings, host: GitHost) -> Settings:
    """Settings of an instance that allows this host, and knows its authority."""
    settings.ca.write_text(host.ca)
    return replace(settings, git=hosts_of({"H": f"localhost:{host.port}"}, "H", "h", ("https",)))


async def _fetched(settings: Settings, url: str, ref: str | None = None, history: bool = True) -> dict[str, Any]:
    """What stands in the work tree, and how many commits are there."""
    async with fetched(url, ref, history, settings, asyncio.Semaphore(1)) as found:
        names = sorted(p.relative_to(found.folder).as_posix() for p in found.folder.rglob("*") if ".git" not in p.parts)
        return {
            "files": {name: (found.folder / name).read_text() for name in names if (found.folder / name).is_file()},
            "commits": int(_git(found.folder, "rev-list", "--all", "--count")),
            "commit": found.commit,
            "shallow": (found.folder / ".git" / "shallow").exists(),
        }


@pytest.mark.parametrize(
    ("ref", "history", "files", "commits"),
    [
        (None, True, {"a.py": "x = 2\n"}, 3),
        (None, False, {"a.py": "x = 2\n"}, 1),
        ("topic/one", False, {"a.py": "x = 2\n", "b.py": "y = 1\n"}, 1),
        ("v1", True, {"a.py": "x = 2\n", "b.py": "y = 1\n"}, 3),
        ("main~1", True, None, None),
        ("nowhere", True, None, None),
    ],
)
async def test_a_repository_is_fetched(
    allowing: Settings, host: GitHost, ref: str | None, history: bool, files: dict[str, str] | None, commits: int | None
) -> None:
    """Its HEAD, a branch or a tag; with the history of all branches or without; afterwards nothing is left."""
    if files is None:
        with pytest.raises(UsageError, match=r"^url: git cannot fetch it: "):
            await _fetched(allowing, f"{host.url}/app", ref, history)
    else:
        found = await _fetched(allowing, f"{host.url}/app", ref, history)
        assert (files, commits, not history) == (found["files"], found["commits"], found["shallow"])
        assert _git(host.folder / "app", "rev-parse", ref or "HEAD") == found["commit"]
    assert [] == list((allowing.data / "fetched").iterdir())


async def test_a_commit_is_fetched(allowing: Settings, host: GitHost) -> None:
    """By its name."""
    commit = _git(host.folder / "app", "rev-parse", "topic/one")
    assert commit == (await _fetched(allowing, f"{host.url}/app", commit))["commit"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/private/app", "the host wants credentials for it, and heimdall has none"),
        ("/redirect/app", "git cannot fetch it: "),
        ("/nothing", "git cannot fetch it: "),
    ],
)
async def test_what_the_host_does_not_give_is_said(allowing: Settings, host: GitHost, path: str, said: str) -> None:
    """A redirect is not followed, not even to the same host."""
    host.elsewhere = host.url
    host.asked.clear()
    with pytest.raises(UsageError, match=f"^url: {said}"):
        await _fetched(allowing, host.url + path)
    assert [("GET", f"{path}/info/refs?service=git-upload-pack")] == host.asked[:1]
    assert not [asked for asked in host.asked if asked[1].startswith("/app")]


async def test_an_unknown_authority_is_refused(allowing: Settings, host: GitHost) -> None:
    """TLS is git's own, end to end."""
    allowing.ca.unlink()
    with pytest.raises(UsageError, match="certificate"):
        await _fetched(allowing, f"{host.url}/app")


async def test_a_host_that_hangs_is_left(allowing: Settings, host: GitHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the seconds of a fetch."""
    monkeypatch.setattr("heimdall.fetch.SECONDS", 1.0)
    with pytest.raises(UsageError, match="url: it took longer than the 1 s of a fetch"):
        await _fetched(allowing, f"{host.url}/hang/app")


@pytest.mark.parametrize("url", ["http://localhost/app", "ext::touch hurt", "file:///etc", "git://localhost/app"])
async def test_no_other_protocol_is_spoken(allowing: Settings, url: str) -> None:
    """Even when such a URL got past the check."""
    with pytest.raises(UsageError, match=r"transport '[a-z]+' not allowed"):
        await _fetched(allowing, url)


async def test_a_pack_that_is_too_large_is_refused(
    allowing: Settings, host: GitHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it comes in: the file cannot grow beyond the limit."""
    monkeypatch.setattr("heimdall.fetch.PACK_MIB", 1)
    big = _repository(host, "big")
    (big / "noise.bin").write_bytes(os.urandom(2 * 2**20))
    _commit(big)
    with pytest.raises(UsageError, match=r"url: the repository('s pack is larger| cannot be fetched whole)"):
        await _fetched(allowing, f"{host.url}/big")


async def test_files_that_are_too_many_or_too_large_are_refused(allowing: Settings, host: GitHost) -> None:
    """A small pack may unpack to much: its sizes are read before a file is made."""
    bomb = _repository(host, "bomb")
    (bomb / "zeros.txt").write_bytes(b"0" * 3_000_000)
    for number in range(30):
        (bomb / f"{number}.txt").write_text("same\n")
    _commit(bomb)
    for limits in (TreeLimits(files=20_000, bytes=2**20), TreeLimits(files=20, bytes=2**26)):
        with pytest.raises(UsageError, match=r"url: the repository's files are more than .* too large"):
            await _fetched(replace(allowing, tree=limits), f"{host.url}/bomb")
    assert [] == list((allowing.data / "fetched").iterdir())


async def test_objects_that_are_too_many_are_refused(
    allowing: Settings, host: GitHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the tree is looked at."""
    monkeypatch.setattr("heimdall.fetch.OBJECTS", 3)
    with pytest.raises(UsageError, match="url: the repository has more than 3 objects; it is too large"):
        await _fetched(allowing, f"{host.url}/app")


@pytest.mark.parametrize("history", [True, False])
async def test_a_host_of_plain_files_is_refused(allowing: Settings, host: GitHost, history: bool) -> None:
    """It may send any number of packs, each within the bounds; nothing of them is asked for."""
    _git(host.folder / "app", "repack", "-adq")
    _git(host.folder / "app", "update-server-info")
    host.asked.clear()
    with pytest.raises(UsageError, match="url: the host offers its files and not git's protocol"):
        await _fetched(allowing, f"{host.url}/dumb/app", None, history)
    assert not [path for _, path in host.asked if "/objects/" in path]


@pytest.mark.parametrize("path", ["many", "hang/app"])
async def test_files_of_a_history_are_bounded_together(
    allowing: Settings, host: GitHost, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A branch is a file, and a host may name any number. They are counted in the end and while it sends."""
    if path == "many":
        many = _repository(host, path)
        (many / "a.py").write_text("x = 1\n")
        _commit(many)
        commit = _git(many, "rev-parse", "HEAD")
        (many / ".git" / "packed-refs").write_text("".join(f"{commit} refs/heads/{n:03}\n" for n in range(200)))
    monkeypatch.setattr("heimdall.fetch.FILES", 100 if path == "many" else 1)
    monkeypatch.setattr("heimdall.fetch.WATCH_SECONDS", 0.01)
    with pytest.raises(UsageError, match=r"url: the repository's history takes more than \d+ files or 128 MiB"):
        await _fetched(allowing, f"{host.url}/{path}")
    assert [] == list((allowing.data / "fetched").iterdir())


def test_bytes_of_a_history_are_bounded_together(host: GitHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file may be within its own bound."""
    monkeypatch.setattr("heimdall.fetch.PACK_MIB", 0.0001)
    with pytest.raises(UsageError, match=r"history takes more than 20000 files or 0\.0002 MiB"):
        _check_size(host.folder / "app" / ".git")


async def test_a_hostile_repository_changes_nothing_here(allowing: Settings, host: GitHost, tmp_path: Path) -> None:
    """Links become files, submodules stay empty, filters and encodings are not applied, odd names are only names."""
    hostile = _repository(host, "hostile")
    hurt = tmp_path / "hurt"
    (hostile / "link").symlink_to("/etc/passwd")
    (hostile / ".gitmodules").write_text(f'[submodule "m"]\n\tpath = m\n\turl = {host.url}/app\n')
    (hostile / ".gitattributes").write_text("*.txt filter=lfs working-tree-encoding=UTF-16 ident\n")
    (hostile / ".lfsconfig").write_text(f"[lfs]\n\turl = {host.url}/lfs\n")
    (hostile / "a.txt").write_bytes("$Id$ é\n".encode("utf-16"))
    _git(hostile, "add", ".gitmodules", ".gitattributes", "link")
    raw = _git(hostile, "hash-object", "-w", "--no-filters", "a.txt")
    _git(hostile, "update-index", "--add", "--cacheinfo", f"100644,{raw},a.txt")
    _git(hostile, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},m")
    for name in ("-rf", "line\nbreak.py", "l" * 200 + ".py"):
        _git(hostile, "update-index", "--add", "--cacheinfo", f"100644,{raw},{name}")
    _git(hostile, "commit", "-qm", "1")
    (hostile / ".git" / "hooks" / "post-checkout").write_text(f"#!/bin/sh\ntouch {hurt}\n")
    async with fetched(f"{host.url}/hostile", None, True, allowing, asyncio.Semaphore(1)) as found:
        assert (False, "/etc/passwd") == ((found.folder / "link").is_symlink(), (found.folder / "link").read_text())
        assert (hostile / "a.txt").read_bytes() == (found.folder / "a.txt").read_bytes()
        assert [] == list((found.folder / "m").iterdir())
        assert {"-rf", "line\nbreak.py"} <= {path.name for path in found.folder.iterdir()}
    assert not hurt.exists()
    assert not [path for _, path in host.asked if "lfs" in path]


async def test_cancelling_leaves_nothing(allowing: Settings, host: GitHost) -> None:
    """Neither git nor its folder."""

    async def use() -> Fetched:
        async with fetched(f"{host.url}/hang/app", None, True, allowing, asyncio.Semaphore(1)) as found:
            return found

    host.asked.clear()
    task = asyncio.create_task(use())
    async with asyncio.timeout(10):
        while not host.asked:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task})
    assert [] == list((allowing.data / "fetched").iterdir())


async def test_what_a_killed_heimdall_left_is_swept(allowing: Settings, host: GitHost) -> None:
    """And not what another still uses."""
    async with fetched(f"{host.url}/app", None, False, allowing, asyncio.Semaphore(1)) as found:
        left = allowing.data / "fetched" / "left"
        (left / "repository").mkdir(parents=True)
        sweep(allowing.data)
        assert ([found.folder.parent.name], True) == (
            [path.name for path in (allowing.data / "fetched").iterdir()],
            (found.folder / "a.py").is_file(),
        )


def _repository(host: GitHost, name: str) -> Path:
    folder = host.folder / name
    folder.mkdir()
    _git(folder, "init", "-q")
    return folder


def _commit(folder: Path) -> None:
    _git(folder, "add", ".")
    _git(folder, "commit", "-qm", "1")


async def test_a_repository_with_a_submodule_is_scanned(
    allowing: Settings, host: GitHost, scanner: Callable[[], Scanner], scanners_environment: Path
) -> None:
    """The submodule is not fetched, and that is said."""
    parts = _repository(host, "parts")
    (parts / "a.py").write_text("x = 1\n")
    _git(parts, "add", ".")
    _git(parts, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},part")
    _git(parts, "commit", "-qm", "1")
    (gitleaks,) = (row for row in load_scanners() if row.name == "gitleaks-history")
    service = ScanService(allowing, [scanner(), gitleaks])
    async with service.running():
        queued = await service.submit(Request("full", url=f"{host.url}/parts"))
        done = await service.wait(queued["scan_id"], 60)
    assert ("completed", None, 1) == (done["status"], done["error"], done["coverage"]["commits"])
    assert ["part"] == [one["path"] for one in done["not_judged"] if "submodule" in one["reason"]]


async def test_a_scan_of_a_url_from_request_to_findings(
    allowing: Settings, host: GitHost, scanner: Callable[[], Scanner]
) -> None:
    """As any other; its document says what was fetched, and metrics know it by its name."""
    service = ScanService(allowing, [scanner()])
    async with service.running():
        with pytest.raises(RefusedError, match=r"^url: https://localhost:9 is not allowed by h "):
            await service.submit(Request("full", url="https://localhost:9/app"))
        queued = await service.submit(Request("full", url=f"{host.url}/app", ref="v1"))
        done = await service.wait(queued["scan_id"], 30)
        missing = await service.submit(Request("full", url=f"{host.url}/nothing"))
        failed = await service.wait(missing["scan_id"], 30)
    assert ("completed", f"{host.url}/app", "v1") == (done["status"], done["url"], done["ref"])
    assert (2, _git(host.folder / "app", "rev-parse", "v1")) == (done["coverage"]["files"], done["commit"])
    assert ("failed", True) == (failed["status"], failed["error"].startswith("url: git cannot fetch it: "))
    samples = {(s.name, s.labels.get("repository")) for m in service.metrics.collect() for s in m.samples}
    assert ("security_scan_findings", "app") in samples


async def test_a_kill_in_the_middle_of_a_fetch_loses_no_scan(
    allowing: Settings, host: GitHost, scanner: Callable[[], Scanner]
) -> None:
    """The lease lapses, and the next heimdall fetches anew."""
    then = time.time() - LEASE_SECONDS - 1
    dead = Store(allowing.data / "heimdall.sqlite", lambda: then)
    scan_id = dead.submit(Request("quick", url=f"{host.url}/app"), 9).scan_id
    assert dead.claim("dead") is not None
    dead.close()
    service = ScanService(allowing, [scanner()])
    async with service.running():
        assert "completed" == (await service.wait(scan_id, 30))["status"]
