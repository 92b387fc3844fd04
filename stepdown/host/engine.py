"""The Docker engine as the agent sees it: its instance's containers, compose, clear words when it cannot be had."""

from __future__ import annotations

import json
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
# What compose may know of the caller's shell: its variables win over the env file, and a release is immutable.
COMPOSE_INHERITS = ("PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT")


@dataclass(frozen=True)
class Container:
    """A container of the instance, by its labels."""

    id: str
    name: str  # as in the plan: zen, heimdall, gateway …
    release: str  # empty for the edge
    running: bool
    image: str
    bootstrap: str  # the gateway's label: digest of the start-up configuration that it was made with
    ports: str  # as `docker ps` prints them: 127.0.0.1:8080->8080/tcp


def require_engine() -> str:
    """The engine's version; StepdownError with the remedy when it cannot be reached."""
    done = run(commands.engine_version(CLIENT), check=False, timeout_seconds=30)
    if done.returncode == 0:
        return done.stdout.strip()
    words = done.stderr.strip().lower()
    if "permission denied" in words:
        remedy = "sudo usermod -aG docker $USER, then log in again; or run as root"
        raise StepdownError(sentence("docker", "this user has no rights on the engine's socket", run=remedy))
    raise StepdownError(sentence("docker", "no engine answers", run="./run deploy, as root, installs and starts one"))


def answers() -> bool:
    """Whether an engine is there and lets this user in."""
    try:
        require_engine()
    except StepdownError:
        return False
    return True


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
            )
        )
    return tuple(found)


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


def up_edge(home: Home, env_file: Path) -> None:
    """Start the gateway, or make it anew when its image or start-up configuration changed."""
    argv = commands.compose(
        compose_binary(home), str(env_file), str(home.edge / "compose.yml"), "up", "--detach", "--no-build"
    )
    run(argv, inherit=COMPOSE_INHERITS, timeout_seconds=UP_SECONDS)


def stop_and_remove(ids: Sequence[str], grace_seconds: int) -> None:
    """End containers; no error when there are none."""
    if ids:
        run(commands.stop(CLIENT, ids, grace_seconds), timeout_seconds=grace_seconds + 60)
        run(commands.remove(CLIENT, ids))


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
