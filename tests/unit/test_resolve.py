"""Questions about plans, answered once: sums, unions, carriers, and what a switch changes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stepdown import resolve
from stepdown.catalog import PLAN_NAMES, Catalog, Plan, load_catalog
from stepdown.errors import StepdownError, UsageError

DIFFS: dict[str, dict[str, list[str]]] = yaml.safe_load(
    (Path(__file__).parents[1] / "cases" / "plan_diffs.yml").read_text(encoding="utf-8")
)
CATALOG = load_catalog(Path(__file__).resolve().parents[2])


def test_the_cases_are_all_twelve_switches() -> None:
    """Every ordered pair of plans is a case of tests/cases/plan_diffs.yml."""
    assert {f"{a} to {b}" for a, b in itertools.permutations(PLAN_NAMES, 2)} == set(DIFFS)


@pytest.mark.parametrize("switch", DIFFS)
def test_a_switch_changes_what_the_case_says(catalog: Catalog, switch: str) -> None:
    """Kept, started, stopped, lost, regained and forgotten are those of the case, in the order of the plans."""
    before, _, after = switch.split()
    change = resolve.diff(catalog, before, after)
    found = {
        "kept": list(change.kept),
        "started": list(change.started),
        "stopped": list(change.stopped),
        "lost": list(change.lost),
        "regained": list(change.regained),
        "forgets": [server.name for server in resolve.memory_lost(catalog, before, after)],
    }
    assert DIFFS[switch] == {key: names for key, names in found.items() if names}


def test_a_switch_to_the_same_plan_changes_nothing(catalog: Catalog) -> None:
    """All is kept."""
    for name in PLAN_NAMES:
        expected = resolve.PlanDiff(tuple(catalog.plan(name).containers), (), (), (), ())
        assert expected == resolve.diff(catalog, name, name)


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    """The catalogue with other plans: any servers grouped into any containers, the rest lost."""
    plans = {}
    for name in PLAN_NAMES:
        groups = draw(st.lists(st.integers(0, 7), min_size=len(CATALOG.servers), max_size=len(CATALOG.servers)))
        members: dict[int, list[str]] = {}
        for server, group in zip(CATALOG.servers, groups, strict=True):
            members.setdefault(group, []).append(server)
        lost = {server: "nothing" for server in members.pop(7, []) if not CATALOG.servers[server].required}
        containers = {"-".join(servers): tuple(servers) for servers in members.values()}
        plans[name] = Plan(name, "drawn", containers, lost, False)
    return replace(CATALOG, plans=plans)


@given(catalogs(), st.permutations(PLAN_NAMES))
def test_a_diff_is_consistent_with_both_plans(drawn: Catalog, order: list[str]) -> None:
    """Kept and started make the new plan, kept and stopped the old; lost and regained tell the lost apart."""
    before, after = order[:2]
    change = resolve.diff(drawn, before, after)
    kept, started, stopped = set(change.kept), set(change.started), set(change.stopped)
    assert set(drawn.plan(after).containers) == kept | started
    assert set(drawn.plan(before).containers) == kept | stopped
    assert set() == kept & started | kept & stopped | started & stopped
    old, new = set(drawn.plan(before).lost), set(drawn.plan(after).lost)
    assert (new - old, old - new) == (set(change.lost), set(change.regained))


@given(catalogs(), st.sampled_from(PLAN_NAMES))
def test_a_container_has_one_index_in_every_plan(drawn: Catalog, name: str) -> None:
    """Indexes are distinct within a release, so no two containers share an address."""
    try:
        order = resolve.container_order(drawn)
    except StepdownError as refusal:
        assert "a release has 16 addresses" in str(refusal)
        return
    plan = resolve.resolve(drawn, name)
    assert [order.index(container.name) for container in plan.containers] == [c.index for c in plan.containers]
    assert len(order) == len(set(order))


def test_plan_c_keeps_zen_and_heimdall(catalog: Catalog) -> None:
    """The two required servers, nothing else, each in the container that plan A has too."""
    plan = resolve.resolve(catalog, "C")
    assert ["zen", "heimdall"] == [container.name for container in plan.containers]
    assert plan.containers == tuple(
        c for c in resolve.resolve(catalog, "A").containers if c.name in ("zen", "heimdall")
    )


@pytest.mark.parametrize("name", PLAN_NAMES)
def test_a_plan_needs_the_memory_of_its_servers(catalog: Catalog, name: str) -> None:
    """Combining servers saves containers, not memory limits."""
    lost = catalog.plan(name).lost
    memory_mib = sum(server.memory_mib for server in catalog.servers.values() if server.name not in lost)
    assert memory_mib == resolve.resolve(catalog, name).memory_mib


def test_a_container_has_the_sum_of_its_servers(catalog: Catalog) -> None:
    """Memory and processes of serena and filesystem add up in `code`; of the CPUs it has the larger share."""
    code = next(container for container in resolve.resolve(catalog, "B").containers if container.name == "code")
    serena, filesystem = catalog.servers["serena"], catalog.servers["filesystem"]
    assert serena.memory_mib + filesystem.memory_mib == code.memory_mib
    assert max(serena.cpus, filesystem.cpus) == code.cpus
    assert serena.pids + filesystem.pids == code.pids
    assert "read-write" == code.workspace


def test_a_container_may_reach_the_union_of_its_servers(catalog: Catalog) -> None:
    """The monolith reaches what zen, heimdall and github may reach, each name once; serena alone reaches nothing."""
    monolith = resolve.resolve(catalog, "D").containers[0]
    own = ("HEIMDALL_GIT_HOSTS", "HEIMDALL_CALLBACK_HOSTS")
    assert ("ZEN_MCP_ENDPOINT", *own, "GITHUB_API_URL") == monolith.egress
    assert own == resolve.resolve(catalog, "C").carrier("heimdall").egress
    assert () == resolve.resolve(catalog, "A").carrier("serena").egress


def test_the_same_url_of_two_servers_is_reached_once(catalog: Catalog) -> None:
    """A union, not a list with doubles."""
    twice = replace(catalog.servers["heimdall"], egress=("ZEN_MCP_ENDPOINT", "OTHER_URL"))
    changed = replace(catalog, servers={**catalog.servers, "heimdall": twice})
    monolith = resolve.resolve(changed, "D").containers[0]
    assert ("ZEN_MCP_ENDPOINT", "OTHER_URL", "GITHUB_API_URL") == monolith.egress


def test_the_widest_access_to_the_workspace_wins(catalog: Catalog) -> None:
    """heimdall reads, serena writes: the monolith writes. zen sees no workspace."""
    assert "read-write" == resolve.resolve(catalog, "D").containers[0].workspace
    assert "read-only" == resolve.resolve(catalog, "C").carrier("heimdall").workspace
    assert "none" == resolve.resolve(catalog, "C").carrier("zen").workspace


@pytest.mark.parametrize("plan", PLAN_NAMES)
def test_every_server_has_a_carrier(catalog: Catalog, plan: str) -> None:
    """The carrier of a carried server holds it; that of a lost one holds a required server, which tells of it."""
    resolved = resolve.resolve(catalog, plan)
    for name in catalog.servers:
        carrier = resolved.carrier(name)
        held = {server.name for server in carrier.servers}
        if name in resolved.plan.lost:
            assert any(server.required for server in carrier.servers)
            assert name not in held
        else:
            assert name in held


def test_the_order_of_servers_in_plans_yml_means_nothing(catalog: Catalog) -> None:
    """A container is a set of servers: listed in another order, it is the same container."""
    turned = replace(catalog.plan("B"), containers={"code": ("filesystem", "serena")})
    changed = replace(catalog, plans={**catalog.plans, "B": turned})
    one = next(container for container in resolve.resolve(catalog, "B").containers if container.name == "code")
    assert one.servers == resolve.resolve(changed, "B").containers[0].servers


def test_a_container_runs_the_first_image_that_carries_all_of_its_servers(catalog: Catalog) -> None:
    """One image for each runtime; only a container of both kinds needs the one that carries everything."""
    images = {c.name: c.image.name for c in resolve.resolve(catalog, "B").containers if c.image}
    assert {"zen-reasoning": "whole", "heimdall": "python", "github": "python", "code": "node"} == images


def test_a_plan_with_every_image_is_deployable(catalog: Catalog) -> None:
    """All four are."""
    assert list(PLAN_NAMES) == [plan.name for plan in resolve.deployable(catalog)]
    assert "C" == resolve.require_deployable(catalog, "C").name


def test_a_plan_without_an_image_is_refused_with_those_that_can_be_had(catalog: Catalog) -> None:
    """The message says which container, which plans, and what to type."""
    bare = replace(catalog, images={"python": replace(catalog.images["python"], carries=("zen", "heimdall"))})
    with pytest.raises(StepdownError) as refusal:
        resolve.require_deployable(bare, "B")
    expected = (
        "plan B: cannot be deployed: no image of catalog/servers.yml carries zen-reasoning, github, code "
        "(known: C). Run: ./run deploy --plan=C"
    )
    assert (expected, 1) == (str(refusal.value), refusal.value.exit_code)


def test_without_any_image_no_plan_is_offered(catalog: Catalog) -> None:
    """The message then names no plan to type."""
    with pytest.raises(StepdownError, match=r"carries zen, heimdall$"):
        resolve.require_deployable(replace(catalog, images={}), "C")


def test_an_unknown_plan_is_wrong_use(catalog: Catalog) -> None:
    """resolve, diff and require_deployable refuse a letter that is no plan."""
    for ask in (
        lambda: resolve.resolve(catalog, "c"),
        lambda: resolve.diff(catalog, "A", "E"),
        lambda: resolve.require_deployable(catalog, ""),
    ):
        with pytest.raises(UsageError, match=r"no such plan \(known: A, B, C, D\)"):
            ask()


def test_more_containers_than_addresses_are_refused(catalog: Catalog) -> None:
    """A release has sixteen addresses, and the last of them can be nobody's."""
    many = {f"c{number}": ("zen",) for number in range(16)}
    changed = replace(catalog, plans={"A": replace(catalog.plan("A"), containers=many)})
    with pytest.raises(StepdownError, match="16 container names, but a release has addresses for 15"):
        resolve.container_order(changed)


def test_the_table_has_a_row_for_each_server_and_its_place_in_each_plan(catalog: Catalog) -> None:
    """Carrier or `lost`, in Markdown."""
    lines = resolve.plan_table(catalog).splitlines()
    assert "| server | what it is | A | B | C | D |" == lines[0]
    assert ["`zen` (required)", "`heimdall` (required)", *(f"`{name}`" for name in list(catalog.servers)[2:])] == [
        line.split(" | ")[0].removeprefix("| ") for line in lines[2:]
    ]
    places = [cell.removesuffix(" |") for cell in lines[4].split(" | ")[2:]]
    assert ["github", "github", "lost", "monolith"] == places
