"""What the environment may set, checked once when github starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mcp_host.errors import ConfigError, sentence

PUBLIC_API = "https://api.github.com"


@dataclass(frozen=True)
class Settings:
    """Where the API is, what may be done there, where its credentials lie. App and installation: both or neither."""

    api_url: str  # without a slash at its end
    read_only: bool
    app_id: str
    installation_id: str
    secrets: Path  # folder of the files token, app_private_key and ca, each of which may be missing


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Settings from GITHUB_… variables; an empty one is as one that is not set. Raises ConfigError that names it."""
    app, installation = (_digits(environment, name) for name in ("GITHUB_APP_ID", "GITHUB_APP_INSTALLATION_ID"))
    if bool(app) != bool(installation):
        raise ConfigError("GITHUB_APP_ID and GITHUB_APP_INSTALLATION_ID: one is set without the other; set both")
    return Settings(
        api_url=_url(environment.get("GITHUB_API_URL") or PUBLIC_API),
        read_only=_boolean(environment, "GITHUB_READ_ONLY", default=True),
        app_id=app,
        installation_id=installation,
        secrets=Path(environment.get("MCP_HOST_SECRETS_DIR", "/run/secrets")) / "github",
    )


def _url(text: str) -> str:
    try:
        url = urlsplit(text)
        good = url.scheme == "https" and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        good = False
    if not good or url.username is not None or url.query or url.fragment or any(c.isspace() for c in text):
        # not the value: somebody may have put a password into it
        raise ConfigError("GITHUB_API_URL: should be like https://api.github.com or https://ghe.example/api/v3")
    return text.rstrip("/")


def _digits(environment: Mapping[str, str], name: str) -> str:
    text = environment.get(name, "")
    if text and not (text.isascii() and text.isdecimal()):
        raise ConfigError(f"{name}: should be a number, as GitHub shows it")
    return text


def _boolean(environment: Mapping[str, str], name: str, default: bool) -> bool:
    text = environment.get(name, "").lower()
    if text not in ("", "true", "false"):
        raise ConfigError(sentence(name, f"is {text!r}", ("true", "false")))
    return text == "true" if text else default
