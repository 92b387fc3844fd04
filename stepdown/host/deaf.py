"""Signals that wait, while something is changed as a whole or not at all."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """INT, TERM and HUP wait, and are dropped at the end: what was begun is finished and told by its own outcome."""
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        while signal.sigtimedwait(signals - previous, 0):
            pass  # one by one, until none is pending
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
