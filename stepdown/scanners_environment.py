"""What scanners need before a scan: their own virtual environment, beside .venv, and data about vulnerabilities.

Owns: .scanners, which is apart because their packages do not get on with those of the control machine. Reads:
services/scanners/requirements.txt. Never: scans.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from stepdown.errors import StepdownError
from stepdown.run import run
from stepdown.scan.programs import ENVIRONMENT, program_of
from stepdown.scan.scanners import Scanner

LOCK = "services/scanners/requirements.txt"
FOLDER = ".scanners"
STAMP = ".lock-sha256"
INSTALL_SECONDS = 900
SERVICE = "STEPDOWN_ADVISORY_SERVICE"
MIRROR = "STEPDOWN_DATABASE_MIRROR"
FETCH_SECONDS = 300


def ensure(root: Path, say: Callable[[str], None]) -> Path:
    """The environment's folder; made from the lock when it is not there or was made from another lock.

    A folder that STEPDOWN_SCANNERS names is taken as it is. Raises CommandError when it cannot be made.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    folder = root / FOLDER
    want = f"{hashlib.sha256((root / LOCK).read_bytes()).hexdigest()} {sys.version_info[0]}.{sys.version_info[1]}"
    if _made_from(folder) != want:
        with (root / f"{FOLDER}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two first uses at once: the second waits, then finds it made
            if _made_from(folder) != want:
                say(f"installing the locked scanners into {FOLDER}")
                _make(folder, root / LOCK)
                (folder / STAMP).write_text(want, encoding="utf-8")
    return folder


def _made_from(folder: Path) -> str:
    """What the folder was made from; empty when it is not there or was never finished."""
    stamp = folder / STAMP
    return stamp.read_text(encoding="utf-8") if stamp.is_file() else ""


def _make(folder: Path, lock: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # may not be there; what stays in the way fails the next line
    venv = Path(sys.executable).parent
    uv = str(venv / "uv")
    env = {"UV_SYSTEM_CERTS": "true"}
    index = venv.parent / ".index-url"  # ./run keeps pip's there, which uv does not read
    if index.is_file() and index.read_text().strip() and not os.environ.get("UV_DEFAULT_INDEX"):
        env["UV_DEFAULT_INDEX"] = index.read_text().strip()
    run((uv, "venv", "--quiet", "--python", sys.executable, str(folder)), env=env, timeout_seconds=INSTALL_SECONDS)
    python = str(folder / "bin" / "python")
    sync = (uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", "--compile-bytecode", str(lock))
    run(sync, env=env, timeout_seconds=INSTALL_SECONDS)


def fetch_database(trivy: Scanner, mirror: str, cache: Path) -> Path | str:
    """The folder of trivy's database, made up to date below `cache`; in words why there is none.

    `mirror` is an OCI repository, an empty one leaves the choice to trivy. Blocks, at most FETCH_SECONDS. A database
    that is there already is used when no newer one can be had: its age is judged by who uses it.
    """
    cache.mkdir(parents=True, exist_ok=True)
    place = (f"--db-repository={mirror}",) if mirror else ()
    try:
        argv = (program_of(trivy), "image", "--quiet", "--download-db-only", f"--cache-dir={cache}", *place)
        run(argv, timeout_seconds=FETCH_SECONDS, cwd=str(cache))
    except StepdownError as error:
        if not (cache / "db" / "trivy.db").is_file():
            words = str(error).splitlines()[-1].strip("* \t")
            return f"it cannot be fetched: {words[:200]}"
    return cache / "db"
