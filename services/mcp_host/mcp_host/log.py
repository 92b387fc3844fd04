"""JSON log lines: one object a line, `time`, `level`, `event`, then fields.

Exceptions are logged by type and place only: their messages may repeat what a client sent.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TextIO

REDACTED = "[secret]"
_SHORTEST_SECRET = 4  # shorter values would blank out ordinary text


class JsonFormatter(logging.Formatter):
    """One JSON object a record; `extra={"fields": {…}}` becomes keys of it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        if not record.name.startswith("mcp_host"):
            line["logger"] = record.name
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = describe(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


def describe(error: BaseException) -> str:
    """An exception's type and where it was raised, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return type(error).__name__ + place


def configure(stream: TextIO) -> None:
    """Send all logging there as JSON; libraries only from WARNING up (the MCP SDK logs every request at INFO)."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("mcp_host").setLevel(logging.INFO)


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with every known secret value blanked out."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, REDACTED)
    return text
