"""A small set of advisories, all of them made up, about packages that do not exist: as OSV files and for trivy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stepdown.scan.scanners import load_scanners
from tests.doubles import trivy_database
from tests.planted.defects import ADVISORY, FIXED, PACKAGE

SOURCE = "synthetic: made for tests, says nothing about any real package"
SUMMARY = "A made-up flaw of a package that does not exist"
VECTOR, SCORE = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8  # base score of the vector by CVSS 3.1, 7.1


def write(folder: Path, dated: datetime) -> None:
    """Write `metadata.json`, `osv/` and `trivy-db/`, as `./run scan --advisories` reads them."""
    (folder / "osv" / "PyPI").mkdir(parents=True)
    _json(folder / "metadata.json", {"dated": _time(dated), "source": SOURCE})
    _json(folder / "osv" / "PyPI" / f"{ADVISORY}.json", osv(dated))
    trivy_database.write(folder / "trivy-db", _packages(), dated)


def osv(dated: datetime) -> dict[str, Any]:
    """The advisory in the Open Source Vulnerability format, 1.6: https://ossf.github.io/osv-schema/"""
    return {
        "schema_version": "1.6.0",
        "id": ADVISORY,
        "modified": _time(dated),
        "published": _time(dated),
        "summary": SUMMARY,
        "details": SOURCE,
        "severity": [{"type": "CVSS_V3", "score": VECTOR}],
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": PACKAGE},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": FIXED}]}],
            }
        ],
    }


def _packages() -> dict[str, dict[str, dict[str, Any]]]:
    """The planted package, and those of the scanners' canaries: a database that does not know these is no good."""
    said = {
        "vulnerable": [f"<{FIXED}"],
        "patched": [FIXED],
        "Title": SUMMARY,
        "Description": SOURCE,
        "Severity": "CRITICAL",
        "VendorSeverity": {"ghsa": 4},
        "CVSS": {"ghsa": {"V3Vector": VECTOR, "V3Score": SCORE}},
    }
    canaries = {name: {rule: {"vulnerable": [f"={version}"]}} for name, version, rule in _canaries()}
    return {PACKAGE: {ADVISORY: said}, **canaries}


def _canaries() -> set[tuple[str, str, str]]:
    """Package, version and advisory of each row that needs a database and names its canary as a requirement."""
    rows = (row for row in load_scanners() if row.needs == "vulnerability-database" and row.canary)
    named = ((*row.canary.text.strip().partition("=="), row.canary.rule) for row in rows if row.canary)
    return {(name, version, rule) for name, between, version, rule in named if between}


def _json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
