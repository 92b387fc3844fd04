"""stepdown.pyz: parse, call, print. Exit codes: 0 done, 1 failed, 2 wrong use, 3 failed and something changed."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from stepdown.errors import ChangedError, StepdownError, UsageError, sentence
from stepdown.host import engine, journal, lock, preflight, release, server_secrets, status, switch, tokens
from stepdown.host.home import Home, same_file
from stepdown.host.instance import load_instance, settle_instance
from stepdown.host.target import Target, target
from stepdown.shared import FIRST_PLAN


def main(arguments: list[str] | None = None) -> int:
    """Run one command; every error that is meant is one line on stderr."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    options = _parser().parse_args(arguments)
    try:
        return int(options.action(Home(Path(options.home).resolve()), options))
    except KeyboardInterrupt:
        print(f"{options.command}: interrupted; what serves now: stepdown.pyz status", file=sys.stderr)
        return 1
    except StepdownError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        hint = "; use the user that deployed" if isinstance(error, PermissionError) else ""
        print(sentence(error.filename or options.command, f"{error.strerror}{hint}"), file=sys.stderr)
        return ChangedError.exit_code


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stepdown.pyz", description="The host agent of Stepdown.")
    # the agent lives in <home>, so that is where it looks
    parser.add_argument("--home", default=os.environ.get("STEPDOWN_HOME") or str(Path(sys.argv[0]).resolve().parent))
    commands = parser.add_subparsers(dest="command", required=True)
    for name, action, words in (
        ("preflight", _preflight, "judge whether this host can run a plan; changes nothing"),
        ("stage", _stage, "unpack a release beside the others; settings as JSON on stdin"),
        ("images", _images, "list the images of a release that this engine lacks"),
        ("secret", _secret, "write a secret file of a server; its value on stdin"),
        ("switch", _switch, "bring the host to a plan and release"),
        ("converge", _converge, "after a crash or a boot: end in one whole plan"),
        ("status", _status, "what is true now"),
        ("journal", _journal, "who did what, when, why, and how it ended"),
        ("why", _why, "why the host is on its plan"),
        ("down", _down, "stop and remove the instance's containers and networks"),
    ):
        command = commands.add_parser(name, help=words, description=words)
        command.set_defaults(action=action)
        command.add_argument("--json", action="store_true", help="print JSON")
        if name == "preflight":
            command.add_argument("question", metavar="JSON", help="settings, plans and images, as deploy asks")
        if name in ("stage", "images"):
            command.add_argument("--archive", required=True, help="the release's tar file")
        if name == "images":
            command.add_argument("--load", metavar="PARCEL", help="load those that are missing from this `docker save`")
        if name == "stage":
            command.add_argument("--compose", metavar="FILE", help="docker-compose, for hosts without the plugin")
        if name == "secret":
            command.add_argument("name", metavar="SERVER/NAME", help="for example zen/api_key")
        if name == "down":
            command.add_argument("--purge", action="store_true", help="also remove <home>, data included, and images")
            command.add_argument("--instance", metavar="NAME", help="whose containers, where <home> does not say it")
        if name in ("stage", "images", "switch", "down"):
            command.add_argument("--check", action="store_true", help="say what would change, change nothing")
        if name == "switch":
            command.add_argument("--to", metavar="PLAN", help="A, B, C or D; without it the plan that the host is on")
            command.add_argument("--release", metavar="ID", help="a staged release; without it the current one")
            command.add_argument("--why", default="by hand", help="reason, for the journal")
            command.add_argument(
                "--settings", action="store_true", help="with --check: settings on stdin, as stage has"
            )
        if name == "journal":
            command.add_argument("--last", type=int, default=20, metavar="N", help="entries to print (20)")
    return parser


def _preflight(home: Home, options: argparse.Namespace) -> int:
    found = preflight.problems(home, preflight.question(options.question))
    if not Path(options.home).is_absolute():
        found.insert(0, sentence("mcp_stack_home", f"{options.home!r} should be an absolute path"))
    _print(options, {"problems": found}, preflight.listed(found) if found else "nothing stands against it")
    return 1 if found else 0


def _stage(home: Home, options: argparse.Namespace) -> int:
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
        _print(options, {"release": release_id, "changed": changed}, text)
        return 0
    engine.require_engine()
    home.prepare()
    with lock.hold(home.lock, "stage"):
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
    _print(options, {"release": staged.id, "changed": new or updated}, text)
    return 0


def _images(_home: Home, options: argparse.Namespace) -> int:
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
    _print(options, {"changed": changed, "missing": missing}, "\n".join(missing) or "none is missing")
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


def _secret(home: Home, options: argparse.Namespace) -> int:
    value = sys.stdin.read().rstrip("\n")
    home.prepare()
    with lock.hold(home.lock, f"secret {options.name}"):
        changed = server_secrets.put(home, options.name, value)
    text = f"secret {options.name} {'written' if changed else 'unchanged'}; it takes effect with the next deploy"
    _print(options, {"changed": changed}, text)
    return 0


