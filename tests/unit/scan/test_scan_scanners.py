"""The catalogue of scanners: what it holds, and what its loader refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepdown.errors import UsageError
from stepdown.scan.scanners import Scanner, command, load_scanners

ROOT = Path(__file__).resolve().parents[3]
ROW = """
scanners:
  one:
    package: one
    version: "1.0"
    looks_for: things
    class: sast
    subject: tree
    profiles: [full]
    argv: [one, "{source}", "-o", "{report}"]
    exit_codes: {clean: [0], findings: [1]}
    report: sarif
    files: ["*.py"]
    time_limit_seconds: 5
    memory_mib: 64
    canary: it finds it
"""


def _load(tmp_path: Path, text: str) -> tuple[Scanner, ...]:
    file = tmp_path / "scanners.yml"
    file.write_text(text)
    return load_scanners(file)


def test_the_catalogue_loads_and_covers_secrets_code_and_history() -> None:
    """Every kind of finding that heimdall promises today has a row."""
    scanners = load_scanners()
    assert {("secret", "tree"), ("secret", "history"), ("sast", "tree")} == {
        (scanner.category, scanner.subject) for scanner in scanners
    }


@pytest.mark.parametrize("lock", ["services/python/requirements.txt", "requirements.txt"])
def test_every_row_names_the_version_that_is_locked(lock: str) -> None:
    """What a report calls its version is what is installed."""
    locked = (ROOT / lock).read_text().splitlines()
    for scanner in load_scanners():
        assert any(line.startswith(f"{scanner.package}=={scanner.version} ") for line in locked), scanner.name


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("report: sarif", "report: sarif\n    speed: 3", "scanners/one: unknown key 'speed'"),
        ('version: "1.0"', "version: latest", "scanners/one/version: should be one exact version"),
        ("    canary: it finds it\n", "", "scanners/one: key 'canary' is missing"),
        ('"{source}", ', "", "scanners/one/argv: has no {source}"),
        ("findings: [1]", "findings: [0]", "exit code 0 stands twice"),
        ("class: sast", "class: luck", "scanners/one/class: is 'luck' (known: secret"),
        ("profiles: [full]", "profiles: []", "scanners/one/profiles: should name at least one"),
        ("report: sarif", "report: sarif\n    severity: high\n    severity_property: x", "keep one"),
        ("{clean: [0], findings: [1]}", "{}", "should name at least one exit code"),
    ],
)
def test_a_wrong_row_is_refused_with_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    """One wrong word in a row is named by its path."""
    assert old in ROW
    with pytest.raises(UsageError) as refused:
        _load(tmp_path, ROW.replace(old, new))
    assert said in str(refused.value)


def test_an_empty_catalogue_is_refused(tmp_path: Path) -> None:
    """No scanner is no scan."""
    with pytest.raises(UsageError, match="at least one scanner"):
        _load(tmp_path, "scanners: {}\n")


def test_argv_gets_source_and_report_and_nothing_else(tmp_path: Path) -> None:
    """A row becomes a command without a shell in between."""
    (scanner,) = _load(tmp_path, ROW)
    assert ("one", "$(x)", "-o", "/r/report.sarif") == command(scanner, "$(x)", Path("/r/report.sarif"))


@pytest.mark.parametrize(("path", "judged"), [("a/b.py", True), (".env", False), ("b.pyc", False), ("x.py", True)])
def test_a_row_judges_files_by_their_name(tmp_path: Path, path: str, judged: bool) -> None:
    """Coverage counts what a scanner looks at."""
    (scanner,) = _load(tmp_path, ROW)
    assert judged == scanner.judges(path)


def test_lock_files_are_not_counted_as_judged_by_gitleaks() -> None:
    """gitleaks passes over them by itself, so they are no part of its coverage."""
    gitleaks = next(scanner for scanner in load_scanners() if scanner.name == "gitleaks")
    assert (False, True) == (gitleaks.judges("web/yarn.lock"), gitleaks.judges("web/.env"))
