"""What a client of heimdall's REST relies on, as a pact: written by a real call of a client, kept beside this file.

The same file is verified against heimdall and against its mock, so that the two cannot drift apart.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pact import Pact, Verifier, match

CONSUMER, PROVIDER = "security-agent", "heimdall-mcp"
STATE, SCAN_ID = "scan abc123 has completed with findings", "abc123"
KEPT = Path(__file__).parent / "pacts" / f"{CONSUMER}-{PROVIDER}.json"
SEVERITY = r"^(critical|high|medium|low|info)$"


def pact_file(folder: Path) -> Path:
    """The pact, written into `folder` by what the agent asks and reads."""
    document = {
        "scan_id": match.str(SCAN_ID),
        "status": match.regex("completed", regex="^(queued|running|completed|failed)$"),
        "findings": match.each_like(
            {
                "fingerprint": match.regex("0" * 32, regex="^[0-9a-f]{32}$"),
                "severity": match.regex("high", regex=SEVERITY),
                "category": match.str("dependency"),
                "rule": match.str("CVE-2026-0001"),
                "message": match.str("a defect"),
                "path": match.str("requirements.txt"),
                "start_line": match.int(1),
                "scanners": match.each_like(match.str("pip-audit"), min=1),
            },
            min=1,
        ),
        "findings_total": match.int(1),
        "cvss_summary": {"max_score": match.number(9.8)},
    }
    pact = Pact(CONSUMER, PROVIDER).with_specification("V4")
    (
        pact.upon_receiving("a request for the results of a scan")
        .given(STATE)
        .with_request("GET", f"/scans/{SCAN_ID}")
        .with_header("Accept", "application/json")
        .will_respond_with(200)
        .with_body(document, content_type="application/json")
    )
    with pact.serve() as server:
        highest = _highest_score(str(server.url))
    assert 9.8 == highest
    pact.write_file(folder)
    return folder / KEPT.name


def _highest_score(url: str) -> float:
    """What the agent does: the highest score of a scan that has completed."""
    request = urllib.request.Request(f"{url.rstrip('/')}/scans/{SCAN_ID}", headers={"Accept": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        document = json.load(answer)
    assert "completed" == document["status"]
    return float(document["cvss_summary"]["max_score"])


def verify(url: str, token: str, prepare: Callable[[], None] = lambda: None, pact: Path = KEPT) -> None:
    """Verify the pact against who answers at `url` (http://127.0.0.1:PORT) for `token`.

    `prepare` brings the state about. Raises RuntimeError when an answer is not as promised.
    """

    def state(state: str, action: str, parameters: Mapping[str, Any] | None) -> None:
        assert state == STATE, f"no such provider state: {state}"
        if action == "setup":
            prepare()

    verifier = Verifier(PROVIDER, host="127.0.0.1").add_transport(url=url).add_source(str(pact))
    verifier.add_custom_header("Authorization", f"Bearer {token}")
    verifier.state_handler(state, teardown=True).set_error_on_empty_pact(enabled=True).verify()
