"""Signals wait while something is changed as a whole or not at all."""

from __future__ import annotations

import signal
import threading

import pytest

from stepdown.host.deaf import deaf

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", SIGNALS)
def test_what_came_meanwhile_interrupts_nothing(number: signal.Signals) -> None:
    """Neither inside nor after it: what was begun is told by its own outcome."""
    seen = list[int]()
    main = threading.main_thread().ident or 0  # not the process: a thread that another test left would take it
    before = signal.signal(number, lambda which, _frame: seen.append(which))
    try:
        with deaf():
            signal.pthread_kill(main, number)
        assert [] == seen
        signal.pthread_kill(main, number)
        assert [number] == seen
    finally:
        signal.signal(number, before)


def test_one_inside_another_stays_deaf_to_the_end() -> None:
    """The inner end is not the outer one; and a failure ends it too."""
    with pytest.raises(ZeroDivisionError), deaf():
        with deaf():
            pass
        assert set(SIGNALS) <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
        raise ZeroDivisionError
    assert set() == set(SIGNALS) & signal.pthread_sigmask(signal.SIG_BLOCK, ())
