"""What a host is now: files, units, kernel values. Reads, and runs programs for those who change.

Shared by the modules of the role host_baseline; runs on the managed host, standard library only.
"""

from __future__ import annotations

import base64
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNIT_PROPERTIES = ("LoadState", "UnitFileState", "ActiveState", "ConditionResult", "ConditionTimestampMonotonic")


class HostError(Exception):
    """The host refused a step."""


def call(*argv: str) -> str:
    """A program's output; HostError with its last words when it fails or is missing."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False)
    except FileNotFoundError as error:
        raise HostError(f"{argv[0]}: not installed") from error
    if done.returncode:
        raise HostError(f"{shlex.join(argv)}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-1000:]}")
    return done.stdout


@dataclass(frozen=True)
class Unit:
    """A systemd unit's state; `possible` is false where its conditions did not hold when it was last tried."""

    name: str
    exists: bool
    enabled: bool
    active: bool
    possible: bool

    @classmethod
    def look(cls, name: str) -> Unit:
        """Ask systemd."""
        rows = call("systemctl", "show", f"--property={','.join(UNIT_PROPERTIES)}", name).splitlines()
        seen = dict(row.partition("=")[::2] for row in rows)
        return cls(
            name,
            exists=seen["LoadState"] != "not-found",
            enabled=seen["UnitFileState"] not in ("disabled", ""),
            active=seen["ActiveState"] in ("active", "activating", "reloading"),
            possible=seen["ConditionResult"] == "yes" or seen["ConditionTimestampMonotonic"] == "0",
        )

    @property
    def settled(self) -> bool:
        """Enabled, and running unless this host never lets it (a container and its clock)."""
        return self.enabled and (self.active or not self.possible)

    def __str__(self) -> str:
        return f"{'enabled' if self.enabled else 'disabled'}, {'running' if self.active else 'stopped'}"


def snapshot(path: str) -> dict[str, Any] | None:
    """What a file is, so that it can be put back; None where there is none."""
    if not Path(path).exists():
        return None
    status = Path(path).stat()
    content = base64.b64encode(Path(path).read_bytes()).decode()
    return {"content": content, "mode": status.st_mode & 0o7777, "owner": [status.st_uid, status.st_gid]}


def written(text: str) -> dict[str, Any]:
    """The snapshot of a file that was written with this text."""
    return {"content": base64.b64encode(text.encode()).decode(), "mode": 0o644, "owner": [0, 0]}


def text_of(seen: dict[str, Any] | None) -> str:
    """The text of a snapshot, for people."""
    return base64.b64decode(seen["content"]).decode(errors="replace") if seen else ""


def put(path: str, wanted: dict[str, Any] | None) -> None:
    """Make a file what its snapshot says, in one step; its folder has to be there. None removes it."""
    if wanted is None:
        Path(path).unlink(missing_ok=True)
        return
    fresh = Path(f"{path}.stepdown-new")
    fresh.write_bytes(base64.b64decode(wanted["content"]))
    fresh.chmod(wanted["mode"])
    os.chown(fresh, *wanted["owner"])
    fresh.replace(path)


def missing_folders(path: str) -> list[str]:
    """Parents of a file that are not there, outermost first."""
    return [str(folder) for folder in reversed(Path(path).parents) if not folder.exists()]


def kernel_path(key: str) -> Path:
    """Of `net.core.somaxconn`, or with slashes where a name has dots in it."""
    return Path("/proc/sys", key if "/" in key else key.replace(".", "/"))


def kernel_value(key: str) -> str:
    """The value in force, words separated by one space."""
    return " ".join(kernel_path(key).read_text().split())


def kernel_writable(key: str) -> bool:
    """Whether a value can be set here: not in a container whose /proc/sys is read-only."""
    return os.access(kernel_path(key), os.W_OK)
