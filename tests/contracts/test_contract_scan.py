"""What this repository accepts of its own scan."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from stepdown.scan.baseline import load_baseline
from stepdown.scan.scanners import load_catalogue
from stepdown.scan.write_sarif import RUNS
from stepdown.scan_request import BASELINE

ROOT = Path(__file__).resolve().parents[2]


def test_every_accepted_finding_is_explained() -> None:
    """By a sentence and a team, in a file that is there; whether its date has come is the scan's to say."""
    scanners = [row.name for row in load_catalogue().scanners]
    entries = load_baseline(ROOT / BASELINE, BASELINE, scanners, datetime.now(UTC).date())
    odd = [
        entry.named()
        for entry in entries
        if len(entry.reason.split()) < 8
        or not re.fullmatch(r"[a-z][a-z-]+", entry.who)
        or not (ROOT / entry.path).is_file()
    ]
    assert [] == odd


def test_all_scanners_fit_into_one_upload() -> None:
    """GitHub takes so many runs of one file."""
    assert len(load_catalogue().scanners) <= RUNS
