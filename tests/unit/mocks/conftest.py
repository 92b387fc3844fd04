"""Mocks that run, each test with no rules and no calls left by another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mocks.local import Mock


@pytest.fixture
def heimdall(mocks: dict[str, Mock]) -> Iterator[Mock]:
    """heimdall-mock, as new."""
    yield from _as_new(mocks["heimdall"])


@pytest.fixture
def zen(mocks: dict[str, Mock]) -> Iterator[Mock]:
    """zen-mock, as new."""
    yield from _as_new(mocks["zen"])


def _as_new(mock: Mock) -> Iterator[Mock]:
    mock.reset()
    yield mock
    mock.reset()
