"""heimdall through the gateway: what is planted is found, repositories are fetched, and no scan is ever lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from tests.doubles.git_host import GitHost
from tests.doubles.receiver import Receiver
from tests.integration import small_repository
from tests.integration.clients import REVISIONS, request, with_client
from tests.integration.reach import Inside
from tests.stack import Stack, bridge_address, docker, until

pytestmark = [pytest.mark.engine, pytest.mark.mcp_integration]

HOST = "host.docker.internal"
SCANS = 20
ENDED = ("completed", "failed")
KEY = "a-key-of-the-test"


@dataclass(frozen=True)
class Outside:
    """What stands on the host's side: repositories by https, and a receiver of callbacks."""

    git: GitHost
    receiver: Receiver

    @property
    def settings(self) -> dict[str, str]:
        return {
            "HEIMDALL_GIT_HOSTS": f"{HOST}:{self.git.port}",
            "HEIMDALL_CALLBACK_HOSTS": f"http://{HOST}:{self.receiver.port}",
            "HEIMDALL_CA": self.git.ca,
        }


@pytest.fixture(scope="module")
def workspace(stack: Stack) -> Path:
    """The stack's workspace, with the small repository in it."""
    folder = stack.home / "data" / "workspace"
    small_repository.make(folder / "small")
    return folder


