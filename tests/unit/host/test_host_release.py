"""Releases on a host: identified by all that makes them, staged once, told about the host in one env file."""

from __future__ import annotations

import json
import stat
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stepdown import resolve
from stepdown.catalog import PLAN_NAMES, Catalog
from stepdown.errors import StepdownError, UsageError
from stepdown.host import release as module
from stepdown.host.instance import Instance, load_instance
from stepdown.host.release import Release
from stepdown.shared import EDGE_FOLDERS, MOST_CONTAINERS

if TYPE_CHECKING:
    from tests.conftest import Staging


def _env(release: Release) -> dict[str, str]:
    """Names and values; how compose reads quotes is tests/contracts/test_contract_compose.py's."""
    pairs = (line.partition("=") for line in release.env_file.read_text(encoding="utf-8").splitlines())
    return {name: value[1:-1] for name, _, value in pairs}


def test_the_same_input_is_staged_once(staging: Staging) -> None:
    """The second time nothing is written: not new, the same files of the same times."""
    first, new = staging.stage()
    times = {path: path.stat().st_mtime_ns for path in first.path.rglob("*")}
    second, again = staging.stage()
    assert (True, False) == (new, again)
    assert first == second
    assert times == {path: path.stat().st_mtime_ns for path in second.path.rglob("*")}
    assert [first.id] == module.staged(staging.home)


def test_a_release_holds_every_bundle(staging: Staging) -> None:
    """All four plans, so that stepping down needs nothing from anywhere."""
    release, _ = staging.stage()
    assert PLAN_NAMES == release.plans
    for plan in PLAN_NAMES:
        assert release.compose_file(plan).is_file()
        assert plan == release.facts(plan)["plan"]
        assert {"routes", "clusters"} == set(release.gateway(plan))
    assert all((release.path / "edge" / name / "bootstrap.json").is_file() for name in EDGE_FOLDERS)
    assert not {"base", "tools", "mcp_host"} & set(release.images)


def test_the_id_depends_on_bundles_images_and_environment(staging: Staging) -> None:
    """Each of them changed makes another release, with addresses of its own."""
    first, _ = staging.stage()
    bundle = staging.tree / "compose" / "plan_c" / "compose.yml"
    bundle.write_text(bundle.read_text() + "# changed\n")
    second, _ = staging.stage()
    third, _ = staging.stage(staging.archive(python=replace(staging.images["whole"], name="python")))
    fourth, _ = staging.stage(environment={"ZEN_MCP_ENDPOINT": "http://other.example/v1", "ZEN_MODELS": ""})
    releases = [first, second, third, fourth]
    assert 4 == len({release.id for release in releases})
    assert [0, 1, 2, 3] == [release.slot for release in releases]
    assert {release.id for release in releases} == set(module.staged(staging.home))


def test_a_rotated_secret_makes_another_release(staging: Staging) -> None:
    """So the new one starts beside the old; the secret itself is no part of any file of the release."""
    first, _ = staging.stage()
    path = staging.home.secrets / "servers" / "zen" / "api_key"
    staging.home.make_directory(path.parent, 0o700)
    staging.home.write(path, "a-secret-key", 0o400)
    second, new = staging.stage()
    assert True is new
    assert first.id != second.id
    files = [file for file in second.path.rglob("*") if file.is_file()]
    assert [] == [file for file in files if b"a-secret-key" in file.read_bytes()]
    assert (second, False) == staging.stage()


def test_a_missing_image_is_refused(staging: Staging) -> None:
    """Nothing is staged, and no half-unpacked folder stays."""
    engine = staging.engine / "images"
    engine.write_text("".join(line for line in engine.read_text().splitlines(True) if "stepdown/python:" not in line))
    reference = staging.images["python"].reference
    with pytest.raises(StepdownError) as refusal:
        staging.stage()
    assert f"images: {reference} not on this host's engine. Run: ./run deploy" == str(refusal.value)
    assert [] == list(staging.home.releases.iterdir())


def test_an_image_of_the_same_name_and_other_content_is_refused(staging: Staging) -> None:
    """A release names images by id; a tag that was moved is another image."""
    engine = staging.engine / "images"
    engine.write_text(engine.read_text().replace(staging.images["python"].id, "sha256:0"))
    with pytest.raises(StepdownError, match="stepdown/python:"):
        staging.stage()


