"""Who may reach what, from the releases that are staged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stepdown.catalog import PLAN_NAMES
from stepdown.errors import UsageError
from stepdown.host import allowance, release
from stepdown.host.allowance import Allowance
from stepdown.host.instance import load_instance

if TYPE_CHECKING:
    from tests.conftest import Staging

URLS = {"ZEN_MCP_ENDPOINT": "http://models.example/v1", "GITHUB_API_URL": "https://api.example"}


def _of(staging: Staging, *containers: tuple[str, str]) -> dict[str, Allowance]:
    found = allowance.of_containers(staging.home, load_instance(staging.home), containers)
    return {f"{allowed.release}.{allowed.container}": allowed for allowed in found}


def _reach(allowed: Allowance) -> list[str]:
    return [endpoint.authority for endpoint in allowed.endpoints]


def test_a_container_may_reach_what_its_servers_may(staging: Staging) -> None:
    """A shared one the union, one without a list nothing; each at its own address."""
    staged, _ = staging.stage(environment=URLS)
    found = _of(staging, *((staged.id, name) for name in ("zen", "heimdall", "github", "zen-reasoning", "monolith")))
    expected = {
        "zen": ["models.example:80"],
        "heimdall": [],
        "github": ["api.example:443"],
        "zen-reasoning": ["models.example:80"],
        "monolith": ["api.example:443", "models.example:80"],
    }
    assert expected == {allowed.container: _reach(allowed) for allowed in found.values()}
    own = ("HEIMDALL_GIT_HOSTS", "HEIMDALL_CALLBACK_HOSTS")
    assert ("ZEN_MCP_ENDPOINT", *own, "GITHUB_API_URL") == found[f"{staged.id}.monolith"].names
    instance = load_instance(staging.home)
    addresses = {name: address for plan in PLAN_NAMES for name, address in staged.addresses(instance, plan).items()}
    assert {allowed.container: allowed.address for allowed in found.values()}.items() <= addresses.items()


def test_old_and_new_each_reach_their_own(staging: Staging) -> None:
    """While a switch is under way: both releases, at different addresses; afterwards only what is asked for."""
    old, _ = staging.stage(environment=URLS)
    new, _ = staging.stage(environment={**URLS, "ZEN_MCP_ENDPOINT": "https://other.example/v1"})
    both = _of(staging, (old.id, "zen"), (new.id, "zen"))
    assert {f"{old.id}.zen": ["models.example:80"], f"{new.id}.zen": ["other.example:443"]} == {
        name: _reach(allowed) for name, allowed in both.items()
    }
    assert 2 == len({allowed.address for allowed in both.values()})
    assert [f"{new.id}.zen"] == list(_of(staging, (new.id, "zen")))


def test_a_setting_that_is_empty_lets_nobody_out(staging: Staging) -> None:
    """The container stays known, so that its refusals name it."""
    staged, _ = staging.stage(environment={"ZEN_MCP_ENDPOINT": ""})
    assert [] == _reach(_of(staging, (staged.id, "zen"))[f"{staged.id}.zen"])


def test_what_is_not_staged_reaches_nothing(staging: Staging) -> None:
    """A release that is gone, a container that no plan names, the edge itself."""
    staged, _ = staging.stage(environment=URLS)
    assert {} == _of(staging, ("0123456789ab", "zen"), (staged.id, "clock"), ("", "gateway"))


def test_a_bad_url_is_refused_before_anything_is_staged(staging: Staging) -> None:
    """By the names of the settings, all at once."""
    with pytest.raises(UsageError, match=r"^GITHUB_API_URL: is no URL .*; ZEN_MCP_ENDPOINT: is no URL "):
        staging.stage(environment={"ZEN_MCP_ENDPOINT": "nothing", "GITHUB_API_URL": "ftp://x"})
    assert [] == release.staged(staging.home)
