"""A scan is never lost, never run by two, and its result is written by who holds it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from heimdall.refused import RefusedError
from heimdall.store import ATTEMPTS, KEPT, LEASE_SECONDS, MIGRATIONS, TELL_ATTEMPTS, TELL_SECONDS, Request, Row, Store

from stepdown.errors import StepdownError

REQUEST = Request("full", path="app")
RESULT: dict[str, Any] = {
    "findings_total": 1,
    "severities": {"high": 1},
    "cvss_summary": {"max_score": None},
    "findings": [{"rule": "R1"}],
}


class Clock:
    """Seconds that pass when the test says so."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "heimdall.sqlite"


@pytest.fixture
def store(file: Path, clock: Clock) -> Iterator[Store]:
    opened = Store(file, clock)
    yield opened
    opened.close()


def _claimed(store: Store, owner: str) -> Row:
    row = store.claim(owner)
    assert row is not None
    return row


def test_scans_are_claimed_in_their_order_once(store: Store) -> None:
    """First in, first out; what is claimed is gone from the queue."""
    queued = [store.submit(REQUEST, 9).scan_id for _ in range(2)]
    assert [*queued, None] == [row.scan_id if (row := store.claim("me")) else None for _ in range(3)]


def test_two_heimdalls_never_claim_one_scan(file: Path, clock: Clock) -> None:
    """Threads with connections of their own, as two processes have."""
    first = Store(file, clock)
    expected = sorted(first.submit(REQUEST, 100).scan_id for _ in range(40))
    claimed: list[str] = []

    def work(owner: str) -> None:
        store = Store(file, clock)
        while row := store.claim(owner):
            claimed.append(row.scan_id)
        store.close()

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first.close()
    assert expected == sorted(claimed)


def test_a_lapsed_lease_is_taken_over_and_the_old_owner_writes_nothing(store: Store, clock: Clock) -> None:
    """A heimdall that froze must not overwrite what its successor found."""
    scan_id = store.submit(REQUEST, 9).scan_id
    _claimed(store, "old")
    clock.now += LEASE_SECONDS
    assert store.claim("new") is None
    clock.now += 1
    assert scan_id == _claimed(store, "new").scan_id
    assert (False, False, True) == (
        store.renew("old", scan_id),
        store.finish("old", scan_id, RESULT, None),
        store.finish("new", scan_id, RESULT, None),
    )


def test_a_renewed_lease_is_not_taken_over(store: Store, clock: Clock) -> None:
    """However long the scan takes."""
    scan_id = store.submit(REQUEST, 9).scan_id
    _claimed(store, "old")
    for _ in range(5):
        clock.now += LEASE_SECONDS - 1
        assert store.renew("old", scan_id)
    assert store.claim("new") is None


def test_a_scan_that_keeps_taking_heimdall_down_ends_as_failed(store: Store, clock: Clock) -> None:
    """It is not tried for ever."""
    scan_id = store.submit(REQUEST, 9).scan_id
    for number in range(ATTEMPTS):
        _claimed(store, f"owner {number}")
        clock.now += LEASE_SECONDS + 1
    assert store.claim("one more") is None
    row = store.get(scan_id)
    assert ("failed", f"was interrupted {ATTEMPTS} times") == (row.status, row.error)


def test_a_released_scan_has_not_been_tried(store: Store) -> None:
    """Restarting heimdall any number of times loses and fails nothing."""
    scan_id = store.submit(REQUEST, 9).scan_id
    for _ in range(ATTEMPTS + 2):
        assert scan_id == _claimed(store, "me").scan_id
        store.release("me")
    assert "queued" == store.get(scan_id).status


def test_everything_is_there_after_a_restart(file: Path, clock: Clock) -> None:
    """Queued, running and finished."""
    before = Store(file, clock)
    ids = [before.submit(REQUEST, 9).scan_id for _ in range(3)]
    _claimed(before, "old")
    before.finish("old", ids[0], RESULT, None)
    _claimed(before, "old")
    before.close()
    clock.now += LEASE_SECONDS + 1
    after = Store(file, clock)
    assert ["completed", "running", "queued"] == [after.get(scan_id).status for scan_id in ids]
    assert RESULT == after.get(ids[0]).result
    assert ids[1:] == [_claimed(after, "new").scan_id for _ in range(2)]
    after.close()


@pytest.mark.parametrize(("error", "status"), [(None, "completed"), ("temper: broke", "failed")])
def test_source_text_is_forgotten_when_the_scan_ends(store: Store, file: Path, error: str | None, status: str) -> None:
    """However it ends."""
    scan_id = store.submit(Request("quick", filename="a.py", code="x = 1"), 9, "key").scan_id
    assert "x = 1" == _claimed(store, "me").request.code
    store.finish("me", scan_id, RESULT, error)
    row = store.get(scan_id)
    assert (status, None) == (row.status, row.request.code)
    values = sqlite3.connect(file).execute("SELECT * FROM scans").fetchone()
    assert not [value for value in values if "x = 1" in str(value)]


