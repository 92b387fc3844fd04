"""What is planted, and what each of the scanners has to say of it."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

PACKAGE, VERSION, FIXED, ADVISORY = "planted-parser", "1.2.0", "1.2.3", "PLANTED-2026-0001"
TOKEN = "{token}"  # where a file gets the credential that is made at run time


@dataclass(frozen=True)
class Defect:
    """One defect: its file, the text of the line that is at fault, and the rule of every scanner that reports it."""

    name: str
    path: str
    line: str
    rules: Mapping[str, str]  # scanner, as catalog/scanners.yml calls it, to its rule
    text: str  # of the whole file
    removed: bool = False  # stands in an old commit alone


@dataclass(frozen=True)
class Expected:
    """What a scan must report: this rule by this scanner at this line; `commit` where only the history has it."""

    defect: str
    path: str
    line: int
    scanner: str
    rule: str
    in_history: bool


SQL = '''"""Orders by the name of a customer."""

from __future__ import annotations

import sqlite3


def orders_of(connection: sqlite3.Connection, name: str) -> list[tuple[str, int]]:
    """Number and sum of each order."""
    return connection.execute(f"SELECT number, total FROM orders WHERE customer = '{name}'").fetchall()
'''
SHELL = '''"""Pictures in another size."""

import subprocess


def smaller(name: str) -> None:
    """Write a picture of half the size."""
    subprocess.run(f"convert {name} -resize 50% small.png", shell=True, check=True)
'''
KEY = '''"""Settings of the shop."""

LIMIT = 100
GITHUB_TOKEN = "{token}"
'''
NO_KEY = '''"""Settings of the shop."""

LIMIT = 100
'''
PRIVILEGED = """name: builder
services:
  builder:
    image: example.org/builder:2.1.0
    privileged: true
    volumes:
      - /var/run/docker.sock:/var/run/docker.sock
    ports:
      - "0.0.0.0:9000:9000"
"""
ANSIBLE = """---
- name: Rotate the log
  ansible.builtin.shell: mv /var/log/shop.log /var/log/{{ shop_log_name }}
  args:
    creates: /var/log/rotated

- name: Fetch the plugin
  ansible.builtin.get_url:
    url: https://example.org/plugin.tar.gz
    dest: /srv/plugin.tar.gz
    mode: "0644"
    validate_certs: false
"""
DOCKERFILE = """FROM python:latest
ADD https://example.org/tool.tar.gz /opt/
RUN cd /opt && tar xf tool.tar.gz
CMD python /opt/tool/run.py
"""
WORKFLOW = """name: release
on:
  push:
    branches: [main]
permissions:
  contents: read
jobs:
  release:
    name: Release
    runs-on: ubuntu-24.04
    timeout-minutes: 10
    steps:
      - uses: example/release-action@main
      - run: echo ${{ github.rev }}
"""
REQUIREMENTS = f"""# What the shop runs with.
planted-writer==2.0.0
{PACKAGE}=={VERSION}
"""
DEFECTS = (
    Defect(
        "a key in an old commit", "src/shop/settings.py", "GITHUB_TOKEN =", {"gitleaks-history": "github-pat"}, KEY,
        removed=True,
    ),
    Defect(
        "a key in a file", "tools/upload.env", "UPLOAD_TOKEN=",
        {"gitleaks": "github-pat", "trivy-secrets": "github-pat"}, "UPLOAD_TOKEN={token}\n",
    ),
    Defect(
        "SQL injection", "src/shop/orders.py", "connection.execute(",
        {"bandit": "B608", "semgrep": "python-sql-injection"}, SQL,
    ),
    Defect(
        "a shell with a name in it", "src/shop/pictures.py", "shell=True",
        {"bandit": "B602", "semgrep": "python-shell-injection"}, SHELL,
    ),
    Defect(
        "a privileged container", "deploy/builder/compose.yml", "privileged: true",
        {"semgrep": "compose-privileged"}, PRIVILEGED,
    ),
    Defect(
        "the Docker socket", "deploy/builder/compose.yml", "docker.sock", {"semgrep": "compose-docker-socket"},
        PRIVILEGED,
    ),
    Defect(
        "a port on every address", "deploy/builder/compose.yml", "0.0.0.0", {"semgrep": "compose-open-port"}, PRIVILEGED
    ),
    Defect(
        "a shell with a variable in it", "roles/shop/tasks/main.yml", "ansible.builtin.shell",
        {"semgrep": "ansible-shell-injection"}, ANSIBLE,
    ),
    Defect(
        "a shell where none is needed", "roles/shop/tasks/main.yml", "Rotate the log",
        {"ansible-lint": "command-instead-of-shell"}, ANSIBLE,
    ),
    Defect(
        "a server that nobody checks", "roles/shop/tasks/main.yml", "validate_certs",
        {"semgrep": "ansible-tls-verification-off"}, ANSIBLE,
    ),
    Defect(
        "a vulnerable requirement", "requirements.txt", f"{PACKAGE}==",
        {"pip-audit": ADVISORY, "trivy-vulnerabilities": ADVISORY}, REQUIREMENTS,
    ),
    Defect(
        "an unpinned action", ".github/workflows/release.yml", "example/release-action@main",
        {"zizmor": "zizmor/unpinned-uses"}, WORKFLOW,
    ),
    Defect(
        "an expression that means nothing", ".github/workflows/release.yml", "github.rev", {"actionlint": "expression"},
        WORKFLOW,
    ),
    Defect(
        "a Dockerfile without a version", "images/shop/Dockerfile", "FROM python:latest",
        {"hadolint": "DL3007", "trivy-configuration": "DS-0001"}, DOCKERFILE,
    ),
)  # fmt: skip


def token(random: Random) -> str:
    """Looks like a GitHub token to a scanner, and opens nothing."""
    return "gh" + "p_" + "".join(random.choices(string.ascii_letters + string.digits, k=36))


def text_of(defect: Defect, random: Random) -> str:
    """The file, with a credential of its own where it holds one."""
    return defect.text.replace(TOKEN, token(random))


def expected(defect: Defect) -> tuple[Expected, ...]:
    """One for each scanner; ValueError where not exactly one line is at fault."""
    lines = [number for number, line in enumerate(defect.text.splitlines(), 1) if defect.line in line]
    if len(lines) != 1:
        raise ValueError(f"{defect.name}: {len(lines)} lines hold {defect.line!r}")
    return tuple(
        Expected(defect.name, defect.path, lines[0], scanner, rule, defect.removed)
        for scanner, rule in defect.rules.items()
    )
