"""stepdown.pyz: parse and call. Exit codes: 0 done, 1 failed, 2 wrong use, 3 failed and something changed."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from stepdown.errors import ChangedError, StepdownError, sentence
from stepdown.host import break_glass, moving, shipping, telling
from stepdown.host.home import Home

COMMANDS = (
    ("preflight", shipping.preflight_command, "judge whether this host can run a plan; changes nothing"),
    ("stage", shipping.stage_command, "unpack a release beside the others; settings as JSON on stdin"),
    ("images", shipping.images_command, "list the images of a release that this engine lacks"),
    ("secret", shipping.secret_command, "write a secret file; its value on stdin"),
    ("switch", moving.switch_command, "bring the host to a plan and release"),
    ("fallback", moving.fallback_command, "one rung down, or to the plan named"),
    ("recover", moving.recover_command, "back to the plan before the host stepped down, or to the one named"),
    ("rollback", moving.rollback_command, "to the last release that was proved good; the plan stays"),
    ("emergency", moving.emergency_command, "the last plan now, whoever is at work; opens a break-glass"),
    ("converge", moving.converge_command, "after a crash or a boot: end in one whole plan"),
    ("watch", moving.watch_command, "prove the release that serves; every move starts one in the background"),
    ("notify", moving.notify_command, "send the notices that wait; an emergency starts one in the background"),
    ("status", telling.status_command, "what is true now"),
    ("journal", telling.journal_command, "who did what, when, why, and how it ended"),
    ("why", telling.why_command, "why the host is on its plan"),
    ("down", shipping.down_command, "stop and remove the instance's containers and networks"),
)
MOVES = ("switch", "fallback", "recover", "rollback", "emergency")


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
    for name, action, words in COMMANDS:
        command = commands.add_parser(name, help=words, description=words)
        command.set_defaults(action=action)
        command.add_argument("--json", action="store_true", help="print JSON")
        if name in ("stage", "images", "down", *MOVES):
            command.add_argument("--check", action="store_true", help="say what would change, change nothing")
        if name in MOVES:
            command.add_argument("--why", default=f"{name} by hand", help="reason, for the journal")
        if name in ("switch", "fallback", "recover"):
            command.add_argument("--to", metavar="PLAN", help="A, B, C or D")
        _add_own(name, command)
    return parser


def _add_own(name: str, command: argparse.ArgumentParser) -> None:
    """The options that only one or two commands have."""
    if name == "preflight":
        command.add_argument("question", metavar="JSON", help="settings, plans and images, as deploy asks")
    if name in ("stage", "images"):
        command.add_argument("--archive", required=True, help="the release's tar file")
    if name == "images":
        command.add_argument("--load", metavar="PARCEL", help="load those that are missing from this `docker save`")
    if name == "stage":
        command.add_argument("--compose", metavar="FILE", help="docker-compose, for hosts without the plugin")
    if name == "secret":
        command.add_argument("name", metavar="SERVER/NAME", help="for example zen/api_key, or notify/slack_webhook")
    if name == "down":
        command.add_argument("--purge", action="store_true", help="also remove <home>, data included, and images")
        command.add_argument("--instance", metavar="NAME", help="whose containers, where <home> does not say it")
    if name == "switch":
        command.add_argument("--release", metavar="ID", help="a staged release; without it the current one")
        command.add_argument("--settings", action="store_true", help="with --check: settings on stdin, as stage has")
        keep = "stay where an emergency or a fallback brought the host, whatever --to says"
        command.add_argument("--unless-emergency", action="store_true", help=keep)
    if name == "rollback":
        command.add_argument("--to", metavar="ID", help="a staged release; without it the last one proved good")
    if name == "emergency":
        hours = f"for how long the break-glass is open ({break_glass.HOURS:g})"
        command.add_argument("--hours", type=float, default=break_glass.HOURS, metavar="N", help=hours)
    if name == "converge":
        adopt = "take over a whole plan that was started by hand"
        command.add_argument("--adopt", action="store_true", help=adopt)
    if name == "journal":
        command.add_argument("--last", type=int, default=20, metavar="N", help="entries to print (20)")
