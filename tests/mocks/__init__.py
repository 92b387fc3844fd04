"""heimdall-mock, github-mock and zen-mock: doors that answer like the real ones, and fail when a test says so.

Owns: canned answers (`answers/`), scripts and recorded calls, in memory. Reads: catalog/tools/, its configuration.
Never: a model, GitHub, a scanner, the network; nothing of the product imports it.
"""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("mcp_host") is None:  # started from the checkout: where the servers' sources stand
    _SERVICES = Path(__file__).resolve().parents[2] / "services"
    sys.path[:0] = [str(_SERVICES / name) for name in ("mcp_host", "heimdall", "github")]
