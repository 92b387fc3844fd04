"""A vulnerability database as trivy reads it, with the few entries that a test wants (trivy-db, schema version 2)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.planted import bolt

SOURCE = "pip::GitHub Security Advisory pip"


def write(folder: Path, packages: Mapping[str, Mapping[str, Mapping[str, Any]]], updated: datetime) -> None:
    """`packages`: name to advisory id to {"vulnerable": [">=1, <2"]}, "patched" versions, and trivy's own detail."""
    folder.mkdir(parents=True)
    details: dict[str, bytes] = {}
    names: dict[str, dict[str, bytes]] = {}
    for name, advisories in packages.items():
        for identifier, given in advisories.items():
            detail = {key: value for key, value in given.items() if key not in ("vulnerable", "patched")}
            versions = {"VulnerableVersions": given["vulnerable"], "PatchedVersions": given.get("patched", [])}
            names.setdefault(name, {})[identifier] = _json(versions)
            details[identifier] = _json({"Title": identifier, "Severity": "HIGH", **detail})
    source = {"ID": "ghsa", "Name": "GitHub Security Advisory pip", "URL": "https://github.com/advisories"}
    tree: bolt.Node = {"data-source": {SOURCE: _json(source)}, "vulnerability": details, SOURCE: names}
    bolt.write(folder / "trivy.db", tree)
    now = updated.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")  # trivy writes nanoseconds
    (folder / "metadata.json").write_text(json.dumps({"Version": 2, "NextUpdate": now, "UpdatedAt": now}))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
