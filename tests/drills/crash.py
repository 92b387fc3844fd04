"""Runs a command of the agent's own code and kills it, and with it what it is told, just before or after one step.

`python crash.py before|after STEP agent|everything HOME COMMAND…`: with `everything` each container of the instance is
killed by its process, as Docker sees a crash, at the same moment. Never a part of the product.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from stepdown.host import app, engine, switch
from stepdown.host.attempt import Attempt
from stepdown.host.home import Home
from stepdown.host.instance import load_instance

BEFORE, AFTER = "before", "after"
AGENT, EVERYTHING = "agent", "everything"


def kill(home: Home, what: str) -> None:
    """Does not return."""
    if what == EVERYTHING:
        running = [container.id for container in engine.containers(load_instance(home).name) if container.running]
        shown = subprocess.run(
            ["docker", "inspect", "--format", "{{.State.Pid}}", *running], capture_output=True, text=True, check=True
        )
        for pid in filter(int, shown.stdout.split()):  # 0: it ended by itself
            os.kill(int(pid), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def main(when: str, step: str, what: str, home: str, *command: str) -> int:
    """The command's own exit code where it never came to the step."""

    def killed(act: Callable[[Attempt], None]) -> Callable[[Attempt], None]:
        def acting(attempt: Attempt) -> None:
            if when == AFTER:
                act(attempt)
            kill(Home(Path(home)), what)

        return acting

    assert step in {known.name for known in switch.STEPS}, step
    switch.STEPS = tuple(
        dataclasses.replace(known, act=killed(known.act)) if known.name == step else known for known in switch.STEPS
    )
    return app.main(["--home", home, *command])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
