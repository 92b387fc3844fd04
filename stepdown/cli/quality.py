"""lint, test and its tiers."""

from __future__ import annotations

import sys

from invoke.collection import Collection
from invoke.context import Context

from stepdown.cli import door
from stepdown.errors import StepdownError, UsageError, sentence
from stepdown.run import passthrough

LINTERS = {
    "ruff": ("ruff", "check", "."),
    "ruff format": ("ruff", "format", "--check", "."),
    "mypy": ("mypy",),
    "import-linter": ("lint-imports", "--no-cache"),
    "yamllint": ("yamllint", "--strict", "."),
    "ansible-lint": ("ansible-lint", "--offline", "--profile", "production", "playbooks", "roles", "molecule"),
}

MATCH = "only tests whose name matches"
ALL = "large matrices whole; without it a sample of them"
SEED = "which sample: the number that an earlier run printed"


@door.command()
def lint(_context: Context) -> None:
    """Run every linter and show all that they find."""
    failed = []
    for name, argv in LINTERS.items():
        door.say(f"lint: {name}")
        if passthrough(argv, cwd=str(door.ROOT)):
            failed.append(name)
    if failed:
        raise StepdownError(sentence("lint", f"{', '.join(failed)} found something; see above"))


def tests() -> Collection:
    """`test` and `test.unit`, `test.contract`, `test.integration`, `test.drill`, `test.molecule`."""
    collection = Collection("test")
    collection.add_task(gate, default=True)
    for task in (unit, contract, integration, drill, molecule):
        collection.add_task(task)
    return collection


@door.command(help={"all_": ALL, "seed": SEED, "match": f"{MATCH} (pytest -k)"})
def gate(_context: Context, all_: bool = False, seed: str = "", match: str = "") -> None:
    """Run the gate: every tier, one pytest process; installs and starts what it needs."""
    _pytest("tests", *matrices(all_, seed), match=match)


@door.command(help={"match": MATCH})
def unit(_context: Context, match: str = "") -> None:
    """Run the unit tests: seconds, needs nothing."""
    _pytest("tests/unit", match=match)


@door.command(help={"match": MATCH})
def contract(_context: Context, match: str = "") -> None:
    """Run the rules about this repository: seconds, needs nothing."""
    _pytest("tests/contracts", match=match)


@door.command(help={"match": MATCH})
def integration(_context: Context, match: str = "") -> None:
    """Run the tests on a real Docker engine."""
    _pytest("tests/integration", match=match)


@door.command(help={"all_": ALL, "seed": SEED, "match": MATCH})
def drill(_context: Context, all_: bool = False, seed: str = "", match: str = "") -> None:
    """Switch, break and recover on real containers under load: what clients see."""
    _pytest("tests/drills", *matrices(all_, seed), match=match)


@door.command(help={"match": "only scenarios whose name matches, e.g. docker_engine"})
def molecule(_context: Context, match: str = "") -> None:
    """Run the scenarios of the roles on systemd hosts over SSH, two at a time."""
    _pytest("tests/molecule", "--all", match=match)


def matrices(all_: bool, seed: str) -> list[str]:
    """pytest's options for large matrices; UsageError for a seed that is no number."""
    if seed and not seed.isdecimal():
        raise UsageError(sentence("--seed", f"{seed!r} should be a number, as an earlier run printed it"))
    return [*(["--all"] if all_ else []), *([f"--seed={seed}"] if seed else [])]


def _pytest(*words: str, match: str) -> None:
    chosen = ["-k", match] if match else []
    door.leave(passthrough((sys.executable, "-m", "pytest", *words, *chosen), cwd=str(door.ROOT)))
