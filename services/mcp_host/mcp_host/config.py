"""What the host is told to run: the JSON of MCP_HOST_CONFIG, and the few variables beside it.

The JSON is generated and validated whole: unknown keys, missing keys, equal keys and wrong types are refused with the
path of the culprit. Times are in seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from mcp_host.errors import ConfigError, sentence

WHERE = "MCP_HOST_CONFIG"
GIVEN = ("PATH", "LANG", "HOME")  # variables that the host gives every child
_SERVER_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Probe:
    """One cheap call that shows that the server really answers."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bounds:
    """How long a server may start and a call may take, and how many calls run at once."""

    start_timeout_seconds: float
    call_timeout_seconds: float
    max_concurrent_calls: int


@dataclass(frozen=True)
class ClientBounds:
    """How many clients have a child of their own at once, and how long it stays without a call."""

    most: int
    idle_seconds: float


@dataclass(frozen=True)
class StdioServer:
    """A server that is a program: started as a child, spoken to over stdin and stdout."""

    command: tuple[str, ...]
    settings: Mapping[str, str]  # the child's variable -> its value, the same everywhere
    environment: tuple[str, ...]
    secrets: Mapping[str, str]  # the child's variable -> file below the secrets directory
    needs: Mapping[str, str]  # the child's variable -> what to tell a caller when it is empty
    bounds: Bounds
    clients: ClientBounds | None  # None: one child for all clients
    probe: Probe


@dataclass(frozen=True)
class NativeServerConfig:
    """A server that is Python in this process: `module:callable` makes it."""

    factory: str
    bounds: Bounds
    probe: Probe


@dataclass(frozen=True)
class HostConfig:
    """One container: its name, its port, its servers by name."""

    container: str
    port: int
    servers: Mapping[str, StdioServer | NativeServerConfig]


@dataclass(frozen=True)
class Surroundings:
    """What the container's environment decides and the generated configuration does not."""

    auth_dir: Path = Path("/run/stepdown/auth")
    plan_dir: Path = Path("/run/stepdown/plan")
    secrets_dir: Path = Path("/run/secrets")
    scratch_dir: Path = Path("/tmp")  # children have their homes below it
    bind: str = "0.0.0.0"  # in a container, on the servers' network
    drain_seconds: int = 10
    allowed_origins: frozenset[str] = frozenset()


def load(environ: Mapping[str, str]) -> tuple[HostConfig, Surroundings]:
    """Read the configuration from environment variables. Raises ConfigError."""
    text = environ.get(WHERE, "")
    if not text:
        raise ConfigError(f"{WHERE}: not set. It holds the JSON that the compose files of this repository carry")
    return parse(text), surroundings(environ)


def surroundings(environ: Mapping[str, str]) -> Surroundings:
    """Read MCP_HOST_AUTH_DIR, _PLAN_DIR, _SECRETS_DIR, _SCRATCH_DIR, _BIND, _DRAIN_SECONDS and _ALLOWED_ORIGINS."""
    default = Surroundings()
    drain = environ.get("MCP_HOST_DRAIN_SECONDS", str(default.drain_seconds))
    if not drain.isdecimal():
        raise ConfigError(f"MCP_HOST_DRAIN_SECONDS: not a whole number of seconds: {drain!r}")
    origins = environ.get("MCP_HOST_ALLOWED_ORIGINS", "").split(",")
    return Surroundings(
        auth_dir=Path(environ.get("MCP_HOST_AUTH_DIR", default.auth_dir)),
        plan_dir=Path(environ.get("MCP_HOST_PLAN_DIR", default.plan_dir)),
        secrets_dir=Path(environ.get("MCP_HOST_SECRETS_DIR", default.secrets_dir)),
        scratch_dir=Path(environ.get("MCP_HOST_SCRATCH_DIR", default.scratch_dir)),
        bind=environ.get("MCP_HOST_BIND", default.bind),
        drain_seconds=int(drain),
        allowed_origins=frozenset(origin.strip() for origin in origins if origin.strip()),
    )


def parse(text: str) -> HostConfig:
    """Validate the JSON of a container. Raises ConfigError that names the path of the first thing wrong."""
    try:
        raw = json.loads(text, object_pairs_hook=_refuse_equal_keys)
    except ValueError as error:
        raise ConfigError(f"{WHERE}: not JSON: {error}") from error
    top = _Section(raw, WHERE)
    servers = top.section("servers")
    config = HostConfig(
        container=top.text("container"),
        port=top.whole("port", 0, 65535),
        servers={name: _server(name, servers.section(name)) for name in servers},
    )
    top.done()
    if not config.servers:
        raise ConfigError(f"{servers.where}: at least one server is needed")
    return config


def _server(name: str, section: _Section) -> StdioServer | NativeServerConfig:
    if not _SERVER_NAME.fullmatch(name):
        raise ConfigError(f"{section.where}: a server's name is lower-case letters, digits and single dashes")
    kinds: dict[str, Callable[[_Section], StdioServer | NativeServerConfig]] = {"stdio": _stdio, "native": _native}
    kind = section.text("kind")
    if kind not in kinds:
        raise ConfigError(sentence(f"{section.where}/kind", f"unknown kind {kind!r}", kinds))
    server = kinds[kind](section)
    section.done()
    return server


