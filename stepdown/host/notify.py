"""Notices to people: kept as files until a webhook took them, sent by a process of its own, so that nothing waits.

Owns: `run/notices/`. Reads: the secret file `secrets/notify/slack_webhook`. Never: tells the webhook's URL to anybody.
Format: https://api.slack.com/messaging/webhooks
"""

from __future__ import annotations

import http.client
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from stepdown.host import journal, lock
from stepdown.host.behind import in_background
from stepdown.host.home import Home, read_json

SEND_SECONDS = 10
FIRST_WAIT_SECONDS = 1.0  # after a failure, then twice as long each time
MOST_WAIT_SECONDS = 60.0
GIVE_UP_SECONDS = 4 * 3600.0  # as long as a break-glass is open


def put(home: Home, text: str) -> bool:
    """Keep a notice for `send_all`; whether there is a webhook to send it to."""
    if not home.slack_webhook.is_file():
        return False
    home.make_directory(home.notices, 0o700)
    notice = {"time": journal.now(), "text": f"{socket.gethostname()}: {text}"}
    home.write_json(home.notices / f"{time.time_ns()}.json", notice, 0o600)
    return True


def start(home: Home) -> None:
    """Send in the background, where something waits."""
    if waiting(home):
        in_background(home, "notify")


def waiting(home: Home) -> list[Path]:
    """Notices that nobody took yet, the oldest first."""
    return sorted(home.notices.glob("[0-9]*.json"))


def send_all(home: Home, pause: Callable[[float], None] = time.sleep) -> None:
    """Send what is waiting, in order, each until it is taken or is hours old; journals how each ended.

    Returns at once where another process is at it.
    """
    path = home.run / "notify.lock"
    if lock.held(path):
        return
    with lock.hold(path, "notify"):
        while found := waiting(home):
            _send(home, found[0], pause)


def _send(home: Home, path: Path, pause: Callable[[float], None]) -> None:
    notice, began, wait, tries, wrong = read_json(path), time.monotonic(), FIRST_WAIT_SECONDS, 0, ""
    while home.slack_webhook.is_file():
        tries += 1
        wrong = _post(home.slack_webhook.read_text(encoding="utf-8").strip(), notice["text"])
        if not wrong or time.monotonic() - began > GIVE_UP_SECONDS:
            break
        pause(wait)
        wait = min(2 * wait, MOST_WAIT_SECONDS)
    path.unlink(missing_ok=True)
    if not home.journal.is_file():
        return  # purged meanwhile
    words = {"error": wrong} if wrong or not tries else {}
    journal.append(home.journal, "notified", ok=bool(tries) and not wrong, to="slack", tries=tries, **words)


def _post(url: str, text: str) -> str:
    """What went wrong, in words that do not hold the URL; empty when it was taken."""
    try:
        body = json.dumps({"text": text}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=SEND_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return type(error.reason).__name__ if isinstance(error.reason, Exception) else "no answer"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return type(error).__name__