def test_a_full_queue_refuses_with_a_time_to_wait(store: Store) -> None:
    """Running scans do not count."""
    store.submit(REQUEST, 2)
    store.submit(REQUEST, 2)
    with pytest.raises(RefusedError, match="is full with 2 scans") as refused:
        store.submit(REQUEST, 2)
    assert (429, 10) == (refused.value.status, refused.value.retry_after)
    _claimed(store, "me")
    assert "queued" == store.submit(REQUEST, 2).status


def test_the_same_key_is_the_same_scan(store: Store) -> None:
    """Also when the queue is full; another request with it is a conflict."""
    first = store.submit(REQUEST, 1, "k")
    assert first.scan_id == store.submit(REQUEST, 1, "k").scan_id
    with pytest.raises(RefusedError, match="was used for another request") as refused:
        store.submit(Request("quick", path="app"), 9, "k")
    assert 409 == refused.value.status


def test_cancelling_ends_a_scan_and_its_owner_learns_it(store: Store) -> None:
    """Twice is as good as once; a scan that has ended cannot be cancelled."""
    running, done = (store.submit(REQUEST, 9).scan_id for _ in range(2))
    _claimed(store, "me")
    _claimed(store, "me")
    store.finish("me", done, RESULT, None)
    assert ("failed", "was cancelled") == ((row := store.cancel(running)).status, row.error)
    assert "was cancelled" == store.cancel(running).error
    assert (False, False) == (store.renew("me", running), store.finish("me", running, RESULT, None))
    with pytest.raises(RefusedError, match="is completed already") as refused:
        store.cancel(done)
    assert 409 == refused.value.status


def test_an_unknown_scan_is_refused(store: Store) -> None:
    """404, and where to look."""
    with pytest.raises(RefusedError, match="list_scans") as refused:
        store.get("0" * 32)
    assert 404 == refused.value.status


def test_lists_are_newest_first_and_light(store: Store) -> None:
    """Findings are not read for a list."""
    ids = [store.submit(REQUEST, 9).scan_id for _ in range(3)]
    _claimed(store, "me")
    store.finish("me", ids[0], RESULT, None)
    rows = store.recent(5)
    assert ids[::-1] == [row.scan_id for row in rows]
    assert {key: RESULT[key] for key in ("findings_total", "severities", "cvss_summary")} == rows[-1].result


def test_old_results_make_room(store: Store, file: Path) -> None:
    """The data volume does not fill up."""
    oldest = store.submit(REQUEST, 9).scan_id
    _claimed(store, "me")
    store.finish("me", oldest, RESULT, None)
    direct = sqlite3.connect(file)
    with direct:
        direct.executemany(
            "INSERT INTO scans (scan_id, profile, status, submitted_at) VALUES (?, 'full', 'completed', 0)",
            [(str(number),) for number in range(KEPT - 1)],
        )
    newest = store.submit(REQUEST, 9).scan_id
    _claimed(store, "me")
    store.finish("me", newest, RESULT, None)
    assert KEPT == direct.execute("SELECT count(*) FROM scans").fetchone()[0]
    with pytest.raises(RefusedError):
        store.get(oldest)


@pytest.mark.parametrize(("ahead", "opens"), [(1, True), (2, False)])
def test_a_schema_of_the_next_release_is_worked_with(file: Path, clock: Clock, ahead: int, opens: bool) -> None:
    """Old and new overlap on one file; two releases apart they do not."""
    Store(file, clock).close()
    direct = sqlite3.connect(file)
    with direct:
        direct.execute("ALTER TABLE scans ADD COLUMN later TEXT")
        direct.execute("INSERT INTO schema_version VALUES (?)", (len(MIGRATIONS) + ahead,))
    if opens:
        store = Store(file, clock)
        assert "queued" == store.submit(REQUEST, 9).status
        store.close()
    else:
        with pytest.raises(StepdownError, match="has schema"):
            Store(file, clock)


def test_opening_twice_migrates_once(file: Path, clock: Clock) -> None:
    """Restarting is not migrating."""
    Store(file, clock).close()
    Store(file, clock).close()
    versions = sqlite3.connect(file).execute("SELECT version FROM schema_version").fetchall()
    assert [(number + 1,) for number in range(len(MIGRATIONS))] == versions


# What the release before this one asks when it claims, from its source: it knows nothing of URLs.
CLAIM_OF_BEFORE = (
    "SELECT scan_id FROM scans WHERE status = 'queued' OR (status = 'running' AND lease_expires < ?)"
    " ORDER BY number LIMIT 1"
)
FROM_URL = Request("full", url="https://git.example/p", ref="v1")


