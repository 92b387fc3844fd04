"""An image's name is the hash of all that goes into it, and of nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from stepdown import images
from stepdown.catalog import Catalog, Image
from stepdown.errors import StepdownError
from stepdown.images import Recipe


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A build context with one Dockerfile that copies a file and a folder."""
    (tmp_path / "services" / "app" / "code" / "__pycache__").mkdir(parents=True)
    (tmp_path / "services" / "app" / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE}\nCOPY services/app/one.txt /one.txt\nCOPY services/app/code /code\n"
    )
    (tmp_path / "services" / "app" / "one.txt").write_text("one")
    (tmp_path / "services" / "app" / "code" / "a.py").write_text("a = 1\n")
    (tmp_path / "services" / "app" / "unrelated.txt").write_text("not copied")
    return tmp_path


RECIPE = Recipe("app", "services/app/Dockerfile", ("base",))
PARENTS = {"base": "stepdown/base:abc"}


def _tag(tree: Path, parents: dict[str, str] = PARENTS) -> str:
    return images.image_tag(tree, RECIPE, parents)


def test_the_tag_names_image_and_content(tree: Path) -> None:
    """The same content gives the same tag."""
    assert _tag(tree) == _tag(tree)
    name, _, digest = _tag(tree).partition(":")
    assert ("stepdown/app", 12) == (name, len(digest))


@pytest.mark.parametrize("path", ["one.txt", "code/a.py", "Dockerfile"])
def test_a_changed_input_changes_the_tag(tree: Path, path: str) -> None:
    """A copied file, a file of a copied folder, the Dockerfile itself."""
    before = _tag(tree)
    file = tree / "services" / "app" / path
    file.write_text(file.read_text() + "# changed\n")
    assert before != _tag(tree)


def test_a_new_file_in_a_copied_folder_changes_the_tag(tree: Path) -> None:
    """So does one that is gone or has another name."""
    seen = [_tag(tree)]
    folder = tree / "services" / "app" / "code"
    (folder / "b.py").write_text("")
    seen.append(_tag(tree))
    (folder / "b.py").rename(folder / "c.py")
    seen.append(_tag(tree))
    assert 3 == len(set(seen))
    (folder / "c.py").unlink()
    assert seen[0] == _tag(tree)


def test_the_umask_of_a_checkout_does_not_change_the_tag(tree: Path) -> None:
    """COPY sets the modes itself, so that every checkout makes the same image."""
    before = _tag(tree)
    (tree / "services" / "app" / "one.txt").chmod(0o600)
    assert before == _tag(tree)


def test_another_parent_changes_the_tag(tree: Path) -> None:
    """What stands below is part of the image."""
    assert _tag(tree) != _tag(tree, {"base": "stepdown/base:def"})


