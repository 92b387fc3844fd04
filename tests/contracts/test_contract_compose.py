"""compose/ is what the catalogue renders, and compose itself takes it with the env file that the agent writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stepdown import bundle
from stepdown.catalog import PLAN_NAMES, Catalog
from stepdown.host import engine
from stepdown.resolve import deployable

if TYPE_CHECKING:
    from tests.conftest import Staging

COMPOSE_FILES = [*(f"plan_{name.lower()}/compose.yml" for name in PLAN_NAMES), "edge/compose.yml"]

# what operators write into an inventory: a model endpoint, a path, a list of names
VALUES = {
    "PLAIN": "http://models.example:8000/v1?a=b&c=d",
    "EMPTY": "",
    "SPACES": "  two  words ",
    "DOLLAR": "a$b ${STEPDOWN_HOME} $$",
    "QUOTES": """it's "so" `here`""",
    "HASH": "a # b",
    "UMLAUT": "Größe ✓",
    "EQUALS": "a=b=c",
    "LINES": "one\ntwo",
    "BACKSLASH": r"C:\models\new",
    "LAST_BACKSLASH": "C:\\models\\",
    "ESCAPED_QUOTE": r"a\'b",
}


def test_compose_is_what_the_catalogue_renders(root: Path, catalog: Catalog) -> None:
    """Nothing stale, nothing missing, nothing left over; what to type when it is not."""
    differing = bundle.differences(root, bundle.render_all(catalog))
    assert [] == differing, "run: ./run bundle"


def test_a_changed_generated_file_is_seen(tmp_path: Path, catalog: Catalog) -> None:
    """Edited, missing and left over."""
    files = bundle.render_all(catalog)
    assert sorted(files) == bundle.write_all(tmp_path, files)
    assert [] == bundle.write_all(tmp_path, files)
    compose = tmp_path / "compose"
    (compose / "plan_c" / "compose.yml").write_text("edited")
    (compose / "plan_c" / "plan.json").unlink()
    (compose / "plan_z").mkdir()
    (compose / "plan_z" / "compose.yml").write_text("left over")
    expected = ["plan_c/compose.yml", "plan_c/plan.json", "plan_z/compose.yml"]
    assert expected == bundle.differences(tmp_path, files)
    assert expected == bundle.write_all(tmp_path, files)
    assert [] == bundle.differences(tmp_path, files)


def test_every_generated_compose_file_says_so(rendered: Mapping[str, str]) -> None:
    """The first line tells people not to edit; there is no template language in it."""
    for name, text in rendered.items():
        if not name.endswith(".json"):
            assert text.startswith("# Generated from catalog/ by 'invoke bundle'. Do not edit.\n"), name
            assert not re.search(r"\{[{%]", text), name
        else:
            assert json.loads(text)


