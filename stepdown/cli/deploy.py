"""deploy, down."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from invoke.context import Context

from stepdown import commands, doctor, hosts, installed, question, release, resolve, tool_lists
from stepdown.cli import door
from stepdown.cli.build import prepare_release
from stepdown.cli.host import agent
from stepdown.errors import ChangedError, StepdownError, UsageError, sentence
from stepdown.host import engine, lock
from stepdown.host.home import Home
from stepdown.run import passthrough, run

LOCAL = "inventory/local"
HELP = {
    "plan": "A, B, C or D; without it the inventory's, else the one that the host is on (C at first)",
    "inventory": "the hosts; inventory/local is this machine",
    "why": "reason, for the journal; without it the inventory's, else 'deploy'",
    "check": "say what would change, change nothing",
    "yes": "do not ask before changing other machines",
}


@door.command(help=HELP)
def deploy(
    _context: Context,
    plan: str = "",
    inventory: str = LOCAL,
    why: str = "",
    check: bool = False,
    yes: bool = False,
) -> None:
    """Provision what is missing, build images, ship a release and activate a plan."""
    if plan:
        resolve.require_deployable(door.catalog(), plan)
    local = _is_local(inventory)
    _confirm(inventory, agreed=local or check or yes)
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
            if _play("preflight", extra, inventory, check, here):
                raise StepdownError(sentence("deploy", "the preflight did not end; see above. Nothing was changed"))
        _require_engine(check)
        if check and absent:
            print(f"would build {', '.join(absent)}, then stage and activate a new release")
            return
        prepare_release()
        before = _containers() if local else frozenset()
        code = _play("deploy", extra, inventory, check)
        if code and (not local or _containers() != before):
            undo = f"./run deploy{_on(inventory)}, which puts it right, or ./run down{_on(inventory)}"
            raise ChangedError(sentence("deploy", "failed, and something may have changed; see above", run=undo))
        if code:
            wrong = "failed; see above. What served before still serves"
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
    local = _is_local(inventory)
    _confirm(inventory, agreed=local or check or yes)
    _run_down({"mcp_stack_purge": purge}, inventory, check)
    if not purge:
        return
    if local and not check:
        engine.remove_images(unused_images())
    going = {"__docker_engine_goes_before": "{{ mcp_stack_instance | default('stepdown') }}"}
    if playbook("engine", {"docker_engine_state": "absent", **going}, inventory, check=check):
        wrong = "the engine that deploy installed stays; see above"
        raise ChangedError(sentence("down", wrong, run=f"./run down --purge{_on(inventory)}"))
    if local:
        _forget_this_machine(check)


def asked(plan: str, why: str) -> dict[str, Any]:
    """Variables that win over an inventory's, so only those that somebody typed."""
    return {name: value for name, value in (("mcp_stack_plan", plan), ("mcp_stack_why", why)) if value}


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
        raise ChangedError(sentence("down", "did not end; see above", run=f"./run down{_on(inventory)}"))


def playbook(name: str, extra: dict[str, Any], inventory: str = LOCAL, *, check: bool = False) -> int:
    """Run a playbook on an inventory, its output as it comes; returns Ansible's exit code."""
    argv = commands.ansible_playbook(f"playbooks/{name}.yml", inventory, json.dumps(extra), check=check)
    return passthrough(argv, env={"PYTHONDONTWRITEBYTECODE": ""}, cwd=str(door.ROOT))


def _is_local(inventory: str) -> bool:
    return (door.ROOT / inventory).resolve() == door.ROOT / LOCAL


def _on(inventory: str) -> str:
    """The option that a remedy needs, so that what is typed meets the same hosts."""
    return "" if _is_local(inventory) else f" --inventory={inventory}"


def _confirm(inventory: str, *, agreed: bool) -> None:
    """Refuse an inventory that is not there, and ask before other machines are changed."""
    if not (door.ROOT / inventory).exists():
        known = sorted(str(path.relative_to(door.ROOT)) for path in (door.ROOT / "inventory").iterdir())
        raise UsageError(
            sentence(f"inventory {inventory!r}", "is not there", known, f"./run deploy --inventory={LOCAL}")
        )
    if agreed:
        return
    if not sys.stdin.isatty():
        raise UsageError(sentence(f"inventory {inventory!r}", "changes other machines; say so with --yes"))
    if input(f"This changes the hosts of {inventory}. Type yes to go on: ") != "yes":
        raise UsageError(sentence(f"inventory {inventory!r}", "not confirmed; nothing changed"))


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


def _play(name: str, extra: dict[str, Any], inventory: str, check: bool, here: Sequence[str] = ()) -> int:
    """A playbook that begins with the preflight of every host, and Ansible's exit code.

    StepdownError when a host, or this machine (`here`), has problems: then nothing was changed.
    """
    with tempfile.TemporaryDirectory() as folder:
        code = playbook(name, {**extra, "mcp_stack_refusals": folder}, inventory, check=check)
        refused = hosts.refusals(Path(folder))
    if _is_local(inventory):  # this machine as a host has said some of it already
        here = [problem for problem in here if not any(problem in text for text in refused.values())]
    if refused or here:
        raise StepdownError(f"deploy: {hosts.told(refused, here)}")
    return code


def _containers() -> frozenset[str]:
    return frozenset(container.id for container in engine.containers(door.instance()))


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
