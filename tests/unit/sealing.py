"""Files that SOPS and ansible-vault encrypt, by the real programs, with keys made here and now."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

BIN = Path(sys.executable).parent
ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


@dataclass(frozen=True)
class AgeKey:
    """A pair of age keys, the private one in a file."""

    recipient: str
    file: Path


def age_key(file: Path) -> AgeKey:
    """What `age-keygen -o FILE` makes; age is no requirement of the tests."""
    private = X25519PrivateKey.generate()
    file.write_text(bech32("age-secret-key-", private.private_bytes_raw()).upper() + "\n", encoding="utf-8")
    file.chmod(0o600)
    return AgeKey(bech32("age", private.public_key().public_bytes_raw()), file)


def bech32(prefix: str, content: bytes) -> str:
    """https://github.com/bitcoin/bips/blob/master/bip-0173.mediawiki, without its limit of length, as age has it."""
    bits = "".join(f"{byte:08b}" for byte in content)
    bits += "0" * (-len(bits) % 5)
    words = [int(bits[index : index + 5], 2) for index in range(0, len(bits), 5)]
    spread = [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]
    check = 1
    for word in [*spread, *words, *[0] * 6]:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ word
        for index, value in enumerate(GENERATOR):
            check ^= value if top >> index & 1 else 0
    check ^= 1
    words += [check >> 5 * (5 - index) & 31 for index in range(6)]
    return f"{prefix}1{''.join(ALPHABET[word] for word in words)}"


def sops_file(path: Path, text: str, key: AgeKey) -> Path:
    """`text` at `path`, encrypted for `key`."""
    path.write_text(text, encoding="utf-8")
    argv = [str(BIN / "sops"), "encrypt", "--age", key.recipient, "--in-place", str(path)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return path


def vault_file(path: Path, text: str, password: Path) -> Path:
    """`text` at `path`, encrypted by ansible-vault."""
    path.write_text(text, encoding="utf-8")
    argv = [str(BIN / "ansible-vault"), "encrypt", "--vault-password-file", str(password), str(path)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return path


def isolate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The programs of this environment first on PATH, and no key or password of the machine."""
    monkeypatch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name in [name for name in os.environ if name.startswith(("SOPS_", "ANSIBLE_", "ZEN_", "STEPDOWN_"))]:
        monkeypatch.delenv(name)
