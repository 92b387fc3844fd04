"""Who may know whom, who executes, who writes compose/."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EXECUTORS = {"stepdown/run.py", "stepdown/scan/execute.py"}
# the standard library's ways to start a program; `asyncio.create_subprocess_…` and `os.exec…` by their beginnings
PROCESS_MODULES = {"subprocess", "pty", "multiprocessing"}
PROCESS_CALLS = (
    "os.system",
    "os.popen",
    "os.exec",
    "os.spawn",
    "os.posix_spawn",
    "os.fork",
    "asyncio.create_subprocess",
)
WRITERS = {"write_text", "write_bytes", "mkdir", "unlink", "touch", "rename", "replace", "rmtree", "copy", "copytree"}
HOST_MAY_IMPORT = ("stepdown.host", "stepdown.commands", "stepdown.run", "stepdown.errors", "stepdown.shared")


def test_the_import_rules_hold(root: Path, lint_imports: str) -> None:
    """The contracts of pyproject.toml, by import-linter, which follows indirect imports too."""
    code, words = _lint(root, lint_imports)
    assert 0 == code, words
    assert "0 broken" in words


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("stepdown/host/lock.py", "from stepdown import strict_yaml", "The host agent shares"),
        ("stepdown/errors.py", "import stepdown.run", "The truth and its views execute nothing"),
        ("stepdown/catalog.py", "import stepdown.render.agent", "each layer knows only those below it"),
        ("stepdown/scan/core.py", "import stepdown.run", "The scan core is copied"),
    ],
)
def test_a_broken_rule_is_seen(
    root: Path, tmp_path: Path, lint_imports: str, module: str, line: str, broken: str
) -> None:
    """Each contract can fail."""
    shutil.copytree(root / "stepdown", tmp_path / "stepdown", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    path = tmp_path / module
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    code, words = _lint(tmp_path, lint_imports)
    assert 1 == code
    assert any(broken in text and "BROKEN" in text for text in words.splitlines()), words


def test_the_host_agent_imports_itself_what_it_shares_and_the_standard_library(root: Path) -> None:
    """It runs on any Python 3.11+, where nothing is installed; so do the modules that it shares."""
    shared = [root / "stepdown" / f"{name}.py" for name in ("__init__", "commands", "errors", "run", "shared")]
    files = [*(root / "stepdown" / "host").rglob("*.py"), *shared]
    foreign = [
        f"{path.relative_to(root)}: {name}"
        for path in files
        for name in _imports(path.read_text(encoding="utf-8"))
        if name.partition(".")[0] not in sys.stdlib_module_names
        and name != "stepdown"
        and not name.startswith(HOST_MAY_IMPORT)
    ]
    assert [] == foreign
    assert 10 < len(files)


def test_only_the_executors_start_programs(root: Path) -> None:
    """One place to look for what runs, with its time limits and errors."""
    found = {
        str(path.relative_to(root))
        for path in [*(root / "stepdown").rglob("*.py"), root / "tasks.py"]
        if list(_starts_programs(path.read_text(encoding="utf-8")))
    }
    assert EXECUTORS == found


@pytest.mark.parametrize(
    "text",
    [
        "import subprocess",
        "import subprocess as s",
        "from subprocess import run",
        "def f():\n    import subprocess",
        "import os\nos.system('ls')",
        "import os\nos.execvp('ls', ['ls'])",
        "from os import execvp",
        "import asyncio\nasyncio.create_subprocess_exec('ls')",
        "from asyncio import create_subprocess_exec",
        "import pty",
    ],
)
def test_a_way_to_start_programs_is_seen(text: str) -> None:
    """The rule above looks at these."""
    assert list(_starts_programs(text))


def test_only_bundle_writes_compose(root: Path) -> None:
    """No other function of the package both names compose/ and writes something."""
    found = {
        str(path.relative_to(root))
        for path in (root / "stepdown").rglob("*.py")
        if list(_writes_compose(path.read_text(encoding="utf-8")))
    }
    assert {"stepdown/bundle.py"} == found


def test_what_the_scan_core_imports_is_in_heimdalls_image(root: Path) -> None:
    """Its Dockerfile copies those modules of stepdown and no others."""
    dockerfile = (root / "services" / "python" / "Dockerfile").read_text(encoding="utf-8")
    copied = {word for word in dockerfile.split() if word.startswith("stepdown/")}
    assert {"stepdown/__init__.py", "stepdown/errors.py", "stepdown/strict_yaml.py", "stepdown/scan"} == copied
    sources = [*(root / "stepdown" / "scan").rglob("*.py"), *(root / "services" / "heimdall").rglob("*.py")]
    needed = {
        ".".join(name.split(".")[:2])
        for path in sources
        for name in _imports(path.read_text(encoding="utf-8"))
        if name.startswith("stepdown.") and not name.startswith("stepdown.scan")
    }
    assert set() == needed - {"stepdown.errors", "stepdown.strict_yaml"}


def _lint(folder: Path, lint_imports: str) -> tuple[int, str]:
    # the folder comes first on the path, so that a copy of the package is what is judged
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [lint_imports, "--no-cache"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def _imports(text: str) -> Iterator[str]:
    """Every module that a source names in an import, at any depth; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert 0 == node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _starts_programs(text: str) -> Iterator[str]:
    for name in _imports(text):
        if name.partition(".")[0] in PROCESS_MODULES or name.startswith(PROCESS_CALLS):
            yield name
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith(PROCESS_CALLS):
            yield ast.unparse(node)


def _writes_compose(text: str) -> Iterator[str]:
    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef):
            nodes = list(ast.walk(function))
            # `<path> / "compose"`: the folder, not the word of a command
            divided = [node.right for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)]
            names = any(isinstance(part, ast.Constant) and part.value == "compose" for part in divided)
            called = {
                node.func.attr for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            }
            if names and called & WRITERS:
                yield function.name
