"""Where advisories come from, and whether they can be believed. Without them nothing about dependencies is said.

A local set is a folder: metadata.json {"dated": ISO 8601, "source": text}, osv/ with advisories in the OSV format, and
optionally trivy-db/ with trivy.db and its metadata.json. What is older than the catalogue allows counts as none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stepdown.errors import UsageError, sentence
from stepdown.scan.osv import InvalidSetError, read_set
from stepdown.scan.scanners import Advice, Scanner

NO_SERVICE = "not scanned, no advisory data"
NO_DATABASE = "not scanned, no database"
WHAT_IS_MISSING = {"advisory-service": NO_SERVICE, "vulnerability-database": NO_DATABASE}
# What a program needs to reach a service by way of a proxy; given to no other.
WAY_OUT = (
    "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
)  # fmt: skip


@dataclass(frozen=True)
class Advisories:
    """A service or a local set, and a database; of each that is missing, why."""

    service: str | None = None  # the URL of an OSV service
    known: Path | None = None  # a local set's osv folder, in the place of a service
    why_no_service: str = "none was named"
    database: Path | None = None  # a folder with trivy.db
    why_no_database: str = "none was named"

    def missing(self, needs: str | None) -> str | None:
        """Why a scanner that `needs` this cannot judge; None when it can."""
        if needs == "advisory-service" and self.service is None and self.known is None:
            return f"{NO_SERVICE}: {self.why_no_service}"
        if needs == "vulnerability-database" and self.database is None:
            return f"{NO_DATABASE}: {self.why_no_database}"
        return None


NONE = Advisories()


def from_folder(folder: Path, advice: Advice, now: datetime) -> Advisories:
    """A local set. Raises UsageError when the folder is none; what is too old or not in it is said in the result."""
    dated = _date(folder / "metadata.json", "dated")
    old = _too_old(dated, advice, now)
    if old:
        return Advisories(why_no_service=old, why_no_database=old)
    known, database = folder / "osv", folder / "trivy-db"
    has_database = _database(database, advice, now)
    return Advisories(
        known=known if known.is_dir() else None,
        why_no_service="" if known.is_dir() else f"{folder} has no osv folder",
        database=database if has_database is None else None,
        why_no_database=has_database or "",
    )


def from_places(service: str, database: Path | str | None, advice: Advice, now: datetime) -> Advisories:
    """A service by its URL (an empty one: none), and the folder of a database, or in words why there is none."""
    if not isinstance(database, Path):
        return Advisories(service=service or None, why_no_database=database or "none was named")
    reason = _database(database, advice, now)
    return Advisories(service=service or None, database=None if reason else database, why_no_database=reason or "")


def read_known(folder: Path, canary: Scanner | None) -> dict[str, list[dict[str, Any]]] | str:
    """The advisories of a local set and the canary's; in words why not."""
    try:
        known = read_set(folder)
    except InvalidSetError as error:
        return f"{NO_SERVICE}: {error}"
    if not known:  # the canary, which is added here, would hide it
        return f"{NO_SERVICE}: {folder} holds no advisory about PyPI"
    if canary and canary.canary:
        name, _, version = canary.canary.text.strip().partition("==")
        known.setdefault(name, []).append(_canary(canary.canary.rule, name, version))
    return known


def _canary(rule: str, name: str, version: str) -> dict[str, Any]:
    return {
        "id": rule,
        "modified": "2020-01-01T00:00:00Z",
        "summary": "planted",
        "affected": [{"package": {"ecosystem": "PyPI", "name": name}, "versions": [version]}],
    }


def _database(folder: Path, advice: Advice, now: datetime) -> str | None:
    """Why the database in `folder` cannot be used; None when it can."""
    if not (folder / "trivy.db").is_file():
        return f"{folder} holds no trivy.db"
    try:
        return _too_old(_date(folder / "metadata.json", "UpdatedAt"), advice, now)
    except UsageError as error:
        return str(error)


def _date(file: Path, key: str) -> datetime:
    try:
        document: Mapping[str, Any] = json.loads(file.read_bytes())
        dated = datetime.fromisoformat(document[key])
    except OSError as error:
        raise UsageError(sentence(str(file), f"cannot be read: {error.strerror}")) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(sentence(str(file), f"should say in {key!r} when its data is of, as ISO 8601")) from error
    return dated if dated.tzinfo else dated.replace(tzinfo=UTC)


def _too_old(dated: datetime, advice: Advice, now: datetime) -> str | None:
    days = (now - dated).days
    if days < -1:
        return f"its data is dated {-days} days ahead of this machine's clock"
    if days > advice.maximum_age_days:
        return f"its data is {days} days old, at most {advice.maximum_age_days} are allowed"
    return None
