"""Rows that stand for scanners of every temper, and repositories made at run time: no secret is ever committed here."""

from __future__ import annotations

import os
import random
import shutil
import string
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stepdown.scan.scanners import Scanner

TEMPER = Scanner(
    name="temper", package="temper", version="1.0", looks_for="nothing", category="sast", subject="tree", program=None,
    profiles=("quick", "full"), argv=(sys.executable, "-c", "", "{source}", "{report}"),
    exit_codes={0: "clean", 1: "findings"}, report="sarif", severity=None, severity_property=None, files=("*",),
    ignores=(), own_settings=(), redact_rules=(), time_limit_seconds=20, memory_mib=512, canary="none",
)  # fmt: skip


@pytest.fixture(autouse=True)
def tools_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scanners that are locked with these tests come before others of the same name."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def row() -> Callable[..., Scanner]:
    """A scanner that runs the given Python program with source and report as arguments; other columns by name."""

    def make(code: str = "", /, **columns: object) -> Scanner:
        argv = (sys.executable, "-c", code, "{source}", "{report}")
        return replace(TEMPER, **{"argv": argv, **columns})

    return make


@pytest.fixture
def git() -> Callable[..., str]:
    """git with a name, in a folder."""

    def run(folder: Path, *words: str) -> str:
        name = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
        return subprocess.run(
            ("git", *name, *words), cwd=folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    return run


@pytest.fixture
def token() -> str:
    """Looks like a GitHub token to a scanner; made anew for each test."""
    return "gh" + "p_" + "".join(random.choices(string.ascii_letters + string.digits, k=36))


@pytest.fixture
def real_scanners() -> tuple[Scanner, ...]:
    """The catalogue's rows, when their programs are here."""
    from stepdown.scan.scanners import load_scanners

    scanners = load_scanners()
    missing = sorted({s.argv[0] for s in scanners if not shutil.which(s.argv[0])})
    if missing:
        pytest.skip(f"not on PATH: {', '.join(missing)}")
    return scanners
