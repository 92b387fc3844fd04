"""Every problem before any change, each with its remedy."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from stepdown.errors import UsageError
from stepdown.host import preflight, release
from stepdown.host.engine import Container, Facts
from stepdown.host.home import Home
from stepdown.host.instance import Instance, load_instance
from stepdown.host.preflight import Question, judge
from stepdown.host.subnets import Taken
from stepdown.host.survey import Disk, Host
from stepdown.shared import EDGE_MEMORY_MIB

if TYPE_CHECKING:
    from tests.conftest import Staging

CASES = yaml.safe_load((Path(__file__).parents[2] / "cases" / "preflight.yml").read_text(encoding="utf-8"))
HOME = Home(Path("/opt/stepdown"))
SETTINGS = {"name": "stepdown", "port": 8080, "direct_port": 7860, "subnet": "", "workspace": ""}
RECORDED = Instance("stepdown", 8080, 7860, "10.231.1.0/24", "/opt/stepdown/data/workspace")
GOOD = Host(
    platform="Linux x86_64",
    cpus=4,
    memory_mib=8192,
    clock=1_000_000,
    kernel_lacks=(),
    limits_lacking=(),
    engine=Facts("24.0.7", cpus=4),
    can_install=True,
    blind=False,
    home=Disk("/opt/stepdown", 20_000, 1),
    home_refused="",
    images_disk=Disk("/var/lib/docker", 20_000, 1),
    instance=None,
    plan="",
    broken=(),
    running=(),
    elsewhere="",
    ports={},
    taken=(),
    images={"stepdown/zen:1": "sha256:1", "stepdown/heimdall:1": "sha256:2"},
    secrets=frozenset(),
    workspace_there=True,
)


def _container(name: str, memory_mib: int, **more: Any) -> dict[str, Any]:
    return {"image": name, "memory_mib": memory_mib, "cpus": 1.0, "required_secrets": {}, **more}


ZEN, HEIMDALL = _container("zen", 768, egress=["ZEN_MCP_ENDPOINT"]), _container("heimdall", 1536, cpus=2.0)
GITHUB = _container("github", 256, required_secrets={"github": ["token"]})
ASKED = Question(
    instance=SETTINGS,
    plans={
        "A": {"containers": {"zen": ZEN, "heimdall": HEIMDALL, "github": GITHUB}, "direct_port": False},
        "C": {"containers": {"zen": ZEN, "heimdall": HEIMDALL}, "direct_port": False},
        "D": {"containers": {"monolith": _container("zen", 2304)}, "direct_port": True},
    },
    images={
        "zen": {"reference": "stepdown/zen:1", "id": "sha256:1", "mib": 300},
        "heimdall": {"reference": "stepdown/heimdall:1", "id": "sha256:2", "mib": 500},
    },
    clock=1_000_000,
)


def _host(changed: dict[str, Any]) -> Host:
    """GOOD with the changes of a case, whose data is plain."""
    made = {
        "home": lambda value: Disk(*value),
        "images_disk": lambda value: Disk(*value),
        "instance": lambda value: replace(RECORDED, **value),
        "engine": lambda value: Facts(**value),
        "taken": lambda value: tuple(Taken(IPv4Network(row[0]), *row[1:]) for row in value),
        "secrets": lambda value: value if value is None else frozenset(value),
        "running": lambda value: tuple(
            Container(n, n, "" if n in EDGE_MEMORY_MIB else "111111111111", True, "", "", "") for n in value
        ),
    }
    return replace(GOOD, **{key: made.get(key, lambda value: value)(value) for key, value in changed.items()})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_host_is_told_exactly_this(case: dict[str, Any]) -> None:
    """Rows of tests/cases/preflight.yml."""
    assert {"name", "says"} <= set(case) <= {"name", "host", "asked", "settings", "says"}
    settings = {**SETTINGS, **case.get("settings", {})}
    asked = replace(ASKED, instance=settings, **case.get("asked", {}))
    assert case["says"] == judge(HOME, asked, _host(case.get("host", {})))


def test_the_release_that_runs_is_known_by_its_archive_and_settings(staging: Staging) -> None:
    """A deploy that changes nothing needs no memory; one that changes a setting starts all containers anew."""
    staged, _ = staging.stage()
    running = tuple(Container(name, name, staged.id, True, "", "", "") for name in ("zen", "heimdall"))
    running += tuple(Container(name, name, "", True, "", "", "") for name in EDGE_MEMORY_MIB)
    host = replace(GOOD, instance=load_instance(staging.home), running=running, memory_mib=10)
    environment = {"ZEN_MCP_ENDPOINT": "http://models.example/v1", "ZEN_MODELS": ""}
    asked = replace(ASKED, archive=release.digest(staging.archive()), environment=environment, images={})
    assert [] == judge(staging.home, asked, host)
    other = replace(asked, environment={**environment, "ZEN_MODELS": "one"})
    assert ["2304 MiB of memory are needed, 10 MiB are available. Run: ./run plan.fit"] == judge(
        staging.home, other, host
    )


def test_a_staged_release_is_asked_about_with_its_own_images(staging: Staging) -> None:
    """A switch ships nothing, so every image of the plan and the gateway's has to be here."""
    staged, _ = staging.stage()
    asked = preflight.of_staged(load_instance(staging.home), staged, "C")
    found = judge(staging.home, asked, replace(GOOD, instance=load_instance(staging.home), images={}))
    references = [staging.images[name].reference for name in ("python", "gateway")]
    assert [f"image {r} is not on this host as the release has it. Run: ./run deploy" for r in references] == found


def test_a_release_of_an_older_version_needs_no_secret(staging: Staging) -> None:
    """Its plan.json does not know that there are required ones."""
    old = {key: value for key, value in ZEN.items() if key != "required_secrets"}
    asked = replace(ASKED, plans={"C": {"containers": {"zen": old}, "direct_port": False}})
    assert [] == judge(HOME, asked, GOOD)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"instance": {}, "plans": {}}', json.dumps({"instance": SETTINGS, "plans": {}, "more": 1})]
)
def test_what_is_no_question_is_wrong_use(text: str) -> None:
    """Exit code 2, and what a question has."""
    with pytest.raises(UsageError, match=r"preflight: no question as JSON .* \(known: instance, plans, plan"):
        preflight.question(text)


def test_a_question_survives_its_way_as_json() -> None:
    """As the role writes it."""
    text = json.dumps({"instance": SETTINGS, "plans": {}, "plan": "C", "secrets": ["zen/api_key"], "clock": 1.5})
    expected = Question(SETTINGS, {}, "C", secrets=["zen/api_key"], clock=1.5)
    assert expected == preflight.question(text)


def test_problems_are_listed_one_bullet_each() -> None:
    """With their number."""
    assert "1 problem before any change:\n  - one" == preflight.listed(["one"])
    assert "2 problems before any change:\n  - one\n  - two" == preflight.listed(["one", "two"])
