"""The layout of <home>, and writes that survive a power cut."""

from __future__ import annotations

import filecmp
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepdown.errors import StepdownError, sentence
from stepdown.shared import EDGE_FOLDERS

ROOT_DEPLOYS_AS = 10001  # owner of <home> when root deploys, so that containers never run as uid 0
FOLDERS = ("releases", "edge", "run", "secrets", "data", "docker", "inbox")  # what the agent, and who calls it, make
BESIDE = ("dist", "deploy.lock", "lost+found")  # of a control machine in its checkout; of a disk of its own


@dataclass(frozen=True)
class Home:
    """Paths below <home>."""

    path: Path

    @property
    def releases(self) -> Path:
        return self.path / "releases"

    @property
    def current(self) -> Path:
        return self.path / "current"

    @property
    def instance(self) -> Path:
        return self.path / "instance.json"

    @property
    def state(self) -> Path:
        return self.path / "state.json"

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def plan_directory(self) -> Path:
        return self.run / "plan"

    @property
    def break_glass(self) -> Path:
        return self.run / "break_glass.json"

    @property
    def notices(self) -> Path:
        return self.run / "notices"

    @property
    def watch_lock(self) -> Path:
        return self.run / "watch.lock"

    def envoy_config(self, name: str) -> Path:
        """The files that an Envoy of the edge watches, "gateway" or "egress"."""
        return self.run / EDGE_FOLDERS[name] / "config"

    def admin_socket(self, name: str) -> Path:
        """The admin socket of one of them."""
        return self.run / EDGE_FOLDERS[name] / "admin" / "admin.sock"

    @property
    def edge(self) -> Path:
        return self.path / "edge"

    @property
    def secrets(self) -> Path:
        return self.path / "secrets"

    @property
    def auth(self) -> Path:
        return self.secrets / "auth"

    @property
    def slack_webhook(self) -> Path:
        return self.secrets / "notify" / "slack_webhook"

    @property
    def client_token(self) -> Path:
        return self.secrets / "client_token"

    @property
    def agent_token(self) -> Path:
        return self.secrets / "agent_token"

    @property
    def agent(self) -> Path:
        return self.path / "stepdown.pyz"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def compose_plugin(self) -> Path:
        return self.path / "docker" / "cli-plugins" / "docker-compose"

    def owner(self) -> tuple[int, int]:
        """uid and gid that containers run as: the owner of <home>, never root."""
        status = self.path.stat()
        return status.st_uid, status.st_gid

    def refused(self) -> str:
        """Why this folder cannot become <home>: it holds what others made. Empty when it can, or is one already."""
        if self.instance.is_file() or not self.path.is_dir() or not os.access(self.path, os.R_OK):
            return ""
        begun = self.secrets.is_dir() or (self.path / "inbox").is_dir()  # a first deploy that was cut short
        ours = {*BESIDE, *(FOLDERS if begun else ())}
        others = sorted({path.name for path in self.path.iterdir()} - ours)
        return f"holds {', '.join(others[:3])}, which Stepdown did not make; name a folder of its own" if others else ""

    def require_own(self) -> None:
        """StepdownError where the folder is somebody else's: it would be given away, and be emptied by a purge."""
        if wrong := self.refused():
            raise StepdownError(sentence(str(self.path), wrong))

    def prepare(self) -> None:
        """Make the layout; as root, hand <home> to the unprivileged owner first. StepdownError as `require_own`."""
        self.require_own()
        self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        if os.geteuid() == 0 and self.path.stat().st_uid == 0:
            os.chown(self.path, ROOT_DEPLOYS_AS, ROOT_DEPLOYS_AS)
        for path, mode in (
            (self.releases, 0o755),
            (self.run, 0o755),
            (self.plan_directory, 0o755),
            *((self.edge / name, 0o755) for name in EDGE_FOLDERS),
            *((self.envoy_config(name), 0o755) for name in EDGE_FOLDERS),
            *((self.admin_socket(name).parent, 0o700) for name in EDGE_FOLDERS),
            (self.envoy_config("gateway") / "endpoints", 0o755),
            (self.secrets, 0o700),
            (self.auth, 0o700),
            (self.secrets / "servers", 0o700),
            (self.data, 0o750),
        ):
            self.make_directory(path, mode)

    def make_directory(self, path: Path, mode: int) -> None:
        """A directory below <home> that belongs to its owner, parents included."""
        missing = [parent for parent in (path, *path.parents) if not parent.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o755)
            self.own(folder)
        path.chmod(mode)

    def own(self, path: Path) -> None:
        """Give `path` to the owner of <home> (only root can and need)."""
        if os.geteuid() == 0:
            os.chown(path, *self.owner())

    def write(self, path: Path, text: str, mode: int = 0o644) -> None:
        """Replace `path` in one step, on disk before it returns: a reader sees the old or the new, whole."""
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(mode)
            self.own(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)

    def install(self, source: Path, target: Path) -> bool:
        """Put an executable at `target` in one step; whether it differed."""
        if same_file(source, target):
            return False
        content = source.read_bytes()
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        temporary.write_bytes(content)
        temporary.chmod(0o755)
        self.own(temporary)
        temporary.replace(target)
        return True

    def made(self) -> list[Path]:
        """What is below <home> of all that the agent makes there; nothing where it never was at work."""
        if self.refused():
            return []
        folders = [self.path / name for name in FOLDERS]
        files = [self.current, self.instance, self.state, self.journal, self.agent]
        return [path for path in (*folders, *files) if path.is_symlink() or path.exists()]

    def purge(self) -> None:
        """Remove all that the agent made below <home>, and <home> itself when nothing else is in it."""
        for path in self.made():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    def write_json(self, path: Path, data: Any, mode: int = 0o644) -> None:
        """`write` of JSON, with an end of line."""
        self.write(path, json.dumps(data, indent=2) + "\n", mode)


def read_json(path: Path) -> Any:
    """The JSON of `path`; StepdownError when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StepdownError(sentence(str(path), "is not there", run="./run deploy")) from error
    except PermissionError as error:
        raise StepdownError(sentence(str(path), "may not be read by this user; use the one that deployed")) from error
    except ValueError as error:
        raise StepdownError(sentence(str(path), f"is no valid JSON ({error})", run="./run deploy")) from error


def same_file(one: Path, other: Path) -> bool:
    """Whether both are there with the same content."""
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def sync_directory(path: Path) -> None:
    """Make renames below `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
