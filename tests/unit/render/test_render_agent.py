"""plan.json: what the host agent knows of a plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from stepdown.catalog import PLAN_NAMES, STANDBY, Catalog, Policy
from stepdown.render.agent import plan_facts, policy_facts
from stepdown.resolve import resolve


@pytest.mark.parametrize("name", PLAN_NAMES)
def test_every_carried_server_is_in_a_container_with_its_probe(catalog: Catalog, name: str) -> None:
    """Carried and lost together are the whole catalogue."""
    facts = plan_facts(resolve(catalog, name))
    assert set(catalog.servers) == set(facts["servers"]) | set(facts["lost"])
    assert set() == set(facts["servers"]) & set(facts["lost"])
    for server, entry in facts["servers"].items():
        assert entry["container"] in facts["containers"]
        assert catalog.servers[server].probe.tool == entry["probe"]["tool"]
        assert catalog.servers[server].start_seconds == entry["start_seconds"]


def test_a_container_has_one_place_in_all_plans(rendered: Mapping[str, str]) -> None:
    """Its index, and so its address, is the same in every plan of a release; no two share one."""
    places: dict[str, set[int]] = {}
    for name in PLAN_NAMES:
        for container, facts in json.loads(rendered[f"plan_{name.lower()}/plan.json"])["containers"].items():
            places.setdefault(container, set()).add(facts["index"])
    assert [] == [container for container, found in places.items() if len(found) > 1]
    assert len(places) == len({index for found in places.values() for index in found})


def test_only_plan_d_has_a_port_of_its_own(catalog: Catalog) -> None:
    """The preflight asks for the direct port only there."""
    assert {"A": False, "B": False, "C": False, "D": True} == {
        name: plan_facts(resolve(catalog, name))["direct_port"] for name in PLAN_NAMES
    }


def test_secrets_are_names_of_files_and_no_values(catalog: Catalog) -> None:
    """zen's key is a file that the host has; the bundle knows its name."""
    facts = plan_facts(resolve(catalog, "C"))
    assert {"zen": ["api_key"]} == facts["containers"]["zen"]["secrets"]
    assert ["heimdall"] == facts["containers"]["heimdall"]["data"]


def test_secrets_that_a_server_cannot_work_without_are_named(catalog: Catalog) -> None:
    """zen works without its key; the preflight asks for the others."""
    assert {} == plan_facts(resolve(catalog, "C"))["containers"]["zen"]["required_secrets"]
    zen = replace(catalog.servers["zen"], required_secrets=("api_key",))
    strict = replace(catalog, servers={**catalog.servers, "zen": zen})
    assert {"zen": ["api_key"]} == plan_facts(resolve(strict, "C"))["containers"]["zen"]["required_secrets"]


@pytest.mark.parametrize("mode", STANDBY)
def test_the_standby_is_the_last_plan_in_the_mode_of_the_policy(catalog: Catalog, mode: str) -> None:
    """The agent learns all from the release, so that an old release falls back as it was made to."""
    changed = replace(catalog, policy=Policy(standby=mode, drain_seconds=7, proved_after_seconds=11))
    seconds = {"drain_seconds": 7, "proved_after_seconds": 11}
    assert {"standby": {"plan": PLAN_NAMES[-1], "mode": mode}, **seconds} == policy_facts(changed)


def test_the_policy_is_a_file_of_every_release(catalog: Catalog, rendered: Mapping[str, str]) -> None:
    """As the catalogue has it now."""
    assert policy_facts(catalog) == json.loads(rendered["policy.json"])


def test_a_container_without_an_image_has_no_facts(catalog: Catalog) -> None:
    """The agent would look for an image that no release names."""
    with pytest.raises(ValueError, match="container zen: no image"):
        plan_facts(resolve(replace(catalog, images={}), "C"))
