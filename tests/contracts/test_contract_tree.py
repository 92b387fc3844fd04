"""Rules that every file keeps: what is said, what is never named, how long it may be."""

from __future__ import annotations

import ast
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stepdown.catalog import Catalog
from stepdown.resolve import plan_table

MOST_LINES = 400
PLAN_TABLE = re.compile(r"<!-- plan-table:begin -->\n(.*)\n<!-- plan-table:end -->", re.DOTALL)
# put together here, so that this file does not name them
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("archive", "ubuntu", "com"),
    )
]
# a home or a working directory of one machine; a path below it names somebody or something
PLACES = re.compile(r"(?<![\w.$}~*-])/(?:(?:home|Users|work)/|root/(?!\.cache/))[\w.-]+")


def test_no_file_names_a_package_registry(tracked: Mapping[str, str]) -> None:
    """Each machine has its own, in its own settings."""
    found = [f"{name}: {host}" for name, text in tracked.items() for host in REGISTRIES if host in text]
    assert [] == found


def test_no_file_names_the_mirror_of_this_machine(tracked: Mapping[str, str]) -> None:
    """Whatever index pip is told here, locks and documents made here do not repeat it."""
    argv = [sys.executable, "-m", "pip", "config", "list"]
    settings = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    hosts = {urlsplit(url).hostname for url in re.findall(r"https?://[^'\s]+", settings)}
    mirrors = {host for host in hosts if host and host not in ("localhost", "127.0.0.1", "::1")}
    assert [] == [f"{name}: {host}" for name, text in tracked.items() for host in mirrors if host in text]


def test_no_file_names_a_place_of_one_machine(tracked: Mapping[str, str]) -> None:
    """Homes and working directories differ; what must be named comes from a variable."""
    found = [f"{name}: {match.group()}" for name, text in tracked.items() for match in PLACES.finditer(text)]
    assert [] == found


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("see /" + "home/ann/notes", True),
        ("cd /" + "work/main", True),
        ("in /" + "Users/ann", True),
        ("in /" + "root/notes", True),
        ("target=/root/.cache/uv", False),
        ("${STEPDOWN_HOME}/data", False),
        ("https://example.org/home/page", False),
        ("docs/home/index.md", False),
        ("<home>/data", False),
        ("/workspace", False),
    ],
)
def test_a_place_of_one_machine_is_seen(text: str, seen: bool) -> None:
    """The rule above finds these and only these."""
    assert seen is bool(PLACES.search(text))


def test_every_module_says_what_it_is(tracked: Mapping[str, str]) -> None:
    """A docstring at its top; tests have one too."""
    sources = {name: text for name, text in tracked.items() if name.endswith(".py")}
    assert 50 < len(sources)
    assert [] == [name for name, text in sources.items() if not ast.get_docstring(ast.parse(text))]


def test_every_public_function_and_class_of_the_package_says_what_it_promises(tracked: Mapping[str, str]) -> None:
    """Properties and methods of a frozen record may speak by their names."""
    silent = [
        f"{name}: {node.name}"
        for name, text in tracked.items()
        if name.startswith("stepdown/") and name.endswith(".py")
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        if not ast.get_docstring(node)
    ]
    assert [] == silent


def test_every_test_is_a_claim_in_one_sentence(tracked: Mapping[str, str]) -> None:
    """Its docstring says what would be wrong if it failed."""
    silent = [
        f"{name}: {node.name}"
        for name, text in tracked.items()
        if name.startswith(("tests/unit/", "tests/contracts/")) and name.endswith(".py")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        if not ast.get_docstring(node)
    ]
    assert [] == silent


def test_no_module_is_too_long_to_read(tracked: Mapping[str, str]) -> None:
    """A module that grows beyond this holds two things."""
    lengths = {name: text.count("\n") for name, text in tracked.items() if name.endswith(".py")}
    assert {} == {name: length for name, length in lengths.items() if length > MOST_LINES}


def test_python_of_the_package_is_typed_and_future_proof(tracked: Mapping[str, str]) -> None:
    """Annotations are text, so that Python 3.11 to 3.13 read them alike."""
    missing = [
        name
        for name, text in tracked.items()
        if name.startswith("stepdown/") and name.endswith(".py") and re.search(r"^(def|class) ", text, re.MULTILINE)
        if "from __future__ import annotations" not in text
    ]
    assert [] == missing


def test_no_error_is_swallowed(tracked: Mapping[str, str]) -> None:
    """No bare except, no `except …: pass`, no `|| true` that does not say why on its line."""
    found = []
    for name, text in tracked.items():
        if name.startswith("tests/") or name.endswith(".md"):
            continue
        if name.endswith(".py"):
            handlers = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ExceptHandler)]
            found += [f"{name}:{node.lineno}" for node in handlers if node.type is None or _passes(node)]
        found += [f"{name}: {line}" for line in text.splitlines() if re.search(r"\|\| true\s*$", line)]
    assert [] == found


def test_readme_shows_the_plans_as_they_are(root: Path, catalog: Catalog) -> None:
    """The table between its markers is the one that `./run plan.show` prints."""
    readme = root / "README.md"
    if not readme.is_file():
        pytest.skip("there is no README.md yet")
    match = PLAN_TABLE.search(readme.read_text(encoding="utf-8"))
    assert match, "README.md has no <!-- plan-table:begin --> … <!-- plan-table:end -->"
    assert plan_table(catalog) == match.group(1).strip(), "run: ./run plan.show"


@pytest.mark.parametrize("name", ["run", "services/base/http-ready", "services/tools/make-venv"])
def test_programs_can_be_executed(root: Path, tracked: Mapping[str, str], name: str) -> None:
    """A first line that names the interpreter, and the bit that Git keeps."""
    assert stat.S_IMODE((root / name).stat().st_mode) & 0o100
    assert re.match(r"#!/(usr/bin/env bash|bin/bash)\n", tracked[name])


def _passes(handler: ast.ExceptHandler) -> bool:
    return [ast.Pass] == [type(statement) for statement in handler.body]
