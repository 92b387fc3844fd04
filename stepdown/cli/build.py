"""build, bundle, lock."""

from __future__ import annotations

import shutil

from invoke.context import Context

from stepdown import bundle as bundling
from stepdown import images, question, release, tool_lists
from stepdown.cli import door
from stepdown.errors import StepdownError, sentence
from stepdown.host.release import digest
from stepdown.run import run

LOCKS = {  # a lock for the control machine, and one for each image's virtual environment (Debian's Python 3.11)
    "requirements": ("--universal",),
    "services/gateway/requirements": ("--python-platform", "x86_64-manylinux_2_36"),
    "services/mcp_host/requirements": ("--python-platform", "x86_64-manylinux_2_36"),
    "services/python/requirements": ("--python-platform", "x86_64-manylinux_2_36"),
    "services/scanners/requirements": ("--universal",),
    "services/serena/requirements": ("--python-platform", "x86_64-manylinux_2_36"),
    "services/zen/requirements": ("--python-platform", "x86_64-manylinux_2_36"),
}


@door.command(
    help={
        "fresh": "make the base from today's packages instead of reusing it",
        "accept_tools": "agree on the tools that the servers offer now, instead of refusing a difference",
    }
)
def build(_context: Context, fresh: bool = False, accept_tools: bool = False) -> None:
    """Build the images that are not on the engine yet and pack the release and the host agent."""
    for image in prepare_release(fresh, accept_tools).values():
        print(f"{image.reference:<32} {image.id[7:19]} {'built' if image.built else 'unchanged'}")


@door.command(help={"check": "change nothing; exit 1 when compose/ is stale"})
def bundle(_context: Context, check: bool = False) -> None:
    """Render compose/ from catalog/."""
    files = bundling.render_all(door.catalog())
    changed = bundling.differences(door.ROOT, files) if check else bundling.write_all(door.ROOT, files)
    for path in changed:
        print(f"compose/{path} {'is stale' if check else 'written'}")
    if check and changed:
        raise StepdownError(sentence("compose/", f"{len(changed)} file(s) differ from catalog/", run="./run bundle"))
    print(f"compose/: {len(files)} files, {len(changed)} changed")


@door.command(help={"upgrade": "take the newest versions that requirements.in allows"})
def lock(_context: Context, upgrade: bool = False) -> None:
    """Compile every requirements.in into its hashed requirements.txt."""
    for name, words in LOCKS.items():
        more = (*words, "--upgrade") if upgrade else words
        fixed = ("--quiet", "--generate-hashes", "--python-version", "3.11", "--no-header", "--no-emit-index-url")
        argv = (
            "uv",
            "pip",
            "compile",
            *fixed,
            "--annotation-style",
            "line",
            *more,
            f"{name}.in",
            "--output-file",
            f"{name}.txt",
        )
        run(argv, cwd=str(door.ROOT))
        print(f"{name}.txt")


def prepare_release(fresh: bool = False, accept_tools: bool = False) -> dict[str, images.Built]:
    """Images on the engine that offer the agreed tools; release, agent, images' names, compose in .stepdown/dist."""
    catalog = door.catalog()
    stale = bundling.differences(door.ROOT, bundling.render_all(catalog))
    if stale:
        raise StepdownError(sentence("compose/", f"{', '.join(stale)} differ from catalog/", run="./run bundle"))
    built = images.build(door.ROOT, catalog, door.say, fresh=fresh)
    if accept_tools:
        for path in tool_lists.accept(door.ROOT, catalog, built):
            print(f"{path} written")
    tool_lists.check(door.ROOT, catalog, built)
    archive = release.pack(door.ROOT, built, tool_lists.hashes(door.ROOT, catalog))
    shipped = {image.name: image for image in release.shipped(built)}
    question.pack(door.ROOT, catalog, question.built(shipped), digest(archive))
    release.pack_agent(door.ROOT)
    release.name_images(door.ROOT, built)
    compose = shutil.which("docker-compose")
    if compose is None:
        raise StepdownError(sentence("docker-compose", "is not in .venv", run="./run build"))
    release.place_compose(door.ROOT, compose)
    return built
