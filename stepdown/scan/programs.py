"""A row of catalog/scanners.yml to the command that it stands for. Runs nothing."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from stepdown.errors import UsageError, sentence
from stepdown.scan.scanners import ROOT, Scanner

ENVIRONMENT = "STEPDOWN_SCANNERS"  # names the scanners' virtual environment where it is not beside the catalogue


def scanners_folder() -> Path:
    """The scanners' virtual environment; whether it is there, only its programs tell."""
    return Path(os.environ.get(ENVIRONMENT) or ROOT / ".scanners")


def program_of(scanner: Scanner) -> str:
    """The absolute path of the program. Raises UsageError when it is not installed.

    Never a bare name: that would be looked for on PATH, where any version of it may stand.
    """
    first = scanner.argv[0]
    if scanner.program:
        found = sorted(scanners_folder().glob(f"lib/python3*/site-packages/{scanner.program}"))
    elif Path(first).is_absolute():
        found = [Path(first)]
    else:
        # What is the command line's only may need what the control machine has, such as ansible-core.
        folders = [scanners_folder() / "bin", *([Path(sys.executable).parent] if scanner.command_line_only else [])]
        found = [folder / first for folder in folders]
    program = next((path for path in found if path.is_file()), None)
    if program is None:
        raise UsageError(sentence(scanner.name, f"its program is not installed (package {scanner.package})"))
    return str(program.absolute())


def command(scanner: Scanner, single: Mapping[str, str], lists: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The argv of one start of `scanner`, its program by its path. Raises UsageError when it is not installed."""
    return (program_of(scanner), *fill(scanner.argv[1:], single, lists))


def fill(argv: Sequence[str], single: Mapping[str, str], lists: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """`argv` with placeholders replaced, by name. A part that holds the name of a list is repeated for each value."""
    pattern = re.compile("|".join(re.escape(f"{{{name}}}") for name in single) or "(?!)")
    parts: list[str] = []
    for part in argv:
        name = next((name for name in lists if f"{{{name}}}" in part), None)
        if name is None:
            parts.append(pattern.sub(lambda match: single[match.group()[1:-1]], part))
        else:
            parts.extend(part.replace(f"{{{name}}}", value) for value in lists[name])
    return tuple(parts)
