"""One problem is one finding, whoever found it and wherever its line moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stepdown.scan.normalise import findings_of, fingerprint_of, merge
from stepdown.scan.reports import Result
from stepdown.scan.scanners import Scanner

MakeRow = Callable[..., Scanner]
RESULT = Result("R1", "high", None, "m", "a.py", 3, 3, None, None)


def test_a_fingerprint_survives_moving_and_indenting(row: MakeRow) -> None:
    """The line's number and blanks are no part of it."""
    (before,) = findings_of(row(), [RESULT], lambda _: "run(x, shell=True)")
    (after,) = findings_of(row(), [replace(RESULT, start_line=90)], lambda _: "    run(x,  shell=True)\r")
    assert before.fingerprint == after.fingerprint


def test_a_changed_line_is_a_new_finding(row: MakeRow) -> None:
    """An accepted line never covers what replaced it."""
    (before,) = findings_of(row(), [RESULT], lambda _: "key = 1")
    (after,) = findings_of(row(), [RESULT], lambda _: "key = 2")
    assert before.fingerprint != after.fingerprint


def test_equal_lines_are_counted(row: MakeRow) -> None:
    """Two equal lines in one file are two problems."""
    found = findings_of(row(), [RESULT, replace(RESULT, start_line=9)], lambda _: "x")
    assert 2 == len(merge(found))


def test_two_secret_scanners_make_one_finding(row: MakeRow) -> None:
    """Their rules differ in name; a secret is a secret."""
    one = row(name="one", category="secret")
    two = row(name="two", category="secret")
    found = [
        *findings_of(one, [RESULT], lambda _: "key"),
        *findings_of(two, [replace(RESULT, rule="other", score=9.1, severity="critical")], lambda _: "key"),
    ]
    (merged,) = merge(found)
    assert (("one", "two"), "critical", 9.1) == (merged.scanners, merged.severity, merged.score)


def test_several_rules_for_one_secret_are_one_finding(row: MakeRow) -> None:
    """The line is the secret's name; equal lines stay two."""
    results = [RESULT, replace(RESULT, rule="A1"), replace(RESULT, start_line=9)]
    found = findings_of(row(category="secret"), results, lambda _: "key")
    assert [("A1", 3), ("R1", 9)] == [(f.rule, f.start_line) for f in found]


def test_rules_that_the_catalogue_calls_equal_make_one_finding(row: MakeRow) -> None:
    """On the same text of the same file."""
    one = row(name="one", equal_rules={"R1": "same"})
    two = row(name="two", equal_rules={"other": "same"})
    again = replace(RESULT, rule="other", path="b.py")
    found = [
        *findings_of(one, [RESULT], lambda _: "x"),
        *findings_of(two, [replace(RESULT, rule="other"), again], lambda _: "x"),
    ]
    assert [("a.py", ("one", "two")), ("b.py", ("two",))] == [(f.path, f.scanners) for f in merge(found)]


FLAW = replace(RESULT, rule="GHSA-1", aliases=("PYSEC-1",), package="p", package_version="1", category="dependency")


def test_advisories_that_share_an_id_are_one_finding(row: MakeRow) -> None:
    """Also when it takes a third to tie two of them; the CVE gives the name."""
    others = [replace(FLAW, rule="CVE-1", aliases=()), replace(FLAW, rule="X-1", aliases=("CVE-1", "PYSEC-1"))]
    names = ("one", "two", "three")
    found = [
        f for n, r in zip(names, [FLAW, *others], strict=True) for f in findings_of(row(name=n), [r], lambda _: "")
    ]
    (merged,) = merge(found)
    assert ("CVE-1", ("GHSA-1", "PYSEC-1", "X-1"), ("one", "three", "two")) == (
        merged.rule,
        merged.aliases,
        merged.scanners,
    )


def test_advisories_of_other_versions_and_files_stay_apart(row: MakeRow) -> None:
    """Each of them has to be upgraded."""
    results = [FLAW, replace(FLAW, package_version="2"), replace(FLAW, path="b.txt"), replace(FLAW, package="q")]
    assert 4 == len(merge(findings_of(row(), results, lambda _: "")))


def test_two_code_scanners_stay_apart(row: MakeRow) -> None:
    """Rules of different tools are not known to mean the same."""
    found = [
        *findings_of(row(name="one"), [RESULT], lambda _: "x"),
        *findings_of(row(name="two"), [RESULT], lambda _: "x"),
    ]
    assert 2 == len(merge(found))


def test_a_secret_in_tree_and_history_is_one_finding_in_the_tree(row: MakeRow) -> None:
    """It is shown where it stands now, with the commit that brought it in."""
    secret = row(category="secret")
    found = [
        *findings_of(secret, [replace(RESULT, commit="c1", start_line=1)], lambda _: "key"),
        *findings_of(secret, [replace(RESULT, commit="c2", start_line=2)], lambda _: "key"),
        *findings_of(secret, [RESULT], lambda _: "key"),
    ]
    (merged,) = merge(found)
    assert (3, "c1") == (merged.start_line, merged.commit)


def test_messages_of_quoting_rules_lose_what_they_quote(row: MakeRow) -> None:
    """bandit's rules about passwords print the password."""
    quoting = row(redact_rules=("R1",))
    message = "Possible hardcoded password: 'hunter2'"
    (finding,) = findings_of(quoting, [replace(RESULT, message=message)], lambda _: "x")
    assert "Possible hardcoded password REDACTED" == finding.message


@given(st.lists(st.text(), min_size=4, max_size=4), st.lists(st.text(), min_size=4, max_size=4))
def test_different_parts_give_different_fingerprints(one: list[str], two: list[str]) -> None:
    """Parts never run into each other."""
    a, b = ([part.replace("\0", "") for part in parts] for parts in (one, two))
    same = a[:3] == b[:3]
    assert same == (fingerprint_of(a[0], a[1], a[2], 0) == fingerprint_of(b[0], b[1], b[2], 0))
