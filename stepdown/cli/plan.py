"""plan.show, plan.diff, plan.fit, plan.measure."""

from __future__ import annotations

import json
import os
from typing import Any

from invoke.context import Context

from stepdown import doctor, memory, resolve
from stepdown import fit as fitting
from stepdown.bench import memory as measuring
from stepdown.cli import door
from stepdown.cli.build import prepare_release


@door.command(help={"plan": "A, B, C or D; without it the table of all"})
def show(_context: Context, plan: str = "") -> None:
    """Show what a plan is: which container carries which server, and what is lost."""
    catalog = door.catalog()
    if plan:
        resolved = resolve.resolve(catalog, plan)
        print(_one(resolved, memory.load_memory(door.ROOT, catalog)))
    else:
        print(resolve.plan_table(catalog))


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
    rows = fitting.memory_rows(catalog, memory.load_memory(door.ROOT, catalog))
    if json_:
        print(json.dumps({"largest": largest, "plans": verdicts, "memory_mib": rows}))
    else:
        print(_fit_text(verdicts if not plan else {plan: verdicts[plan]}, rows, largest))
    wanted = verdicts[plan] if plan else ([] if largest else ["none fits"])
    door.leave(1 if wanted else 0)


@door.command()
def measure(_context: Context) -> None:
    """Measure the memory that each plan needs, on an instance of its own, and write catalog/memory.yml."""
    catalog = door.catalog()
    prepare_release()  # figures of older images would be wrong ones
    measured = measuring.measure(door.ROOT, catalog, door.say)
    text = memory.text(measured, catalog)
    path = door.ROOT / memory.PATH
    changed = not path.is_file() or path.read_text(encoding="utf-8") != text
    path.write_text(text, encoding="utf-8")
    print(text, end="")
    print(f"{memory.PATH} {'written' if changed else 'unchanged'}")


def _one(plan: resolve.ResolvedPlan, measured: memory.Memory) -> str:
    lines = [f"plan {plan.name}: {plan.plan.summary}", fitting.memory_told(fitting.memory_row(plan, measured))]
    for container in plan.containers:
        names = ", ".join(server.name for server in container.servers)
        reach = "; ".join(f"{', '.join(s.egress)} ({s.name})" for s in container.servers if s.egress) or "nothing"
        image = container.image.name if container.image else "none yet"
        lines.append(f"  {container.name}: {names}")
        room = f"{container.memory_mib} MiB (measured need {measured.containers[container.name]} MiB)"
        lines.append(f"    {room}, {container.cpus:g} CPUs, image {image}, may reach: {reach}")
    lines += [f"  lost: {server}; instead: {instead}" for server, instead in plan.plan.lost.items()]
    return "\n".join(lines)


def _fit_text(verdicts: dict[str, list[str]], rows: dict[str, dict[str, int]], largest: str | None) -> str:
    lines: list[Any] = []
    for name, problems in verdicts.items():
        lines.append(f"plan {name}: {'fits' if not problems else 'does not fit'}; {fitting.memory_told(rows[name])}")
        lines += [f"  - {problem}" for problem in problems]
    lines.append(f"largest plan that fits: {largest or 'none'}")
    lines.append("a plan fits where its limits do; on less, containers may be killed under more than the measured load")
    return "\n".join(lines)
