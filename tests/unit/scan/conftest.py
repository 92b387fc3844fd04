"""Rows that stand for scanners of every temper, and repositories made at run time: no secret is ever committed here."""

from __future__ import annotations

import random
import string
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stepdown.scan.scanners import Scanner, load_scanners

TEMPER = Scanner(
    name="temper", package="temper", version="1.0", looks_for="nothing", category="sast", subject="tree", program=None,
    profiles=("quick", "full"), argv=(sys.executable, "-c", "", "{source}", "{report}"),
    exit_codes={0: "clean", 1: "findings"}, report="sarif", severity=None, severity_property=None, files=("*",),
    ignores=(), own_settings=(), redact_rules=(), time_limit_seconds=20, memory_mib=512, canary=None,
)  # fmt: skip


def new_token() -> str:
    """Looks like a GitHub token to a scanner."""
    return "gh" + "p_" + "".join(random.choices(string.ascii_letters + string.digits, k=36))


@pytest.fixture
def anyio_backend() -> str:
    """The scan core runs on asyncio alone."""
    return "asyncio"


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
    return new_token()


@pytest.fixture
def real_scanners(scanners_environment: Path) -> tuple[Scanner, ...]:
    """Rows that are quick and want nothing from outside, with the programs that are locked."""
    assert scanners_environment.is_dir()
    return tuple(s for s in load_scanners() if s.name in ("bandit", "gitleaks-history", "gitleaks"))
