"""The tools of this environment, and the texts that git tracks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest


def tool(name: str) -> str:
    """A program that the lock puts beside this Python."""
    path = Path(sys.executable).parent / name
    assert path.is_file(), f"{name} is not beside {sys.executable}; run: ./run test.contract"
    return str(path)


@pytest.fixture(scope="session")
def docker_compose() -> str:
    """Compose's binary; what it is asked here needs no engine."""
    return tool("docker-compose")


@pytest.fixture(scope="session")
def envoy() -> str:
    """Envoy; `--mode validate` needs no engine and opens no port."""
    return tool("envoy")


@pytest.fixture(scope="session")
def lint_imports() -> str:
    """import-linter."""
    return tool("lint-imports")


@pytest.fixture(scope="session")
def tracked(root: Path) -> Mapping[str, str]:
    """Every text file that git tracks and that is there: path to content."""
    if not (root / ".git").exists():
        pytest.skip("no Git repository: an exported tree has no list of tracked files")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True, text=True).stdout
    files = {}
    for name in filter(None, listed.split("\0")):
        path = root / name
        if path.is_file():
            content = path.read_bytes()
            if b"\0" not in content:
                files[name] = content.decode("utf-8", errors="replace")
    assert "pyproject.toml" in files
    return files