def test_containers_of_all_releases_have_addresses_of_their_own(staging: Staging, catalog: Catalog) -> None:
    """Old and new run side by side: no two containers share an address, none has one of the edge."""
    seen: dict[str, str] = {}
    containers = resolve.container_order(catalog)
    for port in range(1, 6):
        release, _ = staging.stage(environment={"ZEN_MCP_ENDPOINT": f"http://models.example:{port}/v1"})
        instance = load_instance(staging.home)
        seen[_env(release)["STEPDOWN_IP_GATEWAY"]] = "gateway"
        seen[_env(release)["STEPDOWN_IP_EGRESS"]] = "egress"
        for plan in PLAN_NAMES:
            for container, address in release.addresses(instance, plan).items():
                owner = f"{release.id}.{container}"
                assert owner == seen.setdefault(address, owner)
    assert 2 + 5 * len(containers) == len(seen)


def test_the_last_address_of_the_last_slot_is_in_the_subnet() -> None:
    """Seven releases of sixteen addresses, after the edge's sixteen, fill half of a /24 up to its broadcast."""
    instance = Instance("stepdown", 8080, 7860, "10.231.7.0/24", "/srv")
    last = Release("abc", Path(), module.SLOTS - 1, {}, ())
    assert "10.231.7.126" == last.address(instance, MOST_CONTAINERS - 1)


def test_more_releases_than_slots_are_refused(staging: Staging) -> None:
    """The message says how many there are and what to do."""
    for number in range(module.SLOTS):
        folder = staging.home.releases / f"{number:012x}"
        folder.mkdir()
        (folder / "release.json").write_text(json.dumps({"slot": number, "images": {}, "plans": [], "environment": {}}))
    with pytest.raises(StepdownError, match="holds 7 releases; remove one that is not in use"):
        staging.stage()


def test_the_slot_of_a_removed_release_is_used_again(staging: Staging) -> None:
    """The lowest free one."""
    first, _ = staging.stage()
    second, _ = staging.stage(environment={})
    (first.path / "release.json").unlink()
    third, _ = staging.stage(environment={"ZEN_MODELS": "a"})
    assert (0, 1, 0) == (first.slot, second.slot, third.slot)


def test_the_env_file_is_told_what_the_host_is(staging: Staging) -> None:
    """Names, paths, ports, owner, addresses, images, and the servers' own variables."""
    release, _ = staging.stage(workspace="/srv/with space")
    env = _env(release)
    uid, gid = staging.home.owner()
    expected = {
        "STEPDOWN_INSTANCE": "stepdown",
        "STEPDOWN_PROJECT": f"stepdown-{release.id}",
        "STEPDOWN_RELEASE": release.id,
        "STEPDOWN_HOME": str(staging.home.path),
        "STEPDOWN_WORKSPACE": "/srv/with space",
        "STEPDOWN_UID": str(uid),
        "STEPDOWN_GID": str(gid),
        "STEPDOWN_PORT": "8080",
        "STEPDOWN_DIRECT_PORT": "7860",
        "STEPDOWN_IMAGE_PYTHON": staging.images["python"].reference,
        "ZEN_MCP_ENDPOINT": "http://models.example/v1",
        "ZEN_MODELS": "",
    }
    assert expected == {name: env[name] for name in expected}
    assert {"STEPDOWN_IP_ZEN", "STEPDOWN_IP_ZEN_REASONING", "STEPDOWN_IP_MONOLITH"} <= set(env)


def test_an_instance_follows_new_ports_and_keeps_its_subnet(staging: Staging) -> None:
    """Its networks exist already, so their subnet must not move."""
    staging.stage()
    before = load_instance(staging.home)
    staging.stage(port=9090)
    after = load_instance(staging.home)
    assert (9090, before.subnet) == (after.port, after.subnet)


def test_another_subnet_does_not_move_an_instance(staging: Staging) -> None:
    """Name and subnet are fixed once the instance exists: another one is refused."""
    staging.stage()
    with pytest.raises(UsageError, match="subnet"):
        staging.stage(subnet="10.99.0.0/24")


def test_another_name_for_the_same_home_is_refused(staging: Staging) -> None:
    """Two instances in one <home> would remove each other's containers."""
    staging.stage()
    with pytest.raises(UsageError, match="belongs to instance 'stepdown', not 'other'; choose another home"):
        staging.stage(name="other")


@pytest.mark.parametrize("subnet", ["10.99.0.0/28", "10.99.0.7/24", "a subnet", "fd00::/64"])
def test_a_subnet_that_cannot_hold_an_instance_is_wrong_use(staging: Staging, subnet: str) -> None:
    """An operator's mistake in the inventory is a sentence that names it, no traceback."""
    with pytest.raises(UsageError, match="subnet"):
        staging.stage(subnet=subnet)
    assert not staging.home.instance.exists(), "the mistake is recorded, and the next deploy meets it again"


