"""deploy, down."""

from __future__ import annotations

import sys
from pathlib import Path

from invoke.context import Context

from stepdown import doctor, installed, resolve
from stepdown.cli import door
from stepdown.cli.build import prepare_release
from stepdown.cli.host import agent
from stepdown.errors import ChangedError, StepdownError, UsageError, sentence
from stepdown.host import engine, lock
from stepdown.host.home import Home
from stepdown.run import passthrough, run

LOCAL = "inventory/local"
HELP = {
    "plan": "A, B, C or D; without it the plan that the host is on (C at first)",
    "inventory": "the hosts; inventory/local is this machine",
    "why": "reason, for the journal",
    "check": "say what would change, change nothing",
    "yes": "do not ask before changing other machines",
}


@door.command(help=HELP)
def deploy(
    _context: Context,
    plan: str = "",
    inventory: str = LOCAL,
    why: str = "deploy",
    check: bool = False,
    yes: bool = False,
) -> None:
    """Provision what is missing, build images, ship a release and activate a plan."""
    if plan:
        resolve.require_deployable(door.catalog(), plan)
    _confirm(inventory, check, yes)
    dist = door.ROOT / ".stepdown"
    dist.mkdir(exist_ok=True)
    with lock.hold(dist / "deploy.lock", f"deploy {plan or 'without a plan'}"):
        _engine(inventory, check)
        problems = doctor.examine(door.ROOT, door.home(), door.instance()) if inventory == LOCAL else []
        if problems:
            raise StepdownError(
                f"deploy: {len(problems)} problem(s) before any change:\n  - " + "\n  - ".join(problems)
            )
        prepare_release()
        before = _containers(inventory)
        extra = {"mcp_stack_plan": plan, "mcp_stack_why": why}
        code = playbook("deploy", inventory, extra, check=check)
        if code and _containers(inventory) != before:
            undo = "./run deploy, which puts it right, or ./run down"
            raise ChangedError(sentence("deploy", "failed after containers had changed; see above", run=undo))
        if code:
            raise StepdownError(
                sentence("deploy", "failed; see above. What served before still serves", run="./run status")
            )
    if inventory == LOCAL and not check:
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
    _confirm(inventory, check, yes)
    if purge and not check and inventory == LOCAL:
        _purge_this_machine(inventory)
        return
    if playbook("down", inventory, {"mcp_stack_purge": str(purge).lower()}, check=check):
        raise ChangedError(sentence("down", "did not end; see above", run="./run down"))


def _purge_this_machine(inventory: str) -> None:
    """The stack first, then what builds left, while an engine is there to ask, then what was installed."""
    if playbook("down", inventory, {"mcp_stack_purge": "true", "docker_engine_state": "present"}):
        raise ChangedError(sentence("down", "did not end; see above", run="./run down --purge"))
    engine.remove_images(unused_images())
    if playbook("engine", inventory, {"docker_engine_state": "absent"}):
        raise ChangedError(
            sentence("down", "the engine that deploy installed stays; see above", run="./run down --purge")
        )
    for name in installed.remove():
        print(f"removed package {name}")
    for name in ("release.tar", "stepdown.pyz", "docker-compose"):
        (door.ROOT / ".stepdown" / "dist" / name).unlink(missing_ok=True)


def playbook(name: str, inventory: str, extra: dict[str, str], *, check: bool = False) -> int:
    """Run a playbook on an inventory, its output as it comes; returns Ansible's exit code."""
    words = [part for key, value in extra.items() for part in ("--extra-vars", f'{{"{key}": "{value}"}}')]
    mode = ["--check", "--diff"] if check else []
    argv = ("ansible-playbook", f"playbooks/{name}.yml", "--inventory", inventory, *words, *mode)
    return passthrough(argv, env={"PYTHONDONTWRITEBYTECODE": ""}, cwd=str(door.ROOT))


def _confirm(inventory: str, check: bool, yes: bool) -> None:
    if not (door.ROOT / inventory).exists() and not Path(inventory).exists():
        known = sorted(str(path.relative_to(door.ROOT)) for path in (door.ROOT / "inventory").iterdir())
        raise UsageError(
            sentence(f"inventory {inventory!r}", "is not there", known, "./run deploy --inventory=inventory/local")
        )
    if inventory == LOCAL or check or yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(sentence(f"inventory {inventory!r}", "changes other machines; say so with --yes"))
    if input(f"This changes the hosts of {inventory}. Type yes to go on: ") != "yes":
        raise UsageError(sentence("deploy", "not confirmed; nothing changed"))


def _engine(inventory: str, check: bool) -> None:
    """The control machine builds the images, so it needs an engine before anything else."""
    try:
        engine.require_engine()
        return
    except StepdownError as error:
        if "no rights" in str(error) or check or not doctor.can_install():
            raise
    door.say("deploy: no Docker engine answers; installing one")
    target = inventory if inventory == LOCAL else LOCAL
    if playbook("engine", target, {}):
        raise StepdownError(sentence("deploy", "no Docker engine could be installed; see above", run="./run doctor"))


def _containers(inventory: str) -> frozenset[str]:
    if inventory != LOCAL:
        return frozenset()
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
    if run((engine.CLIENT, "ps", "--all", "--quiet", "--filter", "label=stepdown.instance")).stdout.strip():
        return []
    return run((engine.CLIENT, "image", "ls", "--quiet", "--filter", "label=stepdown.image")).stdout.split()
