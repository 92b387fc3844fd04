"""Does a plan fit this machine: the host agent's own preflight, asked about every plan of the catalogue.

Owns: the question for this machine. Reads: the environment, as inventory/local does. Never: changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from stepdown import question
from stepdown.catalog import PLAN_NAMES, Catalog
from stepdown.host import preflight
from stepdown.host.home import Home
from stepdown.host.survey import survey
from stepdown.memory import Memory
from stepdown.render.agent import plan_facts
from stepdown.resolve import DEFAULT_DIRECT_PORT, DEFAULT_PORT, ResolvedPlan, resolve
from stepdown.shared import EDGE_MEMORY_MIB

SECRETS = {
    "zen/api_key": "ZEN_API_KEY",
    "heimdall/ca": "HEIMDALL_CA",
    "github/token": "GITHUB_MCP_TOKEN",
    "github/app_private_key": "GITHUB_APP_PRIVATE_KEY",
    "github/ca": "GITHUB_CA",
    "notify/slack_webhook": "SLACK_WEBHOOK",
}


def ask(catalog: Catalog, environ: Mapping[str, str], absent: Iterable[str]) -> preflight.Question:
    """What `deploy` will ask this machine, by the settings in `environ`; `absent` images are still to be built."""
    plans = {name: resolve(catalog, name) for name in PLAN_NAMES}
    images = [c.image.name for p in plans.values() for c in question.imagined(p).containers if c.image]
    return preflight.Question(
        instance={
            "name": environ.get("STEPDOWN_INSTANCE") or "stepdown",
            "port": environ.get("STEPDOWN_PORT") or DEFAULT_PORT,
            "direct_port": environ.get("STEPDOWN_DIRECT_PORT") or DEFAULT_DIRECT_PORT,
            "subnet": "",
            "workspace": environ.get("STEPDOWN_WORKSPACE") or "",
        },
        plans={name: plan_facts(question.imagined(plan)) for name, plan in plans.items()},
        images=question.unbuilt({*absent, *images} - (set(catalog.images) - set(absent))),
        environment={name: environ.get(name, "") for server in catalog.servers.values() for name in server.egress},
        secrets=tuple(name for name, variable in SECRETS.items() if environ.get(variable)),
    )


def verdicts(catalog: Catalog, home: Path, asked: preflight.Question) -> dict[str, list[str]]:
    """What stands against each plan on this machine; empty lists for those that fit."""
    host = survey(Home(home), asked.instance, ())
    found = {}
    for name in PLAN_NAMES:
        lacking = [f"no image carries container {c.name} yet" for c in resolve(catalog, name).missing]
        found[name] = lacking + preflight.judge(Home(home), replace(asked, plan=name), host)
    return found


def largest(found: Mapping[str, list[str]]) -> str | None:
    """The first plan, from A down, with nothing against it."""
    return next((name for name in PLAN_NAMES if not found[name]), None)


def memory_rows(catalog: Catalog, measured: Memory) -> dict[str, dict[str, int]]:
    """`memory_row` of every plan."""
    return {name: memory_row(resolve(catalog, name), measured) for name in PLAN_NAMES}


def memory_row(plan: ResolvedPlan, measured: Memory) -> dict[str, int]:
    """What a plan may use by its limits, and what it was measured to need, both with the edge, in MiB."""
    return {"limit": plan.memory_mib + sum(EDGE_MEMORY_MIB.values()), "need": measured.need_mib(plan.plan)}


def memory_told(row: Mapping[str, int]) -> str:
    """A `memory_row` for people."""
    return f"memory with the edge: limit {row['limit']} MiB, measured need {row['need']} MiB"
