"""How the table of scans came to be. A migration only adds: the release before works on beside this one."""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE scans (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        scan_id TEXT NOT NULL UNIQUE,
        path TEXT, filename TEXT, code TEXT, profile TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'failed')),
        submitted_at REAL NOT NULL, started_at REAL, finished_at REAL,
        lease_owner TEXT, lease_expires REAL, attempts INTEGER NOT NULL DEFAULT 0,
        error TEXT, result TEXT, summary TEXT, request_key TEXT UNIQUE, request_digest TEXT
    );
    CREATE INDEX scans_by_status ON scans (status, number);
    """,
    """
    ALTER TABLE scans ADD COLUMN url TEXT;
    ALTER TABLE scans ADD COLUMN ref TEXT;
    ALTER TABLE scans ADD COLUMN url_lease REAL;
    ALTER TABLE scans ADD COLUMN callback TEXT;
    ALTER TABLE scans ADD COLUMN callback_state TEXT;
    ALTER TABLE scans ADD COLUMN callback_attempts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE scans ADD COLUMN callback_due REAL NOT NULL DEFAULT 0;
    CREATE INDEX scans_to_tell ON scans (callback_due) WHERE callback IS NOT NULL
    """,
)
