"""Names that bundles and the agent both make."""

from __future__ import annotations

import pytest

from stepdown import shared


@pytest.mark.parametrize(
    ("prefix", "name", "expected"),
    [
        ("IP", "zen", "STEPDOWN_IP_ZEN"),
        ("IP", "zen-reasoning", "STEPDOWN_IP_ZEN_REASONING"),
        ("IMAGE", "mcp_host", "STEPDOWN_IMAGE_MCP_HOST"),
    ],
)
def test_a_name_becomes_a_variable(prefix: str, name: str, expected: str) -> None:
    """Capitals, dashes as underscores: what a shell and compose take."""
    assert expected == shared.variable(prefix, name)
