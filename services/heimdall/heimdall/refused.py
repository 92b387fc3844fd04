"""What heimdall tells a caller who cannot have what was asked for."""

from __future__ import annotations

from stepdown.errors import UsageError


class RefusedError(UsageError):
    """A request that is refused; `status` is the HTTP status that says so, `retry_after` seconds when waiting helps."""

    def __init__(self, message: str, status: int = 400, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
