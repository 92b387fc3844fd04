"""deploy, down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from invoke.context import Context

from stepdown import doctor, hosts, installed, question, release, resolve, tool_lists
from stepdown.cli import door, others
from stepdown.cli.build import prepare_release
from stepdown.cli.host import agent
from stepdown.cli.others import LOCAL, confirm, is_local, on, playbook
from stepdown.errors import ChangedError, StepdownError, sentence
from stepdown.host import engine, lock
from stepdown.host.home import Home
from stepdown.run import run

HELP = {
    "plan": "A, B, C or D; without it the inventory's, else the one that the host is on (C at first)",
    "why": "reason, for the journal; without it the inventory's, else 'deploy'",
    **others.HELP,
}


@door.command(help=HELP)
def deploy(
    _context: Context,
    plan: str = "",
    inventory: str = LOCAL,
    limit: str = "",
    why: str = "",
    check: bool = False,
    yes: bool = False,
) -> None:
    """Provision what is missing, build images, ship a release and activate a plan."""
    if plan:
        resolve.require_deployable(door.catalog(), plan)
    local = is_local(inventory)
    confirm(inventory, agreed=local or check or yes)
    scratch = door.ROOT / ".stepdown"
    scratch.mkdir(exist_ok=True)
    with lock.hold(scratch / "deploy.lock", f"deploy {plan or 'without a plan'}"):
        release.forget_parcels(door.ROOT)
        extra = asked(plan, why)
        absent = doctor.to_build(door.ROOT, door.catalog())
        here = doctor.builder_problems()
        if absent or here:  # before minutes of building, every host is asked
            release.pack_agent(door.ROOT)
            question.pack(door.ROOT, door.catalog(), question.unbuilt(absent))
            if _play("preflight", extra, inventory, limit, check, here).code:
                raise StepdownError(sentence("deploy", "the preflight did not end; see above. Nothing was changed"))
        _require_engine(check)
        if check and absent:
            print(f"would build {', '.join(absent)}, then stage and activate a new release")
            return
        prepare_release()
        before = _containers() if local else frozenset()
        ended = _play("deploy", extra, inventory, limit, check)
        if not local:
            others.tell("deploy", ended, inventory, limit, ships=True)
        elif ended.code:
            said = "\n".join(row.failure for row in ended.rows) or "see above"
            if _containers() != before:
                wrong = f"failed, and something may have changed: {said}"
                raise ChangedError(sentence("deploy", wrong, run="./run deploy, which puts it right, or ./run down"))
            wrong = f"failed: {said}. What served before still serves"
            raise StepdownError(sentence("deploy", wrong, run="./run status"))
    if local and not check:
        _tell()


@door.command(
    help={
        **{key: HELP[key] for key in ("inventory", "check", "yes")},
        "purge": "also remove data, images and what was installed",
    }
)
def down(
    _context: Context, inventory: str = LOCAL, purge: bool = False, check: bool = False, yes: bool = False
) -> None:
    """Stop and remove the stack; with --purge also its data, and only what deploy installed."""
    local = is_local(inventory)
    confirm(inventory, agreed=local or check or yes)
    _run_down({"mcp_stack_purge": purge}, inventory, check)
    if not purge:
        return
    if local and not check:
        engine.remove_images(unused_images())
    going = {"__docker_engine_goes_before": "{{ mcp_stack_instance | default('stepdown') }}"}
    if playbook("engine", {"docker_engine_state": "absent", **going}, inventory, check=check):
        wrong = "the engine that deploy installed stays; see above"
        raise ChangedError(sentence("down", wrong, run=f"./run down --purge{on(inventory)}"))
    if local:
        _forget_this_machine(check)


def asked(plan: str, why: str) -> dict[str, Any]:
    """Variables that win over an inventory's, so only those that somebody typed; a plan ends an emergency too."""
    typed = {"mcp_stack_plan": plan, "mcp_stack_end_emergency": bool(plan), "mcp_stack_why": why}
    return {name: value for name, value in typed.items() if value}


def _forget_this_machine(check: bool) -> None:
    """What builds left here, beside images: packages and packed files. Another instance on this machine keeps them."""
    if others := sorted(_others()):
        print(f"kept what builds installed: {', '.join(others)} on this machine's engine may need it")
        return
    for name in installed.recorded() if check else installed.remove():
        print(f"{'would remove' if check else 'removed'} package {name}")
    dist = release.dist(door.ROOT)
    packed = [dist / name for name in ("release.tar", "stepdown.pyz", "docker-compose", question.FILE)]
    for path in [*packed, *dist.glob(tool_lists.REMEMBERED.format("*"))] if not check else ():
        path.unlink(missing_ok=True)


def _run_down(extra: dict[str, Any], inventory: str, check: bool) -> None:
    """The stack's own part; it needs the agent, which needs no images."""
    release.pack_agent(door.ROOT)
    if playbook("down", extra, inventory, check=check):
        raise ChangedError(sentence("down", "did not end; see above", run=f"./run down{on(inventory)}"))


def _require_engine(check: bool) -> None:
    """Images are built here, so an engine comes before anything else."""
    try:
        engine.require_engine()
        return
    except StepdownError:
        if check:
            raise
    door.say("deploy: no Docker engine answers; installing one")
    if playbook("engine", {}):
        raise StepdownError(sentence("deploy", "no Docker engine could be installed; see above", run="./run doctor"))


def _play(
    name: str, extra: Mapping[str, Any], inventory: str, limit: str, check: bool, here: Sequence[str] = ()
) -> others.Ended:
    """A playbook that begins with the preflight of every host, and how it ended.

    StepdownError when a host, or this machine (`here`), has problems: then nothing was changed.
    """
    ended = others.play(name, extra, inventory, check=check, limit=limit)
    if is_local(inventory):  # this machine as a host has said some of it already
        here = [problem for problem in here if not any(problem in text for text in ended.refused.values())]
    if ended.refused or here:
        raise StepdownError(f"deploy: {hosts.told(ended.refused, here)}")
    return ended


def _containers() -> frozenset[str]:
    return frozenset(f"{container.id} {container.state}" for container in engine.containers(door.instance()))


def _tell() -> None:
    """What is now true, and where."""
    home = Home(door.home())
    agent("status")
    print(f"token      {home.client_token} (0600)")
    print("clients    ./run client.config")
    print("undo       ./run down")


def unused_images() -> list[str]:
    """Images that builds left on this engine, when no instance uses it any more."""
    if _others():
        return []
    return run((engine.CLIENT, "image", "ls", "--quiet", "--filter", "label=stepdown.image")).stdout.split()


def _others() -> set[str]:
    """Names of other instances with containers on this machine's engine; empty where no engine answers."""
    if not engine.answers():
        return set()
    label = '{{.Label "stepdown.instance"}}'
    argv = (engine.CLIENT, "ps", "--all", "--filter", "label=stepdown.instance", "--format", label)
    return {*run(argv).stdout.split()} - {door.instance()}
