"""What every tier needs: the repository, its catalogue, and a staged release on a host without an engine."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from stepdown import bundle
from stepdown import release as control
from stepdown import scanners_environment as scanners
from stepdown.catalog import Catalog, load_catalog
from stepdown.host import release as host
from stepdown.host.home import Home
from stepdown.images import Built

if TYPE_CHECKING:
    from tests.mocks.local import Mock

ROOT = Path(__file__).resolve().parents[1]

# an example that writes to a busy disk may take long and be right
settings.register_profile("stepdown", deadline=None)
settings.load_profile("stepdown")

TOOLS = {"zen": "0" * 64}  # hash of a tool list; staging does not read it

# A docker client whose engine is two files beside it: `images` (reference and id a line) and `subnets`.
DOCKER = """#!/bin/sh
here=${0%/*}
case "$1 $2" in
"image inspect")
    for wanted; do :; done
    while read -r reference id; do
        if [ "$reference" = "$wanted" ]; then echo "$id"; exit 0; fi
    done <"$here/images"
    echo "Error: No such image: $wanted" >&2
    exit 1 ;;
"network ls") echo network ;;
"network inspect")
    while read -r subnet; do
        echo '{"Name": "other", "Id": "1", "IPAM": {"Config": [{"Subnet": "'"$subnet"'"}]}}'
    done <"$here/subnets" ;;
*) echo "not a call that staging makes: $*" >&2; exit 64 ;;
esac
"""
NO_ROUTES = "#!/bin/sh\n"  # `ip route show` of a host that has none

# Molecule's first test starts the scenarios, the last wait for them. What runs meanwhile is patient: on busy cores it
# takes longer and is right. Servers that would miss their time limits, and what clients see, are looked at before.
TURNS = ("contracts", "hosts", "unit", "drills", "integration", "molecule", "patient", "scenarios")
IMPATIENT = ("mcp_host",)
PATIENT = ("test_baseline_reach.py", "test_ssh_host.py", "test_ssh_refusals.py")  # on hosts of their own

pytest.register_assert_rewrite("tests.stack", "tests.drills.drill")  # they assert for tests


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `./run test` hands on."""
    group = parser.getgroup("stepdown")
    group.addoption("--all", action="store_true", help="large matrices whole, not a sample of them")
    group.addoption(
        "--seed", type=int, default=secrets.randbelow(10**6), help="which sample; without it another each time"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tiers in an order that saves time: those that need a quiet machine first, then the rest beside the scenarios."""
    items.sort(key=_turn)  # stable: within a turn as collected


def _turn(item: pytest.Item) -> int:
    tier, *inside = item.path.relative_to(ROOT / "tests").parts
    if tier == "molecule":
        return TURNS.index("scenarios" if "scenario" in getattr(item, "fixturenames", ()) else "molecule")
    patient = (tier == "unit" and inside[0] not in IMPATIENT) or inside[0] in PATIENT
    return TURNS.index("patient" if patient else tier)


def pytest_report_header(config: pytest.Config) -> str:
    """How to run the same sample again."""
    taken = "whole" if config.getoption("--all") else f"sampled with --seed={config.getoption('--seed')}"
    return f"stepdown: large matrices {taken}"


@pytest.fixture(scope="session")
def scanners_environment() -> Path:
    """The locked scanners; a clean clone makes them on first use, as the command line does."""
    return scanners.ensure(ROOT, print)


@dataclass(frozen=True)
class Staging:
    """A host that can stage releases: its home, its engine's files, and a tree whose bundles all plans have."""

    home: Home
    engine: Path
    tree: Path
    images: Mapping[str, Built]

    def archive(self, **other: Built) -> Path:
        """The release that the tree packs to, single images replaced by `other` ones."""
        return control.pack(self.tree, {**self.images, **other}, TOOLS)

    def stage(self, archive: Path | None = None, **changed: Any) -> tuple[host.Release, bool]:
        """Stage `archive` with the settings of a first deploy; `changed` replaces single ones."""
        environment = changed.pop("environment", {"ZEN_MCP_ENDPOINT": "http://models.example/v1", "ZEN_MODELS": ""})
        wanted = {"name": "stepdown", "port": 8080, "direct_port": 7860, "subnet": "", "workspace": "", **changed}
        return host.stage(self.home, archive or self.archive(), wanted, environment)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """The catalogue as committed."""
    return load_catalog(ROOT)


@pytest.fixture(scope="session")
def rendered(catalog: Catalog) -> dict[str, str]:
    """Every file of compose/ for all four plans: path to text."""
    return bundle.render_all(catalog)


@pytest.fixture(scope="session")
def mocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Mock]]:
    """zen, heimdall and github as mocks, processes of this machine. Who scripts one leaves it as it was."""
    from tests.mocks import local  # of it, tests.stack has to be rewritten first

    with local.running(tmp_path_factory.mktemp("mocks"), "zen", "heimdall", "github") as started:
        yield started


@pytest.fixture
def copied_catalog(tmp_path: Path) -> Path:
    """A tree that holds a copy of catalog/ and nothing else."""
    shutil.copytree(ROOT / "catalog", tmp_path / "catalog")
    return tmp_path


@pytest.fixture
def staging(tmp_path: Path, catalog: Catalog, rendered: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Staging:
    """A prepared <home>, and a docker client that knows the images of the release."""
    make = staging_maker(catalog, rendered)
    staged = make(tmp_path)
    monkeypatch.setenv("PATH", str(staged.engine))
    return staged


def staging_maker(catalog: Catalog, rendered: Mapping[str, str]) -> Callable[[Path], Staging]:
    """How a host for staging is made below a folder."""

    def make(folder: Path) -> Staging:
        for name, text in rendered.items():
            path = folder / "tree" / "compose" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        names = [*catalog.images, "gateway", "base", "mcp_host", "tools"]
        images = {name: Built(name, f"stepdown/{name}:{_digest(name)[:12]}", _id(name), False) for name in names}
        engine = folder / "engine"
        engine.mkdir()
        (engine / "images").write_text("".join(f"{image.reference} {image.id}\n" for image in images.values()))
        (engine / "subnets").write_text("172.17.0.0/16\n")
        for name, program in (("docker", DOCKER), ("ip", NO_ROUTES)):
            (engine / name).write_text(program)
            (engine / name).chmod(0o755)
        home = Home(folder / "home")
        home.prepare()
        return Staging(home, engine, folder / "tree", images)

    return make


@pytest.fixture(scope="session")
def env_text(tmp_path_factory: pytest.TempPathFactory, catalog: Catalog, rendered: Mapping[str, str]) -> str:
    """The env file of a staged release of all four plans, as compose reads it."""
    staged = staging_maker(catalog, rendered)(tmp_path_factory.mktemp("staged"))
    before = os.environ["PATH"]
    os.environ["PATH"] = str(staged.engine)
    try:
        release, _ = staged.stage()
    finally:
        os.environ["PATH"] = before
    return release.env_file.read_text(encoding="utf-8")


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _id(name: str) -> str:
    return f"sha256:{_digest(name)}"
