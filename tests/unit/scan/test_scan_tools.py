"""All tools on one planted tree: each finds what it is for, what two see is one finding, and nothing silences them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stepdown.scan.core import scan_tree
from stepdown.scan.findings import ScanResult
from stepdown.scan.sbom import tree_sbom
from stepdown.scan.scanners import load_catalogue, load_scanners

Git = Callable[..., str]
Place = tuple[str, int]

PYTHON = "import subprocess\nsubprocess.run(name, shell=True)  # nosec # nosemgrep\n"
DOCKERFILE = "# hadolint ignore=DL3002\nFROM debian:latest\n# hadolint ignore=DL3002\nUSER root\n"
COMPOSE = "services:\n  one:\n    image: debian:12\n    privileged: true # nosemgrep\n"
WORKFLOW = """on: push
jobs:
  one:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4 # zizmor: ignore[unpinned-uses]
      - run: echo ${{ undefined.value }}
"""
QUIET = {
    ".bandit": "[bandit]\nskips = B602\n",
    ".gitleaksignore": "app.env:github-pat:1\n",
    ".semgrepignore": "*\n",
    ".hadolint.yaml": "ignored: [DL3002]\n",
    ".trivyignore": "DS-0002\ngithub-pat\n",
    "trivy.yaml": "scan:\n  skip-files: ['**']\n",
    "zizmor.yml": "rules:\n  unpinned-uses:\n    disable: true\n",
    ".github/actionlint.yaml": "paths:\n  '**/*':\n    ignore: ['.*']\n",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Defects with a comment that should hide them, settings that should turn tools off, and files that are no code."""
    from tests.unit.scan.conftest import new_token

    folder = tmp_path_factory.mktemp("tools") / "source"
    files = {
        "app/run.py": PYTHON,
        "tests/compose.yml": COMPOSE,
        "image/Dockerfile": DOCKERFILE,
        ".github/workflows/ci.yml": WORKFLOW,
        "dev/Dockerfile": DOCKERFILE,
        "sys/app.env": f"GITHUB_TOKEN={new_token()}\n",
        "app.env": f"GITHUB_TOKEN={new_token()} # gitleaks:allow\n",
        "broken.py": "def (:\n",
        "broken/main.tf": 'resource "a" "b" {\n  c = \n}\n',
        "broken/action.yml": "name: x\nruns:\n  using: composite\n  steps: [\n",
        "module/main.tf": 'module "m" {\n  source = "git::http://127.0.0.1:9/one.git"\n}\n',
        "broken/Dockerfile": "FROM\n\nRUNNN x\n",
        ".github/workflows/broken.yml": "on: [push\njobs: {{{\n",
        "requirements.txt": "jinja2==3.1.6\n",
        **QUIET,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def result(tree: Path, scanners_environment: Path) -> ScanResult:
    """One scan with every tool that needs no data; ansible-lint has nothing to judge here."""
    assert scanners_environment.is_dir()
    rows = load_scanners()
    return asyncio.run(scan_tree(tree, rows, profile="full", scratch=tree.parent, limit_seconds=120, offline=True))


@pytest.mark.parametrize(
    ("rule", "place", "scanners"),
    [
        ("B602", ("app/run.py", 2), {"bandit"}),
        ("compose-privileged", ("tests/compose.yml", 4), {"semgrep"}),
        ("DL3002", ("image/Dockerfile", 4), {"hadolint", "trivy-configuration"}),
        ("DL3002", ("dev/Dockerfile", 4), {"hadolint", "trivy-configuration"}),
        ("github-pat", ("sys/app.env", 1), {"gitleaks", "trivy-secrets"}),
        ("DL3007", ("image/Dockerfile", 2), {"hadolint", "trivy-configuration"}),
        ("zizmor/unpinned-uses", (".github/workflows/ci.yml", 6), {"zizmor"}),
        ("expression", (".github/workflows/ci.yml", 7), {"actionlint"}),
        ("github-pat", ("app.env", 1), {"gitleaks", "trivy-secrets"}),
    ],
)
def test_a_defect_is_one_finding_of_all_who_see_it(
    result: ScanResult, rule: str, place: Place, scanners: set[str]
) -> None:
    """In spite of its comment and of the tree's settings."""
    assert "completed" == result.status, result.error
    found = [f for f in result.findings if (f.path, f.start_line) == place and (f.rule == rule or rule == "github-pat")]
    assert [True] == [scanners <= {*f.scanners} for f in found]


def test_settings_of_the_tree_are_left_out_and_told(result: ScanResult) -> None:
    """All of them."""
    told = {n.path for n in result.not_judged if n.reason == "could turn a scanner off"}
    assert {*QUIET} == told


def test_what_no_tool_could_parse_is_told_and_not_covered(result: ScanResult) -> None:
    """Exit codes hide it, what the tools say does not. A module that is elsewhere takes nothing from its file."""
    told = {n.path for n in result.not_judged if n.scanner}
    broken = {"broken.py", "broken/main.tf", "broken/action.yml", "broken/Dockerfile", ".github/workflows/broken.yml"}
    assert broken | {"module/main.tf"} == told
    coverage = result.coverage
    assert (14, 14 - len(broken)) == (coverage.text_files, coverage.text_files_parsed)


def test_no_score_is_made_up(result: ScanResult) -> None:
    """None of these tools gave one."""
    assert result.max_score() is None


def test_image_scans_are_skipped_without_an_image(result: ScanResult) -> None:
    """And what needs data, offline."""
    skipped = {o.name: o.reason for o in result.scanners if o.outcome == "skipped"}
    left_out = "left out by --offline: needs advisory data"
    needing = ("pip-audit", "trivy-vulnerabilities", "trivy-image-vulnerabilities")
    none = {"gitleaks-history": "there is no git history", "ansible-lint": "there is no file of its kind"}
    assert {"trivy-image": "no image was named", **none, **dict.fromkeys(needing, left_out)} == skipped


@pytest.mark.usefixtures("scanners_environment")
def test_a_range_of_commits_is_judged_alone(tmp_path: Path, git: Git) -> None:
    """What came before it is not told; a range that is none fails."""
    from tests.unit.scan.conftest import new_token

    (tmp_path / "scratch").mkdir()
    folder = tmp_path / "source"
    folder.mkdir()
    git(folder, "init", "-q")
    commits = []
    for name in ("old.env", "new.env"):
        (folder / name).write_text(f"GITHUB_TOKEN={new_token()}\n")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", name)
        commits.append(git(folder, "rev-parse", "HEAD"))
    row = next(row for row in load_scanners() if row.name == "gitleaks-history")

    def scan(commits: str) -> ScanResult:
        return asyncio.run(
            scan_tree(folder, [row], profile="full", scratch=tmp_path / "scratch", limit_seconds=60, commits=commits)
        )

    result = scan(f"{commits[0]}..HEAD")
    assert ([("new.env", commits[1])], 1) == ([(f.path, f.commit) for f in result.findings], result.coverage.commits)
    for wrong, said in (("--all", "should be a range BASE..HEAD"), ("--exec=x..HEAD", "the history has no commit")):
        failed = scan(wrong)
        assert ("failed", True) == (failed.status, said in str(failed.error))


@pytest.mark.usefixtures("scanners_environment")
def test_a_bill_of_a_tree_names_what_its_locks_name(tree: Path, tmp_path: Path) -> None:
    """As CycloneDX, whatever the tree's own settings for the tool say."""
    target = tmp_path / "tree.cdx.json"
    asyncio.run(tree_sbom(load_catalogue(), tree, target, scratch=tmp_path, limit_seconds=60))
    assert ("pkg:pypi/jinja2@3.1.6" in target.read_text(), [target]) == (True, [*tmp_path.iterdir()])


@pytest.mark.usefixtures("scanners_environment")
def test_a_scanner_that_is_killed_half_way_fails_the_scan(tree: Path, tmp_path: Path) -> None:
    """The real one, at its work."""
    row = next(row for row in load_scanners() if row.name == "semgrep")

    async def scan_and_kill() -> ScanResult:
        scan = scan_tree(tree, [row], profile="full", scratch=tmp_path, limit_seconds=60)
        task = asyncio.create_task(scan)
        while not (pids := [pid for pid in _processes_in(tmp_path) if "pysemgrep" in _command(pid)]):
            assert not task.done(), "it ended before it could be killed"
            await asyncio.sleep(0.005)
        os.kill(pids[0], signal.SIGKILL)
        return await task

    result = asyncio.run(scan_and_kill())
    assert ("failed", "semgrep: was ended by SIGKILL", ()) == (result.status, result.error, result.findings)


def _processes_in(folder: Path) -> list[int]:
    """Those whose working folder is below `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.usefixtures("scanners_environment")
def test_a_tree_cannot_make_a_scanner_fetch_anything(tmp_path: Path) -> None:
    """Terraform names modules that are elsewhere: by git, and by the name of a registry."""
    asked: list[bytes] = []

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(self.request.recv(100))

    (tmp_path / "source").mkdir()
    with socketserver.TCPServer(("", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        port = server.server_address[1]
        places = (f"git::http://127.0.0.1:{port}/one.git", f"{socket.gethostname()}:{port}/one/two/three")
        (tmp_path / "source" / "main.tf").write_text(
            "".join(f'module "m{number}" {{ source = "{place}" }}\n' for number, place in enumerate(places))
        )
        row = next(row for row in load_scanners() if row.name == "trivy-configuration")
        scan = scan_tree(tmp_path / "source", [row], profile="full", scratch=tmp_path, limit_seconds=60, offline=True)
        result = asyncio.run(scan)
        server.shutdown()
    assert ("completed", []) == (result.status, asked)


PLACES = """test/a.ini x/test/a.ini testing/a.ini contest/a.ini a_test.py a-test.ini a.test.ini test_a.py latest.ini
example.ini vendor/a.ini x/vendor/a.ini vendors/a.ini usr/lib/a.ini locale/a.ini x/locales/a.ini a.md go.mod x/go.sum
package-lock.json yarn.lock poetry.lock Gemfile.lock uv.lock a.svg a.gz a.zip a.csv a.min.js jquery.js x/bootstrap-3.js
plotly.js swagger-ui.min.js javascript.json vendor/github.com/x.go x/vendor/k8s.io/x.go vendor/modules.txt
vendor/ruby/a.rb gradlew mvnw.cmd env/lib/a.py lib/python3.11/a.py a-1.0.dist-info/METADATA Database.refactorlog a.gem
a.dll a.pyc a.suo"""


@pytest.mark.usefixtures("scanners_environment")
def test_what_a_search_for_secrets_passes_over_is_known(tmp_path: Path) -> None:
    """So that coverage tells the truth: a key in each file, and the row names those where it is not seen."""
    from tests.unit.scan.conftest import new_token

    names = PLACES.split()
    for name in names:
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text(f"GITHUB_TOKEN={new_token()}\n")
    rows = [row for row in load_scanners() if row.name in ("gitleaks", "trivy-secrets")]
    scan = scan_tree(tmp_path / "source", rows, profile="full", scratch=tmp_path, limit_seconds=60)
    found = asyncio.run(scan).findings
    seen = {row.name: {one.path for one in found if row.name in one.scanners} for row in rows}
    assert {row.name: {name for name in names if row.judges(name)} for row in rows} == seen


def test_a_file_of_a_scanners_kind_starts_it() -> None:
    """Whatever else the tree holds: Kubernetes is YAML or JSON, and many languages lock their packages."""
    rows = {row.name: row for row in load_scanners()}
    kinds = {
        "trivy-configuration": "deploy/pod.yaml stack.json main.tf Chart.yaml Containerfile",
        "trivy-vulnerabilities": "gradle.lockfile packages.lock.json pubspec.lock Podfile.lock mix.lock conan.lock",
    }
    assert [] == [(n, file) for n, files in kinds.items() for file in files.split() if not rows[n].judges(file)]
