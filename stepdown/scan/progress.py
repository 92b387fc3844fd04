"""How far a scan is: a line for each scanner that is through, and on a terminal one that lives below them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from stepdown.scan.findings import ScannerOutcome
from stepdown.scan.write_text import printable

TICK_SECONDS = 0.5
WIDTH = 100
ERASE = "\r\x1b[K"


class Progress:
    """Shows a scan on `stream`."""

    def __init__(self, names: Iterable[str], stream: TextIO) -> None:
        self._waiting = list(names)
        self._whole = len(self._waiting)
        self._stream = stream
        self._started = time.monotonic()
        self._live = stream.isatty()

    @contextmanager
    def living(self) -> Iterator[None]:
        """The line that lives, where `stream` is a terminal; to be entered inside the event loop of the scan."""
        ticker = asyncio.get_running_loop().create_task(self._tick()) if self._live else None
        try:
            yield
        finally:
            if ticker:
                ticker.cancel()
                self._stream.write(ERASE)
                self._stream.flush()

    def done(self, outcome: ScannerOutcome) -> None:
        """One scanner is through."""
        if outcome.name in self._waiting:
            self._waiting.remove(outcome.name)
        erase = ERASE if self._live else ""
        self._stream.write(f"{erase}{line(outcome, self._whole - len(self._waiting), self._whole)}\n")
        self._stream.flush()

    async def _tick(self) -> None:
        while True:
            seconds = time.monotonic() - self._started
            waiting = f"{seconds:4.0f} s  waiting for {', '.join(self._waiting) or 'the verdict'}"
            self._stream.write(f"{ERASE}{waiting[:WIDTH]}")
            self._stream.flush()
            await asyncio.sleep(TICK_SECONDS)


def line(outcome: ScannerOutcome, number: int, whole: int) -> str:
    """What is said of a scanner that is through."""
    found = f"{outcome.findings} finding{'' if outcome.findings == 1 else 's'}"
    said = found if outcome.outcome == "ok" else f"{outcome.outcome}: {outcome.reason}"
    return printable(f"scan: {number}/{whole}  {outcome.name}  {outcome.seconds:.1f} s  {said}")
