"""The plain instance has what the real one has, and only an unchanged deploy is measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepdown.bench import deploy, place, plain
from stepdown.catalog import Catalog
from stepdown.errors import StepdownError
from stepdown.host.instance import Instance
from stepdown.run import Completed

ID = "sha256:" + "0" * 64
THERE = plain.Deployed(
    instance=Instance("stepdown", 8080, 7860, "10.231.1.0/24", "/opt/stepdown/data/workspace"),
    plan="C",
    images={name: {"reference": f"stepdown/{name}:abc", "id": ID} for name in ("python", "node", "whole", "gateway")},
    environment={
        **dict.fromkeys(("ZEN_MCP_ENDPOINT", "HEIMDALL_GIT_HOSTS", "HEIMDALL_CALLBACK_HOSTS"), ""),
        "ZEN_MODELS": "one,two",
    },
    uid="10001",
    gid="10001",
)
BESIDE = plain.Plain(
    instance=Instance("stepdown-plain", 18080, 7860, "10.231.255.0/24", "/opt/stepdown-plain/data/workspace"),
    home="/opt/stepdown-plain",
    compose=("docker", "compose"),
    compose_source="",
)


@pytest.fixture
def told(root: Path, tmp_path: Path) -> dict[str, Any]:
    """Every variable of the plain playbook for plan C, with a key given."""
    return variables(root, tmp_path, key_given=True)


def variables(root: Path, folder: Path, *, key_given: bool) -> dict[str, Any]:
    """As the benchmark makes them."""
    bundles = root / "compose"
    return plain.variables(BESIDE, THERE, bundles / "plan_c", bundles / "edge", folder, key_given)


@pytest.mark.parametrize("name", ["plan_c/compose.yml", "edge/compose.yml"])
def test_plain_sets_every_variable_of_the_compose_files(root: Path, told: dict[str, Any], name: str) -> None:
    """Compose takes a variable that is missing for empty, and starts something else."""
    asked = set(re.findall(r"\$\{(\w+)", (root / "compose" / name).read_text(encoding="utf-8")))
    assert set() == asked - set(told["plain_environment"])


@pytest.mark.parametrize("name", ["plan_c/compose.yml", "edge/compose.yml"])
def test_plain_makes_every_folder_that_containers_mount(root: Path, told: dict[str, Any], name: str) -> None:
    """Docker makes a missing one itself, and gives it to root."""
    services = yaml.safe_load((root / "compose" / name).read_text(encoding="utf-8"))["services"].values()
    sources = [mount.partition(":")[0] for service in services for mount in service["volumes"]]
    mounted = {path.removeprefix("${STEPDOWN_HOME}/") for path in sources if path.startswith("${STEPDOWN_HOME}/")}
    made = {folder["path"] for folder in told["plain_folders"]}
    assert set() == {path for path in mounted if not any(row.startswith(path) for row in made)}


def test_plain_keeps_secrets_from_others(told: dict[str, Any]) -> None:
    """As the agent does: folders of secrets and of data belong to the owner alone."""
    modes = {folder["path"]: folder["mode"] for folder in told["plain_folders"]}
    assert {"0700"} == {mode for path, mode in modes.items() if path.startswith(("secrets", "data/heimdall"))}


def test_plain_gives_every_file_of_the_gateway(told: dict[str, Any]) -> None:
    """Each file that is copied is there, and routes lead only to clusters that are."""
    files = {row["path"]: Path(row["source"]) for row in told["plain_files"]}
    assert [] == [path for path, source in files.items() if not source.is_file()]
    clusters = json.loads(files["run/envoy/config/clusters.json"].read_text())["resources"]
    names = {cluster["name"] for cluster in clusters}
    assert {"plain.zen", "plain.heimdall"} == names
    routed = set(re.findall(r'"cluster": "([^"]+)"', files["run/envoy/config/routes.json"].read_text()))
    assert routed == names
    assert {f"run/envoy/config/endpoints/{name}.json" for name in names} <= set(files)
    assert "10.231.255.16" in files["run/envoy/config/endpoints/plain.zen.json"].read_text()


def test_plain_has_nothing_of_the_instance_beside_it(told: dict[str, Any]) -> None:
    """Name, home, subnet and port are its own, or it would replace what it is compared with."""
    environment = told["plain_environment"]
    own = ("STEPDOWN_INSTANCE", "STEPDOWN_PROJECT", "STEPDOWN_HOME", "STEPDOWN_SUBNET_SERVERS", "STEPDOWN_PORT")
    theirs = {"stepdown", "/opt/stepdown", "10.231.1.0/25", "8080"}
    assert set() == theirs & {environment[name] for name in own}
    assert "one,two" == environment["ZEN_MODELS"]


@pytest.mark.parametrize(
    ("key_given", "expected"), [(True, ["client_token", "servers/zen/api_key"]), (False, ["client_token"])]
)
def test_plain_writes_a_key_where_deploy_does(root: Path, tmp_path: Path, key_given: bool, expected: list[str]) -> None:
    """A task more or less would not be the same content."""
    secrets = variables(root, tmp_path, key_given=key_given)["plain_secrets"]
    assert expected == [secret["path"] for secret in secrets]


def test_the_playbook_uses_the_variables_that_it_is_given(root: Path, told: dict[str, Any]) -> None:
    """Both ways: nothing undefined, nothing for nothing."""
    folder = root / "tests" / "performance" / "plain"
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*")) if path.is_file()]
    tasks = yaml.safe_load((folder / "deploy.yml").read_text(encoding="utf-8"))[0]["tasks"]
    registered = {task["register"] for task in tasks if "register" in task} | {"plain_removed"}
    used = {name for text in texts for name in re.findall(r"\bplain_\w+", text)} - registered
    assert used == set(told)


def test_plain_uses_modules_of_ansible_alone(root: Path) -> None:
    """It is what deploy is compared with: no plugin of ours, one module a task."""
    (play,) = yaml.safe_load((root / "tests/performance/plain/deploy.yml").read_text(encoding="utf-8"))
    tasks = [row for task in play["tasks"] for row in task.get("block", [task])]
    modules = [[key for key in task if "." in key] for task in tasks]
    assert [1] * len(tasks) == [len(names) for names in modules]
    assert {"ansible.builtin"} == {name.rpartition(".")[0] for names in modules for name in names}


def test_a_free_subnet_overlaps_nothing() -> None:
    """Neither an instance's network nor a larger one; IPv6 is no matter."""
    first = plain.free_subnet("stepdown-plain", ["172.17.0.0/16", "fd00::/64"])
    assert first != plain.free_subnet("stepdown-plain", [first])
    assert "10.231.7.0/24" == plain.free_subnet("x", [f"10.231.{n}.0/24" for n in range(256) if n != 7])


