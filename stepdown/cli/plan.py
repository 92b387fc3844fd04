"""plan.show, plan.diff, plan.fit."""

from __future__ import annotations

import json
import os
from typing import Any

from invoke.context import Context

from stepdown import doctor, resolve
from stepdown import fit as fitting
from stepdown.cli import door


@door.command(help={"plan": "A, B, C or D; without it the table of all"})
def show(_context: Context, plan: str = "") -> None:
    """Show what a plan is: which container carries which server, and what is lost."""
    catalog = door.catalog()
    print(_one(resolve.resolve(catalog, plan)) if plan else resolve.plan_table(catalog))


@door.command(help={"from_": "the plan before", "to": "the plan after"})
def diff(_context: Context, from_: str = "A", to: str = "C") -> None:
    """Show what a switch between two plans would change."""
    catalog = door.catalog()
    change = resolve.diff(catalog, from_, to)
    print(f"plan {from_} to {to}")
    for words, names in (
        ("untouched", change.kept),
        ("started", change.started),
        ("drained and stopped", change.stopped),
        ("servers lost", change.lost),
        ("servers regained", change.regained),
    ):
        print(f"  {words:<20} {', '.join(names) or 'nothing'}")
    for server in resolve.memory_lost(catalog, from_, to):
        print(f"  forgets: {server.name}: {server.state_detail}")


@door.command(help={"plan": "judge this plan alone", "json_": "print JSON"})
def fit(_context: Context, plan: str = "", json_: bool = False) -> None:
    """Show which plans fit this host, and the largest that does."""
    catalog = door.catalog()
    if plan:
        catalog.plan(plan)
    asked = fitting.ask(catalog, os.environ, doctor.to_build(door.ROOT, catalog))
    verdicts = fitting.verdicts(catalog, door.home(), asked)
    largest = fitting.largest(verdicts)
    if json_:
        print(json.dumps({"largest": largest, "plans": verdicts}))
    else:
        print(_fit_text(verdicts if not plan else {plan: verdicts[plan]}, largest))
    wanted = verdicts[plan] if plan else ([] if largest else ["none fits"])
    door.leave(1 if wanted else 0)


def _one(plan: resolve.ResolvedPlan) -> str:
    lines = [f"plan {plan.name}: {plan.plan.summary}", f"memory limit in all: {plan.memory_mib} MiB"]
    for container in plan.containers:
        names = ", ".join(server.name for server in container.servers)
        reach = "; ".join(f"{', '.join(s.egress)} ({s.name})" for s in container.servers if s.egress) or "nothing"
        image = container.image.name if container.image else "none yet"
        lines.append(f"  {container.name}: {names}")
        lines.append(f"    {container.memory_mib} MiB, {container.cpus:g} CPUs, image {image}, may reach: {reach}")
    lines += [f"  lost: {server}; instead: {instead}" for server, instead in plan.plan.lost.items()]
    return "\n".join(lines)


def _fit_text(verdicts: dict[str, list[str]], largest: str | None) -> str:
    lines: list[Any] = []
    for name, problems in verdicts.items():
        lines.append(f"plan {name}: {'fits' if not problems else 'does not fit'}")
        lines += [f"  - {problem}" for problem in problems]
    lines.append(f"largest plan that fits: {largest or 'none'}")
    return "\n".join(lines)
