"""Scans in SQLite (WAL), for one or two heimdalls at a time.

A scan is claimed by lease: owner and expiry, renewed while it runs. A heimdall that dies leaves a lease that lapses,
and the scan runs again; one that lost its lease cannot write a result. Migrations only add, so that the release before
can go on working beside this one. What it cannot do it must not claim: to its eyes a scan of a URL runs, for ever,
while it waits, and its lease is in a column of its own. Blocks, and belongs to one thread.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from heimdall.documents import FINISHED, Status, Told
from heimdall.migrations import MIGRATIONS
from heimdall.refused import RefusedError
from stepdown.errors import StepdownError, sentence
from stepdown.scan.scanners import Profile

LEASE_SECONDS = 30.0
ATTEMPTS = 3  # a scan that took its heimdall down so often is not tried again
KEPT = 1000  # finished scans
RETRY_AFTER_SECONDS = 10
CANCELLED = "was cancelled"
NEVER = 1e15  # seconds since 1970 at which the lease of a scan of a URL lapses, as the release before sees it
TELL_ATTEMPTS = 8
TELL_SECONDS = 15.0  # after the first attempt, doubling; longer than one attempt may take
SUMMARY = ("findings_total", "severities", "cvss_summary", "commit")

QUEUED = "(status = 'queued' OR (status = 'running' AND url IS NOT NULL AND lease_owner IS NULL))"
LEASE = (  # takes the moment twice
    "lease_expires = CASE WHEN url IS NULL THEN ? ELSE lease_expires END,"
    " url_lease = CASE WHEN url IS NULL THEN NULL ELSE ? END"
)
LAPSED = "(status = 'running' AND lease_owner IS NOT NULL AND coalesce(url_lease, lease_expires) < ?)"


@dataclass(frozen=True)
class Request:
    """What to scan: a folder of the workspace by `path`, a repository at `url` (its `ref`, or where its HEAD is), or

    the text `code` of a file `filename`. `callback` is a URL that is told of the end.
    """

    profile: Profile
    path: str | None = None
    filename: str | None = None
    code: str | None = None
    url: str | None = None
    ref: str | None = None
    callback: str | None = None

    def digest(self) -> str:
        """The same for the same request; kept longer than the source text may be."""
        parts = [self.profile, self.path, self.filename, self.code]
        if self.url or self.callback:  # without them it is what the release before computed
            parts += [self.url, self.ref, self.callback]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Row:
    """A scan as stored; times in seconds since 1970."""

    scan_id: str
    request: Request
    status: Status
    submitted_at: float
    started_at: float | None
    finished_at: float | None
    error: str | None
    result: dict[str, Any] | None
    callback_state: Told | None = None


class Store:
    """The table of scans. `clock` gives seconds since 1970."""

    def __init__(self, file: Path, clock: Callable[[], float]) -> None:
        """Open `file`, and bring it up to date. Raises StepdownError when a much newer heimdall wrote it."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._db = sqlite3.connect(file, isolation_level=None, timeout=5, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # a scan that was accepted survives a power cut
        self._migrate(file)

    def close(self) -> None:
        self._db.close()

    def submit(self, request: Request, queue_size: int, key: str | None = None) -> Row:
        """Queue a scan; with a `key` that was used before, the scan it made. Raises RefusedError 409 and 429."""
        with self._transaction() as db:
            if key is not None:
                old = db.execute("SELECT scan_id, request_digest FROM scans WHERE request_key = ?", (key,)).fetchone()
                if old and old["request_digest"] != request.digest():
                    raise RefusedError(sentence("Idempotency-Key", "was used for another request; send a new key"), 409)
                if old:
                    return self._get(str(old["scan_id"]))
            waiting = db.execute(f"SELECT count(*) FROM scans WHERE {QUEUED}").fetchone()[0]
            if waiting >= queue_size:
                wrong = f"is full with {waiting} scans; try again in {RETRY_AFTER_SECONDS} s"
                raise RefusedError(sentence("queue", wrong), 429, RETRY_AFTER_SECONDS)
            scan_id = uuid.uuid4().hex
            at_rest, lease = ("queued", None) if request.url is None else ("running", NEVER)
            db.execute(
                "INSERT INTO scans (scan_id, path, filename, code, url, ref, callback, callback_state, profile, status,"
                " lease_expires, submitted_at, request_key, request_digest)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (scan_id, request.path, request.filename, request.code, request.url, request.ref, request.callback,
                 "waiting" if request.callback else None, request.profile, at_rest, lease, self._clock(), key,
                 request.digest() if key is not None else None),
            )  # fmt: skip
            return self._get(scan_id)

    def get(self, scan_id: str) -> Row:
        """One scan. Raises RefusedError 404."""
        return self._get(scan_id)

    def recent(self, limit: int) -> list[Row]:
        """The newest scans, newest first; of their results only the part named SUMMARY."""
        columns = (
            "scan_id, path, filename, NULL AS code, url, ref, NULL AS callback, callback_state, profile, status,"
            " lease_owner, submitted_at, started_at, finished_at, error"
        )
        query = f"SELECT {columns}, summary AS result FROM scans ORDER BY number DESC LIMIT ?"
        return [_row(found) for found in self._db.execute(query, (limit,))]

    def latest(self, limit: int) -> list[Row]:
        """The last completed scan of every folder and repository, oldest first; of the newest `limit` subjects."""
        newest = "SELECT max(number) FROM scans WHERE status = 'completed' AND code IS NULL AND filename IS NULL"
        query = (
            f"SELECT * FROM scans WHERE number IN ({newest} GROUP BY path, url ORDER BY 1 DESC LIMIT ?) ORDER BY number"
        )
        return [_row(found) for found in self._db.execute(query, (limit,))]

    def claim(self, owner: str) -> Row | None:
        """The oldest scan that is queued, or whose lease lapsed, now leased to `owner`; None when there is none."""
        now = self._clock()
        with self._transaction() as db:
            db.execute(
                "UPDATE scans SET status = 'failed', finished_at = ?, code = NULL, lease_owner = NULL, error = ?"
                f" WHERE {LAPSED} AND attempts >= ?",
                (now, f"was interrupted {ATTEMPTS} times", now, ATTEMPTS),
            )
            found = db.execute(
                f"SELECT scan_id FROM scans WHERE {QUEUED} OR {LAPSED} ORDER BY number LIMIT 1", (now,)
            ).fetchone()
            if found is None:
                return None
            db.execute(
                f"UPDATE scans SET status = 'running', lease_owner = ?, {LEASE}, attempts = attempts + 1,"
                " started_at = ? WHERE scan_id = ?",
                (owner, now + LEASE_SECONDS, now + LEASE_SECONDS, now, found["scan_id"]),
            )
            return self._get(str(found["scan_id"]))

    def renew(self, owner: str, scan_id: str) -> bool:
        """Prolong the lease; False when it is lost (cancelled, or it lapsed and another took it)."""
        with self._transaction() as db:
            ends = self._clock() + LEASE_SECONDS
            changed = db.execute(
                f"UPDATE scans SET {LEASE} WHERE scan_id = ? AND lease_owner = ? AND status = 'running'",
                (ends, ends, scan_id, owner),
            ).rowcount
            return changed == 1

    def finish(self, owner: str, scan_id: str, result: dict[str, Any] | None, error: str | None) -> bool:
        """Write how it ended (an `error` means failed) and forget its source text; False when the lease is lost."""
        status: Status = "failed" if error else "completed"
        whole = json.dumps(result) if result else None
        summary = json.dumps({key: result[key] for key in SUMMARY if key in result}) if result else None
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE scans SET status = ?, finished_at = ?, result = ?, summary = ?, error = ?, code = NULL,"
                " lease_owner = NULL WHERE scan_id = ? AND lease_owner = ? AND status = 'running'",
                (status, self._clock(), whole, summary, error, scan_id, owner),
            ).rowcount
            db.execute(
                "DELETE FROM scans WHERE number IN (SELECT number FROM scans WHERE status IN ('completed', 'failed')"
                " ORDER BY number DESC LIMIT -1 OFFSET ?)",
                (KEPT,),
            )
            return changed == 1

    def release(self, owner: str) -> None:
        """Give what `owner` still holds back to the queue, as if it had not been tried."""
        with self._transaction() as db:
            db.execute(
                "UPDATE scans SET status = CASE WHEN url IS NULL THEN 'queued' ELSE 'running' END, lease_owner = NULL,"
                " started_at = NULL, attempts = attempts - 1 WHERE lease_owner = ? AND status = 'running'",
                (owner,),
            )

    def cancel(self, scan_id: str) -> Row:
        """Stop a scan that has not ended; one that was cancelled before stays so. Raises RefusedError 404 and 409."""
        with self._transaction() as db:
            row = self._get(scan_id)
            if row.status in FINISHED and row.error != CANCELLED:
                raise RefusedError(
                    sentence("scan", f"{scan_id} is {row.status} already; there is nothing to cancel"), 409
                )
            if row.status not in FINISHED:
                db.execute(
                    "UPDATE scans SET status = 'failed', finished_at = ?, error = ?, code = NULL, lease_owner = NULL"
                    " WHERE scan_id = ?",
                    (self._clock(), CANCELLED, scan_id),
                )
            return self._get(scan_id)

    def due(self) -> tuple[Row, str] | None:
        """A scan that ended and whose callback is to be told now, with the URL; this attempt is counted already."""
        now = self._clock()
        with self._transaction() as db:
            found = db.execute(
                "SELECT scan_id, callback, callback_attempts FROM scans WHERE callback IS NOT NULL"
                " AND callback_due <= ? AND status IN ('completed', 'failed') ORDER BY callback_due LIMIT 1",
                (now,),
            ).fetchone()
            if found is None:
                return None
            again = now + TELL_SECONDS * 2 ** min(found["callback_attempts"], TELL_ATTEMPTS)
            db.execute(
                "UPDATE scans SET callback_attempts = callback_attempts + 1, callback_due = ? WHERE scan_id = ?",
                (again, found["scan_id"]),
            )
            return self._get(str(found["scan_id"])), str(found["callback"])

    def told(self, scan_id: str, delivered: bool) -> None:
        """How an attempt ended; the URL is forgotten with the last one."""
        with self._transaction() as db:
            db.execute(
                "UPDATE scans SET callback = NULL, callback_state = ? WHERE scan_id = ?"
                " AND (? OR callback_attempts >= ?)",
                ("delivered" if delivered else "given_up", scan_id, delivered, TELL_ATTEMPTS),
            )

    def _get(self, scan_id: str) -> Row:
        found = self._db.execute("SELECT * FROM scans WHERE scan_id = ?", (scan_id,)).fetchone()
        if found is None:
            raise RefusedError(sentence("scan", f"{scan_id!r} is not known; list_scans shows what is"), 404)
        return _row(found)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; IMMEDIATE, so that what was read is still true when it is written."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _migrate(self, file: Path) -> None:
        with self._transaction() as db:
            db.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
            version = int(db.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()[0])
            if version > len(MIGRATIONS) + 1:
                wrong = f"has schema {version}, and this heimdall knows {len(MIGRATIONS)} and the one after"
                raise StepdownError(sentence(str(file), wrong))
            for number in range(version, len(MIGRATIONS)):
                for statement in MIGRATIONS[number].split(";"):
                    db.execute(statement)
                db.execute("INSERT INTO schema_version (version) VALUES (?)", (number + 1,))


def _row(found: sqlite3.Row) -> Row:
    profile = next(p for p in get_args(Profile) if p == found["profile"])
    status = next(s for s in get_args(Status) if s == found["status"])
    return Row(
        scan_id=found["scan_id"],
        request=Request(
            profile, **{name: found[name] for name in ("path", "filename", "code", "url", "ref", "callback")}
        ),
        status="queued" if status == "running" and found["lease_owner"] is None else status,
        submitted_at=found["submitted_at"],
        started_at=found["started_at"],
        finished_at=found["finished_at"],
        error=found["error"],
        result=json.loads(found["result"]) if found["result"] else None,
        callback_state=next((t for t in get_args(Told) if t == found["callback_state"]), None),
    )
