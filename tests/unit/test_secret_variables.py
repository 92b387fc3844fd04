"""Which secrets there are, whether they are given, where from: never a value."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stepdown import secret_variables
from stepdown.secret_variables import Finding, Secret, Source
from tests.unit.sealing import BIN, age_key, isolate, sops_file, vault_file

SECRET = "sk-must-never-be-seen"
NAME = "mcp_stack_zen_api_key"
HOSTS = "stack: {hosts: {one: {ansible_connection: local}}}\n"
ENDPOINT = "mcp_stack_zen_endpoint: http://models.example/v1\n"
LOOKUP = (
    f"{NAME}: \"{{{{ lookup('ansible.legacy.sops', inventory_dir ~ '/secrets.sops.yml', key='zen_api_key') }}}}\"\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory of one host that has a model endpoint."""
    isolate(monkeypatch, tmp_path)
    made = tmp_path / "site"
    (made / "group_vars" / "stack").mkdir(parents=True)
    (made / "hosts.yml").write_text(HOSTS)
    (made / "group_vars" / "stack" / "main.yml").write_text(ENDPOINT)
    return made


def check(root: Path, folder: Path | str) -> tuple[int, str]:
    """Exit code and all output of `./run secrets.check`."""
    argv = [str(BIN / "invoke"), "secrets.check", f"--inventory={folder}"]
    done = subprocess.run(argv, cwd=root, env=os.environ, capture_output=True, text=True, timeout=120, check=False)
    assert SECRET not in done.stdout + done.stderr
    assert str(len(SECRET)) not in done.stdout.replace(str(folder), "")  # the folder's name may hold any number
    return done.returncode, done.stdout + done.stderr


def test_every_secret_of_a_role_is_known(root: Path) -> None:
    """All options with no_log, each with what makes it needed."""
    secrets = secret_variables.secrets_of(root)
    assert set(secret_variables.NEEDED_WITH) == {secret.name for secret in secrets}
    assert all(secret.description for secret in secrets)


def test_what_makes_a_secret_needed_is_a_variable_of_a_role(root: Path) -> None:
    """A renamed one would make the secret look unneeded."""
    specs = "".join(path.read_text() for path in root.glob("roles/*/meta/argument_specs.yml"))
    needed_with = [name for name in secret_variables.NEEDED_WITH.values() if name is not None]
    assert [] == [name for name in needed_with if f"      {name}:\n" not in specs]


def test_a_missing_secret_exits_1_with_the_command(root: Path, folder: Path) -> None:
    """The endpoint is given and its key is not."""
    code, output = check(root, folder)
    assert 1 == code
    assert f"one: {NAME}: MISSING, and mcp_stack_zen_endpoint needs it" in output
    assert f"to set it: .venv/bin/ansible-vault create {folder}/group_vars/stack/vault.yml" in output


def test_a_secret_that_nothing_needs_may_be_missing(root: Path, folder: Path) -> None:
    """Without an endpoint there is nothing that the key would open."""
    (folder / "group_vars" / "stack" / "main.yml").write_text("")
    code, output = check(root, folder)
    assert (0, True) == (code, "not needed while mcp_stack_zen_endpoint is empty" in output)
    assert "one: mcp_stack_github_token: not set, and not needed\n" in output


def test_a_secret_of_a_vault_is_found(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locked it exits 1, opened 0, and the file is named."""
    password = folder.parent / "password"
    password.write_text("correct horse\n")
    path = vault_file(folder / "group_vars" / "stack" / "vault.yml", f"{NAME}: {SECRET}\n", password)
    code, output = check(root, folder)
    assert (1, True) == (code, "Run: export ANSIBLE_VAULT_PASSWORD_FILE=FILE" in output)
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(password))
    code, output = check(root, folder)
    assert (0, True) == (code, f"one: {NAME}: set" in output)
    assert f"{NAME} comes from: ansible-vault, {path}" in output


def test_a_secret_of_sops_is_found(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locked it exits 1 with what to type, opened 0."""
    key = age_key(folder.parent / "keys.txt")
    path = sops_file(folder / "secrets.sops.yml", f"zen_api_key: {SECRET}\n", key)
    (folder / "group_vars" / "stack" / "main.yml").write_text(ENDPOINT + LOOKUP)
    code, output = check(root, folder)
    assert (1, True) == (code, f"cannot be read: {path}: no age key was found" in output)
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(key.file))
    code, output = check(root, folder)
    assert (0, True) == (code, f"{NAME} comes from: SOPS, {path}" in output)


def test_a_wrong_inventory_is_wrong_use(root: Path) -> None:
    """Exit 2."""
    assert 2 == check(root, "nope")[0]


def test_a_secret_of_an_odd_shape_is_not_shown(root: Path, folder: Path) -> None:
    """Ansible quotes what it cannot evaluate; that is not passed on."""
    (folder / "group_vars" / "stack" / "main.yml").write_text(f'{ENDPOINT}{NAME}: "{{{{ {SECRET}"\n')
    code, output = check(root, folder)
    assert (1, True) == (code, "cannot be read: its expression fails" in output)


@pytest.mark.parametrize(
    ("text", "told", "remedy"),
    [
        (
            f"{NAME}: \"{{{{ lookup('ansible.builtin.env', 'ZEN_API_KEY') }}}}\"",
            "the environment, ZEN_API_KEY",
            "read -rs ZEN_API_KEY && export ZEN_API_KEY",
        ),
        (LOOKUP, "SOPS, {folder}/secrets.sops.yml", ".venv/bin/sops edit {folder}/secrets.sops.yml"),
        (
            f"{NAME}: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n",
            "ansible-vault, inside {folder}/group_vars/stack/main.yml",
            f".venv/bin/ansible-vault encrypt_string --stdin-name {NAME}",
        ),
        (
            f'{NAME}: "{{{{ vault_key }}}}"',
            "another variable, see {folder}/group_vars/stack/main.yml",
            ".venv/bin/ansible-vault create {folder}/group_vars/stack/vault.yml",
        ),
        (
            f"{NAME}: {SECRET}",
            "{folder}/group_vars/stack/main.yml, in the clear",
            ".venv/bin/ansible-vault encrypt {folder}/group_vars/stack/main.yml",
        ),
        (
            "other: 1",
            "nothing in this inventory names it",
            ".venv/bin/ansible-vault create {folder}/group_vars/stack/vault.yml",
        ),
    ],
)
def test_a_source_is_known_by_the_text_of_the_inventory(folder: Path, text: str, told: str, remedy: str) -> None:
    """With the command that puts the secret there."""
    (folder / "group_vars" / "stack" / "main.yml").write_text(text)
    expected = Source(told.format(folder=folder), remedy.format(folder=folder))
    assert expected == secret_variables.source(folder, NAME)


@pytest.mark.parametrize(
    ("given", "needed", "error", "good"),
    [(True, True, "", True), (False, True, "", False), (False, False, "", True), (False, False, "locked", False)],
)
def test_good_is_what_is_there_or_not_needed(given: bool, needed: bool, error: str, good: bool) -> None:
    """A secret that cannot be decrypted is never good, since a deploy would fail on it."""
    assert good is Finding("one", Secret(NAME, "", ""), given, needed, error).good
