"""What the modules of the role host_baseline decide without a host."""

from __future__ import annotations

import importlib.util
import pwd
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROLE = Path(__file__).resolve().parents[3] / "roles" / "host_baseline"


def _load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where Ansible puts a role's module_utils, and dataclasses look for their module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def host() -> ModuleType:
    """What both modules share."""
    return _load(ROLE / "module_utils" / "baseline_host.py", "ansible.module_utils.baseline_host")


@pytest.fixture(scope="module")
def look(host: ModuleType) -> ModuleType:
    """The module that refuses."""
    return _load(ROLE / "library" / "baseline_look.py", "baseline_look")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (443, True),
        ("8000-8010", True),
        ("65535", True),
        (0, False),
        ("65536", False),
        ("8010-8000", False),
        ("http", False),
        ("443; accept", False),
        ("", False),
    ],
)
def test_only_ports_and_ranges_are_ports(look: ModuleType, value: object, expected: bool) -> None:
    """What gets into the rules is a number or two."""
    assert expected is look.is_port(value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("journal_size", "64M", True),
        ("journal_size", 1048576, True),
        ("journal_size", "lots", False),
        ("journal_size", [1], False),
        ("journal_retention", "2week 3days", True),
        ("journal_retention", "0", True),
        ("journal_retention", "1G", False),
        ("limits_open_files", "2048:4096", True),
        ("limits_open_files", "infinity", True),
        ("limits_open_files", "many", False),
        ("limits_open_files", "1\nDefaultLimitCORE=0", False),
    ],
)
def test_what_systemd_cannot_read_is_refused(look: ModuleType, name: str, value: object, expected: bool) -> None:
    """It would only log it and go on; a part that is turned off is not asked."""
    values = {f"host_baseline_{name}": value}
    said = list(look.refused_values(["journal", "limits"], values))
    assert expected is (said == [])
    assert expected or f"host_baseline_{name}: '{value}' is no such value" in said[0]
    assert [] == list(look.refused_values([], values))


def test_key_files_are_found_as_sshd_writes_them(look: ModuleType) -> None:
    """Relative to the home, with sshd's signs."""
    account = pwd.struct_passwd(("ops", "x", 1000, 1000, "", "/srv/ops", "/bin/sh"))
    settings = {"authorizedkeysfile": [".ssh/authorized_keys /etc/keys/%u %h/more/%U/100%%"]}
    expected = ["/srv/ops/.ssh/authorized_keys", "/etc/keys/ops", "/srv/ops/more/1000/100%"]
    assert expected == [str(path) for path in look._key_files(account, settings)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh-ed25519 AAAA somebody\n", True),
        ('command="x" ecdsa-sha2-nistp256 AAAA\n', True),
        ("# ssh-ed25519 AAAA\n", False),
        ("\n", False),
    ],
)
def test_a_comment_is_no_key(look: ModuleType, tmp_path: Path, text: str, expected: bool) -> None:
    """A file that lets nobody in counts as none."""
    path = tmp_path / "authorized_keys"
    path.write_text(text)
    assert expected is look._has_key(path)


def test_a_file_is_put_back_as_it_was(host: ModuleType, tmp_path: Path) -> None:
    """Content, mode and owner; and away where there was none."""
    path = tmp_path / "settings"
    path.write_bytes(b"as it was\xff")
    path.chmod(0o640)
    before = host.snapshot(str(path))
    path.write_text("changed")
    path.chmod(0o600)
    host.put(str(path), before)
    assert before == host.snapshot(str(path))
    assert b"as it was\xff" == path.read_bytes()
    host.put(str(path), None)
    assert host.snapshot(str(path)) is None


def test_keys_of_the_kernel_may_have_dots_in_their_names(host: ModuleType) -> None:
    """Written with slashes then, as sysctl itself takes them."""
    assert Path("/proc/sys/net/core/somaxconn") == host.kernel_path("net.core.somaxconn")
    assert Path("/proc/sys/net/ipv4/conf/eth0.1/rp_filter") == host.kernel_path("net/ipv4/conf/eth0.1/rp_filter")
