"""The watch proves what stays ready, by a clock that only its pauses move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from stepdown.errors import StepdownError
from stepdown.host import break_glass, journal, lock, watch
from stepdown.host.home import Home

NEEDED = watch.PROVED_SECONDS  # no policy says otherwise where no release is staged


@dataclass
class Host:
    """What the watch finds, by the seconds since it began, and what it wrote down."""

    home: Home
    wrong: Callable[[float], str] = lambda _: ""  # what is not ready then; empty for nothing
    then: Callable[[float], None] = lambda _: None  # what happens meanwhile
    seconds: float = 0.0
    thorough: list[float] = field(default_factory=list)  # when every server was asked

    def runs(self, release: str = "a", plan: str = "C") -> None:
        """The host is on this."""
        self.home.write_json(self.home.state, {"release": release, "plan": plan})

    def watch(self) -> list[tuple[str, str]]:
        """Watch to the end; event and release of what was found out."""
        watch.watch(self.home, self._pause, lambda: self.seconds)
        events = ("proved", "unproved", "unready")
        return [(e["event"], e["release"]) for e in self.journal if e["event"] in events]

    @property
    def journal(self) -> tuple[dict[str, Any], ...]:
        return journal.read(self.home.journal).entries

    def _pause(self, seconds: float) -> None:
        assert self.seconds < 100 * NEEDED, "the watch does not end"
        self.seconds += seconds
        self.then(self.seconds)


@pytest.fixture
def host(home: Home, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host on plan C of release a, where all is ready."""
    made = Host(home)
    made.runs()

    def look(_home: Home, _state: dict[str, Any], *, thorough: bool) -> str:
        made.thorough += [made.seconds] if thorough else []
        return made.wrong(made.seconds)

    monkeypatch.setattr(watch, "_unready", look)
    return made


def test_what_stays_ready_is_proved_after_the_seconds_needed(host: Host) -> None:
    """Not before, and only when every server answered a handshake then."""
    assert [("proved", "a")] == host.watch()
    assert NEEDED <= host.seconds < NEEDED + watch.EVERY_SECONDS
    assert [host.seconds] == host.thorough
    entry = host.journal[-1]
    assert (round(host.seconds), "C") == (entry["seconds"], entry["plan"])


def test_a_miss_starts_the_time_anew_and_is_journaled_once(host: Host) -> None:
    """However many rounds it lasts."""
    host.wrong = lambda at: "zen is degraded" if 300 <= at < 400 else ""
    assert [("unready", "a"), ("proved", "a")] == host.watch()
    assert 395 + NEEDED <= host.seconds <= 400 + NEEDED + watch.EVERY_SECONDS
    assert "zen is degraded" == host.journal[0]["why"]


def test_every_new_miss_is_journaled(host: Host) -> None:
    """Between two it was ready."""
    host.wrong = lambda at: "zen is degraded" if 100 <= at < 110 or 200 <= at < 210 else ""
    assert [("unready", "a"), ("unready", "a"), ("proved", "a")] == host.watch()


@pytest.mark.parametrize(
    ("every", "why"), [(1.0, "zen is degraded"), (NEEDED / 2, "it did not stay ready for long enough")]
)
def test_what_is_never_ready_for_long_enough_is_given_up(host: Host, every: float, why: str) -> None:
    """After six times as long as a proof takes, and told so."""
    host.wrong = lambda at: "zen is degraded" if at % every < min(every, 5) else ""
    found = host.watch()
    assert ("unproved", "a") == found[-1]
    assert ("proved", "a") not in found
    assert watch.PATIENCE * NEEDED < host.seconds <= watch.PATIENCE * NEEDED + 2 * watch.EVERY_SECONDS
    assert why == host.journal[-1]["why"]


def test_a_release_that_comes_meanwhile_gets_its_own_time(host: Host) -> None:
    """The one before it is left unproved, and nothing is said of it."""
    host.then = lambda at: host.runs("b") if at >= 300 else None
    assert [("proved", "b")] == host.watch()
    assert host.seconds >= 300 + NEEDED


