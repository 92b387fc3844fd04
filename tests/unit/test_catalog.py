"""catalog/ is loaded whole or refused with the path that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stepdown.catalog import PLAN_NAMES, Catalog, load_catalog
from stepdown.errors import UsageError

CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[1] / "cases" / "catalog_refusals.yml").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_loader_refuses_and_names_the_path(copied_catalog: Path, case: dict[str, Any]) -> None:
    """Every case of tests/cases/catalog_refusals.yml is wrong use, and the message says where and what is valid."""
    _change(copied_catalog / "catalog" / case["file"], case)
    with pytest.raises(UsageError) as refusal:
        load_catalog(copied_catalog)
    message = str(refusal.value)
    assert refusal.value.exit_code == 2
    assert message.startswith(case["says"][0]), message
    assert [] == [fragment for fragment in case["says"] if fragment not in message], message


def test_the_unchanged_copy_is_loaded(copied_catalog: Path, catalog: Catalog) -> None:
    """The refusals come from the changes: a copy without any loads to the same catalogue."""
    assert catalog == load_catalog(copied_catalog)


def test_a_rewritten_copy_is_loaded(copied_catalog: Path, catalog: Catalog) -> None:
    """Nor do they come from the way that the cases write a file."""
    for name in ("servers.yml", "plans.yml", "objectives.yml", "policy.yml"):
        _change(copied_catalog / "catalog" / name, {"set": {}})
    assert catalog == load_catalog(copied_catalog)


def test_numbers_in_a_version_stay_text(copied_catalog: Path) -> None:
    """A version is text, so `1.10` keeps its zero."""
    _change(copied_catalog / "catalog" / "servers.yml", {"set": {"servers/zen/version": "pypi:pal-mcp-server==1.10"}})
    assert "pypi:pal-mcp-server==1.10" == load_catalog(copied_catalog).servers["zen"].version


def test_plans_stand_from_the_whole_to_the_last_resort(catalog: Catalog) -> None:
    """The order of the plans is the order of the rungs, however plans.yml lists them."""
    assert PLAN_NAMES == tuple(catalog.plans)


def test_an_unknown_plan_is_told_the_known_ones(catalog: Catalog) -> None:
    """Asking for a plan that is not there is wrong use."""
    with pytest.raises(UsageError, match=r"^plan 'E': no such plan \(known: A, B, C, D\)\. Run: \./run plan\.show$"):
        catalog.plan("E")


def test_no_plan_loses_a_required_server(catalog: Catalog) -> None:
    """zen and heimdall are in a container of every plan."""
    required = {server.name for server in catalog.servers.values() if server.required}
    assert {"zen", "heimdall"} == required
    for plan in catalog.plans.values():
        carried = {server for servers in plan.containers.values() for server in servers}
        assert set() == required - carried, plan.name


@pytest.mark.parametrize("standby", ["cold", "warm"])
def test_the_standby_is_kept_as_the_policy_says(copied_catalog: Path, standby: str) -> None:
    """Made, or running."""
    _change(copied_catalog / "catalog" / "policy.yml", {"set": {"standby": standby}})
    assert standby == load_catalog(copied_catalog).policy.standby


def _change(path: Path, case: dict[str, Any]) -> None:
    if case.get("remove"):
        path.unlink()
        return
    text = path.read_text(encoding="utf-8")
    if "text" in case:
        for old, new in case["text"].items():
            assert old == "*" or old in text, f"{path.name} no longer holds {old!r}"
            text = new if old == "*" else text.replace(old, new, 1)
        path.write_text(text, encoding="utf-8")
        return
    document = yaml.safe_load(text)
    for place, value in case.get("set", {}).items():
        *above, key = place.split("/")
        _at(document, above)[key] = value
    if "delete" in case:
        *above, key = case["delete"].split("/")
        del _at(document, above)[key]
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _at(document: Any, keys: list[str]) -> Any:
    for key in keys:
        document = document[key]
    return document
