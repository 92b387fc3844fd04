"""Notices reach people in the end, and nobody waits for that."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from stepdown.host import journal, lock, notify
from stepdown.host.home import Home

PATH = "/services/T000/B000/hidden-part"


@dataclass
class Webhook:
    """A webhook that fails so many times, and what it took."""

    fails: int
    url: str = ""
    taken: list[str] = field(default_factory=list)


@contextmanager
def served(fails: int = 0) -> Iterator[Webhook]:
    """A webhook on this machine."""
    webhook = Webhook(fails)

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            broken, webhook.fails = webhook.fails > 0, webhook.fails - 1
            if not broken:
                assert PATH == self.path
                webhook.taken.append(json.loads(body)["text"])
            self.send_response(503 if broken else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        webhook.url = f"http://127.0.0.1:{server.server_address[1]}{PATH}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield webhook
        finally:
            server.shutdown()
            thread.join()


def configure(home: Home, url: str) -> None:
    """A host that has a webhook and a journal."""
    home.make_directory(home.slack_webhook.parent, 0o700)
    home.write(home.slack_webhook, url, 0o400)
    journal.append(home.journal, "staged")


def told(home: Home) -> list[tuple[bool, int, str | None]]:
    """How sending ended, by the journal."""
    entries = journal.read(home.journal).entries
    return [(e["ok"], e["tries"], e.get("error")) for e in entries if e["event"] == "notified"]


def test_a_webhook_that_fails_is_asked_again_until_it_takes_the_notice(home: Home) -> None:
    """A second later, then two; the journal says how often, and never where to."""
    pauses = list[float]()
    with served(fails=2) as webhook:
        configure(home, webhook.url)
        assert True is notify.put(home, "emergency by ann")
        notify.send_all(home, pauses.append)
    assert [1.0, 2.0] == pauses
    (text,) = webhook.taken
    assert text.endswith(": emergency by ann")
    assert [(True, 3, None)] == told(home)
    assert [] == notify.waiting(home)
    assert "hidden-part" not in home.journal.read_text()


def test_notices_are_taken_in_the_order_in_which_they_came(home: Home) -> None:
    """That it is over is not told before that it began."""
    with served(fails=1) as webhook:
        configure(home, webhook.url)
        for text in ("one", "two", "three"):
            notify.put(home, text)
        notify.send_all(home, lambda _: None)
    assert ["one", "two", "three"] == [text.rpartition(" ")[2] for text in webhook.taken]
    assert [(True, 2, None), (True, 1, None), (True, 1, None)] == told(home)


def test_a_host_without_a_webhook_keeps_no_notice(home: Home) -> None:
    """Nobody would ever take it."""
    assert False is notify.put(home, "emergency")
    assert [] == notify.waiting(home)


def test_a_webhook_that_is_taken_away_ends_the_waiting(home: Home) -> None:
    """The notice goes too, and the journal says that nobody got it."""
    configure(home, "http://127.0.0.1:9/hidden-part")
    notify.put(home, "emergency")
    notify.send_all(home, lambda _: home.slack_webhook.unlink())
    assert [(False, 1, "ConnectionRefusedError")] == told(home)
    assert [] == notify.waiting(home)


def test_a_notice_that_is_hours_old_is_given_up(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was wrong last."""
    monkeypatch.setattr(notify, "GIVE_UP_SECONDS", -1.0)
    with served(fails=9) as webhook:
        configure(home, webhook.url)
        notify.put(home, "emergency")
        notify.send_all(home, lambda _: pytest.fail("it waits"))
    assert [(False, 1, "HTTP 503")] == told(home)


def test_waits_grow_to_a_minute(home: Home) -> None:
    """A webhook that is down for an hour is asked seventy times, not thousands."""
    pauses = list[float]()
    with served(fails=9) as webhook:
        configure(home, webhook.url)
        notify.put(home, "emergency")
        notify.send_all(home, pauses.append)
    assert [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0] == pauses


@pytest.mark.parametrize(
    "url", ["hidden-part", "gopher://hidden-part/", "http://hidden-part:port/", "http://hidden part/"]
)
def test_a_webhook_that_is_no_url_is_told_without_a_word_of_it(home: Home, url: str) -> None:
    """It may be the secret itself, pasted in the wrong place."""
    configure(home, url)
    notify.put(home, "emergency")
    notify.send_all(home, lambda _: home.slack_webhook.unlink())
    ((ok, tries, error),) = told(home)
    assert (False, 1, True) == (ok, tries, bool(error))
    assert "hidden" not in home.journal.read_text()


def test_two_do_not_send_the_same_notice(home: Home) -> None:
    """The second returns at once; the first sees what came meanwhile."""
    configure(home, "http://127.0.0.1:9/")
    notify.put(home, "emergency")
    with lock.hold(home.run / "notify.lock", "notify"):
        notify.send_all(home, lambda _: pytest.fail("it sends"))
    assert 1 == len(notify.waiting(home))


def test_a_home_that_is_purged_meanwhile_is_left_alone(home: Home) -> None:
    """No journal is made anew where an instance was taken away."""

    def purge(_seconds: float) -> None:
        home.journal.unlink()
        home.slack_webhook.unlink()
        for path in notify.waiting(home):
            path.unlink()

    configure(home, "http://127.0.0.1:9/")
    notify.put(home, "emergency")
    notify.send_all(home, purge)
    assert False is home.journal.exists()
