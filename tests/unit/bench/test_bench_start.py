"""Who is measured from start to handshake, and against which limit."""

from __future__ import annotations

import pytest

from stepdown.bench import start
from stepdown.bench.measure import Benchmark
from stepdown.bench.scratch import Scratch
from stepdown.catalog import Catalog
from tests.conftest import Staging


@pytest.fixture
def made(staging: Staging, catalog: Catalog) -> Benchmark:
    """The benchmark of a staged release of all four plans."""
    return start.benchmark(Scratch("stepdown", staging.home, staging.stage()[0]), catalog.objectives)


def test_every_server_is_measured_and_the_last_resort(made: Benchmark, catalog: Catalog) -> None:
    """Beside plain compose, which the others are compared with."""
    assert ["compose", *catalog.servers, "monolith"] == [contender.name for contender in made.contenders]
    assert "compose" == made.reference


def test_each_server_has_the_typical_limit_and_the_last_resort_the_highest(made: Benchmark, catalog: Catalog) -> None:
    """Six servers in one container have the limit that any container has."""
    expected = {**dict.fromkeys(catalog.servers, "container_start_typical"), "monolith": "container_start"}
    assert expected == {name: objective.name for name, objective in made.limits.items()}


def test_each_is_started_in_the_container_that_carries_it(made: Benchmark, catalog: Catalog) -> None:
    """As the whole plan has it."""
    whats = {contender.name: contender.what for contender in made.contenders}
    carriers = {server: name for name, servers in catalog.plan("A").containers.items() for server in servers}
    expected = {server: f"docker start of container {name}, to its handshake" for server, name in carriers.items()}
    assert expected == {server: whats[server] for server in carriers}
