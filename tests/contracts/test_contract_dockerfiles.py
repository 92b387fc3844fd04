"""Images: no root at run time, nothing secret copied, and only what Dockerfiles copy is sent to the engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stepdown import images

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "services").glob("*/Dockerfile"))
# what others build on: no container is made of them, and no release ships them
BUILT_ON = {"services/base/Dockerfile", "services/tools/Dockerfile"}
# tools is built in a folder of its own (stepdown/images.py), which holds nothing but these
OWN_CONTEXT = "services/tools/Dockerfile"
SECRET = re.compile(
    r"(^|/)(\.env|\.netrc|\.npmrc|pip\.conf|id_[a-z0-9]+)$|\.(pem|key|crt|p12|kdbx)$|secret|token|passw", re.I
)


def test_every_folder_of_services_is_an_image_or_copied_into_one() -> None:
    """Nothing lies there that no container has."""
    copied = [source for name in DOCKERFILES for source in images.copied_sources((ROOT / name).read_text())]
    folders = {path.name for path in (ROOT / "services").iterdir() if path.is_dir()}
    assert folders == {Path(name).parts[1] for name in (*DOCKERFILES, *copied) if name.startswith("services/")}


@pytest.mark.parametrize("name", sorted({*DOCKERFILES} - BUILT_ON))
def test_the_last_user_of_an_image_is_not_root(name: str) -> None:
    """By number, so that it holds without a passwd file; the last USER is in the last stage and final."""
    lines = _instructions(name)
    stage = max(place for place, (word, _) in enumerate(lines) if word == "FROM")
    users = [value for word, value in lines[stage:] if word == "USER"]
    assert users, "the last stage sets no USER"
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    last = max(place for place, (word, _) in enumerate(lines) if word == "USER")
    assert [] == [word for word, _ in lines[last:] if word in ("RUN", "COPY", "ADD")]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_nothing_secret_is_copied(name: str) -> None:
    """Certificates, mirrors and credentials come as build secrets, which leave no layer."""
    sources = images.copied_sources((ROOT / name).read_text(encoding="utf-8"))
    assert [] == [source for source in sources if SECRET.search(source)]
    if name != OWN_CONTEXT:
        assert [] == [source for source in sources if not source.startswith(("services/", "stepdown", "catalog/"))]
        files = [path for source in sources for path in [ROOT / source, *(ROOT / source).rglob("*")]]
        assert [] == [str(path) for path in files if SECRET.search(path.name) and "__pycache__" not in path.parts]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_nothing_secret_is_an_argument_or_a_variable(name: str) -> None:
    """Both stay readable in the image's history."""
    words = [value for word, value in _instructions(name) if word in ("ARG", "ENV")]
    assert [] == [value for value in words if re.search("TOKEN|SECRET|PASSW|_KEY", value, re.I)]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_nothing_is_loaded_that_is_not_pinned(name: str) -> None:
    """No ADD of a URL, no syntax image, no parent but those that the build names."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.match(r"#\s*(syntax|escape)\s*=", text)
    assert [] == [value for word, value in _instructions(name) if word == "ADD"]
    parents = {value.split()[0] for word, value in _instructions(name) if word == "FROM"}
    built = {f"${{{word}}}" for word in ("ROOT", "BASE", "TOOLS", "MCP_HOST", "NODE", "PYTHON")}
    assert set() == parents - {"scratch", *built}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_every_copy_is_one_that_the_tag_counts(name: str) -> None:
    """image_tag reads COPY lines of one line and no JSON; a copy that it does not see would not change the tag."""
    copies = [value for word, value in _instructions(name) if word == "COPY"]
    read = images.copied_sources((ROOT / name).read_text(encoding="utf-8"))
    own = [value for value in copies if "--from=" not in value]
    assert sum(len([part for part in value.split() if not part.startswith("--")]) - 1 for value in own) == len(read)
    assert [] == [value for value in own if value.startswith("[") or re.search(r"[*?$]", value)]


def test_the_tools_are_mounted_and_never_copied() -> None:
    """uv and the script that uses it are no part of an image that runs."""
    for name in DOCKERFILES:
        assert "COPY --from=tools" not in (ROOT / name).read_text(encoding="utf-8")


def test_dockerignore_is_an_allow_list(root: Path) -> None:
    """First everything is left out, then only what Dockerfiles copy is let in."""
    lines = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert "*" == rules[0]
    assert {"!services/", "!stepdown/", "!catalog/"} == {rule for rule in rules if rule.startswith("!")}
    assert {"**/__pycache__"} == {rule for rule in rules[1:] if not rule.startswith("!")}


def _instructions(name: str) -> list[tuple[str, str]]:
    """Word and value of every instruction, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / name).read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [(word.upper(), value) for word, _, value in (line.partition(" ") for line in lines)]
