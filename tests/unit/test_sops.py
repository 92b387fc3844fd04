"""Files that the real sops encrypted: read once, and every failure says what to type and no secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stepdown import sops
from stepdown.errors import StepdownError
from tests.unit.sealing import BIN, AgeKey, age_key, isolate, sops_file

SECRET = "sk-must-never-be-seen"
DOCUMENT = f'zen_api_key: {SECRET}\nport: 8080\nnested: {{inner: {SECRET}}}\nempty: ""\n'


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AgeKey:
    """A key at hand, and none other."""
    isolate(monkeypatch, tmp_path)
    made = age_key(tmp_path / "keys.txt")
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(made.file))
    return made


@pytest.fixture
def sealed(tmp_path: Path, key: AgeKey) -> Path:
    """A file encrypted for that key."""
    return sops_file(tmp_path / "secrets.sops.yml", DOCUMENT, key)


def failure(path: Path, name: str = "zen_api_key") -> str:
    """The words of the error, which are one line and hold no secret."""
    with pytest.raises(StepdownError) as caught:
        sops.value(path, name)
    words = str(caught.value)
    assert words.startswith(f"{path}: ")
    assert SECRET not in words
    assert "\n" not in words
    return words.removeprefix(f"{path}: ")


def test_the_file_itself_shows_nothing(sealed: Path) -> None:
    """The real sops encrypted it, for the key that was made here."""
    assert SECRET not in sealed.read_text()


def test_a_value_is_the_text_under_its_key(sealed: Path) -> None:
    """As it was written, also where it is empty."""
    assert (SECRET, "") == (sops.value(sealed, "zen_api_key"), sops.value(sealed, "empty"))


def test_a_file_is_decrypted_once(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many values a process takes from it."""
    counting = tmp_path / "bin"
    counting.mkdir()
    (counting / "sops").write_text(f'#!/bin/sh\necho called >>{tmp_path}/calls\nexec {BIN}/sops "$@"\n')
    (counting / "sops").chmod(0o755)
    monkeypatch.setenv("PATH", f"{counting}:/usr/bin:/bin")
    assert (SECRET, "") == (sops.value(sealed, "zen_api_key"), sops.value(sealed, "empty"))
    assert "called\n" == (tmp_path / "calls").read_text()


def test_a_missing_file_is_made_with_sops(tmp_path: Path, key: AgeKey) -> None:
    """The command opens an editor on a new one."""
    path = tmp_path / "none.sops.yml"
    assert f"is not there. Run: .venv/bin/sops edit --age=… {path}" == failure(path)


def test_a_missing_key_lists_those_that_are_there(sealed: Path) -> None:
    """Names of keys are no secret: the encrypted file shows them."""
    expected = "has no key 'zen_key' (known: zen_api_key, port, nested, empty). Run: .venv/bin/sops edit"
    assert failure(sealed, "zen_key").startswith(expected)


@pytest.mark.parametrize(("name", "kind"), [("port", "a number"), ("nested", "a mapping")])
def test_a_value_that_is_no_text_is_refused(sealed: Path, name: str, kind: str) -> None:
    """A key of digits alone has to be quoted, or its leading zeros are lost."""
    assert f"key '{name}' should be text in quotes, is {kind}" in failure(sealed, name)


def test_no_age_key_says_which_would_do(sealed: Path, key: AgeKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipients of the file, and the variable that names the key's file."""
    monkeypatch.delenv("SOPS_AGE_KEY_FILE")
    words = f"no age key was found that could open it (known: {key.recipient}). Run: export SOPS_AGE_KEY_FILE=FILE"
    assert words == failure(sealed)


def test_a_key_file_that_is_not_there_is_no_key(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that was misspelt reads like a missing key."""
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(tmp_path / "misspelt.txt"))
    assert "export SOPS_AGE_KEY_FILE=FILE" in failure(sealed)


def test_the_wrong_age_key_is_told_from_none(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody whose key opens it has to add this one."""
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(age_key(tmp_path / "other.txt").file))
    words = failure(sealed)
    assert words.startswith("none of the age keys at hand opens it")
    assert words.endswith(f"Run: .venv/bin/sops rotate --add-age=… --in-place {sealed}")


def test_a_file_in_the_clear_is_refused(tmp_path: Path, key: AgeKey) -> None:
    """It would work, and stay in the clear."""
    path = tmp_path / "clear.sops.yml"
    path.write_text(DOCUMENT)
    assert f"is not encrypted. Run: .venv/bin/sops encrypt --age=… --in-place {path}" == failure(path)


def test_a_file_that_was_changed_by_hand_is_refused(sealed: Path) -> None:
    """sops authenticates every value."""
    text = sealed.read_text()
    sealed.write_text(
        re.sub(r"(zen_api_key: ENC\[AES256_GCM,data:)(.)", lambda m: m[1] + ("A" if m[2] != "A" else "B"), text)
    )
    assert failure(sealed).startswith("is damaged, or was changed without sops")


def test_a_machine_without_sops_is_told(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """./run has it on PATH; a bare ansible-playbook may not."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "cannot be decrypted: sops: no such program on PATH. Run: ./run" in failure(sealed)
