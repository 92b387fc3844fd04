"""The commands that bring releases and secrets to a host, and take the instance away.

Owns: the words that are printed. Reads: options. Never: decides; each command calls what knows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

from stepdown.errors import ChangedError, StepdownError, sentence
from stepdown.host import converge, engine, journal, lock, preflight, release, server_secrets, tokens
from stepdown.host.home import Home, same_file
from stepdown.host.instance import load_instance
from stepdown.host.telling import say


def preflight_command(home: Home, options: argparse.Namespace) -> int:
    """Every problem of this host with a plan; exit code 1 where there is one. Changes nothing."""
    found = preflight.problems(home, preflight.question(options.question))
    if not Path(options.home).is_absolute():
        found.insert(0, sentence("mcp_stack_home", f"{options.home!r} should be an absolute path"))
    say(options, {"problems": found}, preflight.listed(found) if found else "nothing stands against it")
    return 1 if found else 0


def stage_command(home: Home, options: argparse.Namespace) -> int:
    """Unpack a release beside the others, with the agent, compose and the secrets that came along."""
    settings = json.load(sys.stdin)
    archive, given = Path(options.archive), settings.get("secrets", {})
    server_secrets.require_text(given)
    home.require_own()
    if options.check:
        digest = release.digest(archive)
        release_id = release.identify(home, digest, settings["instance"], settings["environment"], given)
        new = release_id not in release.staged(home)
        changed = new or tokens.lacking(home)
        changed |= any(not same_file(*pair) for pair in _programs(home, options.compose))
        text = f"release {release_id} {'new' if new else 'staged'}"
        say(options, {"release": release_id, "changed": changed}, text)
        return 0
    engine.require_engine()
    home.prepare()
    with lock.writer(home, "stage"):
        updated = _install_agent(home, options.compose)
        updated |= tokens.ensure(home)  # before secrets: their hashes need its key
        for name, value in given.items():
            server_secrets.put(home, name, value)
        staged, new = release.stage(home, archive, settings["instance"], settings["environment"])
        for parcel in (home.path / "inbox").glob("images-*.tar"):
            parcel.unlink()  # of a run that was interrupted
        if new:
            images = [image["reference"] for image in staged.images.values()]
            journal.append(home.journal, "staged", by=journal.caller(), release=staged.id, images=images)
    text = f"release {staged.id} {'staged' if new else 'was staged before'}"
    say(options, {"release": staged.id, "changed": new or updated}, text)
    return 0


def images_command(_home: Home, options: argparse.Namespace) -> int:
    """The images of a packed release that this engine lacks; loads them from a parcel where one is given."""
    archive = Path(options.archive)
    if options.check and not engine.answers():  # a host that is to get an engine lacks them all
        missing = release.images_packed(archive)
    else:
        engine.require_engine()
        missing = release.images_missing(archive)
    if options.load and missing and not options.check:
        engine.load_images(Path(options.load))
        still = release.images_missing(archive)
        if still:
            raise ChangedError(sentence(options.load, f"lacks {', '.join(still)} as the release has them"))
    changed = bool(options.load and missing)
    say(options, {"changed": changed, "missing": missing}, "\n".join(missing) or "none is missing")
    return 0


def _programs(home: Home, compose: str | None) -> list[tuple[Path, Path]]:
    """What belongs below <home>: this program, and compose where the engine's client has no plugin."""
    wanted = [(Path(sys.argv[0]).resolve(), home.agent)]
    if compose and not engine.has_compose_plugin():
        wanted.append((Path(compose), home.compose_plugin))
    return wanted


def _install_agent(home: Home, compose: str | None) -> bool:
    """Put the programs below <home>; whether one was new."""
    updated = []
    for source, target_ in _programs(home, compose):
        home.make_directory(target_.parent, 0o755)
        updated.append(home.install(source, target_))
    return any(updated)


def secret_command(home: Home, options: argparse.Namespace) -> int:
    """Write a secret, for the next deploy."""
    value = sys.stdin.read().rstrip("\n")
    home.prepare()
    with lock.writer(home, f"secret {options.name}"):
        changed = server_secrets.put(home, options.name, value)
    when = "counts at once" if options.name == server_secrets.NOTIFY else "takes effect with the next deploy"
    text = f"secret {options.name} {'written' if changed else 'unchanged'}; it {when}"
    say(options, {"changed": changed}, text)
    return 0


def down_command(home: Home, options: argparse.Namespace) -> int:
    """Stop and remove the instance, and, with --purge, all that the agent made."""
    instance = options.instance if options.instance and not home.instance.is_file() else load_instance(home).name
    found = engine.containers(instance) if engine.answers() else ()
    _require_ours(home, instance, found)
    there = sorted(container.name for container in found)
    purged = options.purge and bool(home.made())
    if not options.check:
        with lock.writer(home, "down") if home.lock.parent.is_dir() else contextlib.nullcontext():
            if there or home.instance.is_file():
                engine.require_engine()
                converge.take_down(home, instance)
            if purged:
                engine.remove_images(release.unshared(home, release.images_staged(home)))
                home.purge()
    verb = "would remove" if options.check else "removed"
    text = f"{verb}: {', '.join(there) or 'no container'}" + (f", {home.path}" if purged else "")
    say(options, {"changed": bool(there) or purged, "removed": there}, text)
    return 0


def _require_ours(home: Home, instance: str, found: tuple[engine.Container, ...]) -> None:
    """Refuse to take down what another <home> runs under the same name; one that is lost has no files any more."""
    others = [c.file for c in found if c.file and not Path(c.file).is_relative_to(home.path) and Path(c.file).exists()]
    if others:
        wrong = f"runs from {others[0]}, not from {home.path}; nothing was changed"
        remedy = "./run down with the STEPDOWN_HOME that deployed it"
        raise StepdownError(sentence(f"instance '{instance}'", wrong, run=remedy))
