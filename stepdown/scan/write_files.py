"""The reports of a scan on disk: all new ones or none, and none of a scanner that did not run now.

Everything is written to files of other names first, so that a full disk or an interrupt leaves the old reports whole.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from stepdown.errors import StepdownError, UsageError, sentence


def check_output(output: Path) -> None:
    """Raise UsageError when `output` is no folder and can become none."""
    existing = next(parent for parent in (output, *output.parents) if parent.exists())
    if not existing.is_dir():
        raise UsageError(sentence("--output", f"{output} is no folder: {existing} is a file"))
    if not os.access(existing, os.W_OK):
        raise UsageError(sentence("--output", f"{existing} cannot be written"))


def write_reports(output: Path, texts: Mapping[str, bytes], owned: Collection[str]) -> tuple[str, ...]:
    """Write `texts` by name into the folder `output`; remove those of `owned` that are not among them.

    Returns the names of what was removed. Raises StepdownError when it cannot, with the old reports as they were.
    """
    waiting: dict[Path, Path] = {}
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=output)
            waiting[Path(temporary)] = output / name
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(text)
            Path(temporary).chmod(0o644)
        removed = tuple(name for name in sorted(owned) if name not in texts and (output / name).is_file())
        for temporary_path, path in waiting.items():
            temporary_path.replace(path)
        for name in removed:
            (output / name).unlink()
    except OSError as error:
        raise StepdownError(sentence("--output", f"{output} cannot be written: {error.strerror}")) from error
    finally:
        for temporary_path in waiting:
            temporary_path.unlink(missing_ok=True)
    return removed
