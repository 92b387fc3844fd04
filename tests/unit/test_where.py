"""A row for each host and one table: what is known of it, what the run did, and what it all comes to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stepdown import where
from stepdown.where import Row

READY = {"container": "zen", "state": "ready"}
REACH = {"reach": {"host": "192.0.2.7", "port": "", "user": "op"}}
KNOWN = ("C", "r1", "proved", "ready")
NOT = ("?", "?", "?", "?")
NO_FILE = "python3: can't open file '/opt/stepdown/stepdown.pyz': [Errno 2] No such file"
NO_ENGINE = {"rc": 1, "stderr": "docker: no engine answers. Run: x"}


def status(**more: Any) -> dict[str, Any]:
    """Ansible's result of `status --json` on a host that is well, but for what is given."""
    document = {"plan": "C", "release": "r1", "proof": "proved", "break_glass": None, "servers": {"zen": READY}}
    return {"rc": 0, "stdout": json.dumps({**document, "gateway": {"state": "ready"}, **more}), **REACH}


@pytest.mark.parametrize(
    ("answer", "run", "cells"),
    [
        (status(), {}, (*KNOWN, "")),
        (status(), {"halted": True}, (*KNOWN, "not tried")),
        (status(), {"answer": {"changed": True, "seconds": 3.25}}, (*KNOWN, "done in 3.25 s")),
        (status(), {"answer": {"changed": False, "seconds": 0.0}}, (*KNOWN, "nothing to change")),
        (status(), {"answer": {"changed": True}, "check": True}, (*KNOWN, "would change")),
        (status(), {"answer": {"changed": False}, "check": True}, (*KNOWN, "would stay as it is")),
        (status(), {"failed": "far: no", "rc": 1}, (*KNOWN, "failed")),
        (status(), {"failed": "far: no", "rc": 3}, (*KNOWN, "failed, may have changed")),
        (
            status(plan="D", break_glass={"until": "18:00"}),
            {"answer": {"changed": True, "seconds": 9.0, "kept_emergency": True}},
            ("D", "r1", "proved", "ready", "done in 9 s; emergency's plan kept; emergency until 18:00"),
        ),
        (
            status(servers={"zen": {"state": "starting"}, "serena": {"state": "lost"}}, gateway={"state": "degraded"}),
            {},
            ("C", "r1", "proved", "zen starting, gateway degraded", ""),
        ),
        (status(plan=None, release=None, proof=None, servers={}), {}, ("none", "none", "-", "-", "")),
        (
            {"unreachable": True, "msg": "Task failed: Failed to connect to the host via ssh: no route", **REACH},
            {"halted": True},
            (*NOT, "not tried; not known: cannot be reached: no route"),
        ),
        (
            {"rc": 2, "stderr": NO_FILE, **REACH},
            {},
            (*NOT, "not known: nothing is deployed below /opt/stepdown"),
        ),
        ({**NO_ENGINE, **REACH}, {}, (*NOT, "not known: docker: no engine answers")),
        ({"rc": 1, "stdout": "{torn", **REACH}, {}, (*NOT, "not known: {torn")),
    ],
)  # fmt: skip
def test_a_row_says_where_the_host_is_and_what_was_done(
    answer: dict[str, Any], run: dict[str, Any], cells: tuple[str, ...]
) -> None:
    """From the agent's status, however it was had, and this run's answer; what is not known says why."""
    assert ("far", *cells) == where.row("far", answer, run).cells


def test_an_unhealthy_host_is_known_all_the_same() -> None:
    """`status` exits 1 there, and prints what it knows."""
    assert "C" == where.row("far", {**status(), "rc": 1}, {}).plan


def test_a_table_is_as_wide_as_what_is_in_it() -> None:
    """No space at the end of a line."""
    rows = [Row("one", "C", "r1", "proved", "ready", ""), Row("another", "?", "?", "?", "?", "not known")]
    expected = [
        "host     plan  release  proof   servers  this run",
        "one      C     r1       proved  ready",
        "another  ?     ?        ?       ?        not known",
    ]
    assert expected == where.table(rows).splitlines()


def test_the_table_comes_after_every_failure() -> None:
    """In full, also where it has several lines."""
    failed = Row("one", "C", "r1", "proved", "ready", "failed", 1, False, "one: two problems:\n  - a\n  - b")
    lines = where.told([failed, Row("two", "C", "r1", "proved", "ready", "not tried")]).splitlines()
    assert ["one: two problems:", "  - a", "  - b", "", "host  plan  release  proof   servers  this run"] == lines[:5]
    assert 7 == len(lines)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([(0, True), (0, False)], 0),
        ([(None, False)], 0),
        ([(1, False), (None, False)], 1),
        ([(0, False), (1, False)], 1),
        ([(0, True), (1, False)], 3),
        ([(3, True), (None, False)], 3),
    ],
)
def test_the_exit_code_is_true(codes: list[tuple[int | None, bool]], expected: int) -> None:
    """0 only where nothing failed, 3 where something failed and something changed."""
    assert expected == where.exit_code([Row("h", "C", "r", "-", "-", "", code, changed) for code, changed in codes])


def test_rows_survive_the_way_through_ansible() -> None:
    """As plain data."""
    rows = [where.row("far", status(), {"failed": "far: no", "rc": 3})]
    assert rows == where.unpacked(json.loads(json.dumps(where.packed(rows))))