def test_what_is_not_copied_does_not_change_the_tag(tree: Path) -> None:
    """Another file, compiled Python, and the time of a checkout."""
    before = _tag(tree)
    (tree / "services" / "app" / "unrelated.txt").write_text("changed")
    (tree / "services" / "app" / "code" / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    for path in tree.rglob("*"):
        os.utime(path, (1, 1))
    assert before == _tag(tree)


def test_two_trees_of_the_same_content_have_the_same_tag(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Wherever they lie."""
    other = tmp_path_factory.mktemp("other") / "tree"
    shutil.copytree(tree, other)
    assert _tag(tree) == _tag(other)


def test_a_copy_of_what_is_not_there_is_refused(tree: Path) -> None:
    """Before a build that would take minutes to say so."""
    (tree / "services" / "app" / "one.txt").unlink()
    with pytest.raises(StepdownError, match=r"^services/app/Dockerfile: copies services/app/one\.txt, which is not"):
        _tag(tree)


@pytest.mark.parametrize(
    ("line", "sources"),
    [
        ("COPY one /a", ["one"]),
        ("COPY one two/three /a/", ["one", "two/three"]),
        ("COPY --chmod=0755 one /a", ["one"]),
        ("COPY --from=tools /uv /uv", []),
        ("COPY --chown=1:1 --from=tools /uv /uv", []),
        ("# COPY one /a", []),
        ("RUN COPY one /a", []),
        ("", []),
    ],
)
def test_the_sources_of_a_copy_are_read(line: str, sources: list[str]) -> None:
    """Options are no sources, and files of another stage are none of the context."""
    assert sources == images.copied_sources(f"FROM scratch\n{line}\n")


def test_every_image_of_the_catalogue_has_a_recipe(root: Path, catalog: Catalog) -> None:
    """mcp_host and gateway stand on base, each runtime on mcp_host, and the whole on both runtimes."""
    recipes = images.recipes(root, catalog)
    assert {"base", "mcp_host", "gateway", *catalog.images} == set(recipes)
    assert () == recipes["base"].parents
    assert ("base", "tools") == recipes["mcp_host"].parents
    assert ("base", "tools") == recipes["gateway"].parents
    assert ("mcp_host", "tools") == recipes["python"].parents == recipes["node"].parents
    assert ("node", "python") == recipes["whole"].parents


def test_parents_are_made_before_their_children(root: Path, catalog: Catalog) -> None:
    """Whatever the order of the catalogue."""
    turned = replace(catalog, images=dict(reversed(catalog.images.items())))
    made = {"tools"}
    for recipe in images.recipes(root, turned).values():
        assert set() == set(recipe.parents) - made
        made.add(recipe.name)


def test_every_committed_dockerfile_can_be_named(root: Path, catalog: Catalog) -> None:
    """All that they copy is there."""
    for recipe in images.recipes(root, catalog).values():
        tag = images.image_tag(root, recipe, {name: f"stepdown/{name}:0" for name in recipe.parents})
        assert tag.startswith(f"stepdown/{recipe.name}:")


def test_an_image_without_its_dockerfile_is_refused(root: Path, catalog: Catalog) -> None:
    """The message names the file and the image that needs it."""
    changed = replace(catalog, images={"gone": Image("gone", "services/gone/Dockerfile", ("zen",))})
    with pytest.raises(StepdownError, match=r"^services/gone/Dockerfile: is not there, but image 'gone' needs it$"):
        images.recipes(root, changed)


def _dockerfiles(tree: Path, catalog: Catalog, **parents: str) -> Catalog:
    """A catalogue of images whose Dockerfiles say that they start from `parents`, those of the rest from nothing."""
    made = {name: Image(name, f"services/{name}/Dockerfile", ("zen",)) for name in parents}
    for name in ("base", "mcp_host", "gateway", *parents):
        path = tree / "services" / name / "Dockerfile"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"ARG {arg}\n" for arg in parents.get(name, "").split()) + "FROM scratch\n")
    return replace(catalog, images=made)


@pytest.mark.parametrize(
    ("parents", "circle"),
    [
        ({"one": "ONE"}, "one from one"),
        ({"one": "TWO", "two": "ONE"}, "(one from two from one|two from one from two)"),
    ],
)
def test_images_that_start_from_each_other_are_refused(
    tmp_path: Path, catalog: Catalog, parents: dict[str, str], circle: str
) -> None:
    """Neither can be the first; the message walks the circle."""
    with pytest.raises(StepdownError, match=rf"^services: images start from each other: {circle}$"):
        images.recipes(tmp_path, _dockerfiles(tmp_path, catalog, **parents))


def test_a_longer_circle_is_walked_from_child_to_parent(tmp_path: Path, catalog: Catalog) -> None:
    """Wherever it is entered."""
    with pytest.raises(StepdownError) as refusal:
        images.recipes(tmp_path, _dockerfiles(tmp_path, catalog, one="TWO", two="THREE", three="ONE"))
    walk = str(refusal.value).rpartition(": ")[2].split(" from ")
    parent = {"one": "two", "two": "three", "three": "one"}
    assert [parent[name] for name in walk[:-1]] == walk[1:]


def test_build_secrets_leave_no_file_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The mirror may hold a password: it lies in a file of its owner, for as long as the build takes."""
    (tmp_path / "ca.crt").write_text("a certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://ann:word@mirror.example/simple")
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://ann:word@mirror.example/npm")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ZeroDivisionError), images.build_secrets() as secrets:
        assert str(tmp_path / "ca.crt") == secrets["ca"]
        mirrors = Path(secrets["mirrors"])
        assert {
            "UV_DEFAULT_INDEX=https://ann:word@mirror.example/simple",
            "NPM_CONFIG_REGISTRY=https://ann:word@mirror.example/npm",
        } == set(mirrors.read_text().splitlines())
        assert 0 == mirrors.stat().st_mode & 0o077
        assert tmp_path in mirrors.parents
        raise ZeroDivisionError
    assert before == sorted(tmp_path.iterdir())


def test_a_mirror_is_read_as_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell of the build reads the file, and a password may hold what a shell takes for its own."""
    url = "https://ann:it's $HOME;false@mirror.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", url)
    with images.build_secrets() as secrets:
        argv = ["/bin/sh", "-c", '. "$1"; printf %s "$UV_DEFAULT_INDEX"', "sh", secrets["mirrors"]]
        assert url == subprocess.run(argv, capture_output=True, text=True, check=False, env={}).stdout


def test_without_a_mirror_the_secrets_are_empty_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Dockerfile mounts them all, so each must be there."""
    for name in ("SSL_CERT_FILE", *images.MIRRORS, "STEPDOWN_APT_SOURCES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(images, "CA_BUNDLES", (str(tmp_path / "none.crt"),))
    with images.build_secrets() as secrets:
        assert {"ca": "", "mirrors": "", "apt_sources": ""} == {
            name: Path(path).read_text() for name, path in secrets.items()
        }


def _client(folder: Path, program: str) -> Path:
    folder.mkdir()
    (folder / "docker").write_text(f"#!/bin/sh\n{program}\n")
    (folder / "docker").chmod(0o755)
    return folder / "docker"


def test_the_first_client_that_has_buildkit_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A newer client without its plugin may stand first on PATH."""
    bare = _client(
        tmp_path / "bare", "echo 'ERROR: BuildKit is enabled but the buildx component is missing' >&2; exit 1"
    )
    whole = _client(tmp_path / "whole", '[ "$DOCKER_BUILDKIT" = 1 ] && [ "$*" = "build --quiet -" ]')
    monkeypatch.setenv("PATH", f"{bare.parent}:{tmp_path}:{whole.parent}")
    assert str(whole) == images.buildkit_client()


def test_a_machine_whose_clients_lack_buildkit_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Which clients were tried, and their own words; without any, what installs one."""
    bare = _client(tmp_path / "bare", "echo first >&2; echo 'no buildx' >&2; exit 1")
    monkeypatch.setenv("PATH", str(bare.parent))
    with pytest.raises(StepdownError, match=rf"no client can build with BuildKit: no buildx \(known: {bare}\)"):
        images.buildkit_client()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StepdownError, match="docker: no client on PATH"):
        images.buildkit_client()
