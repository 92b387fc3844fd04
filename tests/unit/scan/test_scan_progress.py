"""How far a scan is, on a terminal and elsewhere."""

from __future__ import annotations

import asyncio
import io

import pytest

from stepdown.scan.progress import ERASE, Progress
from tests.unit.scan.made import outcome


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _shown(stream: io.StringIO) -> str:
    async def scan() -> None:
        progress = Progress(["one", "two"], stream)
        with progress.living():
            await asyncio.sleep(0)  # the living line is drawn when the loop turns
            progress.done(outcome("one", findings=1))
            progress.done(outcome("two", outcome="failed", reason="broke"))

    asyncio.run(scan())
    return stream.getvalue()


def test_elsewhere_each_scanner_is_a_plain_line() -> None:
    """For logs: nothing moves."""
    expected = "scan: 1/2  one  1.5 s  1 finding\nscan: 2/2  two  1.5 s  failed: broke\n"
    assert expected == _shown(io.StringIO())


def test_on_a_terminal_a_line_says_who_is_waited_for() -> None:
    """It is wiped before each other line, and at the end."""
    shown = _shown(_Terminal())
    assert f"{ERASE}   0 s  waiting for one, two{ERASE}scan: 1/2  one" in shown
    assert shown.endswith(f"failed: broke\n{ERASE}")


def test_nothing_goes_on_after_a_scan_that_broke() -> None:
    """The living line ends with it."""
    stream = _Terminal()

    async def scan() -> None:
        with Progress(["one"], stream).living():
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(scan())
    assert stream.getvalue().endswith(ERASE)
