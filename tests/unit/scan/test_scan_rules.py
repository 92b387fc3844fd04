"""Our own rules for semgrep: what they find in tests/cases/semgrep, how they speak, and where they are listed.

A fixture says of its next line `ruleid: <rule>` where the rule must find it, and `ok: <rule>` where it must not. Its
name ends in .fixture, so that no scanner takes it for what it shows; the rules see it without that end.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepdown.scan.core import scan_tree
from stepdown.scan.scanners import load_scanners

RULES, FIXTURES, PAGE = "stepdown/scan/rules", "tests/cases/semgrep", "docs/scan-rules.md"
SUFFIX = ".fixture"
SAID = re.compile(r"^\s*# (ruleid|ok): (.+)$")
BEGIN, END = "<!-- rules:begin -->\n", "\n<!-- rules:end -->"
WORDS = {"ERROR": "high", "WARNING": "medium"}  # how stepdown.scan.sarif reads SARIF's level
CWE = re.compile(r"^CWE-\d+: [A-Z]")
Place = tuple[str, int, str]  # path, line, rule


@pytest.fixture(scope="module")
def rules(root: Path) -> dict[str, list[Mapping[str, Any]]]:
    """Name of the file to its rules."""
    files = sorted((root / RULES).glob("*.yml"))
    return {path.name: yaml.safe_load(path.read_text(encoding="utf-8"))["rules"] for path in files}


@pytest.fixture(scope="module")
def names(rules: Mapping[str, list[Mapping[str, Any]]]) -> list[str]:
    """The names of all rules."""
    return [rule["id"] for listed in rules.values() for rule in listed]


def _said(root: Path) -> Iterator[tuple[str, Place]]:
    """What the fixtures say: ruleid or ok, and of which place."""
    for path in sorted((root / FIXTURES).rglob(f"*{SUFFIX}")):
        name = str(path.relative_to(root / FIXTURES)).removesuffix(SUFFIX)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if match := SAID.match(line):
                for rule in match.group(2).split(", "):
                    yield match.group(1), (name, number + 1, rule)


@pytest.mark.usefixtures("scanners_environment")
def test_every_rule_finds_what_its_fixtures_say_and_nothing_else(root: Path, tmp_path: Path) -> None:
    """As `./run scan` runs them, each finding once."""
    for path in (root / FIXTURES).rglob(f"*{SUFFIX}"):
        copy = tmp_path / "tree" / str(path.relative_to(root / FIXTURES)).removesuffix(SUFFIX)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    semgrep = [row for row in load_scanners() if row.name == "semgrep"]
    result = asyncio.run(scan_tree(tmp_path / "tree", semgrep, profile="full", scratch=tmp_path, limit_seconds=120))
    assert ("completed", None) == (result.status, result.error)
    expected = Counter(place for word, place in _said(root) if word == "ruleid")
    assert expected == Counter((found.path, found.start_line, found.rule) for found in result.findings)


@pytest.mark.parametrize("word", ["ruleid", "ok"])
def test_every_rule_has_a_fixture_of_either_kind(root: Path, names: list[str], word: str) -> None:
    """One that it must find, one that it must leave alone; and no fixture names a rule that is not there."""
    assert sorted(set(names)) == sorted({rule for said, (_, _, rule) in _said(root) if said == word})


def test_rules_have_names_of_their_own_without_dots(names: list[str]) -> None:
    """semgrep puts dots between the folders of a rule, and the baseline names rules."""
    assert [] == [name for name in names if names.count(name) > 1 or not re.fullmatch(r"[a-z]+(-[a-z]+)+", name)]


def test_rules_say_what_to_do_instead_and_make_up_no_score(rules: Mapping[str, list[Mapping[str, Any]]]) -> None:
    """A sentence on what is wrong and one on what to do, a severity that the verdict knows, CWE entries by name."""
    for rule in (rule for listed in rules.values() for rule in listed):
        assert 2 <= len(re.findall(r"[.:…](?= |$)", rule["message"])), rule["id"]
        assert rule["severity"] in WORDS, rule["id"]
        assert {"category", "cwe"} == set(rule["metadata"]), rule["id"]
        assert [] == [entry for entry in rule["metadata"]["cwe"] if not CWE.match(entry)], rule["id"]


def test_the_page_lists_the_rules_as_they_are(root: Path, rules: Mapping[str, list[Mapping[str, Any]]]) -> None:
    """The part between its markers, from the rules themselves."""
    _, begin, rest = (root / PAGE).read_text(encoding="utf-8").partition(BEGIN)
    listed, end, _ = rest.partition(END)
    assert (BEGIN, END) == (begin, end)
    assert _table(rules) == listed, f"{PAGE} should read between its markers:\n{_table(rules)}"


def _table(rules: Mapping[str, list[Mapping[str, Any]]]) -> str:
    rows = ["| rule | severity | weakness | what it says |", "| --- | --- | --- | --- |"]
    for rule in (rule for listed in rules.values() for rule in listed):
        weakness = ", ".join(entry.partition(":")[0] for entry in rule["metadata"]["cwe"])
        said = rule["message"].replace("|", "\\|")
        rows.append(f"| `{rule['id']}` | {WORDS[rule['severity']]} | {weakness} | {said} |")
    return "\n".join(rows)
