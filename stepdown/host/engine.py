"""The Docker engine as the agent sees it: its instance's containers, compose, clear words when it cannot be had."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stepdown import commands
from stepdown.errors import CommandError, StepdownError, sentence
from stepdown.host.home import Home
from stepdown.run import run

CLIENT = "docker"
UP_SECONDS = 120
LOG_LINES = 15
NO_RIGHTS = "permission denied while trying to connect"  # the client's words; others tell of its own files
NO_RIGHTS_SENTENCE = sentence(
    "docker",
    "this user has no rights on the engine's socket",
    run="sudo usermod -aG docker $USER, then log in again; or run as root",
)
# What compose may know of the caller's shell: its variables win over the env file, and a release is immutable.
COMPOSE_INHERITS = ("PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT")


@dataclass(frozen=True)
class Facts:
    """An engine: version (empty: none answers), CPUs, where its images lie, what it cannot limit."""

    version: str = ""
    rights: bool = True  # False: one is here, and refuses this user
    cpus: int = 0
    folder: str = "/var/lib/docker"
    unlimited: tuple[str, ...] = ()  # of memory, cpu, pids


@dataclass(frozen=True)
class Container:
    """A container of the instance, by its labels."""

    id: str
    name: str  # as in the plan: zen, heimdall …, or in the edge: gateway, egress
    release: str  # empty for the edge
    running: bool
    image: str
    bootstrap: str  # a label of the edge: digest of the start-up configuration that it was made with
    ports: str  # as `docker ps` prints them: 127.0.0.1:8080->8080/tcp
    file: str = ""  # the compose file that it was made from
    state: str = ""  # created, running, paused, restarting, exited …

    @property
    def created(self) -> bool:
        """Whether it was made, and never started."""
        return self.state == "created"

    @property
    def lives(self) -> bool:
        """Whether it holds its ports, or is about to: it runs, hangs, or is just being restarted."""
        return self.state in ("running", "paused", "restarting")

    def holds(self, port: int) -> bool:
        """Whether it runs or hangs, and publishes `port` on 127.0.0.1."""
        return self.lives and port in ports_of(self.ports)


def require_engine() -> str:
    """The engine's version; StepdownError with the remedy when it cannot be reached."""
    done = run(commands.engine_version(CLIENT), check=False, timeout_seconds=30)
    if done.returncode == 0:
        return done.stdout.strip()
    if NO_RIGHTS in done.stderr.lower():
        raise StepdownError(NO_RIGHTS_SENTENCE)
    raise StepdownError(sentence("docker", "no engine answers", run="./run deploy, as root, installs and starts one"))


def answers() -> bool:
    """Whether an engine is there and lets this user in."""
    try:
        require_engine()
    except StepdownError:
        return False
    return True


def facts() -> Facts:
    """What the engine says of itself; an empty version where none answers."""
    try:
        done = run((CLIENT, "info", "--format", "{{json .}}"), check=False, timeout_seconds=30)
    except CommandError:
        return Facts()  # no client, so no engine
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    said = json.loads(lines[-1]) if lines else {}
    if not said.get("ServerVersion"):  # some clients exit 0 all the same, and put the error into the answer
        words = f"{done.stderr} {' '.join(said.get('ServerErrors') or [])}".lower()
        return Facts(rights=NO_RIGHTS not in words)
    limits = {"memory": "MemoryLimit", "cpu": "CpuCfsQuota", "pids": "PidsLimit"}
    return Facts(
        version=said["ServerVersion"],
        cpus=said.get("NCPU", 0),
        folder=said.get("DockerRootDir") or Facts.folder,
        unlimited=tuple(name for name, key in limits.items() if said.get(key) is False),
    )


def containers(instance: str) -> tuple[Container, ...]:
    """Every container of the instance, running or not."""
    lines = run(commands.containers_of(CLIENT, instance)).stdout.splitlines()
    found = []
    for line in lines:
        row = json.loads(line)
        labels = dict(pair.partition("=")[::2] for pair in row["Labels"].split(","))
        found.append(
            Container(
                id=row["ID"],
                name=labels.get("stepdown.container", ""),
                release=labels.get("stepdown.release", ""),
                running=row["State"] == "running",
                image=row["Image"],
                bootstrap=labels.get("stepdown.bootstrap", ""),
                ports=row["Ports"],
                file=labels.get("com.docker.compose.project.config_files", ""),
                state=row["State"],
            )
        )
    return tuple(found)


def compose_files() -> set[Path]:
    """Where the containers of every instance on this engine were made from."""
    label = '{{.Label "com.docker.compose.project.config_files"}}'
    argv = (CLIENT, "ps", "--all", "--filter", "label=stepdown.instance", "--format", label)
    return {Path(line) for line in run(argv).stdout.splitlines() if line}


def has_compose_plugin() -> bool:
    """Whether the client has compose as a plugin."""
    try:
        return run((CLIENT, "compose", "version", "--short"), check=False).returncode == 0
    except CommandError:
        return False  # no client, no plugin


