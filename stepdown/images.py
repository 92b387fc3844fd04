"""Builds the container images, each under a name that is the hash of all that goes into it.

Owns: `stepdown/<image>:<hash>` on the engine. Reads: services/ and what their Dockerfiles copy. Never: pushes, or
leaves a CA bundle, mirror or credential in a layer (they are build secrets).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from stepdown import commands, installed
from stepdown.catalog import Catalog
from stepdown.errors import CommandError, StepdownError, sentence
from stepdown.run import run

SUITE = "bookworm"
PACKAGES = ("python3", "ca-certificates", "git", "libstdc++6")
# Where a registry answers, the base starts from this; the digest is the content, so a wrong one can only fail.
PUBLIC_ROOT = "debian:bookworm-slim@sha256:96e378d7e6531ac9a15ad505478fcc2e69f371b10f5cdf87857c4b8188404716"
PUBLIC_ROOT_SECONDS = 60
BUILD_SECONDS = 1800
BUILDKIT = {"DOCKER_BUILDKIT": "1"}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
TOOLS = ("make-venv", "make-node-modules")  # scripts of services/tools
MIRRORS = ("UV_DEFAULT_INDEX", "NPM_CONFIG_REGISTRY")  # ./run takes the first from pip's settings
CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """How one image is made: its Dockerfile and the images that it starts from, by build argument."""

    name: str
    dockerfile: str
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Built:
    """An image on the engine: reference, id, and whether this run had to build it."""

    name: str
    reference: str
    id: str
    built: bool


def recipes(root: Path, catalog: Catalog) -> dict[str, Recipe]:
    """Every image, parents first; parents are read from the Dockerfiles' own ARG lines.

    Raises StepdownError for a Dockerfile that is not there, and for images that start from each other.
    """
    files = {"base": "services/base/Dockerfile", "mcp_host": "services/mcp_host/Dockerfile"}
    files |= {"gateway": "services/gateway/Dockerfile"}
    files |= {image.name: image.dockerfile for image in catalog.images.values()}
    found: dict[str, Recipe] = {}
    for name, dockerfile in files.items():
        path = root / dockerfile
        if not path.is_file():
            raise StepdownError(sentence(dockerfile, f"is not there, but image '{name}' needs it"))
        declared = re.findall(r"^ARG ([A-Z_]+)$", path.read_text(encoding="utf-8").split("FROM", 1)[0], re.MULTILINE)
        found[name] = Recipe(
            name, dockerfile, tuple(arg.lower() for arg in declared if arg.lower() in {*files, "tools"})
        )
    sorter = TopologicalSorter({name: recipe.parents for name, recipe in found.items()})
    try:
        return {name: found[name] for name in sorter.static_order() if name != "tools"}
    except CycleError as error:
        circle = " from ".join(reversed(error.args[1]))
        raise StepdownError(sentence("services", f"images start from each other: {circle}")) from error


def build(root: Path, catalog: Catalog, say: Say, *, fresh: bool = False) -> dict[str, Built]:
    """Make every image that is not on the engine yet and return all; `fresh` makes the base from today's packages.

    Raises StepdownError when the engine or BuildKit is missing, CommandError when a build fails.
    """
    client = buildkit_client()
    plan = recipes(root, catalog)
    with build_secrets() as secrets:
        tools = _tools(root, client, say)
        done = {"tools": tools, "base": _base(root, client, plan["base"], secrets, say, fresh)}
        rest = {name: {*recipe.parents} - {*done} for name, recipe in plan.items() if name not in done}
        sorter = TopologicalSorter(rest)
        sorter.prepare()

        def make(name: str) -> Built:
            return _image(root, client, plan[name], done, secrets, say)

        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            while sorter.is_active():
                ready = sorter.get_ready()
                done.update({image.name: image for image in pool.map(make, ready)})
                sorter.done(*ready)
    return done


def missing(root: Path, catalog: Catalog) -> list[str]:
    """Names of the images that a build would make; an image whose parent is missing is missing too."""
    client = buildkit_client()
    plan = recipes(root, catalog)
    ids = {"tools": _image_id(client, _tools_tag(root)), "base": _image_id(client, _base_tag(root, plan["base"]))}
    for name, recipe in plan.items():
        if name not in ids:
            parents = {parent: ids[parent] for parent in recipe.parents}
            ids[name] = _image_id(client, image_tag(root, recipe, parents)) if all(parents.values()) else ""
    return [name for name, found in ids.items() if not found]


def buildkit_client() -> str:
    """The first docker client on PATH that can build with BuildKit; a newer one without its plugin cannot."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    found = dict.fromkeys(str(Path(folder, "docker")) for folder in folders if Path(folder, "docker").is_file())
    if not found:
        raise StepdownError(sentence("docker", "no client on PATH", run="./run deploy, as root, installs one"))
    words = ""
    for client in found:
        probe = run(
            commands.docker_build_probe(client),
            env=BUILDKIT,
            stdin="FROM scratch\nLABEL stepdown.image=probe\n",
            check=False,
            timeout_seconds=60,
        )
        if probe.returncode == 0:
            return client
        words = probe.stderr.strip().splitlines()[-1] if probe.stderr.strip() else words
    raise StepdownError(sentence("docker build", f"no client can build with BuildKit: {words}", found, "./run doctor"))


