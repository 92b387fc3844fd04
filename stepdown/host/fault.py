"""A failure that is the release's own: it is marked bad, and no rollback goes there."""

from __future__ import annotations

from stepdown.errors import StepdownError


class FaultyError(StepdownError):
    """What was to be activated does not work: no handshake, other tools than before, files that Envoy refuses."""
