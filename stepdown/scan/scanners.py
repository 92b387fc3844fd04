"""catalog/scanners.yml to rows, and a row to the command that it stands for. Runs nothing."""

from __future__ import annotations

import fnmatch
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stepdown.errors import UsageError, sentence
from stepdown.scan.findings import SEVERITIES, Severity
from stepdown.strict_yaml import Node, load

CATALOGUE = Path(__file__).resolve().parents[2] / "catalog" / "scanners.yml"
SHOWN_AS = "catalog/scanners.yml"

Verdict = Literal["clean", "findings", "either"]
Profile = Literal["quick", "full"]
VERDICTS: tuple[Verdict, ...] = ("clean", "findings", "either")
PROFILES: tuple[Profile, ...] = ("quick", "full")
SUBJECTS = ("tree", "history")
CLASSES = ("secret", "sast", "dependency", "misconfiguration", "workflow")
REPORTS = ("sarif",)
NAME = r"[a-z][a-z0-9-]{0,40}"
VERSION = r"\d+(\.[0-9A-Za-z]+)+"
REQUIRED = (
    "package", "version", "looks_for", "class", "subject", "profiles", "argv", "exit_codes", "report", "files",
    "time_limit_seconds", "memory_mib", "canary",
)  # fmt: skip
PROGRAM = r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)+"
OPTIONAL = ("program", "severity", "severity_property", "ignores", "own_settings", "redact_rules")


@dataclass(frozen=True)
class Scanner:
    """One row: a tool that judges files. Sizes in MiB, times in seconds."""

    name: str
    package: str
    version: str
    looks_for: str
    category: str
    subject: str
    profiles: tuple[Profile, ...]
    program: str | None  # file in an installed Python package, in the place of argv[0]
    argv: tuple[str, ...]
    exit_codes: Mapping[int, Verdict]
    report: str
    severity: Severity | None
    severity_property: str | None
    files: tuple[str, ...]
    ignores: tuple[str, ...]
    own_settings: tuple[str, ...]
    redact_rules: tuple[str, ...]  # rules whose messages quote the source
    time_limit_seconds: int
    memory_mib: int
    canary: str

    def judges(self, path: str) -> bool:
        """Whether the scanner, left to itself, looks at this file."""
        return _matches(path, self.files) and not _matches(path, self.ignores)

    def rule_class(self, rule: str) -> str:
        """What makes two findings the same kind: any secret is a secret, other rules mean what their tool says."""
        return "secret" if self.category == "secret" else f"{self.name}/{rule}"


def command(scanner: Scanner, source: str, report: Path) -> tuple[str, ...]:
    """The argv that makes `scanner` judge `source` and write `report`.

    Raises UsageError when the package that holds its program is not installed: the name alone would be looked for in
    the tree that is judged.
    """
    first, *rest = scanner.argv
    argv = (_installed(scanner, scanner.program) if scanner.program else first, *rest)
    return tuple(part.replace("{source}", source).replace("{report}", str(report)) for part in argv)


def _installed(scanner: Scanner, program: str) -> str:
    package, _, inside = program.partition("/")
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / inside).is_file():
            return str(Path(folder) / inside)
    raise UsageError(sentence(scanner.name, f"its program is not installed (package {scanner.package})"))


def load_scanners(path: Path = CATALOGUE, shown_as: str = SHOWN_AS) -> tuple[Scanner, ...]:
    """The rows, in their order. Raises UsageError that names the path of what is wrong."""
    rows = load(path, shown_as).mapping(("scanners",))["scanners"]
    children = rows.mapping(optional=None)
    if not children:
        raise rows.wrong("should name at least one scanner")
    return tuple(_scanner(name, row) for name, row in children.items())


def _scanner(name: str, row: Node) -> Scanner:
    Node(row.path, name).text(NAME, "a name of small letters, digits and dashes")
    keys = row.mapping(REQUIRED, OPTIONAL)
    if "severity" in keys and "severity_property" in keys:
        raise row.wrong("has both severity and severity_property; keep one")
    return Scanner(
        name=name,
        package=keys["package"].text(r"[A-Za-z0-9][A-Za-z0-9._-]*", "the name of a package"),
        version=keys["version"].text(VERSION, "one exact version in quotes"),
        looks_for=keys["looks_for"].text(),
        category=keys["class"].choice(CLASSES),
        subject=keys["subject"].choice(SUBJECTS),
        profiles=tuple(p for p in PROFILES if p in _choices(keys["profiles"], PROFILES)),
        program=keys["program"].text(PROGRAM, "a path of a package's file") if "program" in keys else None,
        argv=_argv(keys["argv"]),
        exit_codes=_exit_codes(keys["exit_codes"]),
        report=keys["report"].choice(REPORTS),
        severity=_severity(keys.get("severity")),
        severity_property=keys["severity_property"].text() if "severity_property" in keys else None,
        files=_texts(keys["files"]),
        ignores=_texts(keys.get("ignores")),
        own_settings=_texts(keys.get("own_settings")),
        redact_rules=_texts(keys.get("redact_rules")),
        time_limit_seconds=keys["time_limit_seconds"].integer(1, 3600),
        memory_mib=keys["memory_mib"].integer(16, 65536),
        canary=keys["canary"].text(),
    )


def _severity(node: Node | None) -> Severity | None:
    if node is None:
        return None
    chosen = node.choice(SEVERITIES)
    return next(word for word in SEVERITIES if word == chosen)


def _argv(node: Node) -> tuple[str, ...]:
    argv = _texts(node)
    for placeholder in ("{source}", "{report}"):
        if not any(placeholder in part for part in argv):
            raise node.wrong(f"has no {placeholder}")
    return argv


def _exit_codes(node: Node) -> Mapping[int, Verdict]:
    codes: dict[int, Verdict] = {}
    for word, numbers in node.mapping(optional=VERDICTS).items():
        for number in numbers.items():
            code = number.integer(0, 255)
            if code in codes:
                raise number.wrong(f"exit code {code} stands twice")
            codes[code] = next(v for v in VERDICTS if v == word)
    if not codes:
        raise node.wrong("should name at least one exit code", VERDICTS)
    return codes


def _texts(node: Node | None) -> tuple[str, ...]:
    return tuple(item.text() for item in node.items()) if node else ()


def _choices(node: Node, known: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(item.choice(known) for item in node.items())
    if not chosen:
        raise node.wrong("should name at least one", known)
    return chosen


def _matches(path: str, globs: Sequence[str]) -> bool:
    name = path.rsplit("/", 1)[-1]
    return any(fnmatch.fnmatchcase(path, glob) or fnmatch.fnmatchcase(name, glob) for glob in globs)