def test_what_is_seen_during_a_switch_is_not_the_releases_fault(host: Host) -> None:
    """Containers come and go then."""
    host.wrong = lambda at: "zen is missing" if 100 <= at < 120 else ""
    with lock.hold(host.home.lock, "switch"):
        holder = host.home.lock.read_text()

    def switch(at: float) -> None:
        if at < 130:
            host.home.lock.write_text(holder if at >= 95 else "")
        else:
            host.home.lock.write_text("")

    host.then = switch
    assert [("proved", "a")] == host.watch()


def test_the_watch_ends_when_nothing_is_active_any_more(host: Host) -> None:
    """An instance that was taken down has nothing to prove."""
    host.then = lambda at: host.home.state.unlink() if at >= 50 and host.home.state.exists() else None
    assert [] == host.watch()
    assert host.seconds < 50 + 2 * watch.EVERY_SECONDS


def test_a_host_without_a_plan_is_not_watched(home: Home) -> None:
    """Nor is anything owed there."""
    assert False is watch.owed(home)
    watch.watch(home, lambda _: pytest.fail("it waits"))


def test_a_break_glass_is_ended_in_time(host: Host) -> None:
    """Also on a release that was proved long ago; the journal says that its time was over."""
    journal.append(host.home.journal, "proved", release="a", plan="C")
    break_glass.open_for(host.home, why="a test", hours=0)
    assert True is watch.owed(host.home)
    host.watch()
    assert (0.0, False) == (host.seconds, watch.owed(host.home))
    assert ("ended", "its time is over") == (host.journal[-1]["state"], host.journal[-1]["why"])


def test_the_watch_stays_while_a_break_glass_is_open(host: Host) -> None:
    """The release is proved meanwhile, and once."""
    break_glass.open_for(host.home, why="a test", hours=1)
    host.then = lambda at: break_glass.end(host.home, "recover") and None if at >= 3 * NEEDED else None
    assert [("proved", "a")] == host.watch()
    assert 3 * NEEDED <= host.seconds <= 3 * NEEDED + watch.EVERY_SECONDS


def test_a_second_watch_waits_its_turn_and_goes(host: Host) -> None:
    """One of a release that has just been proved is about to end."""
    with lock.hold(host.home.watch_lock, "watch"):
        assert [] == host.watch()
    assert watch.TURN_SECONDS < host.seconds <= watch.TURN_SECONDS + 2


@pytest.mark.parametrize("event", ["proved", "bad", "unproved"])
def test_what_was_found_out_is_not_owed_again(host: Host, event: str) -> None:
    """Until the host comes to the release again."""
    assert True is watch.owed(host.home)
    journal.append(host.home.journal, event, release="a", why="a test")
    assert False is watch.owed(host.home)
    came = {"kind": "rollback", "to": "C", "release": "a", "from": "C", "from_release": "b"}
    journal.append(host.home.journal, "outcome", ok=True, **came)
    assert True is watch.owed(host.home)


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ({"zen": "ready", "serena": "lost"}, ""),
        (
            {"zen": "ready", "heimdall": "degraded", "code": "unreachable"},
            "heimdall is degraded, code is unreachable",
        ),
    ],
)
def test_what_the_plan_has_lost_is_not_missed(
    home: Home, monkeypatch: pytest.MonkeyPatch, states: dict[str, str], words: str
) -> None:
    """A server that the plan carries has to be ready."""
    found = {name: {"state": state} for name, state in states.items()}
    monkeypatch.setattr(watch.status, "servers", lambda *_: found)
    assert words == watch._unready(home, {"release": "a", "plan": "C"}, thorough=False)


def test_a_host_that_cannot_be_asked_is_not_ready(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, for the journal."""

    def fail(*_: object) -> None:
        raise StepdownError("docker: no answer\nmore")

    monkeypatch.setattr(watch.status, "servers", fail)
    assert "docker: no answer" == watch._unready(home, {"release": "a", "plan": "C"}, thorough=False)
