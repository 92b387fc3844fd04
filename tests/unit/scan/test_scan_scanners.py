"""The catalogue of scanners: what it holds, and what its loader refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepdown.errors import UsageError
from stepdown.scan.programs import ENVIRONMENT, fill, program_of
from stepdown.scan.scanners import Scanner, load_scanners

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
    canary: {path: a.py, text: x, rule: R1}
"""


def _load(tmp_path: Path, text: str) -> tuple[Scanner, ...]:
    file = tmp_path / "scanners.yml"
    file.write_text(text)
    return load_scanners(file)


def test_the_catalogue_loads_and_covers_what_was_promised() -> None:
    """Every kind of finding has a row, and every tool that was agreed on."""
    scanners = load_scanners()
    assert {
        ("secret", "tree"), ("secret", "history"), ("secret", "image"), ("sast", "tree"), ("dependency", "tree"),
        ("dependency", "pins"), ("dependency", "image"), ("misconfiguration", "tree"), ("misconfiguration", "files"),
        ("workflow", "files"),
    } == {(scanner.category, scanner.subject) for scanner in scanners}  # fmt: skip
    tools = {"actionlint", "ansible-lint", "bandit", "gitleaks", "hadolint", "pip-audit", "semgrep", "trivy", "zizmor"}
    assert tools == {Path(scanner.program or scanner.argv[0]).name for scanner in scanners}


def test_every_row_names_the_version_that_is_locked() -> None:
    """What a report calls its version is what is installed, here and in heimdall's image."""
    for scanner in load_scanners():
        lock = "requirements.txt" if scanner.name == "ansible-lint" else "services/scanners/requirements.txt"
        locked = (ROOT / lock).read_text().splitlines()
        assert any(line.startswith(f"{scanner.package}=={scanner.version} ") for line in locked), scanner.name


def test_what_runs_the_trees_own_code_or_asks_an_engine_is_the_command_lines_only() -> None:
    """heimdall judges what strangers send."""
    rows = [scanner for scanner in load_scanners() if scanner.subject == "image" or scanner.name == "ansible-lint"]
    assert [] == [row.name for row in rows if not row.command_line_only]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("report: sarif", "report: sarif\n    speed: 3", "scanners/one: unknown key 'speed'"),
        ('version: "1.0"', "version: latest", "scanners/one/version: should be one exact version"),
        ("    canary: {path: a.py, text: x, rule: R1}\n", "", "scanners/one: key 'canary' is missing"),
        ("path: a.py", "path: ../a.py", "scanners/one/canary/path: should be a relative path"),
        ("report: sarif", "report: sarif\n    needs: luck", "scanners/one/needs: is 'luck' (known: advisory-service"),
        ("subject: tree", "subject: files", "scanners/one/argv: has no {files}"),
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
        _load(tmp_path, ROW.replace(old, new, 1))
    assert said in str(refused.value)


def test_an_empty_catalogue_is_refused(tmp_path: Path) -> None:
    """No scanner is no scan."""
    with pytest.raises(UsageError, match="at least one scanner"):
        _load(tmp_path, "scanners: {}\n")


def test_placeholders_are_filled_once_and_without_a_shell() -> None:
    """A list repeats its part; a file that is called like a placeholder stays that file."""
    argv = ("--out={report}", "-r={files}", "{source}", "{{json .}}")
    filled = fill(argv, {"report": "/r", "source": "$(x)"}, {"files": ["./a", "./{report}"]})
    assert ("--out=/r", "-r=./a", "-r=./{report}", "$(x)", "{{json .}}") == filled


def test_a_program_is_the_environments_and_never_one_of_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of it may stand there."""
    (scanner,) = _load(tmp_path, ROW)
    for name in ("path/one", "locked/bin/one"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="one: its program is not installed"):
        program_of(scanner)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "locked"))
    assert str(tmp_path / "locked/bin/one") == program_of(scanner)


@pytest.mark.parametrize(("path", "judged"), [("a/b.py", True), (".env", False), ("b.pyc", False), ("x.py", True)])
def test_a_row_judges_files_by_their_name(tmp_path: Path, path: str, judged: bool) -> None:
    """Coverage counts what a scanner looks at."""
    (scanner,) = _load(tmp_path, ROW)
    assert judged == scanner.judges(path)


def test_lock_files_are_not_counted_as_judged_by_gitleaks() -> None:
    """gitleaks passes over them by itself, so they are no part of its coverage."""
    gitleaks = next(scanner for scanner in load_scanners() if scanner.name == "gitleaks")
    assert (False, True) == (gitleaks.judges("web/yarn.lock"), gitleaks.judges("web/.env"))