def _stdio(section: _Section) -> StdioServer:
    server = StdioServer(
        command=section.texts("command"),
        settings=section.text_map("settings"),
        environment=section.texts("environment", ()),
        secrets=section.text_map("secrets"),
        needs=section.text_map("needs"),
        bounds=_bounds(section),
        clients=_clients(section.optional("clients")),
        probe=_probe(section),
    )
    if not server.command:
        raise ConfigError(f"{section.where}/command: must name a program")
    for variable in (*server.settings, *server.environment, *server.secrets):
        if not _VARIABLE.fullmatch(variable):
            raise ConfigError(f"{section.where}: not a name of an environment variable: {variable!r}")
    for variable in server.settings:
        if variable in (*GIVEN, *server.environment, *server.secrets):
            raise ConfigError(f"{section.where}/settings/{variable}: in environment or secrets too, or the host's own")
    for variable, file in server.secrets.items():
        path = PurePosixPath(file)
        if not file or path.is_absolute() or ".." in path.parts:
            raise ConfigError(f"{section.where}/secrets/{variable}: must be a file below the secrets directory")
    declared = {*server.environment, *server.secrets}
    for variable in server.needs:
        if variable not in declared:
            where = f"{section.where}/needs/{variable}"
            raise ConfigError(sentence(where, "in neither environment nor secrets", sorted(declared)))
    return server


def _native(section: _Section) -> NativeServerConfig:
    factory = section.text("factory")
    module, separator, attribute = factory.partition(":")
    if not (module and separator and attribute):
        raise ConfigError(f"{section.where}/factory: must be module:callable, is {factory!r}")
    return NativeServerConfig(factory=factory, bounds=_bounds(section), probe=_probe(section))


def _bounds(section: _Section) -> Bounds:
    return Bounds(
        start_timeout_seconds=section.seconds("start_timeout_seconds"),
        call_timeout_seconds=section.seconds("call_timeout_seconds"),
        max_concurrent_calls=section.whole("max_concurrent_calls", 1, 10_000),
    )


def _clients(section: _Section | None) -> ClientBounds | None:
    if section is None:
        return None
    bounds = ClientBounds(most=section.whole("most", 1, 1000), idle_seconds=section.seconds("idle_seconds"))
    section.done()
    return bounds


def _probe(section: _Section) -> Probe:
    probe = section.section("probe")
    result = Probe(tool=probe.text("tool"), arguments=probe.mapping("arguments"))
    probe.done()
    return result


def _refuse_equal_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key given twice: {next(name for name in names if names.count(name) > 1)!r}")
    return result


_MISSING: Any = object()


class _Section:
    """One JSON object that remembers its path and which of its keys were read."""

    def __init__(self, raw: Any, where: str) -> None:
        if not isinstance(raw, dict):
            raise ConfigError(f"{where}: must be an object, is {type(raw).__name__}")
        self.where = where
        self._raw = raw
        self._read: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def done(self) -> None:
        """Refuse whatever was not read."""
        for key in self._raw:
            if key not in self._read:
                raise ConfigError(sentence(f"{self.where}/{key}", "unknown key", sorted(self._read)))

    def section(self, key: str) -> _Section:
        return _Section(self._get(key, _MISSING), f"{self.where}/{key}")

    def optional(self, key: str) -> _Section | None:
        return self.section(key) if self._get(key, None) is not None else None

    def text(self, key: str, default: str = _MISSING) -> str:
        value = self._get(key, default)
        if not isinstance(value, str) or not value:
            raise self._wrong(key, "a non-empty string", value)
        return value

    def texts(self, key: str, default: tuple[str, ...] = _MISSING) -> tuple[str, ...]:
        value = self._get(key, default)
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of strings", value)
        return tuple(value)

    def mapping(self, key: str) -> dict[str, Any]:
        value = self._get(key, {})
        if not isinstance(value, dict):
            raise self._wrong(key, "an object", value)
        return value

    def text_map(self, key: str) -> dict[str, str]:
        value = self.mapping(key)
        if not all(isinstance(item, str) for item in value.values()):
            raise self._wrong(key, "an object of strings", value)
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        value = self._get(key, _MISSING)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(key, f"a whole number from {low} to {high}", value)
        return value

    def seconds(self, key: str) -> float:
        value = self._get(key, _MISSING)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 86_400:
            raise self._wrong(key, "seconds, more than 0 and at most a day", value)
        return float(value)

    def _get(self, key: str, default: Any) -> Any:
        self._read.add(key)
        if key in self._raw:
            return self._raw[key]
        if default is _MISSING:
            raise ConfigError(f"{self.where}/{key}: missing")
        return default

    def _wrong(self, key: str, wanted: str, value: Any) -> ConfigError:
        # the type and not the value: nobody knows what was pasted into the wrong place
        return ConfigError(f"{self.where}/{key}: must be {wanted}, is {type(value).__name__}")
