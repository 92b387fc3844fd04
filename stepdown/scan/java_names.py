"""An index of Java archives for trivy that holds none.

trivy fails on any archive when it has no index, and would fetch one. With an empty one it knows archives by what they
say of themselves (their pom.properties or manifest), which is not all: one that says nothing is not judged.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

FOLDER = "java-db"
# Schema and version of trivy-java-db.
SCHEMA = """
CREATE TABLE artifacts(id INTEGER PRIMARY KEY, group_id TEXT, artifact_id TEXT);
CREATE TABLE indices(artifact_id INTEGER, version TEXT, sha1 BLOB, archive_type TEXT);
"""
METADATA = {"Version": 1, **dict.fromkeys(("NextUpdate", "UpdatedAt", "DownloadedAt"), "2100-01-01T00:00:00Z")}


def write_index(cache: Path) -> None:
    """Make the index in trivy's folder `cache`. Blocks."""
    folder = cache / FOLDER
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "trivy-java.db")) as database:
        database.executescript(SCHEMA)
    (folder / "metadata.json").write_text(json.dumps(METADATA), encoding="utf-8")
