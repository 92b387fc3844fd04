"""A small repository with a defect of every kind that heimdall looks for; credentials are made up when it is made."""

from __future__ import annotations

import random
import string
import subprocess
from pathlib import Path

GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "init.defaultBranch=main")
FILES = {
    "app/database.py": "def find(cursor, name):\n    cursor.execute(\"SELECT * FROM t WHERE name = '%s'\" % name)\n",
    "deploy/compose.yml": 'services:\n  one:\n    image: "debian:12"\n    privileged: true\n',
    ".github/workflows/ci.yml": (
        "on: push\npermissions: {}\njobs:\n  one:\n    runs-on: ubuntu-latest\n    timeout-minutes: 5\n    steps:\n"
        "      - uses: actions/checkout@v4\n"
    ),
    "Dockerfile": "FROM debian:latest\nUSER root\n",
}
# What has to be found in each file: categories.
EXPECTED = {
    "app/database.py": "sast",
    "deploy/compose.yml": "sast",
    ".github/workflows/ci.yml": "workflow",
    "Dockerfile": "misconfiguration",
    "config.ini": "secret",
}


def make(repository: Path) -> str:
    """Make it, once; the key is in its first commit only. Answers the first commit."""
    if not repository.exists():
        repository.mkdir(parents=True)
        key = "gh" + "p_" + "".join(random.choices(string.ascii_letters + string.digits, k=36))
        _git(repository, "init", "-q")
        (repository / "config.ini").write_text(f"token = {key}\n")
        _commit(repository, "first")
        (repository / "config.ini").write_text("token =\n")
        for name, text in FILES.items():
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            (repository / name).write_text(text)
        _commit(repository, "second")
        subprocess.run(("chmod", "-R", "a+rX", str(repository)), check=True)
    return _git(repository, "rev-parse", "HEAD~1")


def found(findings: list[dict[str, object]]) -> dict[str, str]:
    """The expected places among findings, with their category."""
    return {str(f["path"]): str(f["category"]) for f in findings if EXPECTED.get(str(f["path"])) == f["category"]}


def _commit(repository: Path, message: str) -> None:
    _git(repository, "add", ".")
    _git(repository, "commit", "-qm", message)


def _git(repository: Path, *words: str) -> str:
    return subprocess.run((*GIT, *words), cwd=repository, check=True, capture_output=True, text=True).stdout.strip()
