"""heimdall's REST keeps what it promises: to the agent that wrote a pact, and to whoever sends it nonsense."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from heimdall.store import Request, Store

from stepdown.scan.findings import Coverage, Finding, ScanResult
from tests.contracts import pacts
from tests.contracts.conftest import tool
from tests.contracts.heimdall_app import TOKEN, Served, serving

FOUND = Finding(
    fingerprint="f" * 32, severity="critical", category="dependency", rule="CVE-2026-0001", message="a defect",
    path="requirements.txt", start_line=1, end_line=1, commit=None, scanners=("pip-audit",), score=9.8, help_uri=None,
)  # fmt: skip
# Not judged: a path that the schema allows may not be in the workspace, and a scan that was stopped stays in the list.
EXCEPT = "positive_data_acceptance,use_after_free"
SEED = "20261125"


@pytest.fixture(scope="module")
def heimdall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The real one, with an empty workspace and a token."""
    folder = tmp_path_factory.mktemp("heimdall")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACT_DO_NOT_TRACK", "1")
        for name in ("data", "workspace", "scratch"):
            patch.setenv(f"HEIMDALL_{name.upper()}", str(folder / name))
        with serving(folder) as served:
            yield served


def _one_scan(database: Path, scan_id: str) -> None:
    """A scan that has completed, stored as any other; then it gets the id that the agent asks for."""
    coverage = Coverage(files=1, bytes=1, commits=None, files_not_judged=0)
    result = ScanResult("completed", None, (FOUND,), (), (), coverage)
    store = Store(database, time.time)
    try:
        made = store.submit(Request("quick", path="app"), 100).scan_id
        while (claimed := store.claim("the test")) is None or claimed.scan_id != made:
            continue
        assert store.finish("the test", made, result.document(), None)
    finally:
        store.close()
    with sqlite3.connect(database) as direct:
        direct.execute("DELETE FROM scans WHERE scan_id = ?", (scan_id,))
        direct.execute("UPDATE scans SET scan_id = ? WHERE scan_id = ?", (scan_id, made))


def test_the_pact_is_the_one_that_is_kept(tmp_path: Path) -> None:
    """Written anew by the agent's call. To accept a change, copy the new file over the old."""
    written, kept = (json.loads(path.read_text()) for path in (pacts.pact_file(tmp_path), pacts.KEPT))
    assert kept == written


def test_heimdall_keeps_the_pact(heimdall: Served) -> None:
    """Asked as the agent asks, over the port, with a token."""
    pacts.verify(heimdall.url, TOKEN, lambda: _one_scan(heimdall.database, pacts.SCAN_ID))


def test_a_broken_pact_is_noticed(heimdall: Served, tmp_path: Path) -> None:
    """An agent that relies on what is not there, or has no token, makes the verification fail."""
    document = json.loads(pacts.KEPT.read_text())
    document["interactions"][0]["response"]["body"]["content"]["verdict"] = "red"
    (tmp_path / "broken.json").write_text(json.dumps(document))
    prepared = lambda: _one_scan(heimdall.database, pacts.SCAN_ID)  # noqa: E731
    with pytest.raises(RuntimeError):
        pacts.verify(heimdall.url, TOKEN, prepared, tmp_path / "broken.json")
    with pytest.raises(RuntimeError):
        pacts.verify(heimdall.url, "another token", prepared)


def test_metrics_of_scans_stand_beside_those_of_the_host(heimdall: Served) -> None:
    """In one text, from one door, once a scan has ended; one without a scanner is no success."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    body = json.dumps({"code": "x = 1\n", "filename": "a.py"}).encode()
    urllib.request.urlopen(urllib.request.Request(f"{heimdall.url}/scans", body, headers), timeout=10).close()
    deadline = time.monotonic() + 20
    while True:
        request = urllib.request.Request(f"{heimdall.url}/metrics", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read().decode()
        if 'security_scan_duration_seconds_count{repository="code"}' in text:
            break
        assert time.monotonic() < deadline, text
    assert "mcp_host_server_ready" in text
    assert 'security_scan_last_success_timestamp_seconds{repository="code"}' not in text


def test_nonsense_is_answered_as_documented(heimdall: Served, tmp_path: Path) -> None:
    """Requests made from the OpenAPI, and against it: never a 5xx, only documented answers. The seed is fixed."""
    done = subprocess.run(
        (tool("schemathesis"), "run", f"{heimdall.url}/scans/openapi.json", "--header",
         f"Authorization: Bearer {TOKEN}", "--phases", "examples,coverage,fuzzing,stateful", "--mode", "all",
         "--max-examples", "40", "--seed", SEED, "--exclude-checks", EXCEPT, "--generation-database", "none",
         "--no-color", "--workers", "1"),
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout[-6000:] + done.stderr[-2000:]
    request = urllib.request.Request(f"{heimdall.url}/scans", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert {"completed", "failed"} >= {scan["status"] for scan in json.load(answer)["scans"]} - {
            "queued",
            "running",
        }
