"""What every task shares: options without positionals, errors as one line and an exit code, this checkout's paths."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import task

from stepdown.catalog import Catalog, load_catalog
from stepdown.errors import StepdownError

ROOT = Path(__file__).resolve().parents[2]


def command(help: Mapping[str, str] | None = None) -> Callable[[Callable[..., None]], Any]:  # noqa: A002 - invoke's word
    """A task whose StepdownErrors become one line on stderr and the error's exit code."""

    def wrap(body: Callable[..., None]) -> Any:
        @functools.wraps(body)
        def guarded(*args: Any, **kwargs: Any) -> None:
            try:
                body(*args, **kwargs)
            except StepdownError as error:
                raise Exit(str(error), error.exit_code) from error
            except KeyboardInterrupt:
                what = body.__name__.rstrip("_")
                raise Exit(f"{what}: interrupted. What serves now: ./run status. Run it again to finish", 1) from None

        return task(guarded, positional=[], help=dict(help or {}))

    return wrap


def catalog() -> Catalog:
    """The catalogue of this checkout."""
    return load_catalog(ROOT)


def home() -> Path:
    """<home> of the local inventory."""
    return Path(os.environ.get("STEPDOWN_HOME") or ROOT / ".stepdown").resolve()


def instance() -> str:
    """The name of the local instance."""
    return os.environ.get("STEPDOWN_INSTANCE") or "stepdown"


def say(text: str) -> None:
    """One line of progress, shown at once."""
    print(text, file=sys.stderr, flush=True)


def leave(code: int) -> None:
    """End with `code` and no message, when what matters is printed already."""
    if code:
        raise Exit("", code)
