"""What the environment may set, checked once when heimdall starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from heimdall.allowed import Hosts, hosts_of
from stepdown.errors import UsageError, sentence
from stepdown.scan.snapshot import TreeLimits


@dataclass(frozen=True)
class Settings:
    """Folders, and limits: scans that may wait, scans that run at once, seconds for each."""

    data: Path
    workspace: Path
    scratch: Path
    queue_size: int
    concurrent_scans: int
    scan_seconds: int
    git: Hosts
    callbacks: Hosts
    proxy: str | None  # the way to these hosts; never handed to a scanner
    ca: Path  # an authority of these hosts beside the public ones; the file may be missing
    # The copies of all scans that run at once share the container's memory where scratch is a tmpfs.
    tree: TreeLimits = TreeLimits(files=20_000, bytes=64 * 1024 * 1024)  # noqa: RUF009 - frozen


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Settings from HEIMDALL_… variables. Raises UsageError that names the variable."""
    return Settings(
        data=Path(environment.get("HEIMDALL_DATA", "/data")),
        workspace=Path(environment.get("HEIMDALL_WORKSPACE", "/workspace")),
        scratch=Path(environment.get("HEIMDALL_SCRATCH", "/tmp")),
        queue_size=_number(environment, "HEIMDALL_QUEUE_SIZE", 100, 10_000),
        concurrent_scans=_number(environment, "HEIMDALL_CONCURRENT_SCANS", 5, 64),
        scan_seconds=_number(environment, "HEIMDALL_SCAN_SECONDS", 300, 3600),
        git=hosts_of(environment, "HEIMDALL_GIT_HOSTS", "mcp_stack_heimdall_git_hosts", ("https",)),
        callbacks=hosts_of(
            environment, "HEIMDALL_CALLBACK_HOSTS", "mcp_stack_heimdall_callback_hosts", ("https", "http")
        ),
        proxy=environment.get("HTTPS_PROXY") or None,
        ca=Path(environment.get("MCP_HOST_SECRETS_DIR", "/run/secrets")) / "heimdall" / "ca",
    )


def _number(environment: Mapping[str, str], name: str, default: int, maximum: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= maximum:
        raise UsageError(sentence(name, f"should be a whole number from 1 to {maximum}, is {text!r}"))
    return int(text)