def compose_binary(home: Home) -> tuple[str, ...]:
    """The compose plugin where it is installed, else the binary shipped to <home>."""
    if has_compose_plugin():
        return (CLIENT, "compose")
    if home.compose_plugin.is_file():
        return (str(home.compose_plugin),)
    raise StepdownError(sentence("docker compose", "is neither a plugin nor below <home>", run="./run deploy"))


def up(home: Home, env_file: Path, file: Path, services: Sequence[str]) -> None:
    """Start `services` of a compose file; what runs is not touched."""
    argv = commands.compose_up(compose_binary(home), str(env_file), str(file), services)
    run(argv, inherit=COMPOSE_INHERITS, timeout_seconds=UP_SECONDS)


def create(home: Home, env_file: Path, file: Path, services: Sequence[str]) -> None:
    """Make the containers of `services` without starting them; those that are there stay as they are."""
    words = ("create", "--no-recreate", "--no-build", *services)
    argv = commands.compose(compose_binary(home), str(env_file), str(file), *words)
    run(argv, inherit=COMPOSE_INHERITS, timeout_seconds=UP_SECONDS)


def up_edge(home: Home, env_file: Path, name: str) -> None:
    """Start a container of the edge, or make it anew when its image or start-up configuration changed."""
    words = ("up", "--detach", "--no-build", name)
    argv = commands.compose(compose_binary(home), str(env_file), str(home.edge / "compose.yml"), *words)
    run(argv, inherit=COMPOSE_INHERITS, timeout_seconds=UP_SECONDS)


def stop_and_remove(ids: Sequence[str], grace_seconds: int) -> None:
    """End containers and remove them; no error when there are none."""
    set_aside(ids, grace_seconds)
    remove(ids)


def remove(ids: Sequence[str]) -> None:
    """Remove containers, also one that hangs; no error when there are none."""
    if ids:
        run(commands.remove(CLIENT, ids))


def set_aside(ids: Sequence[str], grace_seconds: int) -> None:
    """End containers and keep them; no error when there are none."""
    if ids:
        run(commands.stop(CLIENT, ids, grace_seconds), timeout_seconds=grace_seconds + 60)


def bring_back(ids: Sequence[str]) -> None:
    """Start containers that were set aside; no error when there are none."""
    if ids:
        run((CLIENT, "start", *ids), timeout_seconds=UP_SECONDS)


def share_cpus(ids: Sequence[str], shares: int) -> None:
    """Weigh containers against others where CPUs are busy; no error when there are none, or the engine cannot."""
    if ids:
        run((CLIENT, "update", "--cpu-shares", str(shares), *ids), check=False)


def load_images(parcel: Path) -> None:
    """Load what `docker save` wrote."""
    run((CLIENT, "load", "--quiet", "--input", str(parcel)))


def remove_images(references: Sequence[str]) -> None:
    """Remove images that no container needs; one in use, or gone already, stays as it is."""
    for reference in references:
        run((CLIENT, "image", "rm", reference), check=False)


def image_present(reference: str, wanted_id: str) -> bool:
    """Whether `reference` is on the engine and is exactly `wanted_id`."""
    done = run(commands.image_id(CLIENT, reference), check=False)
    return done.returncode == 0 and done.stdout.strip() == wanted_id


def image_ids(references: Sequence[str]) -> dict[str, str]:
    """The ids of those of `references` that are on the engine; none where no engine answers."""
    shown = ""
    if references:
        words = ("image", "inspect", "--format", "{{.Id}}{{range .RepoTags}} {{.}}{{end}}")
        shown = run((CLIENT, *words, *references), check=False).stdout
    rows = [line.split() for line in shown.splitlines() if line]
    return {tag: row[0] for row in rows for tag in row[1:] if tag in references}


def publishers() -> dict[int, str]:
    """Ports of this host that running containers publish on 127.0.0.1 or on every address: port to container."""
    shown = run((CLIENT, "ps", "--format", "{{.Names}} {{.Ports}}"), check=False).stdout
    rows = (line.partition(" ") for line in shown.splitlines())
    return {port: name for name, _, ports in rows for port in ports_of(ports)}


def ports_of(text: str) -> list[int]:
    """The ports of 127.0.0.1 or of every address in what `docker ps` prints, ranges such as 80-82 included."""
    found = re.findall(r"(?:127\.0\.0\.1|0\.0\.0\.0):(\d+)(?:-(\d+))?->\S*/tcp", text)
    return [port for first, last in found for port in range(int(first), int(last or first) + 1)]


def last_words(container_id: str) -> str:
    """State and last log lines of a container, for an error message."""
    try:
        state = run(
            (CLIENT, "inspect", "--format", "{{.State.Status}} (exit {{.State.ExitCode}})", container_id)
        ).stdout
        logs = run((CLIENT, "logs", "--tail", str(LOG_LINES), container_id))
    except CommandError as error:
        return str(error)
    return f"{state.strip()}; last log lines:\n{(logs.stdout + logs.stderr).strip()}"
