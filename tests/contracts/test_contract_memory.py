"""catalog/memory.yml was measured for the catalogue beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepdown import memory
from stepdown.catalog import Catalog
from stepdown.memory import Memory

LEAST_MIB = 10  # a Python, a Node and an Envoy each take more before they have done anything


@pytest.fixture(scope="module")
def measured(root: Path, catalog: Catalog) -> Memory:
    """The file as committed, which the loader has found complete and within every limit."""
    return memory.load_memory(root, catalog)


def test_the_file_is_as_the_command_writes_it(root: Path, catalog: Catalog, measured: Memory) -> None:
    """Nobody edited it: no row, no comment, no order of its own."""
    assert memory.text(measured, catalog) == (root / memory.PATH).read_text(encoding="utf-8")


def test_every_need_is_plausible(measured: Memory) -> None:
    """A container that was sampled before anything ran in it would need next to nothing."""
    assert {} == {name: mib for name, mib in {**measured.edge, **measured.containers}.items() if mib < LEAST_MIB}


def test_the_container_with_every_server_needs_the_most(catalog: Catalog, measured: Memory) -> None:
    """No container of another plan carries as much."""
    (last,) = catalog.plan("D").containers
    assert last == max(measured.containers, key=lambda name: measured.containers[name])
