"""The egress proxy's start-up configuration as plain data (JSON of Envoy's v3 API).

It holds no rule: who may reach what depends on a host's URLs, so the agent writes it (stepdown/host/egress.py).
"""

from __future__ import annotations

from typing import Any

from stepdown.render.gateway import file_source
from stepdown.shared import ENVOY_ADMIN


def egress_bootstrap() -> dict[str, Any]:
    """Envoy's start-up configuration: listener and clusters from files, admin on a socket of mode 0600."""
    return {
        "node": {"id": "egress", "cluster": "stepdown"},
        "admin": {"address": {"pipe": {"path": ENVOY_ADMIN, "mode": 0o600}}},
        "dynamic_resources": {
            "lds_config": file_source("listeners.json"),
            "cds_config": file_source("clusters.json"),
        },
    }