def test_a_subnet_that_is_taken_is_not_chosen(staging: Staging) -> None:
    """Neither one of the engine's networks nor a route of the host."""
    staging.stage()
    first = load_instance(staging.home).subnet
    staging.home.instance.unlink()
    (staging.engine / "subnets").write_text(f"{first}\nfd00::/64\n")
    (staging.engine / "ip").write_text("#!/bin/sh\necho default via 10.0.0.1\necho 10.231.0.0/17 dev tun0\n")
    staging.stage()
    second = load_instance(staging.home).subnet
    assert first != second
    assert 128 <= int(second.split(".")[2])


@pytest.mark.parametrize("kind", ["blackhole", "unreachable", "prohibit", "throw"])
def test_a_route_that_leads_nowhere_is_taken_too(staging: Staging, kind: str) -> None:
    """Hosts of overlay networks have such routes; `ip route` puts their kind before the network."""
    (staging.engine / "ip").write_text(f"#!/bin/sh\necho {kind} 10.231.0.0/17 proto bird\n")
    staging.stage()
    assert 128 <= int(load_instance(staging.home).subnet.split(".")[2])


def test_an_instance_has_the_same_first_choice_everywhere(staging: Staging) -> None:
    """By the name's hash, so that two hosts of one team look alike."""
    staging.stage()
    first = load_instance(staging.home).subnet
    staging.home.instance.unlink()
    staging.stage()
    assert first == load_instance(staging.home).subnet


def test_a_release_belongs_to_the_owner_of_home(staging: Staging) -> None:
    """Containers run as that owner and read the bundle; the env file holds no secret and is readable."""
    release, _ = staging.stage()
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in (release.path, *release.path.rglob("*"))}
    assert {staging.home.owner()} == owners
    assert 0o755 == stat.S_IMODE(release.path.stat().st_mode)


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "plan_c/../../../escaped"])
def test_an_archive_cannot_write_outside_of_its_release(staging: Staging, tmp_path: Path, name: str) -> None:
    """A path that climbs out is refused in one sentence, and nothing is staged."""
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(StepdownError, match=r"escaped"):
        staging.stage(evil)
    assert [] == [path for path in tmp_path.rglob("*") if path.name == "escaped"]
    assert [] == list(staging.home.releases.iterdir())


def test_a_link_in_an_archive_is_refused(staging: Staging, tmp_path: Path) -> None:
    """A release is made of plain files; a link could lead what comes after it out of the release."""
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as tar:
        link = tarfile.TarInfo("plan_c")
        link.type, link.linkname = tarfile.SYMTYPE, "../../.."
        tar.addfile(link)
    with pytest.raises(StepdownError, match=r"plan_c"):
        staging.stage(evil)
    assert [] == list(staging.home.releases.iterdir())


def test_staging_needs_no_newer_python(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian 12 has Python 3.11.2, whose tarfile knows no extraction filter (it came with 3.11.4)."""
    for name in ("extract", "extractall"):
        original = getattr(tarfile.TarFile, name)

        def older(tar: tarfile.TarFile, *words: object, original: Any = original, **options: object) -> object:
            if "filter" in options:
                raise TypeError("an unexpected keyword argument 'filter'")
            return original(tar, *words, **options)

        monkeypatch.setattr(tarfile.TarFile, name, older)
    release, new = staging.stage()
    assert (True, PLAN_NAMES) == (new, release.plans)


def test_a_release_that_is_not_staged_is_told_those_that_are(staging: Staging) -> None:
    """For a rollback by hand."""
    release, _ = staging.stage()
    expected = rf"^release 'abc': is not staged on this host \(known: {release.id}\)\. Run: \./run deploy$"
    with pytest.raises(StepdownError, match=expected):
        module.load(staging.home, "abc")


def test_a_plan_that_a_release_lacks_is_wrong_use(staging: Staging) -> None:
    """The message lists the plans that it has."""
    release, _ = staging.stage()
    with pytest.raises(UsageError, match=r"^plan 'E': is not in release .* \(known: A, B, C, D\)"):
        release.facts("E")


def test_before_the_first_deploy_there_is_no_instance(staging: Staging) -> None:
    """The message says what to type."""
    with pytest.raises(StepdownError, match=r"nothing is deployed here\. Run: \./run deploy --plan=C$"):
        load_instance(staging.home)


def test_current_names_the_release_in_one_step(staging: Staging) -> None:
    """A relative link, so that <home> may be moved."""
    first, _ = staging.stage()
    second, _ = staging.stage(environment={})
    for release in (first, second, second):
        module.point_current(staging.home, release)
        assert Path("releases", release.id) == staging.home.current.readlink()
    assert [] == [path for path in staging.home.path.iterdir() if path.name == ".current"]
