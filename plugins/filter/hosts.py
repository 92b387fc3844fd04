"""What hosts answered, as words and rows; all but Ansible's side is in stepdown/hosts.py and stepdown/where.py."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # Ansible finds plugins by path, and the package stands where it is used

from stepdown import hosts, where  # noqa: E402 - after the line that makes it importable


def agent_words(answer: Mapping[str, Any], host: str, asked: str) -> str:
    """Ansible's result of a call of the agent that failed, as a sentence that names the host."""
    return hosts.refusal(host, answer, asked)


def host_row(status: Mapping[str, Any], host: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """A host's row, as plain data."""
    return where.packed([where.row(host, status, run)])[0]


def hosts_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table for people."""
    return where.table(where.unpacked(rows))


class FilterModule:
    """The filters by the names that roles call."""

    def filters(self) -> dict[str, Any]:
        """Name to filter."""
        return {"agent_words": agent_words, "host_row": host_row, "hosts_table": hosts_table}
