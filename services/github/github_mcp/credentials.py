"""Who this server is to GitHub: a token, or an installation of a GitHub App, from secret files.

Source: GitHub's "Authenticating as a GitHub App installation" and "Generating a JSON Web Token (JWT) for a GitHub App".
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import jwt

from github_mcp.refused import RefusedError
from github_mcp.settings import Settings

LEEWAY_SECONDS = 60  # for a clock that is ahead of GitHub's
LIFE_SECONDS = 540  # GitHub takes 600 at most


@dataclass(frozen=True)
class Token:
    """A personal access token."""

    value: str = field(repr=False)

    @property
    def identity(self) -> str:
        """What its answers are cached under."""
        return _digest(self.value)


@dataclass(frozen=True)
class App:
    """An installation of a GitHub App; its tokens last an hour and are asked for with a signed statement."""

    id: str
    installation: str
    private_key: str = field(repr=False)

    @property
    def identity(self) -> str:
        """What its answers are cached under; the same for all tokens of the installation."""
        return _digest(self.id, self.installation, self.private_key)

    def statement(self, now: float) -> str:
        """A JWT that says at `now` (seconds since 1970) which App this is. Raises RefusedError for a wrong key."""
        claims = {"iat": int(now) - LEEWAY_SECONDS, "exp": int(now) + LIFE_SECONDS, "iss": self.id}
        try:
            return jwt.encode(claims, self.private_key, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError):
            raise RefusedError(
                "app_private_key: is no RSA key in PEM form. Put the file that GitHub gave you into "
                "mcp_stack_github_app_private_key, line breaks included. Run: ./run deploy"
            ) from None


def read(settings: Settings) -> Token | App:
    """The credentials as their files are now; an App comes before a token. Raises RefusedError for missing ones."""
    if settings.app_id:
        key = _text(settings.secrets / "app_private_key")
        if not key:
            raise RefusedError(
                f"github has no private key for its App {settings.app_id}. Put it into "
                "mcp_stack_github_app_private_key in the inventory. Run: ./run deploy"
            )
        return App(settings.app_id, settings.installation_id, key)
    token = _text(settings.secrets / "token")
    if not token:
        raise RefusedError(
            "github has no credentials. Set mcp_stack_github_token in the inventory, or mcp_stack_github_app_id, "
            "mcp_stack_github_app_installation_id and mcp_stack_github_app_private_key. Run: ./run deploy"
        )
    if not (token.isascii() and token.isprintable()):
        raise RefusedError("token: holds more than one line of plain characters. Set mcp_stack_github_token anew")
    return Token(token)


def kind(settings: Settings) -> str:
    """`app`, `token` or `none`: what there is, whether or not GitHub takes it."""
    try:
        return "app" if isinstance(read(settings), App) else "token"
    except RefusedError:
        return "none"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"{path.name}: cannot be read: {type(error).__name__}") from error


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
