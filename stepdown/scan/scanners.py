"""catalog/scanners.yml to rows. Runs nothing."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stepdown.scan.findings import SEVERITIES, Severity
from stepdown.strict_yaml import Node, load

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = ROOT / "catalog" / "scanners.yml"
SHOWN_AS = "catalog/scanners.yml"
RULES = Path(__file__).resolve().parent / "rules"

Verdict = Literal["clean", "findings", "either"]
Profile = Literal["quick", "full"]
VERDICTS: tuple[Verdict, ...] = ("clean", "findings", "either")
PROFILES: tuple[Profile, ...] = ("quick", "full")
SUBJECTS = ("tree", "files", "pins", "history", "image")
CLASSES = ("secret", "sast", "dependency", "misconfiguration", "workflow")
REPORTS = ("sarif", "semgrep", "trivy", "pip-audit", "actionlint")
NEEDS = ("advisory-service", "vulnerability-database")
# What a row of each subject has to hand to its program.
HANDED = {"tree": "{source}", "files": "{files}", "pins": "{pins}", "history": "{source}", "image": "{image}"}
NAME = r"[a-z][a-z0-9-]{0,40}"
RULE = r"\S+"
VERSION = r"\d+(\.[0-9A-Za-z]+)+"
PACKAGE = r"[A-Za-z0-9][A-Za-z0-9._-]*"
PROGRAM = r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)+"
REQUIRED = (
    "package", "version", "looks_for", "class", "subject", "profiles", "argv", "exit_codes", "report", "files",
    "time_limit_seconds", "memory_mib", "canary",
)  # fmt: skip
OPTIONAL = (
    "program", "severity", "severity_property", "ignores", "own_settings", "redact_rules", "unread_rules", "needs",
    "command_line_only", "file_mib", "rule_explains", "runs_the_tree",
    "unread_words", "partly_words",
)  # fmt: skip


@dataclass(frozen=True)
class Canary:
    """A planted defect: `text` in the file `path` makes the scanner report `rule` there."""

    path: str
    text: str
    rule: str


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
    canary: Canary | None  # None only where a test does without
    unread_rules: tuple[str, ...] = ()  # rules that say that the file could not be parsed
    unread_words: str | None = None  # pattern of what it prints of a file that it could not parse; names `path`
    partly_words: str | None = None  # the same of a file that names something that is not here
    needs: str | None = None
    file_mib: int = 64  # the largest file that the program may write
    rule_explains: bool = False  # its messages only name a place: what is wrong, its rules say
    command_line_only: str | None = None  # why heimdall leaves it out
    runs_the_tree: str | None = None  # how code of the tree comes to run; it takes trust in the tree
    equal_rules: Mapping[str, str] = field(default_factory=dict)  # rule to the name that it shares with other tools'

    def judges(self, path: str) -> bool:
        """Whether the scanner, left to itself, looks at this file."""
        return _matches(path, self.files) and not _matches(path, self.ignores)

    def rule_class(self, rule: str) -> str:
        """What makes two findings the same kind: rules mean what their tool says, but for those that are equal."""
        return self.equal_rules.get(rule) or f"{self.name}/{rule}"

    def writes_a_file(self) -> bool:
        """Whether the report is a file; else it is what the program prints."""
        return any("{report}" in part for part in self.argv)


@dataclass(frozen=True)
class Advice:
    """Where advisories come from, and for how many days a set of them can be believed."""

    maximum_age_days: int
    service: str  # the URL of an OSV service; empty for none
    database: str = ""  # where trivy's database is fetched from; empty for trivy's own places


@dataclass(frozen=True)
class Bill:
    """How the SBOM of a tree and of an image is made: the argv of each."""

    scanner: str
    tree: tuple[str, ...]
    image: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """The whole of catalog/scanners.yml."""

    scanners: tuple[Scanner, ...]
    advice: Advice
    bill: Bill | None


def load_scanners(path: Path = CATALOGUE, shown_as: str = SHOWN_AS) -> tuple[Scanner, ...]:
    """The rows, in their order. Raises UsageError that names the path of what is wrong."""
    return load_catalogue(path, shown_as).scanners


def load_catalogue(path: Path = CATALOGUE, shown_as: str = SHOWN_AS) -> Catalogue:
    """All of the file. Raises UsageError that names the path of what is wrong."""
    keys = load(path, shown_as).mapping(("scanners",), ("equal_rules", "advisories", "sbom"))
    rows = keys["scanners"]
    children = rows.mapping(optional=None)
    if not children:
        raise rows.wrong("should name at least one scanner")
    equal = _equal_rules(keys.get("equal_rules"), children)
    scanners = tuple(_scanner(name, row, equal.get(name, {})) for name, row in children.items())
    bill = _bill(keys["sbom"], children) if "sbom" in keys else None
    return Catalogue(scanners, _advice(keys.get("advisories")), bill)


def _scanner(name: str, row: Node, equal_rules: Mapping[str, str]) -> Scanner:
    Node(row.path, name).text(NAME, "a name of small letters, digits and dashes")
    keys = row.mapping(REQUIRED, OPTIONAL)
    if "severity" in keys and "severity_property" in keys:
        raise row.wrong("has both severity and severity_property; keep one")
    subject = keys["subject"].choice(SUBJECTS)
    return Scanner(
        name=name,
        package=keys["package"].text(PACKAGE, "the name of a package"),
        version=keys["version"].text(VERSION, "one exact version in quotes"),
        looks_for=keys["looks_for"].text(),
        category=keys["class"].choice(CLASSES),
        subject=subject,
        profiles=tuple(p for p in PROFILES if p in _choices(keys["profiles"], PROFILES)),
        program=keys["program"].text(PROGRAM, "a path of a package's file") if "program" in keys else None,
        argv=_argv(keys["argv"], HANDED[subject]),
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
        canary=_canary(keys["canary"]),
        unread_rules=_texts(keys.get("unread_rules")),
        unread_words=_pattern(keys.get("unread_words")),
        partly_words=_pattern(keys.get("partly_words")),
        needs=keys["needs"].choice(NEEDS) if "needs" in keys else None,
        file_mib=keys["file_mib"].integer(1, 65536) if "file_mib" in keys else 64,
        rule_explains=keys["rule_explains"].boolean() if "rule_explains" in keys else False,
        command_line_only=keys["command_line_only"].text() if "command_line_only" in keys else None,
        runs_the_tree=keys["runs_the_tree"].text() if "runs_the_tree" in keys else None,
        equal_rules=equal_rules,
    )


def _canary(node: Node) -> Canary:
    keys = node.mapping(("path", "text", "rule"))
    path = keys["path"].text(r"(?!.*\.\.)[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", "a relative path")
    return Canary(path, keys["text"].text(), keys["rule"].text(RULE, "a rule of the tool"))


def _equal_rules(node: Node | None, rows: Mapping[str, Node]) -> dict[str, dict[str, str]]:
    """Scanner to rule to shared name."""
    found: dict[str, dict[str, str]] = {}
    for shared, rules in (node.mapping(optional=None) if node else {}).items():
        for item in rules.items():
            scanner, _, rule = item.text(r"[a-z0-9-]+/\S+", "scanner/rule").partition("/")
            if scanner not in rows:
                raise item.wrong(f"there is no scanner {scanner!r}", tuple(rows))
            found.setdefault(scanner, {})[rule] = shared
    return found


def _advice(node: Node | None) -> Advice:
    if node is None:
        return Advice(1, "")
    keys = node.mapping(("maximum_age_days", "service"), ("database",))
    return Advice(
        maximum_age_days=keys["maximum_age_days"].integer(1, 3650),
        service=keys["service"].text(r"https?://\S+", "the URL of an OSV service"),
        database=keys["database"].text(r"[a-z0-9]\S*", "an image's repository and tag") if "database" in keys else "",
    )


def _bill(node: Node, rows: Mapping[str, Node]) -> Bill:
    keys = node.mapping(("scanner", "tree", "image"))
    return Bill(keys["scanner"].choice(tuple(rows)), _argv(keys["tree"], "{source}"), _argv(keys["image"], "{image}"))


def _severity(node: Node | None) -> Severity | None:
    if node is None:
        return None
    chosen = node.choice(SEVERITIES)
    return next(word for word in SEVERITIES if word == chosen)


def _argv(node: Node, handed: str) -> tuple[str, ...]:
    argv = _texts(node)
    if not any(handed in part for part in argv):
        raise node.wrong(f"has no {handed}")
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


def _pattern(node: Node | None) -> str | None:
    if node is None:
        return None
    text = node.text()
    try:
        named = "path" in re.compile(text).groupindex
    except re.error as error:
        raise node.wrong(f"is no regular expression: {error}") from error
    if not named:
        raise node.wrong("has no group named path")
    return text


def _choices(node: Node, known: Sequence[str]) -> tuple[str, ...]:
    chosen = tuple(item.choice(known) for item in node.items())
    if not chosen:
        raise node.wrong("should name at least one", known)
    return chosen


def _matches(path: str, globs: Sequence[str]) -> bool:
    name = path.rsplit("/", 1)[-1]
    return any(fnmatch.fnmatchcase(path, glob) or fnmatch.fnmatchcase(name, glob) for glob in globs)