def image_tag(root: Path, recipe: Recipe, parents: Mapping[str, str]) -> str:
    """`stepdown/<name>:<hash>` over the Dockerfile, every file that it copies, and its parents' ids."""
    text = (root / recipe.dockerfile).read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode())
    for parent in recipe.parents:
        digest.update(f"\0{parent}={parents[parent]}".encode())
    for source in copied_sources(text):
        path = root / source
        if not path.exists():
            raise StepdownError(sentence(recipe.dockerfile, f"copies {source}, which is not there"))
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"\0{file.relative_to(root)}\0".encode())
                digest.update(file.read_bytes())
    return f"stepdown/{recipe.name}:{digest.hexdigest()[:12]}"


def copied_sources(dockerfile: str) -> list[str]:
    """Paths of the build context that a Dockerfile's COPY lines take."""
    sources: list[str] = []
    for line in dockerfile.splitlines():
        words = line.split()
        if words and words[0] == "COPY" and not any(word.startswith("--from=") for word in words):
            sources += [word for word in words[1:-1] if not word.startswith("--")]
    return sources


@contextlib.contextmanager
def build_secrets() -> Iterator[dict[str, str]]:
    """Files for BuildKit's secrets: the CA bundle of this machine, and its package mirrors."""
    bundle = next((p for p in (os.environ.get("SSL_CERT_FILE", ""), *CA_BUNDLES) if p and Path(p).is_file()), "")
    with tempfile.TemporaryDirectory(prefix="stepdown-build-") as folder:
        empty = Path(folder, "empty")
        empty.write_text("", encoding="utf-8")
        mirrors = Path(folder, "mirrors")
        mirrors.touch(mode=0o600)
        set_here = {name: os.environ[name] for name in MIRRORS if os.environ.get(name)}
        mirrors.write_text(
            "".join(f"{key}={shlex.quote(value)}\n" for key, value in set_here.items()), encoding="utf-8"
        )
        apt = os.environ.get("STEPDOWN_APT_SOURCES", "")
        yield {"ca": bundle or str(empty), "mirrors": str(mirrors), "apt_sources": apt or str(empty)}


def _image(
    root: Path, client: str, recipe: Recipe, done: Mapping[str, Built], secrets: Mapping[str, str], say: Say
) -> Built:
    tag = image_tag(root, recipe, {name: done[name].id for name in recipe.parents})
    arguments = {name.upper(): done[name].reference for name in recipe.parents}
    return _ensure(client, recipe.name, tag, say, lambda: _docker_build(root, client, recipe, tag, arguments, secrets))


def _docker_build(
    root: Path, client: str, recipe: Recipe, tag: str, arguments: Mapping[str, str], secrets: Mapping[str, str]
) -> None:
    argv = commands.docker_build(
        client,
        ".",
        recipe.dockerfile,
        tag,
        arguments=arguments,
        labels={"stepdown.image": recipe.name},
        secrets=secrets,
        passed=[name for name in PROXIES if os.environ.get(name)],
    )
    run(argv, env=BUILDKIT, cwd=str(root), timeout_seconds=BUILD_SECONDS)


