"""`deploy` with nothing to change, beside a plain playbook of the same content and compose alone.

What each contender does, and why that is fair, stands in tests/performance/README.md.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stepdown import commands
from stepdown.bench import place, plain
from stepdown.bench.measure import Benchmark, Contender, Setting
from stepdown.errors import StepdownError, sentence
from stepdown.run import Completed, run

PLAYBOOKS = "tests/performance/plain"
# Variables of the shell win over compose's env file: with these, plain would lay hands on the instance beside it.
SETTINGS = ("STEPDOWN_", "ZEN_", "COMPOSE_")
RECAP = re.compile(r"changed=(\d+)")
LAST_WORDS = 2000  # characters of a contender's output that an error repeats


@contextlib.contextmanager
def prepared(setting: Setting) -> Iterator[Benchmark]:
    """The benchmark on a deployed host, with plain's instance beside it until the end.

    Raises StepdownError where nothing is deployed, where `deploy` would change something, or when a contender fails or
    changes something; then there is nothing to judge.
    """
    with tempfile.TemporaryDirectory(prefix="stepdown-bench-") as name:
        folder = Path(name)
        where = place.find(setting.root, setting.inventory, folder)
        there = plain.deployed(where)
        made = plain.beside(where, there, setting.root / ".stepdown" / "dist")
        bundles = setting.root / "compose"
        bundle = bundles / f"plan_{there.plan.lower()}"
        told = plain.variables(made, there, bundle, bundles / "edge", folder, where.key_given)
        yield from _beside(setting, where, there, made, _kept(told, folder / "variables.json"))


def _kept(told: dict[str, Any], path: Path) -> Path:
    path.touch(mode=0o600)  # tokens are in it
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


def _beside(
    setting: Setting, where: place.Place, there: plain.Deployed, made: plain.Plain, told: Path
) -> Iterator[Benchmark]:
    """Make plain's instance, hand over the benchmark, and take the instance away whatever happened."""
    setting.say("bench: asking whether deploy would change anything, and deploying the plain instance beside it")
    deploy = ("./run", "deploy", f"--inventory={setting.inventory}", "--yes")
    require_unchanged(_run(setting.root, (*deploy, "--check")), "./run deploy")
    _run(setting.root, deploy)  # what --check does not foretell, such as a newer agent
    try:
        _plain(setting, "down", told)  # what an interrupted run left
        _plain(setting, "deploy", told)
        before = _containers(where, there, made)
        yield _benchmark(setting, where, made, told, deploy)
        if _containers(where, there, made) != before:
            raise StepdownError(sentence("bench deploy", "containers were replaced meanwhile; measure again"))
    finally:
        _plain(setting, "down", told)


def _benchmark(setting: Setting, where: place.Place, made: plain.Plain, told: Path, deploy: Sequence[str]) -> Benchmark:
    extra = {"mcp_stack_plan": "", "mcp_stack_why": "bench", "mcp_stack_refusals": str(told.parent)}
    ours = commands.ansible_playbook("playbooks/deploy.yml", setting.inventory, json.dumps(extra))
    theirs = commands.ansible_playbook(f"{PLAYBOOKS}/deploy.yml", setting.inventory, f"@{told}")
    files = ("compose.yml", "edge/compose.yml")
    up = [shlex.join(commands.compose(made.compose, "compose.env", file, "up", "--detach")) for file in files]
    compose = " && ".join((f"cd {shlex.quote(made.home)}", *up))

    def unchanged(argv: Sequence[str], *, without: Sequence[str] = ()) -> float:
        started = time.perf_counter()
        done = _run(setting.root, argv, without)
        seconds = time.perf_counter() - started
        require_unchanged(done, "./run deploy")
        return seconds

    def composed() -> float:
        started = time.perf_counter()
        where.shell(compose, without=SETTINGS)
        return time.perf_counter() - started

    return Benchmark(
        name="deploy",
        summary=f"deploy with nothing to change, {'here' if where.connection == 'local' else 'over SSH'}",
        reference="playbook",
        contenders=(
            Contender("playbook", "ansible-playbook playbooks/deploy.yml", lambda: unchanged(ours)),
            Contender("deploy", "./run deploy, start to end", lambda: unchanged(deploy)),
            Contender("plain", f"ansible-playbook {PLAYBOOKS}/deploy.yml", lambda: unchanged(theirs, without=SETTINGS)),
            Contender("compose", "docker compose up --detach, twice", composed),
        ),
        limits={"deploy": setting.objectives[f"deploy_unchanged_{where.connection}"]},
    )


def require_unchanged(done: Completed, remedy: str) -> None:
    """Refuse a run of a playbook that changed something, or that says nothing about it."""
    counts = [int(count) for count in RECAP.findall(done.stdout)]
    if not counts or any(counts):
        wrong = "something was to change" if any(counts) else f"no recap in its output: {done.stdout[-LAST_WORDS:]}"
        raise StepdownError(sentence(" ".join(done.argv[:2]), f"{wrong}, so there is nothing to measure", run=remedy))


def _plain(setting: Setting, playbook: str, told: Path) -> None:
    argv = commands.ansible_playbook(f"{PLAYBOOKS}/{playbook}.yml", setting.inventory, f"@{told}")
    _run(setting.root, argv, SETTINGS)


def _run(root: Path, argv: Sequence[str], without: Sequence[str] = ()) -> Completed:
    """A contender as it is; a playbook as `./run deploy` runs it. CommandError with the last words when it fails."""
    env = {"ANSIBLE_NOCOLOR": "1", **({"PYTHONDONTWRITEBYTECODE": ""} if argv[0] == "ansible-playbook" else {})}
    return run(argv, env=env, inherit=place.environment_without(without), cwd=str(root))


def _containers(where: place.Place, there: plain.Deployed, made: plain.Plain) -> list[str]:
    """Ids of the containers of both instances."""
    listed = ("docker", "ps", "--all", "--no-trunc", "--quiet", "--filter")
    names = (made.instance.name, there.instance.name)
    return [where.shell(shlex.join((*listed, f"label=stepdown.instance={name}"))) for name in names]
