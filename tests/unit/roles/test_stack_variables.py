"""What the role mcp_stack makes of its variables, by Ansible itself, with the local inventory over its defaults."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from stepdown import fit, inventory
from stepdown.catalog import Catalog
from tests.unit.sealing import isolate

KEY = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"
TOLD = {"secrets": "__mcp_stack_secrets", "environment": "__mcp_stack_settings.environment"}


@pytest.fixture
def folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory of one host that has the role's variables, and those of inventory/local over them."""
    isolate(monkeypatch, tmp_path)
    made = tmp_path / "site"
    (made / "group_vars").mkdir(parents=True)
    (made / "hosts.yml").write_text("stack: {hosts: {one: {ansible_connection: local}}}\n")
    shutil.copy(root / "inventory/local/group_vars/stack.yml", made / "group_vars" / "stack.yml")
    (made / "group_vars" / "all").mkdir()
    for part in ("defaults", "vars"):
        shutil.copy(root / f"roles/mcp_stack/{part}/main.yml", made / "group_vars" / "all" / f"{part}.yml")
    return made


def _told(root: Path, folder: Path) -> dict[str, Any]:
    (answer,) = inventory.ask(root, str(folder), TOLD)
    assert "" == answer.error
    return dict(answer.values)


def test_a_key_of_many_lines_reaches_the_agent_as_it_is(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the environment, as every secret that `fit` knows; what is empty is left out, so the host keeps its own."""
    given = {name: f"{name} of a test" for name in fit.SECRETS.values()} | {"GITHUB_APP_PRIVATE_KEY": KEY}
    del given["GITHUB_CA"]
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    expected = {file: given[name] for file, name in fit.SECRETS.items() if name in given}
    assert expected == _told(root, folder)["secrets"]


def test_the_agent_gets_every_variable_of_the_catalogue_as_text(
    root: Path, folder: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also numbers and booleans: they become lines of an env file."""
    monkeypatch.setenv("GITHUB_APP_ID", "424242")
    monkeypatch.setenv("GITHUB_READ_ONLY", "no")
    environment = _told(root, folder)["environment"]
    expected = {source for server in catalog.servers.values() for source in server.environment.values()}
    assert expected == set(environment)
    github = ("GITHUB_API_URL", "GITHUB_READ_ONLY", "GITHUB_APP_ID", "GITHUB_APP_INSTALLATION_ID")
    assert ["https://api.github.com", "false", "424242", ""] == [environment[name] for name in github]
