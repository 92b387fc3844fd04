"""A scan and its verdict as one JSON document, for programs. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from stepdown.scan.baseline import Entry
from stepdown.scan.findings import ScanResult
from stepdown.scan.verdict import Verdict


def json_of(result: ScanResult, verdict: Verdict, accepted: Mapping[str, Entry], repository: str) -> bytes:
    """The document that heimdall gives too, with the verdict, and with who accepted which finding."""
    document = {
        "repository": repository,
        **verdict.document(),
        **result.document(),
        "accepted": [
            {"fingerprint": entry.fingerprint, "reason": entry.reason, "who": entry.who, "expires": str(entry.expires)}
            for entry in sorted(accepted.values(), key=lambda entry: entry.fingerprint)
        ],
    }
    return (json.dumps(document, indent=2) + "\n").encode()