@pytest.fixture(scope="module")
def outside(stack: Stack, workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """A Git host with the small repository and a receiver, allowed by a deploy, which the next one takes back."""
    folder = tmp_path_factory.mktemp("git")
    shutil.copytree(workspace / "small", folder / "small")
    made = Outside(GitHost(folder, bridge_address(), (HOST,)), Receiver(address=bridge_address()))
    try:
        done = stack.run("deploy", "--plan=C", **made.settings)
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        made.git.close()
        made.receiver.close()


@pytest.fixture(scope="module")
def scanned(stack: Stack, workspace: Path) -> dict[str, Any]:
    """The small repository's scan, asked for by REST with a key."""
    headers = {"Idempotency-Key": KEY}
    status, _, text = request(f"{stack.url}/scans", stack.token, {"path": "small"}, headers=headers)
    assert 202 == status, text
    return _ended(stack, json.loads(text)["scan_id"])


def _ask(stack: Stack, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
    status, _, text = request(f"{stack.url}{path}", stack.token, body, method)
    return status, json.loads(text)


def _queued(stack: Stack, **body: Any) -> str:
    status, document = _ask(stack, "/scans", body)
    assert 202 == status, document
    return str(document["scan_id"])


def _ended(stack: Stack, scan_id: str, seconds: float = 90) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def ended() -> bool:
        nonlocal found
        found = _ask(stack, f"/scans/{scan_id}")[1]
        return found["status"] in ENDED

    until(ended, f"scan {scan_id} ends", seconds)
    return found


def test_curl_gets_what_is_planted(stack: Stack, workspace: Path, scanned: dict[str, Any]) -> None:
    """Every kind of defect, the key of an old commit too; what is left to others is said; SARIF has the same."""
    done = scanned
    assert ("completed", None) == (done["status"], done["error"])
    assert small_repository.EXPECTED == small_repository.found(done["findings"])
    old = small_repository.make(workspace / "small")
    assert [old] == [found["commit"] for found in done["findings"] if found["path"] == "config.ini"]
    reasons = {one["name"]: one["reason"] for one in done["scanners"] if one["outcome"] == "skipped"}
    assert {"trivy-image", "pip-audit"} <= reasons.keys()
    assert reasons["trivy-image"].startswith("only the command line runs it: ")
    assert reasons["pip-audit"].startswith("needs advisory data: ")
    token = ("-H", f"Authorization: Bearer {stack.token}")
    curl = ("curl", "--silent", "--fail", *token, f"{stack.url}/scans/{done['scan_id']}/sarif")
    log = json.loads(subprocess.run(curl, capture_output=True, check=True, text=True).stdout)
    assert done["findings_total"] == sum(len(run["results"]) for run in log["runs"])


@pytest.mark.parametrize("revision", REVISIONS)
def test_an_mcp_client_gets_what_is_planted(stack: Stack, scanned: dict[str, Any], revision: str) -> None:
    """In both revisions; the same key is the same scan through either door."""
    config = json.loads(stack.run("client.config").stdout)
    arguments = {"path": "small", "wait_seconds": 50, "idempotency_key": KEY}

    async def scan(client: Client) -> Any:
        return (await client.call_tool("scan_repository", arguments)).structured_content

    result = with_client(config, "heimdall", REVISIONS[revision], scan)
    assert "completed" == result["status"], result
    assert small_repository.EXPECTED == small_repository.found(result["findings"])
    assert scanned == result


def test_metrics_tell_of_scans(stack: Stack, scanned: dict[str, Any]) -> None:
    """On the servers' network, with a token; labels are names that are known."""
    place = _inside(stack)
    text = place.python(
        "import json,sys,urllib.request as u\n"
        "r=u.Request('http://127.0.0.1:8080/metrics',headers={'Authorization':'Bearer '+sys.argv[1]})\n"
        "print(json.dumps(u.urlopen(r).read().decode()))",
        stack.token,
    )
    lines = text.splitlines()
    assert 'security_scan_findings{repository="small",severity="high",tool="hadolint"} 1.0' in _sorted_labels(lines)
    for name in ("security_scan_duration_seconds_count", "security_scan_last_success_timestamp_seconds"):
        assert [line for line in lines if line.startswith(f'{name}{{repository="small"}} ')], name


def test_nothing_is_fetched_where_no_host_is_allowed(stack: Stack) -> None:
    """403, with the name of the setting."""
    status, document = _ask(stack, "/scans", {"url": "https://git.example/p"})
    assert (403, True) == (status, "mcp_stack_heimdall_git_hosts" in document["error"])


def test_a_repository_of_an_allowed_host_is_fetched_and_scanned(stack: Stack, outside: Outside) -> None:
    """Over the egress proxy, by its own TLS; a callback is told of the end; another host is refused by both."""
    hook = f"http://{HOST}:{outside.receiver.port}/ended"
    scan_id = _queued(stack, url=f"https://{HOST}:{outside.git.port}/small", callback_url=hook)
    done = _ended(stack, scan_id)
    assert ("completed", None) == (done["status"], done["error"])
    assert small_repository.EXPECTED == small_repository.found(done["findings"])
    until(lambda: outside.receiver.bodies, "the callback is told", 20)
    told = outside.receiver.bodies[0]
    assert (scan_id, "completed", done["findings_total"]) == (told["scan_id"], told["status"], told["findings_total"])
    assert 403 == _ask(stack, "/scans", {"url": "https://example.com/p"})[0]
    assert 403 == _inside(stack).tunnel("example.com:443")[0]


def test_a_killed_container_and_a_switch_lose_no_scan(stack: Stack, workspace: Path) -> None:
    """`kill -9` in the middle of 20 scans, then another plan: what ran runs again, what waited runs, all complete."""
    notes = workspace / "notes"
    notes.mkdir(exist_ok=True)
    (notes / "notes.txt").write_text("nothing\n")
    ids = [_queued(stack, path="notes", profile="quick") for _ in range(SCANS)]

    def states() -> list[str]:
        try:
            listed = _ask(stack, f"/scans?limit={SCANS}")
        except (OSError, ValueError, urllib.error.URLError):
            return []
        return [scan["status"] for scan in listed[1]["scans"]] if listed[0] == 200 else []

    until(lambda: "completed" in states() and "running" in states(), "some scans have ended and some run", 60)
    before = states()
    docker("kill", "--signal=KILL", stack.containers()["heimdall"])
    assert before.count("completed") < SCANS
    docker("start", _container(stack))
    try:
        switched = stack.agent("switch", "--to", "D")
        assert switched.returncode == 0, switched.stdout + switched.stderr
        _all_completed(stack, ids, states)
    finally:
        back = stack.agent("switch", "--to", "C")
    assert back.returncode == 0, back.stdout + back.stderr
    _all_completed(stack, ids, states)


def _all_completed(stack: Stack, ids: list[str], states: Callable[[], list[str]]) -> None:
    until(lambda: not {"queued", "running"} & set(states() or ["queued"]), "all scans have ended", 120)
    found = {scan_id: _ask(stack, f"/scans/{scan_id}")[1]["status"] for scan_id in ids}
    assert dict.fromkeys(ids, "completed") == found


def _container(stack: Stack) -> str:
    """heimdall's container, also when it does not run. Docker restarts it by itself, but not after `docker kill`."""
    labels = (f"label=stepdown.instance={stack.name}", "label=stepdown.container=heimdall")
    return docker("ps", "--all", "--quiet", "--filter", labels[0], "--filter", labels[1]).split()[0]


def _inside(stack: Stack) -> Inside:
    subnet = json.loads((stack.home / "instance.json").read_text())["subnet"]
    return Inside(stack.containers()["heimdall"], subnet.rpartition(".")[0] + ".3")


def _sorted_labels(lines: list[str]) -> list[str]:
    """Samples with their labels in order."""
    told = []
    for line in lines:
        name, _, rest = line.partition("{")
        labels, _, value = rest.partition("}")
        told.append(f"{name}{{{','.join(sorted(labels.split(',')))}}}{value}")
    return told
