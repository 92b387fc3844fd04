"""An instance that is made for a measurement, beside whatever is deployed, and taken away at its end."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stepdown.errors import ChangedError, StepdownError, sentence
from stepdown.host import converge, engine, release, switch
from stepdown.host.home import Home
from stepdown.host.target import Target, target
from stepdown.release import dist

PREFIX = "scratch"  # of its name and of its <home>, so that one that was left behind by a power cut is known
TRIES = 5
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Scratch:
    """A staged release on an instance of its own."""

    name: str
    home: Home
    release: release.Release

    def target(self, plan: str) -> Target:
        """A plan of it."""
        return target(self.home, self.release, plan)

    def activate(self, plan: str) -> Target:
        """Bring the instance to a plan, as the agent does on every host; StepdownError says why it cannot."""
        goal = self.target(plan)
        switch.switch(goal, why="measured")
        return goal

    @property
    def workspace(self) -> Path:
        """The folder that servers see, on this machine."""
        return Path(self.target(self.release.plans[0]).instance.workspace)


@contextlib.contextmanager
def scratch(root: Path) -> Iterator[Scratch]:
    """What `root` built last, staged under a name, <home>, ports and subnet of its own; nothing of it runs yet.

    Its containers, networks and <home> are gone afterwards, also on Ctrl-C, TERM or a closed terminal; images stay.
    StepdownError where nothing was built, or no engine answers.
    """
    archive = dist(root) / "release.tar"
    if not archive.is_file():
        raise StepdownError(sentence(str(archive), "is not there", run="./run build"))
    engine.require_engine()
    name = f"{PREFIX}-{secrets.token_hex(4)}"
    before = {number: signal.signal(number, signal.default_int_handler) for number in ENDINGS}
    folder = Path(tempfile.mkdtemp(prefix=f"stepdown-{PREFIX}-"))
    home = Home(folder / "home")
    try:
        yield Scratch(name, home, _staged(home, archive, name))
    finally:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it behind
        try:
            _take_down(home, name)
            shutil.rmtree(folder)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _staged(home: Home, archive: Path, name: str) -> release.Release:
    home.prepare()
    if not engine.has_compose_plugin():
        home.make_directory(home.compose_plugin.parent, 0o755)
        home.install(archive.parent / "docker-compose", home.compose_plugin)
    port, direct_port = _free_ports()
    wanted = {"name": name, "port": port, "direct_port": direct_port}
    return release.stage(home, archive, wanted, {})[0]


def _take_down(home: Home, name: str) -> None:
    """Remove what runs; again where it fails, since the Docker client heeds a Ctrl-C that was to be ignored."""
    for left in reversed(range(TRIES)):
        try:
            converge.take_down(home, name)
            return
        except StepdownError as error:
            if not left:
                again = f"STEPDOWN_INSTANCE={name} STEPDOWN_HOME={home.path} ./run down"
                raise ChangedError(sentence(f"instance '{name}'", f"is not wholly gone: {error}", run=again)) from error


def _free_ports() -> tuple[int, int]:
    """Two ports of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