def test_no_free_subnet_is_said() -> None:
    """With what to do about it."""
    with pytest.raises(StepdownError, match=r"no free /24 in 10\.231\.0\.0/16; .* Run: \./run down"):
        plain.free_subnet("stepdown-plain", ["10.0.0.0/8"])


RECAP = "far : ok=7 changed={} unreachable=0 failed=0"


def test_an_unchanged_deploy_passes() -> None:
    """Its recap counts no change on any host."""
    deploy.require_unchanged(
        Completed(("./run", "deploy"), 0, RECAP.format(0) + "\n" + RECAP.format(0), ""), "./run deploy"
    )


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (RECAP.format(0) + RECAP.format(2), "something was to change"),
        ("would build zen, then stage and activate a new release", "no recap in its output: would build zen"),
        ("", "no recap"),
    ],
)
def test_a_deploy_that_changes_something_is_not_measured(output: str, says: str) -> None:
    """A figure of it would be a figure of something else."""
    with pytest.raises(StepdownError, match=rf"\./run deploy: {says}.* Run: \./run deploy"):
        deploy.require_unchanged(Completed(("./run", "deploy"), 0, output, ""), "./run deploy")


def test_a_host_without_an_instance_says_so(tmp_path: Path) -> None:
    """Nothing can be compared with nothing."""
    here = place.Place("local", str(tmp_path), False, "local", ("sh", "-c"))
    with pytest.raises(StepdownError, match=r"on local: nothing is deployed there\. Run: \./run deploy --plan=C"):
        plain.deployed(here)


def test_settings_of_this_shell_do_not_reach_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would win over the env file, and plain would replace the instance beside it."""
    monkeypatch.setenv("STEPDOWN_INSTANCE", "live")
    monkeypatch.setenv("UNTOUCHED", "seen")
    here = place.Place("local", "/opt/stepdown", False, "local", ("sh", "-c"))
    shown = here.shell("echo ${STEPDOWN_INSTANCE-none} $UNTOUCHED", without=deploy.SETTINGS)
    assert "none seen" == shown.strip()


@pytest.mark.parametrize("connection", place.KNOWN)
def test_every_way_to_a_host_has_a_limit(catalog: Catalog, connection: str) -> None:
    """The catalogue has an objective for each."""
    assert "seconds" == catalog.objectives[f"deploy_unchanged_{connection}"].unit
