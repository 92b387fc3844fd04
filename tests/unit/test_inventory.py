"""Ansible's own word on an inventory: the lookup of SOPS, vaults, and what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepdown import inventory
from stepdown.errors import StepdownError, UsageError
from tests.unit.sealing import age_key, isolate, sops_file, vault_file

SECRET = "sk-must-never-be-seen"
HOSTS = "stack: {hosts: {one: {ansible_connection: local}, two: {ansible_connection: local}}}\n"
LOOKUP = """\
mcp_stack_zen_api_key: "{{ lookup('ansible.legacy.sops', inventory_dir ~ '/secrets.sops.yml', key='zen_api_key') }}"
"""
LENGTH = {"length": "mcp_stack_zen_api_key | length"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory of two hosts."""
    isolate(monkeypatch, tmp_path)
    made = tmp_path / "site"
    (made / "group_vars" / "stack").mkdir(parents=True)
    (made / "hosts.yml").write_text(HOSTS)
    return made


def test_a_secret_of_sops_reaches_every_host(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name that the documents give, with this repository's ansible.cfg; its file is no source of hosts."""
    key = age_key(folder.parent / "keys.txt")
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(key.file))
    sops_file(folder / "secrets.sops.yml", f"zen_api_key: {SECRET}\nodd_group: {{hosts: {{three: {{}}}}}}\n", key)
    (folder / "group_vars" / "stack" / "main.yml").write_text(LOOKUP)
    answers = inventory.ask(root, str(folder), LENGTH)
    assert [("one", len(SECRET), ""), ("two", len(SECRET), "")] == [
        (answer.host, answer.values["length"], answer.error) for answer in answers
    ]


def test_a_secret_of_sops_that_is_locked_fails_with_its_words(root: Path, folder: Path) -> None:
    """Where the key is missing, Ansible passes on what to type."""
    sops_file(folder / "secrets.sops.yml", f"zen_api_key: {SECRET}\n", age_key(folder.parent / "keys.txt"))
    (folder / "group_vars" / "stack" / "main.yml").write_text(LOOKUP)
    (answer, _) = inventory.ask(root, str(folder), LENGTH)
    assert answer.error.startswith(
        f"The lookup plugin 'ansible.legacy.sops' failed: {folder}/secrets.sops.yml: no age key"
    )
    assert {} == answer.values


def test_a_vault_is_opened_by_its_password(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ansible-vault is the default and needs nothing of ours."""
    password = folder.parent / "password"
    password.write_text("correct horse\n")
    vault_file(folder / "group_vars" / "stack" / "vault.yml", f"mcp_stack_zen_api_key: {SECRET}\n", password)
    locked = r"cannot be read: Attempting to decrypt.*\. Run: export ANSIBLE_VAULT_PASSWORD_FILE=FILE"
    with pytest.raises(StepdownError, match=locked):
        inventory.ask(root, str(folder), LENGTH)
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(password))
    assert [len(SECRET)] * 2 == [answer.values["length"] for answer in inventory.ask(root, str(folder), LENGTH)]


def test_the_local_inventory_is_seen_as_playbooks_see_it(root: Path, folder: Path) -> None:
    """<home> is in the checkout, which the inventory finds from the folder of playbooks."""
    (answer,) = inventory.ask(root, "inventory/local", {"home": "mcp_stack_home"})
    assert {"home": str(root / ".stepdown")} == answer.values


def test_an_inventory_that_is_not_there_is_wrong_use(root: Path) -> None:
    """With those that are."""
    with pytest.raises(UsageError, match=r"inventory 'nope': is not there \(known: .*inventory/local"):
        inventory.ask(root, "nope", LENGTH)


def test_an_inventory_without_the_group_is_wrong_use(root: Path, folder: Path) -> None:
    """Nothing would be deployed."""
    (folder / "hosts.yml").write_text("others: {hosts: {one: {}}}\n")
    with pytest.raises(UsageError, match="has no host in group stack"):
        inventory.ask(root, str(folder), LENGTH)


def test_answers_are_read_from_what_ansible_prints() -> None:
    """Warnings and Ansible's own account of a failure stand between them."""
    output = """[ERROR]: Task failed: something
{'action': 'quoted'}
two | FAILED! => {
    "changed": false,
    "msg": "Task failed: Finalization of task args for 'x' failed: Error while resolving value for 'msg': why"
}
one | SUCCESS => {
    "msg": {
        "set": true
    }
}
"""
    expected = (inventory.Answer("one", {"set": True}), inventory.Answer("two", {}, "why"))
    assert expected == inventory.parse(output)
