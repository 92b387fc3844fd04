"""Values of a file that SOPS encrypted, for the lookup plugin of the same name.

Owns: how `sops` is called, and the words for all that can be wrong. Reads: the encrypted file; sops itself reads the
age key. Never: a decrypted value, or the words of sops, in a message; a decrypted file on disk.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepdown import commands
from stepdown.errors import CommandError, StepdownError, sentence
from stepdown.run import Completed, run

SOPS = ".venv/bin/sops"  # what to type in the checkout
MINE = "--age=…"  # age's public key, which `age-keygen -y FILE` prints
PATIENCE_SECONDS = 60
NOT_OPENED = 128  # sops: no key at hand opens the file
NO_MATCH = "identity did not match any of the recipients"
NO_METADATA = "sops metadata not found"
RECIPIENT = re.compile(r"\bage1[0-9a-z]{58}\b")
KINDS = {dict: "a mapping", list: "a list", bool: "a truth value", int: "a number", float: "a number"}


def value(path: Path, key: str) -> str:
    """The text under a top-level key of an encrypted YAML or JSON file; StepdownError says what to type."""
    document = decrypted(path)
    if key not in document:
        raise StepdownError(sentence(str(path), f"has no key '{key}'", document, f"{SOPS} edit {path}"))
    found = document[key]
    if not isinstance(found, str):
        kind = KINDS.get(type(found), "empty")
        raise StepdownError(
            sentence(str(path), f"key '{key}' should be text in quotes, is {kind}", run=f"{SOPS} edit {path}")
        )
    return found


@functools.cache
def decrypted(path: Path) -> Mapping[str, Any]:
    """The whole document, kept in this process's memory: sops is called once for each file."""
    if not path.is_file():
        raise StepdownError(sentence(str(path), "is not there", run=f"{SOPS} edit {MINE} {path}"))
    try:
        done = run(commands.sops_decrypt(str(path)), timeout_seconds=PATIENCE_SECONDS, check=False)
    except CommandError as error:
        raise StepdownError(
            sentence(str(path), f"cannot be decrypted: {error}", run="./run, which brings sops")
        ) from error
    if done.returncode:
        raise _not_decrypted(path, done)
    document = json.loads(done.stdout)
    return document if isinstance(document, dict) else {}


def _not_decrypted(path: Path, done: Completed) -> StepdownError:
    words = re.sub(r"[\s|]+", " ", done.stderr)  # sops wraps its lines
    where = str(path)
    if NO_METADATA in words:
        return StepdownError(sentence(where, "is not encrypted", run=f"{SOPS} encrypt {MINE} --in-place {path}"))
    if done.returncode == NOT_OPENED and NO_MATCH in words:
        wrong = "none of the age keys at hand opens it; somebody whose key does can add yours"
        return StepdownError(sentence(where, wrong, _recipients(path), f"{SOPS} rotate --add-age=… --in-place {path}"))
    if done.returncode == NOT_OPENED:
        wrong = "no age key was found that could open it"
        return StepdownError(sentence(where, wrong, _recipients(path), "export SOPS_AGE_KEY_FILE=FILE"))
    wrong = f"is damaged, or was changed without sops (sops exits {done.returncode})"
    return StepdownError(sentence(where, wrong, run=f"git log -- {path}"))


def _recipients(path: Path) -> list[str]:
    """The public keys that the file is encrypted for."""
    return list(dict.fromkeys(RECIPIENT.findall(path.read_text(encoding="utf-8"))))