def _switch(home: Home, options: argparse.Namespace) -> int:
    if options.check:
        return _preview(home, options, *_chosen(home, options))
    engine.require_engine()
    if not home.instance.is_file():
        load_instance(home)  # says that nothing is deployed here
    with lock.hold(home.lock, f"switch to {options.to or 'the plan that the host is on'}"):
        release_id, plan = _chosen(home, options)  # under the lock: another switch may just have ended
        outcome = switch.switch(target(home, release.load(home, release_id), plan), why=options.why)
    text = f"plan {outcome.plan}, release {outcome.release}: " + (
        f"active after {outcome.seconds:g} s (started {', '.join(outcome.started) or 'nothing'}; "
        f"stopped {', '.join(outcome.stopped) or 'nothing'})"
        if outcome.changed
        else "active already, nothing changed"
    )
    _print(options, vars(outcome), text)
    return 0


def _chosen(home: Home, options: argparse.Namespace) -> tuple[str, str]:
    """Release and plan: as asked for, else as the host has them."""
    state = switch.read_state(home)
    release_id = options.release or (state["release"] if state else "")
    if not release_id:
        known = release.staged(home)
        raise UsageError(sentence("switch", "no release is active yet; name one", known, "… --release=ID"))
    return release_id, options.to or (state["plan"] if state else FIRST_PLAN)


def _preview(home: Home, options: argparse.Namespace, release_id: str, plan: str) -> int:
    if release_id not in release.staged(home) or not engine.answers():
        _print(options, {"changed": True}, f"would activate plan {plan} of release {release_id}")
        return 0
    known = load_instance(home)
    wanted = json.load(sys.stdin)["instance"] if options.settings else vars(known)
    goal = Target(home, settle_instance(home, wanted, record=False), release.load(home, release_id), plan)
    changed = not switch.settled(goal, engine.containers(known.name))
    actions = switch.pending(goal)
    text = "; ".join(f"{verb} {', '.join(names) or 'nothing'}" for verb, names in actions.items())
    _print(options, {"changed": changed, **actions}, f"would {text}")
    return 0


def _converge(home: Home, options: argparse.Namespace) -> int:
    load_instance(home)
    engine.require_engine()
    with lock.hold(home.lock, "converge"):
        outcome, reason = switch.converge(home, why="converge")
    plan = outcome.plan if outcome else None
    changed = bool(outcome and outcome.changed)
    _print(options, {"plan": plan, "changed": changed, "reason": reason}, f"plan {plan or 'none'}: {reason}")
    return 0


def _status(home: Home, options: argparse.Namespace) -> int:
    document = status.status(home)
    _print(options, document, status.table(document, status.egress(home)))
    return 0 if status.healthy(document) else 1


def _journal(home: Home, options: argparse.Namespace) -> int:
    reading = journal.read(home.journal)
    entries = reading.entries[-options.last :]
    lines = [" ".join(f"{key}={value}" for key, value in entry.items()) for entry in entries]
    lines += [f"line {number} is torn or altered" for number in reading.damaged]
    _print(options, {"entries": entries, "damaged": reading.damaged}, "\n".join(lines) or "the journal is empty")
    return 0


def _why(home: Home, options: argparse.Namespace) -> int:
    state = switch.read_state(home)
    if state is None:
        raise StepdownError(sentence(str(home.path), "no plan is active", run="./run deploy --plan=C"))
    text = f"plan {state['plan']} since {state['since']} by {state['by']}: {state['why']}"
    _print(options, {key: state[key] for key in ("plan", "release", "since", "by", "why")}, text)
    return 0


def _down(home: Home, options: argparse.Namespace) -> int:
    instance = options.instance if options.instance and not home.instance.is_file() else load_instance(home).name
    found = engine.containers(instance) if engine.answers() else ()
    _require_ours(home, instance, found)
    there = sorted(container.name for container in found)
    purged = options.purge and bool(home.made())
    if not options.check:
        with lock.hold(home.lock, "down") if home.lock.parent.is_dir() else contextlib.nullcontext():
            if there or home.instance.is_file():
                engine.require_engine()
                switch.take_down(home, instance)
            if purged:
                engine.remove_images(release.unshared(home, release.images_staged(home)))
                home.purge()
    verb = "would remove" if options.check else "removed"
    text = f"{verb}: {', '.join(there) or 'no container'}" + (f", {home.path}" if purged else "")
    _print(options, {"changed": bool(there) or purged, "removed": there}, text)
    return 0


def _require_ours(home: Home, instance: str, found: tuple[engine.Container, ...]) -> None:
    """Refuse to take down what another <home> runs under the same name; one that is lost has no files any more."""
    others = [c.file for c in found if c.file and not Path(c.file).is_relative_to(home.path) and Path(c.file).exists()]
    if others:
        wrong = f"runs from {others[0]}, not from {home.path}; nothing was changed"
        remedy = "./run down with the STEPDOWN_HOME that deployed it"
        raise StepdownError(sentence(f"instance '{instance}'", wrong, run=remedy))


def _print(options: argparse.Namespace, data: Any, text: str) -> None:
    print(json.dumps(data) if options.json else text)