def test_the_release_before_does_not_claim_what_it_cannot_fetch(store: Store, file: Path, clock: Clock) -> None:
    """A scan of a URL waits for one that can, also after its holder died or gave it back; that of a folder does not."""
    scan_id = store.submit(FROM_URL, 9).scan_id
    folder = store.submit(REQUEST, 9).scan_id
    before = sqlite3.connect(file)

    def claimed() -> list[str]:
        return [found for (found,) in before.execute(CLAIM_OF_BEFORE, (clock.now,))]

    assert ("queued", FROM_URL, [folder]) == (store.get(scan_id).status, store.get(scan_id).request, claimed())
    assert [scan_id, folder] == [_claimed(store, "me").scan_id for _ in range(2)]
    assert ("running", []) == (store.get(scan_id).status, claimed())
    store.release("me")
    assert ("queued", [folder]) == (store.get(scan_id).status, claimed())
    assert scan_id == _claimed(store, "me").scan_id
    clock.now += LEASE_SECONDS + 1
    assert [folder] == claimed()
    assert scan_id == _claimed(store, "other").scan_id
    assert store.finish("other", scan_id, RESULT, None)
    assert ("completed", FROM_URL) == (store.get(scan_id).status, store.get(scan_id).request)


def test_a_scan_of_a_url_counts_in_the_queue_and_keeps_its_lease(store: Store, clock: Clock) -> None:
    """As one of a folder does."""
    store.submit(FROM_URL, 1)
    with pytest.raises(RefusedError, match="is full with 1 scans"):
        store.submit(FROM_URL, 1)
    scan_id = _claimed(store, "me").scan_id
    clock.now += LEASE_SECONDS - 1
    assert store.renew("me", scan_id)
    clock.now += LEASE_SECONDS - 1
    assert store.claim("other") is None
    for _ in range(ATTEMPTS - 1):
        clock.now += LEASE_SECONDS + 1
        assert scan_id == _claimed(store, "me").scan_id
    clock.now += LEASE_SECONDS + 1
    assert store.claim("me") is None
    assert f"was interrupted {ATTEMPTS} times" == store.get(scan_id).error


def test_a_key_of_the_release_before_is_known(store: Store) -> None:
    """What a request without URL and callback is reduced to has not changed."""
    expected = hashlib.sha256(json.dumps(["full", "app", None, None]).encode()).hexdigest()
    assert expected == REQUEST.digest()
    others = [FROM_URL, replace(FROM_URL, ref=None), replace(REQUEST, callback="https://hooks.example")]
    assert 4 == len({REQUEST.digest(), *(other.digest() for other in others)})


def test_a_callback_is_due_when_the_scan_ended_and_given_up_in_the_end(store: Store, clock: Clock) -> None:
    """Each attempt later than the one before; the URL is forgotten, how it ended is not."""
    scan_id = store.submit(replace(REQUEST, callback="https://hooks.example/secret"), 9).scan_id
    assert (None, "waiting") == (store.due(), store.get(scan_id).callback_state)
    _claimed(store, "me")
    store.finish("me", scan_id, RESULT, None)
    attempts = []
    for _ in range(2**TELL_ATTEMPTS):
        if (due := store.due()) is not None:
            assert ("completed", "https://hooks.example/secret") == (due[0].status, due[1])
            store.told(scan_id, False)
            attempts.append(clock.now)
        clock.now += TELL_SECONDS
    assert TELL_ATTEMPTS == len(attempts)
    waits = [after - before for before, after in pairwise(attempts)]
    assert [TELL_SECONDS * 2**number for number in range(TELL_ATTEMPTS - 1)] == waits
    assert ("given_up", None) == (store.get(scan_id).callback_state, store.get(scan_id).request.callback)


def test_a_callback_that_was_told_is_not_told_again(store: Store, clock: Clock) -> None:
    """Whoever ended the scan; also one that was cancelled."""
    scan_id = store.submit(replace(REQUEST, callback="https://hooks.example"), 9).scan_id
    store.cancel(scan_id)
    due = store.due()
    assert due is not None
    assert ("failed", None) == (due[0].status, store.due())
    store.told(scan_id, True)
    clock.now += 100_000
    assert (None, "delivered") == (store.due(), store.get(scan_id).callback_state)


def test_the_last_completed_scan_of_each_subject_is_remembered(store: Store) -> None:
    """Source text is no subject; what failed does not count."""
    ended = []
    for request, error in ((REQUEST, None), (REQUEST, None), (FROM_URL, None), (REQUEST, "x")):
        ended.append(store.submit(request, 9).scan_id)
        _claimed(store, "me")
        store.finish("me", ended[-1], RESULT, error)
    store.submit(Request("quick", filename="a.py", code="x"), 9)
    store.finish("me", _claimed(store, "me").scan_id, RESULT, None)
    assert ended[1:3] == [row.scan_id for row in store.latest(9)]
    assert ended[2:3] == [row.scan_id for row in store.latest(1)]
