"""One plan C of an instance of its own, deployed as a user would: real engine, images, gateway and servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doubles.github_api import GitHubApi
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


@pytest.fixture(scope="session")
def github(stack: Stack) -> Iterator[GitHubApi]:
    """GitHub's API on the bridge that the egress container knows as host.docker.internal."""
    api = GitHubApi(bridge_address(), names=("host.docker.internal",))
    yield api
    api.close()


@pytest.fixture(scope="session")
def settings(github: GitHubApi, endpoint: ModelEndpoint) -> dict[str, str]:
    """What the inventory of this machine takes from the environment, so that every server can call out."""
    return {
        "GITHUB_API_URL": f"https://host.docker.internal:{github.port}",
        "GITHUB_MCP_TOKEN": github.token,
        "GITHUB_CA": github.ca,
        "ZEN_MCP_ENDPOINT": f"http://host.docker.internal:{endpoint.port}/v1",
        "ZEN_MODELS": "model-one",
    }