def test_plan_c_is_committed(root: Path, catalog: Catalog) -> None:
    """The first plan of every host, and every plan that can be deployed, has a bundle."""
    folders = {path.name for path in (root / "compose").glob("plan_*")}
    assert {f"plan_{plan.name.lower()}" for plan in deployable(catalog)} == folders
    assert "plan_c" in folders


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_compose_takes_every_file_with_the_env_file_of_a_release(
    tmp_path: Path, docker_compose: str, rendered: Mapping[str, str], env_text: str, file: str
) -> None:
    """Every variable is set, and the schema holds."""
    assert "" == _config(docker_compose, tmp_path, rendered[file], env_text).stderr


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_an_unset_variable_is_seen(
    tmp_path: Path, docker_compose: str, rendered: Mapping[str, str], env_text: str, file: str
) -> None:
    """Compose warns and puts nothing in its place, so a warning is an error here."""
    used = sorted(set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)\}", rendered[file])))
    missing = used[len(used) // 2]
    shorter = "".join(line for line in env_text.splitlines(True) if not line.startswith(f"{missing}="))
    assert shorter != env_text
    assert (
        f'The \\"{missing}\\" variable is not set' in _config(docker_compose, tmp_path, rendered[file], shorter).stderr
    )


def test_values_reach_containers_as_they_were_written(staging: Staging, docker_compose: str, tmp_path: Path) -> None:
    """Whatever an operator writes into the inventory, quotes, dollars and backslashes included."""
    release, _ = staging.stage(environment=VALUES)
    service = {"image": "none", "environment": {name: f"${{{name}}}" for name in VALUES}}
    text = json.dumps({"name": "values", "services": {"one": service}})
    shown = _config(docker_compose, tmp_path, text, release.env_file.read_text(encoding="utf-8"), "--format", "json")
    assert "" == shown.stderr
    found = json.loads(shown.stdout)["services"]["one"]["environment"]
    assert VALUES == {name: value.replace("$$", "$") for name, value in found.items()}


def test_a_shell_does_not_change_what_a_release_starts(
    staging: Staging, docker_compose: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A release is immutable: a variable of the caller's shell must not win over its env file, as compose lets it."""
    release, _ = staging.stage()
    seen = tmp_path / "seen.json"
    # the docker client, with compose's binary in the plugin's place: `up` shows what would be started
    program = f"""#!/bin/sh
[ "$2 $3" = "version --short" ] && exit 0
[ "$1 $2 $4" = "compose --env-file --file" ] || exit 64
exec {docker_compose} --env-file "$3" --file "$5" config --format json >{seen}
"""
    (staging.engine / "docker").write_text(program)
    for name in ("STEPDOWN_INSTANCE", "STEPDOWN_HOME", "STEPDOWN_WORKSPACE", "ZEN_MCP_ENDPOINT"):
        monkeypatch.setenv(name, "/of/the/shell")
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "of-the-shell")
    engine.up(staging.home, release.env_file, release.compose_file("C"), ["zen", "heimdall"])
    started = json.loads(seen.read_text())
    assert f"stepdown-{release.id}" == started["name"]
    zen = started["services"]["zen"]
    assert "http://models.example/v1" == zen["environment"]["CUSTOM_API_URL"]
    assert "stepdown" == zen["labels"]["stepdown.instance"]
    assert [] == [mount for mount in zen["volumes"] if "/of/the/shell" in mount["source"]]


def test_compose_shows_the_bounds_of_the_catalogue(
    tmp_path: Path, docker_compose: str, rendered: Mapping[str, str], env_text: str, catalog: Catalog
) -> None:
    """Compose's own reading: memory in bytes, one address, and the host's own owner."""
    shown = _config(docker_compose, tmp_path, rendered["plan_c/compose.yml"], env_text, "--format", "json")
    services: dict[str, Any] = json.loads(shown.stdout)["services"]
    assert {"zen", "heimdall"} == set(services)
    for name, service in services.items():
        server = catalog.servers[name]
        assert str(server.memory_mib * 2**20) == service["mem_limit"]
        assert (server.cpus, server.pids) == (service["cpus"], service["pids_limit"])
        assert ["ALL"] == service["cap_drop"]
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
        config = json.loads(service["environment"]["MCP_HOST_CONFIG"].replace("$$", "$"))
        assert [name] == list(config["servers"])


def test_a_broken_compose_file_is_refused(tmp_path: Path, docker_compose: str, env_text: str) -> None:
    """The tool that judges the files above does judge."""
    text = "name: x\nservices:\n  one:\n    image: none\n    mem_limits: 3m\n"
    refused = _config(docker_compose, tmp_path, text, env_text)
    assert (1, True) == (refused.returncode, "mem_limits" in refused.stderr)


def _config(binary: str, folder: Path, text: str, env_text: str, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "compose.yml").write_text(text, encoding="utf-8")
    (folder / "compose.env").write_text(env_text, encoding="utf-8")
    argv = [binary, "--env-file", "compose.env", "--file", "compose.yml", "config", *(words or ("--quiet",))]
    # nothing of this machine's environment but the way to find programs
    return subprocess.run(
        argv, cwd=folder, env={"PATH": os.defpath}, capture_output=True, text=True, check=False, timeout=60
    )