def _ensure(client: str, name: str, tag: str, say: Say, make: Callable[[], None]) -> Built:
    present = _image_id(client, tag)
    if present:
        return Built(name, tag, present, built=False)
    say(f"build: {name} …")
    started = time.monotonic()
    try:
        make()
    except CommandError as error:
        where = f"image '{name}'"
        raise CommandError(sentence(where, f"build failed: {error}"), error.argv, error.returncode) from error
    say(f"build: {name} done in {time.monotonic() - started:.1f} s")
    return Built(name, tag, _image_id(client, tag), built=True)


def _image_id(client: str, reference: str) -> str:
    done = run(commands.image_id(client, reference), check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _tools_tag(root: Path) -> str:
    files = [(root / "services" / "tools" / name).read_bytes() for name in ("Dockerfile", *TOOLS)]
    version = run([_uv(), "--version"]).stdout.strip()
    return f"stepdown/tools:{hashlib.sha256(b'|'.join([*files, version.encode()])).hexdigest()[:12]}"


def _uv() -> str:
    uv = shutil.which("uv")
    if uv is None:
        raise StepdownError(sentence("uv", "is not on PATH", run="./run build, which installs it into .venv"))
    return uv


def _tools(root: Path, client: str, say: Say) -> Built:
    tag = _tools_tag(root)

    def make() -> None:
        with tempfile.TemporaryDirectory(prefix="stepdown-tools-") as folder:
            for source in (*(root / "services" / "tools" / name for name in TOOLS), Path(_uv())):
                shutil.copy(source, folder)
                Path(folder, source.name).chmod(0o755)  # whatever the umask of the checkout
            argv = commands.docker_build(
                client,
                folder,
                str(root / "services" / "tools" / "Dockerfile"),
                tag,
                arguments={},
                labels={"stepdown.image": "tools"},
                secrets={},
            )
            run(argv, env=BUILDKIT, timeout_seconds=BUILD_SECONDS)

    return _ensure(client, "tools", tag, say, make)


def _base_tag(root: Path, recipe: Recipe) -> str:
    content = f"{image_tag(root, recipe, {})}|{SUITE}|{PACKAGES}|{PUBLIC_ROOT}"
    return f"stepdown/base:{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _base(root: Path, client: str, recipe: Recipe, secrets: Mapping[str, str], say: Say, fresh: bool) -> Built:
    tag = _base_tag(root, recipe)

    def make() -> None:
        origin = _root(client, say)
        day = time.strftime("%FT%T") if fresh else ""  # another value makes BuildKit ask for the packages again
        arguments = {"ROOT": origin, "PACKAGES": " ".join(PACKAGES), "FRESH": day}
        _docker_build(root, client, recipe, tag, arguments, secrets)

    if fresh:
        say("build: base from today's packages")
        make()
        return Built("base", tag, _image_id(client, tag), built=True)
    return _ensure(client, "base", tag, say, make)


def require_mmdebstrap(say: Say) -> None:
    """Debian's own maker of root file systems: installed where this is Debian and the user is root, else asked for."""
    if shutil.which("mmdebstrap") is not None:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        remedy = "sudo apt-get install mmdebstrap, then ./run build"
        raise StepdownError(sentence("mmdebstrap", "is not installed and no image registry answers", run=remedy))
    say("build: installing mmdebstrap")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run(("apt-get", "update", "-qq"), env=quiet)
    before = set(run(commands.installed_packages()).stdout.split())
    run(("apt-get", "install", "-y", "-qq", "--no-install-recommends", "mmdebstrap"), env=quiet)
    installed.record(set(run(commands.installed_packages()).stdout.split()) - before)


def _root(client: str, say: Say) -> str:
    """The public slim image where a registry answers, else a root file system made from Debian packages."""
    try:
        run((client, "pull", "--quiet", PUBLIC_ROOT), timeout_seconds=PUBLIC_ROOT_SECONDS)
        return PUBLIC_ROOT
    except CommandError:
        say("build: no image registry answers; making the base from Debian packages")
    require_mmdebstrap(say)
    tag = f"stepdown/root:{SUITE}"
    with tempfile.TemporaryDirectory(prefix="stepdown-root-") as folder:
        archive = str(Path(folder, "root.tar"))
        sources = os.environ.get("STEPDOWN_APT_SOURCES", "")
        run(commands.mmdebstrap(SUITE, PACKAGES, archive, sources), timeout_seconds=BUILD_SECONDS)
        run(commands.docker_import(client, archive, tag, {"stepdown.image": "root"}), timeout_seconds=600)
    return tag
