"""One plan C of an instance of its own, deployed as a user would: real engine, images, gateway and servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doubles.model_endpoint import ModelEndpoint
from tests.stack import Stack, bridge_address, instance


@pytest.fixture(scope="session")
def models() -> Iterator[list[ModelEndpoint]]:
    """Holds the model endpoint once the engine is up, since it listens on the engine's bridge only."""
    made: list[ModelEndpoint] = []
    yield made
    for endpoint in made:
        endpoint.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Plan C, deployed by `./run deploy --plan=C` with nothing set but the instance; removed at the end."""
    made = instance(tmp_path_factory.mktemp("stepdown") / "home")
    done = made.run("deploy", "--plan=C")
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        made.agent("down", "--purge")


@pytest.fixture(scope="session")
def endpoint(stack: Stack, models: list[ModelEndpoint]) -> ModelEndpoint:
    """A model endpoint with two models on the bridge that containers know as host.docker.internal."""
    models.append(ModelEndpoint(bridge_address(), ("model-one", "model-two")))
    return models[0]
